#!/usr/bin/env bash
# Nobody loses a file: what every command that writes does to every kind of file, as a table, and what happens to files when
# a command fails, is interrupted, or loses its model under its hands.
# usage: tests/files_test.sh TANDEM FOLDER_OF_PROXIES VOCABULARY.gguf [TEST...]     needs the reference plugin beside the program
set -uo pipefail
tandem=$(realpath "$1")
proxies=$(realpath "$2")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
library=$(realpath "$(dirname "$tandem")/../lib")
vocabulary=$(realpath "$3")
shift 3
unset TANDEM_PLUGIN_PATH
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:handle_segv=0:handle_sigbus=0 # a sanitizer would make an exit code of the signal
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
. "$here/checks.sh"
no_remains() { [ -z "$(find . -name '*partial*')" ]; }
set -m # jobs in the background take SIGINT

n_token=$(python3 "$here/join_vocabulary.py" --tokens "$vocabulary")
shape=(--layers 6 --vocab "$n_token" --d-model 64 --d-ff 64 --heads 4 --kv-heads 2 --head-dim 32 --window 32 --experts 8 --experts-used 2
    --d-expert 32)
cpu=(--plugin reference --threads 2)
# Limits on work, where a command measures.
short=(--samples 1 --chunks 1 --rounds 1 --batch 4 --phase decode --peaks-seconds 0)

"$tandem" synth gemma4-26b-a4b "${shape[@]}" --quant F32 -o shapes.gguf 2>err &&
    python3 "$here/join_vocabulary.py" shapes.gguf "$vocabulary" master.gguf || { cat err; exit 1; }
echo 'a text of some words, for figures that nobody reads' >text.txt
echo '{"schema":"tandem-sweep","version":1,"time":"2026-01-01T00:00:00Z","row":"journal","key":""}' >master.jsonl
printf '\x93NUMPY an old result' >master.npy

# ---- the table of outputs ----

fresh() { # fresh files; the names are the kinds
    rm -rf box
    mkdir box box/folder
    cp master.gguf box/model
    cp master.jsonl box/journal
    cp master.npy box/npy
    cp master.npy box/target
    cp master.jsonl box/rows
    mkfifo box/fifo box/deaf
    ln -s target box/link
    ln -s rows box/rowlink
    ln -s model box/modellink
    ln box/model box/twin
    ln -s new box/dangling
    ln -s /dev/null box/null
    ln -s /dev/full box/full
    mknod box/block b 7 4095 2>/dev/null # takes rights that not everybody has
    python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind("box/socket")'
}
state() { # what is at every name: kind, links, bytes
    (cd box && for f in *; do
        stat -c '%N %F' "$f"
        [ -f "$f" ] && [ ! -L "$f" ] && sha256sum "$f"
    done)
}
# write COMMAND KIND: runs it with box/KIND as its output
write() {
    local out=box/$2
    case $1 in
    eval) timeout 60 "$tandem" eval -m box/model "${cpu[@]}" --tokens 2,5,7 --logits "$out" ;;
    trace) timeout 60 "$tandem" trace -m box/model "${cpu[@]}" --tokens 2,5,7 -o "$out" ;;
    synth) timeout 60 "$tandem" synth gemma4-26b-a4b "${shape[@]}" -o "$out" ;;
    quantize) timeout 60 "$tandem" quantize box/model "$out" Q8_0 --threads 2 ;;
    sweep) timeout 60 "$tandem" sweep -m box/model "${cpu[@]}" "${short[@]}" -j "$out" ;;
    compare) timeout 60 "$tandem" compare -m box/model --plugin-a reference --plugin-b reference --threads 1 --batch 4 --blocks 6 \
        --runs 2 --phase decode -j "$out" ;;
    peaks) timeout 60 "$tandem" peaks "${cpu[@]}" --seconds 0.1 --max-bytes 1M -j "$out" ;;
    perplexity) timeout 60 "$tandem" perplexity -m box/model "${cpu[@]}" -f text.txt -j "$out" ;;
    esac >out 2>err </dev/null
}
# What should become of each kind: ok, or refused.
wanted() { # wanted COMMAND KIND
    case $1:$2 in
    eval:model | trace:model | quantize:model | eval:modellink | trace:modellink | quantize:modellink | eval:twin | trace:twin | quantize:twin) echo refused ;;
    *:deaf | *:full | *:folder | *:socket | *:block) echo refused ;;
    eval:* | trace:* | synth:* | quantize:*) echo ok ;;
    *:journal | *:rowlink | *:dangling | *:fifo | *:null | *:missing) echo ok ;;
    *) echo refused ;; # a journal that is something else
    esac
}
one_output() { # one_output COMMAND KIND: a cell of the table
    local command=$1 kind=$2 rc=0 want text target=$2 cat_pid=
    want=$(wanted "$command" "$kind")
    fresh
    state >before
    : >heard
    if [ "$kind" = fifo ]; then
        cat box/fifo >heard &
        cat_pid=$!
        sleep 0.05
    fi
    write "$command" "$kind" || rc=$?
    [ -n "$cat_pid" ] && { exec 9<>box/fifo; exec 9>&-; wait $cat_pid 2>/dev/null; }
    case $kind in link) target=target ;; rowlink) target=rows ;; modellink) target=model ;; dangling) target=new ;; esac
    state >after
    # Nothing but the target may have changed.
    diff <(grep -v -e "'$target'" -e " $target\$" before) <(grep -v -e "'$target'" -e " $target\$" after) >changed || true
    text=kept
    case $command:$kind in
    *:fifo | *:null) text=through ;;
    *) if [ "$want" = ok ] && ! cmp -s before after; then text=written; fi ;;
    esac
    [ "$want" = refused ] && text="refused"
    if [ "$want" = refused ]; then
        check "$command to $kind: exit code $rc, not 3" test $rc -eq 3
        check "$command to $kind changes nothing" cmp before after
        check "$command to $kind is one sentence: $(cat err)" test "$(grep -c '^tandem' err)" -eq 1
    else
        check "$command to $kind: exit code $rc, $(tail -n 1 err)" test $rc -le 1
        check "$command to $kind changes nothing else" test ! -s changed
        case $kind in
        null) ;;
        fifo) check "$command to $kind is heard" test -s heard ;;
        *) check "$command writes $kind" test -s "box/$target" ;;
        esac
        case $command:$kind in
        sweep:journal | compare:journal | peaks:journal | sweep:rowlink | compare:rowlink | peaks:rowlink | perplexity:journal | perplexity:rowlink)
            check "$command keeps the rows of $kind" cmp -n "$(stat -c %s master.jsonl)" master.jsonl "box/$target"
            check "$command adds rows to $kind" test "$(wc -l <"box/$target")" -ge 2
            text=appended ;;
        esac
    fi
    check "$command to $kind leaves no temporary file" no_remains
    printf ' %-10s' "$text"
}
outputs_of_every_kind() {
    local kind command
    printf 'output to   '
    for command in eval trace synth quantize sweep compare peaks perplexity; do printf ' %-10s' $command; done
    echo
    for kind in missing model twin modellink journal npy link rowlink dangling fifo deaf null full folder socket block; do
        [ $kind = block ] && [ ! -b box/block ] && continue
        printf '%-12s' $kind
        for command in eval trace synth quantize sweep compare peaks perplexity; do one_output $command $kind; done
        echo
    done
}

# ---- the table of inputs ----

read_from() { # read_from COMMAND KIND
    local in=box/$2
    case $1 in
    eval) timeout 20 "$tandem" eval -m "$in" "${cpu[@]}" --tokens 2,5,7 --logits box/target ;;
    trace) timeout 20 "$tandem" trace -m "$in" "${cpu[@]}" --tokens 2,5,7 -o box/target ;;
    quantize) timeout 20 "$tandem" quantize "$in" box/target Q8_0 --threads 2 ;;
    sweep) timeout 20 "$tandem" sweep -m "$in" "${cpu[@]}" "${short[@]}" -j box/rows ;;
    compare) timeout 20 "$tandem" compare -m "$in" --plugin-a reference --plugin-b reference --threads 1 --batch 4 --blocks 6 --runs 2 \
        --phase decode -j box/rows ;;
    perplexity) timeout 20 "$tandem" perplexity -m "$in" "${cpu[@]}" -f text.txt -j box/rows ;;
    esac >out 2>err </dev/null
}
models_of_every_kind() {
    local kind command rc
    printf 'model from  '
    for command in eval trace quantize sweep compare perplexity; do printf ' %-10s' $command; done
    echo
    for kind in model modellink journal npy fifo null folder socket missing; do
        printf '%-12s' $kind
        for command in eval trace quantize sweep compare perplexity; do
            fresh
            state >before
            rc=0
            read_from $command $kind || rc=$?
            state >after
            diff <(grep -v -e "'target'" -e "'rows'" -e ' target$' -e ' rows$' before) \
                <(grep -v -e "'target'" -e "'rows'" -e ' target$' -e ' rows$' after) >changed || true
            case $kind:$command in
            model:* | modellink:*) check "$command of $kind: $rc, $(tail -n 1 err)" test $rc -le 1; printf ' %-10s' read ;;
            *) check "$command of $kind: exit code $rc, not 3 ($(tail -n 1 err))" test $rc -eq 3
                check "$command of $kind keeps the old result" cmp master.npy box/target
                printf ' %-10s' refused ;;
            esac
            check "$command of $kind changes no input" test ! -s changed
            check "$command of $kind leaves no temporary file" no_remains
        done
        echo
    done
}

# ---- promises one by one ----

# A vocabulary of 64K: writing and reading take a while.
big() { [ -e big.gguf ] || "$tandem" synth gemma3-270m --layers 6 --vocab 65536 --d-model 256 --d-ff 256 --heads 2 --head-dim 64 \
    --quant F32 -o big.gguf 2>/dev/null; }
ids() { seq -s, 2 "$1"; }
# begin FILE COMMAND...: in the background, until its temporary file is there
begin() {
    local file=$1
    shift
    "$tandem" "$@" >out 2>err </dev/null &
    job=$!
    for _ in $(seq 400); do
        compgen -G "$file.partial-*" >/dev/null && return
        kill -0 $job 2>/dev/null || break
        sleep 0.02
    done
    check "$2 begins to write $file" false
}
rc_of() { rc=0; wait "$1" 2>/dev/null || rc=$?; }

an_interrupt_leaves_the_old_file_and_nothing_else() {
    local signal
    big
    for signal in INT TERM HUP; do
        echo old >old.gguf
        begin old.gguf synth gemma3-270m -o old.gguf
        kill -$signal $job
        rc_of $job
        check "synth ends by SIG$signal, not with $rc" test $rc -eq $((128 + $(kill -l $signal)))
        echo old >old2.gguf
        begin old2.gguf quantize big.gguf old2.gguf Q4_K --threads 1
        kill -$signal $job
        rc_of $job
        check "quantize ends by SIG$signal, not with $rc" test $rc -eq $((128 + $(kill -l $signal)))
        echo old >old.npy
        begin old.npy eval -m big.gguf "${cpu[@]}" --tokens "$(ids 2000)" --logits old.npy
        kill -$signal $job
        rc_of $job
        check "eval ends by SIG$signal, not with $rc" test $rc -eq $((128 + $(kill -l $signal)))
        check "the old files are there after SIG$signal" grep -qx old old.gguf old2.gguf old.npy
        check "no temporary file is left by SIG$signal" no_remains
    done
}

a_failed_eval_keeps_the_old_result() {
    local proxy
    for proxy in crash oom hang; do
        cp master.npy kept.npy
        timeout 60 "$tandem" eval -m master.gguf --plugin "$proxies/libtandem_proxy_$proxy.so" --threads 2 --plugin-option \
            "proxy_$proxy.wrap=$library/libtandem_reference.so" --plugin-timeout 1 --tokens 2,5,7 --logits kept.npy >out 2>err
        rc=$?
        check "a failing plugin fails eval: $rc" test $rc -ge 3
        check 'the old result is there' cmp master.npy kept.npy
        check 'no temporary file is left' no_remains
    done
}

a_full_disk_is_one_sentence_and_the_old_file_stays() {
    local rc
    big
    for command in "synth gemma3-270m -o small.out" "quantize big.gguf small.out Q8_0" \
        "eval -m master.gguf --plugin reference --tokens $(ids 500) --logits small.out" \
        "trace -m master.gguf --plugin reference --tokens $(ids 500) -o small.out"; do
        echo old >small.out
        rc=0
        # A limit on the size of files fails the same calls as a full disk.
        # shellcheck disable=SC2086
        (ulimit -f 8 && exec "$tandem" $command) >out 2>err || rc=$?
        check "${command%% *} on a full disk: $rc" test $rc -eq 3
        check "one sentence: $(cat err)" test "$(grep -c 'cannot write small.out' err)" -eq 1
        check "${command%% *} keeps the old file" grep -qx old small.out
        check 'no temporary file is left' no_remains
    done
}

a_replaced_file_keeps_its_mode_and_a_protected_one_its_bytes() {
    cp master.npy mode.npy
    chmod 600 mode.npy
    check 'eval writes' "$tandem" eval -m master.gguf "${cpu[@]}" --tokens 2,5 --logits mode.npy
    check 'the mode is kept' test "$(stat -c %a mode.npy)" = 600
    check 'the header is new' grep -q "'shape': (2, $n_token)" mode.npy
    [ "$(id -u)" = 0 ] && return # whom no mode stops
    chmod 400 mode.npy
    cp mode.npy protected
    check 'a protected file is refused' test "$("$tandem" eval -m master.gguf "${cpu[@]}" --tokens 2,5,7 --logits mode.npy >out 2>&1; echo $?)" -eq 3
    check 'it has its bytes' cmp protected mode.npy
}

the_result_is_never_an_input() {
    echo '2,5,7' >ids.txt
    "$tandem" trace -m master.gguf "${cpu[@]}" --tokens 2,5,7 -o routes.txt >out 2>err
    cp routes.txt routes.before
    cp "$library/libtandem_reference.so" own.so
    cp own.so own.before
    check 'token list' test "$("$tandem" eval -m master.gguf "${cpu[@]}" --tokens @ids.txt --logits ids.txt >out 2>err; echo $?)" -eq 3
    check 'the token list has its bytes' grep -qx '2,5,7' ids.txt
    check 'routes' test "$("$tandem" trace -m master.gguf "${cpu[@]}" --tokens 2 --routing trace:routes.txt -o ./routes.txt >out 2>err; echo $?)" -eq 3
    check 'the routes have their bytes' cmp routes.before routes.txt
    check 'plugin' test "$("$tandem" eval -m master.gguf --plugin ./own.so --tokens 2 --logits own.so >out 2>err; echo $?)" -eq 3
    check 'the plugin has its bytes' cmp own.before own.so
    "$tandem" eval -m master.gguf "${cpu[@]}" --tokens 2 --logits both.txt >both.txt 2>err
    check 'standard output' grep -q 'standard output of this command' err
}

# ---- a model that changes ----

a_model_cut_off_while_it_is_read_is_one_sentence() {
    local one
    big
    for one in "eval --tokens $(ids 3000) --logits cut.out" "generate --tokens 2,5 -n 3000" "quantize"; do
        cp big.gguf cut.gguf
        cp master.npy cut.out
        # shellcheck disable=SC2086
        case $one in
        quantize) begin cut.out quantize cut.gguf cut.out Q4_K --threads 2 ;;
        eval*) begin cut.out eval -m cut.gguf "${cpu[@]}" ${one#eval} ;;
        *) "$tandem" generate -m cut.gguf "${cpu[@]}" ${one#generate} --ignore-end >out 2>err & job=$!; sleep 0.5 ;;
        esac
        truncate -s 8192 cut.gguf
        rc_of $job
        check "${one%% *} of a cut model: exit code $rc, not 3" test $rc -eq 3
        check "the sentence: $(tail -n 1 err)" grep -q 'cut.gguf: the file changed while it was read\.$' err
        check "nobody else is blamed: $(cat err)" test "$(grep -c ended err)" -eq 0
        check 'the old result is there' cmp master.npy cut.out
        check 'no temporary file is left' no_remains
    done
}

a_model_written_over_while_it_is_read_is_one_sentence() {
    big
    cp big.gguf over.gguf
    begin over.npy eval -m over.gguf "${cpu[@]}" --tokens "$(ids 500)" --logits over.npy
    printf x | dd of=over.gguf bs=1 seek=$(($(stat -c %s over.gguf) - 9)) conv=notrunc 2>/dev/null
    rc_of $job
    check "exit code $rc, not 3" test $rc -eq 3
    check "the sentence: $(cat err)" grep -q 'over.gguf: the file changed while it was read\.$' err
    check 'no result is left' test ! -e over.npy
}

another_bus_error_stays_fatal() {
    big
    begin bus.npy eval -m big.gguf "${cpu[@]}" --tokens "$(ids 2000)" --logits bus.npy
    kill -BUS $job
    rc_of $job
    check "SIGBUS from outside ends the program by SIGBUS, not with $rc" test $rc -eq $((128 + $(kill -l BUS)))
}

a_fifo_as_model_is_refused_at_once() {
    rm -f wait.fifo
    mkfifo wait.fifo
    for command in inspect "eval --tokens 2 --plugin reference" "generate --tokens 2 --plugin reference" "tokenize"; do
        # shellcheck disable=SC2086
        case $command in
        inspect) timeout 10 "$tandem" inspect wait.fifo ;;
        *) timeout 10 "$tandem" $command -m wait.fifo ;;
        esac >out 2>err </dev/null
        rc=$?
        check "${command%% *} of a FIFO: exit code $rc, not 3" test $rc -eq 3
        check "${command%% *} says what it is" grep -q 'wait.fifo is a FIFO, not a regular file' err
    done
}

# ---- journals ----

one_sweep_holds_its_journal() {
    "$tandem" sweep -m gemma3-270m --layers 6 --vocab 4096 "${cpu[@]}" --samples 2 --chunks 1 --batch 32 --phase decode --depth 0,16K \
        --peaks-seconds 0 -j held.jsonl >first.out 2>&1 &
    local first=$!
    for _ in $(seq 300); do
        [ -s held.jsonl ] && break
        sleep 0.05
    done
    for command in "sweep -m master.gguf ${short[*]}" "peaks --seconds 0.1"; do
        # shellcheck disable=SC2086
        timeout 20 "$tandem" $command "${cpu[@]}" -j held.jsonl >out 2>err
        rc=$?
        check "a second ${command%% *} ends with $rc, not 3" test $rc -eq 3
        check "it names the first: $(cat err)" grep -q "held.jsonl is being written by process $first;" err
    done
    kill -TERM $first
    wait $first 2>/dev/null
    check 'the lock goes with its holder' test "$(timeout 60 "$tandem" sweep -m master.gguf "${cpu[@]}" "${short[@]}" -j held.jsonl >out 2>err; echo $?)" -le 1
    check 'the rows are valid' python3 "$here/schema_check.py" "$here/../bench/schema.json" held.jsonl
}

# ---- standard output ----

what_was_printed_outlives_a_plugin_that_crashes_when_it_is_closed() {
    timeout 60 "$tandem" eval -m master.gguf --plugin "$proxies/libtandem_proxy_hostile.so" --threads 2 --tokens 2,5,7 --logits last.npy \
        --plugin-option "proxy_hostile.wrap=$library/libtandem_reference.so" --plugin-option proxy_hostile.slot=context_destroy \
        --plugin-option proxy_hostile.does=crash >last.out 2>err
    rc=$?
    check "the plugin crashes: $rc" test $rc -ne 0
    check 'three rows were printed' test "$(wc -l <last.out)" -eq 3
    check 'and the logits are there' grep -q "'shape': (3, $n_token)" last.npy
}

promises() { # each of them, told before it is run
    local one
    for one in an_interrupt_leaves_the_old_file_and_nothing_else a_failed_eval_keeps_the_old_result \
        a_full_disk_is_one_sentence_and_the_old_file_stays a_replaced_file_keeps_its_mode_and_a_protected_one_its_bytes \
        the_result_is_never_an_input a_model_cut_off_while_it_is_read_is_one_sentence \
        a_model_written_over_while_it_is_read_is_one_sentence another_bus_error_stays_fatal \
        a_fifo_as_model_is_refused_at_once one_sweep_holds_its_journal \
        what_was_printed_outlives_a_plugin_that_crashes_when_it_is_closed; do
        echo "-- $one"
        $one
    done
}

[ $# -gt 0 ] || set -- outputs_of_every_kind models_of_every_kind promises
for one in "$@"; do
    "$one"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
