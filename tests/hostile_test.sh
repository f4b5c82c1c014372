#!/usr/bin/env bash
# Plugins that mean harm, or do it without meaning to: every command says in a sentence which one, and with the right exit code.
# First one test a promise, then N modes drawn by a seed: slot of the table x what it does x command (tests/proxy/proxy.h).
# usage: tests/hostile_test.sh TANDEM FOLDER_OF_PROXIES VOCABULARY.gguf [N [SEED]]      N: 0 = the promises alone; default 24
set -uo pipefail
tandem=$(realpath "$1") proxies=$(realpath "$2") vocabulary=$(realpath "$3") n_mode=${4:-24} seed=${5:-1}
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
library=$(realpath "$(dirname "$tandem")/../lib")
plugin=$proxies/libtandem_proxy_hostile.so
unset TANDEM_PLUGIN_PATH
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:handle_segv=0:detect_leaks=0 # a sanitizer would make an exit code of the signal
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
failed=0 passed=0

small=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32)
moe=(-m gemma4-26b-a4b --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 4 --kv-heads 2 --head-dim 32 --window 32
    --experts 16 --experts-used 4 --d-expert 32)
short=(--samples 2 --chunks 1 --rounds 1 --batch 8 --peaks-seconds 0 --threads 1)
# A model with a vocabulary, for what reads text.
n_token=$(python3 "$here/join_vocabulary.py" --tokens "$vocabulary")
"$tandem" synth gemma4-e2b --layers 6 --vocab "$n_token" --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32 \
    -o shapes.gguf && python3 "$here/join_vocabulary.py" shapes.gguf "$vocabulary" words.gguf || exit 3
echo 'a text of some words, for figures that nobody reads' >text.txt

# hostile SLOT ACTION ARGUMENT...: a command with the plugin; output in out and err, returns its exit code
hostile() {
    local options=(--plugin-option "proxy_hostile.wrap=$library/libtandem_reference.so" --plugin-option "proxy_hostile.slot=$1"
        --plugin-option "proxy_hostile.does=$2") command=$3
    shift 3
    [ -z "${after:-}" ] || options+=(--plugin-option "proxy_hostile.after=$after")
    [ -z "${status:-}" ] || options+=(--plugin-option "proxy_hostile.status=$status")
    # Long enough for honest calls on a machine that does other things beside, short where one is to hang.
    local patience=40 named=(--plugin "$plugin")
    [ "${options[5]##*=}" != hang ] || patience=3
    case " $* " in *" --plugin "* | *" --plugin-a "*) named=() ;; esac
    timeout -k 5 120 "$tandem" "$command" "${named[@]}" --plugin-timeout $patience "${options[@]}" "$@" >out 2>err </dev/null
}
fail() { echo "FAILED: $promise: $*"; sed 's/^/    /' out err | head -n 12; failed=$((failed + 1)); broken=1; }
ends_with() { [ "$1" -eq "$2" ] || fail "exit code $1, not $2"; }
says() { tr '\n' ' ' <err | tr -s ' ' | grep -qF -- "$1" || fail "standard error does not say: $1"; }
prints() { tr '\n' ' ' <out | tr -s ' ' | grep -qF -- "$1" || fail "standard output does not say: $1"; }
# No control character but line ends and tabs, of C1 neither, and UTF-8 throughout.
is_clean() {
    python3 -c 'import sys
for name in sys.argv[1:]:
    text = open(name, "rb").read().decode()
    sys.exit(1) if any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in text) else 0' "$@" 2>/dev/null ||
        fail "control characters, or no UTF-8"
}

a_plugin_that_crashes_while_it_is_identified_is_named_by_sweep() {
    hostile device_info crash sweep "${small[@]}" "${short[@]}" --plugin "$plugin,reference" -j crash.jsonl
    ends_with $? 3
    says "the plugin proxy_hostile ended the process in device_info: signal 11"
    prints "1 series not measured at all"
    prints "2 cells measured"
}
a_plugin_that_hangs_while_it_is_identified_is_named_by_sweep() {
    hostile query hang sweep "${small[@]}" "${short[@]}" -j hang.jsonl
    ends_with $? 3
    says "the plugin libtandem_proxy_hostile.so did not come back from open within 3 s"
}
a_plugin_that_ends_the_process_is_named_by_sweep() {
    hostile device_count exit sweep "${small[@]}" "${short[@]}" -j exit.jsonl
    ends_with $? 3
    says "the plugin proxy_hostile ended the process in device_count: exit code 0"
}
success_without_an_object_is_a_sentence() {
    local slot
    for slot in context_create buffer_create weights_create kv_create program_create; do
        hostile $slot nothing generate "${small[@]}" --tokens 2,5 -n 2
        ends_with $? 3
        says "plugin proxy_hostile, $slot: it answered OK and gave no object"
    done
    hostile run nothing generate "${small[@]}" --tokens 2,5 -n 2
    ends_with $? 3
    says "plugin proxy_hostile, run: it answered OK and gave no ticket"
}
four_billion_devices_are_a_sentence() {
    local command
    for command in "generate ${small[*]} --tokens 2" "sweep ${small[*]} ${short[*]}" peaks; do
        # shellcheck disable=SC2086
        hostile device_count absurd $command
        ends_with $? 3
        says "4000000000 devices, which is not believed"
    done
    hostile device_count absurd devices
    ends_with $? 3
    prints "4000000000 devices, which is not believed"
}
# The first read of a session is that of the norm vectors; results come after it.
norms_that_do_not_arrive_are_noticed() {
    hostile buffer_write nothing eval "${small[@]}" --tokens 2,5
    ends_with $? 3
    says "norm vectors are read back other than they were written"
}
ids_beyond_the_vocabulary_are_not_printed() {
    after=1 hostile buffer_read ids generate "${small[@]}" --tokens 2,5 -n 4
    ends_with $? 1
    says "plugin proxy_hostile, run: the row of position 1 names token 16777215 of a vocabulary of 512"
    [ ! -s out ] || fail "something was printed"
    after=1 hostile buffer_read ids eval "${small[@]}" --tokens 2,5
    ends_with $? 1
    says "the row of position 0 names token 16777215"
}
experts_beyond_the_model_are_not_recorded() {
    after=2 hostile buffer_read ids trace "${moe[@]}" --tokens 2,5 -o t.txt
    ends_with $? 1
    says "names expert 16777215 of 16"
}
logits_that_are_no_numbers_are_a_bad_answer() {
    after=1 hostile buffer_read nan generate "${small[@]}" --tokens 2,5 -n 4
    ends_with $? 1
    says "plugin proxy_hostile, run: in the row of position 1 the sum of all logits is nan"
    after=1 hostile buffer_read nan generate "${small[@]}" --tokens 2,5 -n 4 --temp 1 --top-k 0
    ends_with $? 1
    after=1 hostile buffer_read nan eval "${small[@]}" --tokens 2,5
    ends_with $? 1
    says "is nan"
    after=2 hostile buffer_read nan eval "${small[@]}" --tokens 2,5 --logits l.npy
    ends_with $? 1
    says "in the row of position 0 the logit of token 508 is nan"
    after=1 hostile buffer_read nan perplexity -m words.gguf -f text.txt
    ends_with $? 1
    says "is nan"
}
a_read_that_does_nothing_is_no_result() {
    after=1 hostile buffer_read nothing eval "${small[@]}" --tokens 2,5
    ends_with $? 1
}
output_survives_a_crash_in_destroy() {
    local slot
    for slot in buffer_destroy context_destroy unload; do
        hostile $slot crash eval "${small[@]}" --tokens 2,5,7
        ends_with $? 3
        says "the plugin proxy_hostile ended the process in"
        [ "$(wc -l <out)" -eq 3 ] || fail "$(wc -l <out) of 3 lines"
    done
}
a_crash_or_a_hang_is_a_sentence_in_every_command() {
    local action sentence command
    for action in crash hang; do
        sentence="the plugin proxy_hostile ended the process in context_create: signal 11"
        [ $action = crash ] || sentence="the plugin proxy_hostile did not come back from context_create within 3 s"
        for command in "generate ${small[*]} --tokens 2" "eval ${small[*]} --tokens 2" "inspect ${small[*]} --steps" \
            "perplexity -m words.gguf -f text.txt" "trace ${moe[*]} --tokens 2 -o t.txt" "peaks --seconds 0.1" \
            "compare ${small[*]} --plugin-a reference --plugin-b $plugin"; do
            # shellcheck disable=SC2086
            hostile context_create $action $command
            ends_with $? 3
            says "$sentence"
        done
    done
}
a_file_at_fault_is_no_usage() {
    python3 - shapes.gguf nan.gguf <<'SPOIL' # the layers' scales stand alone in their tensors: one f32 each
import struct, sys
sys.argv[0] = ""
data = bytearray(open(sys.argv[1], "rb").read())
name = b"blk.2.layer_output_scale.weight"
at = data.index(name) + len(name) + 4 + 8
kind, offset = struct.unpack_from("<IQ", data, at)
last = max(data.rindex(b".weight") + 7, at)
n_dim, = struct.unpack_from("<I", data, last)
start = -(-(last + 4 + 8 * n_dim + 12) // 32) * 32
struct.pack_into("<f", data, start + offset, float("nan"))
open(sys.argv[2], "wb").write(data)
SPOIL
    "$tandem" generate -m nan.gguf --tokens 2 --plugin reference >out 2>err
    ends_with $? 3
    says "nan.gguf: the scale of layer 2, blk.2.layer_output_scale.weight, is"
}
a_plugin_at_fault_is_no_usage() {
    status=-1 hostile weights_write status generate "${small[@]}" --tokens 2
    ends_with $? 3
    says "plugin proxy_hostile, weights_write: an argument breaks a documented rule"
}
dimensions_for_a_file_are_usage() {
    "$tandem" inspect shapes.gguf --layers 3 >out 2>err
    ends_with $? 2
    says "is no preset"
}
names_reach_terminals_and_json_clean() {
    hostile device_info name devices
    ends_with $? 0
    is_clean out err
    hostile device_info name devices --json
    ends_with $? 0
    is_clean out err
    python3 -m json.tool out >/dev/null || fail "no JSON"
    hostile descriptor name devices --json
    is_clean out err
    python3 -m json.tool out >/dev/null || fail "no JSON"
    hostile program_step name inspect "${small[@]}" --steps
    is_clean out err
    hostile device_info name generate "${small[@]}" --tokens 2 -n 1 --json
    ends_with $? 0
    is_clean out err
}
inspect_prints_steps_as_json() {
    "$tandem" inspect "${small[@]}" --steps --json --plugin reference >out 2>err
    ends_with $? 0
    python3 -c 'import json, sys
j = json.load(open("out"))
sys.exit(not (len(j["steps"]) > 6 and all(s["kernel"] and s["launches"] >= 1 for s in j["steps"])))' || fail "no steps"
}
an_empty_place_among_tokens_is_refused() {
    local ids
    for ids in '1,,2' ',1' '1,' '1, ,2'; do
        "$tandem" eval "${small[@]}" --plugin reference --tokens "$ids" >out 2>err
        ends_with $? 2
        says "A token id is missing"
    done
    "$tandem" eval "${small[@]}" --plugin reference --tokens '1, 2 3' >out 2>err
    ends_with $? 0
}
without_a_driver_generate_takes_the_reference_and_says_so() {
    [ -e "$library/libtandem_vulkan.so" ] || return 0
    env VK_DRIVER_FILES=/none.json VK_ICD_FILENAMES=/none.json "$tandem" generate "${small[@]}" --tokens 2 -n 2 \
        --plugin-option cuda.library=/none.so >out 2>err
    ends_with $? 0
    says "no GPU found; reference runs on the software device"
    env VK_DRIVER_FILES=/none.json VK_ICD_FILENAMES=/none.json "$tandem" generate "${small[@]}" --tokens 2 --plugin vulkan \
        >out 2>err
    ends_with $? 3
    says "--plugin reference runs on any processor"
}
a_plugin_that_crashes_is_passed_over_and_named() {
    mkdir -p beside
    cp "$plugin" beside/libtandem_cuda.so
    TANDEM_PLUGIN_PATH=$work/beside timeout 60 "$tandem" generate "${small[@]}" --tokens 2 -n 2 \
        --plugin-option "cuda.wrap=$library/libtandem_reference.so" --plugin-option cuda.slot=device_count \
        --plugin-option cuda.does=crash >out 2>err
    ends_with $? 0
    says "cuda is passed over: no device: the plugin proxy_hostile ended the process in device_count: signal 11"
}
devices_without_a_plugin_says_where_it_looked() {
    mkdir -p alone
    cp "$tandem" alone/tandem
    [ -e "$(dirname "$library")/bin/libtandem.so" ] && return 0
    alone/tandem devices >out 2>err
    ends_with $? 3
    says "there is no plugin libtandem_NAME.so in $work/alone"
    says "TANDEM_PLUGIN_PATH"
    alone/tandem generate "${small[@]}" --tokens 2 >out 2>err
    ends_with $? 3
    says "there is no plugin libtandem_NAME.so in $work/alone"
}
lives_on() { ps -s "$1" -o stat= | grep -qv Z; } # a process of that session; one that nobody has waited for is none
an_interrupt_ends_both_processes() {
    local pid
    setsid "$tandem" generate "${small[@]}" --tokens 2 -n 1000000 --ctx 1000000 --ignore-end --plugin reference >out 2>err &
    pid=$!
    sleep 1
    kill -INT $pid 2>/dev/null
    kill -TERM $pid
    wait $pid
    local code=$?
    [ $code -eq 130 ] || [ $code -eq 143 ] || fail "exit code $code"
    sleep 0.2
    lives_on "$pid" && fail "a process is left"
}

a_killed_parent_takes_its_child_along() {
    local pid
    setsid "$tandem" generate "${small[@]}" --tokens 2 -n 1000000 --ctx 1000000 --ignore-end --plugin reference >out 2>err &
    pid=$!
    sleep 0.5
    kill -KILL $pid
    wait $pid 2>/dev/null
    sleep 0.5
    lives_on "$pid" && fail "a process is left"
}
text_still_comes_as_it_is_made() {
    local pid first=
    mkfifo pipe
    "$tandem" generate "${small[@]}" --tokens 2 -n 1000000 --ctx 1000000 --ignore-end --plugin reference >pipe 2>err &
    pid=$!
    read -r -n 4 -t 20 first <pipe
    [ ${#first} -eq 4 ] || fail "nothing came while it was running"
    kill $pid 2>/dev/null
    wait $pid 2>/dev/null
}
no_call_goes_around_the_checks() {
    local slots
    slots=$(sed -nE 's/^    X\((\w+)\).*/\1/p' "$here/../backend/kit/include/tandem/negotiate.h" | paste -sd'|')
    ! grep -nE "(->|\.)($slots)\(" "$here"/../host/*.c | grep -vE '/(plugin_call|main)\.c:' >out || fail "a slot is called directly"
}

promises=$(declare -F | awk '{print $3}' | grep -E '^[a-z0-9]+(_[a-z0-9]+){3,}$')
for promise in $promises; do
    broken=0
    $promise
    [ $broken -eq 1 ] || passed=$((passed + 1))
done
echo "$passed promises kept, $failed broken"

# ---- modes by a seed ----

# Every slot x action x number of calls before x command; shuffled. Statuses are those of the ABI and some that are not.
draw() {
    python3 - "$here/../backend/kit/include/tandem/negotiate.h" "$n_mode" "$seed" <<'DRAW'
import random, re, sys
slots = re.findall(r"^    X\((\w+)\)", open(sys.argv[1]).read(), re.M)
assert len(slots) == 39, slots
rng = random.Random(int(sys.argv[3]))
# What the host never calls, and what only some commands do.
unused = {"get_interface", "supports", "buffer_info", "weights_matrix", "kv_info", "kv_length", "kv_copy_slot", "kv_export_bytes",
          "kv_export", "kv_import"}
some = {"context_memory": ["sweep"], "weights_place": ["placed"], "kv_layer": ["sweep"], "kv_read": ["sweep"], "kv_fill": ["eval"],
        "kv_truncate": ["perplexity", "sweep", "compare"], "step_times": ["sweep", "compare"],
        "program_step_count": ["steps", "sweep", "peaks"], "program_step": ["steps", "sweep", "peaks"],
        "program_cost": ["steps", "sweep"], "weights_info": ["generate", "eval"], "times": ["generate", "peaks", "sweep"]}
load = ["generate", "sampled", "eval", "logits", "perplexity", "trace", "compare", "sweep"]
first = ["devices", "peaks", "steps"]
names = ["device_info", "descriptor", "program_step"]
def fits(slot, action):
    if slot in unused:
        return action == "crash"
    if slot.endswith("_destroy") or slot in ("unload", "query"):
        return action in ("nothing", "crash", "exit", "hang") or (slot == "query" and action == "status")
    if slot == "descriptor":
        return action in ("name", "crash")
    if action in ("nan", "ids"):
        return slot == "buffer_read"
    return action != "name" or slot in names
modes = [(s, a) for s in slots + ["query", "descriptor", "unload"]
         for a in ["nothing", "status", "crash", "exit", "hang", "absurd", "nan", "ids", "name"] if fits(s, a)]
rng.shuffle(modes)
while len(modes) < int(sys.argv[2]):
    modes += modes
for slot, action in modes[:int(sys.argv[2])]:
    early = slot.startswith("device") or slot in ("query", "descriptor", "unload")
    status = rng.choice([-1, -2, -3, -4, -5, -6, -7, -8, -9, -10, 1, 7, -11, -77, 2147483647, -2147483648])
    print(slot, action, rng.choice([0] if early else [0, 0, 0, 1, 2]), status if action == "status" else rng.choice([0, 0, 1, 2, 139]),
          rng.choice(some.get(slot, (first if early or slot in ("context_create", "buffer_create") else []) + load)))
DRAW
}
arguments() { # of a command by its name above
    case $1 in
    devices) echo devices ;;
    generate) echo generate "${small[@]}" --tokens 2,5,7 -n 6 --threads 1 ;;
    sampled) echo generate "${small[@]}" --tokens 2,5,7 -n 6 --temp 1 --top-k 0 --threads 1 --json ;;
    eval) echo eval "${small[@]}" --tokens 2,5,7 --fill 40 --threads 1 ;;
    logits) echo eval "${small[@]}" --tokens 2,5,7 --logits l.npy --threads 1 ;;
    perplexity) echo perplexity -m words.gguf -f text.txt --ctx 8 --threads 1 ;;
    steps) echo inspect "${small[@]}" --steps --threads 1 ;;
    trace) echo trace "${moe[@]}" --tokens 2,5,7 -n 2 -o t.txt --threads 1 ;;
    peaks) echo peaks --seconds 0.2 --max-bytes 1M --threads 1 ;;
    compare) echo compare "${small[@]}" --plugin-a reference --plugin-b "$plugin" --threads 1 --blocks 2 --runs 2 --chunks 1 --batch 8 ;;
    sweep) echo sweep "${small[@]}" "${short[@]}" --depth 0,40 --fill synthetic -j mode.jsonl ;;
    placed) echo sweep "${moe[@]}" "${short[@]}" --expert-memory 0.5 -j mode.jsonl ;;
    esac
}
steady() { sed -E 's/[0-9.]+ (GiB|MiB) free//; s/"[a-z_]+_ns":[0-9]+//g' out; } # without what changes from run to run
# What a command that prints the same every time prints with the wrapped plugin honest.
honest() {
    [ -e "honest.$1" ] && return
    # shellcheck disable=SC2046
    hostile none nothing $(arguments "$1")
    steady >"honest.$1"
}
exact=" devices generate sampled eval logits perplexity steps trace "
judge() { # SLOT ACTION AFTER STATUS COMMAND
    honest "$5"
    rm -f mode.jsonl
    # shellcheck disable=SC2046
    after=$3 status=$4 hostile "$1" "$2" $(arguments "$5")
    local code=$?
    echo $code >code
    [ $code -eq 0 ] || n_bite=$((n_bite + 1))
    case $code in
    0)
        steady >now
        case $exact in *" $5 "*)
            [ "$2" = name ] || cmp -s now "honest.$5" || fail "exit code 0 and another answer than the honest plugin's" ;;
        esac ;;
    1 | 3 | 4) cat out err | tr -d ' \n' | grep -q proxy_hostile || fail "exit code $code, and no word about the plugin" ;;
    *) fail "exit code $code" ;;
    esac
    is_clean out err
}
n=0 n_bite=0
while read -r mode; do
    promise="mode $mode"
    broken=0
    # shellcheck disable=SC2086
    judge $mode
    n=$((n + 1))
    [ -z "${VERBOSE:-}" ] || echo "$mode: exit code $(cat code), $(cat err out | tr '\n' ' ' | cut -c 1-150)"
done < <([ "$n_mode" -gt 0 ] && draw)
echo "$n modes of seed $seed, $n_bite with another exit code than 0, $failed failures"
[ $failed -eq 0 ]
