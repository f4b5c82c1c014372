#!/usr/bin/env bash
# The program from outside: exit codes, one sentence for every refusal, journals that survive.
# usage: tests/cli_test.sh PATH/TO/tandem     needs the plugins where the program finds them
set -uo pipefail
tandem=$(realpath "$1")
script=$(realpath "${BASH_SOURCE[0]}")
unset TANDEM_PLUGIN_PATH # the reference plugin is to be missed where the program is alone
library=$(dirname "$tandem")/../lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
failed=0 passed=0

fail() {
    echo "FAILED: $1"
    sed 's/^/    /' "$work/err" | head -n 5
    failed=$((failed + 1))
}

# expect CODE PATTERN ARGUMENT...: the exit code, and for refusals exactly one line on standard error that matches.
expect() {
    local code=$1 pattern=$2 got=0
    shift 2
    timeout 120 "$tandem" "$@" >"$work/out" 2>"$work/err" </dev/null || got=$?
    if [ $got -ne "$code" ]; then
        fail "tandem $* : exit code $got, expected $code"
    elif [ "$code" -ge 2 ] && [ "$(wc -l <"$work/err")" -ne 1 ]; then
        fail "tandem $* : $(wc -l <"$work/err") lines on standard error, expected 1"
    elif [ "$code" -ge 2 ] && ! grep -q '\.$' "$work/err"; then
        fail "tandem $* : the sentence does not end"
    elif [ -n "$pattern" ] && ! grep -Eq -- "$pattern" "$work/out" "$work/err"; then
        fail "tandem $* : no '$pattern'"
    else
        passed=$((passed + 1))
    fi
}
check() { # check WHAT COMMAND...
    local what=$1
    shift
    if "$@" >"$work/err" 2>&1; then passed=$((passed + 1)); else fail "$what"; fi
}
rows() { # rows FILE STATUS: how many
    grep -c "\"status\":\"$2\"" "$1" || true
}

# Six layers: the sixth is global.
tiny=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32)
cpu=(--plugin reference --threads 2)
moe=(-m gemma4-26b-a4b --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 4 --kv-heads 2 --head-dim 32 --window 32
    --experts 16 --experts-used 4 --d-expert 32)

# ---- usage ----
expect 2 "no command 'nosuchcommand'" nosuchcommand
expect 0 'exit codes|Exit codes' --help
expect 0 'tandem 0' --version
for command in devices inspect generate eval tokenize perplexity synth quantize trace sweep peaks; do
    expect 0 "usage: tandem $command" $command --help
    expect 2 "no option '--nosuch'" $command --nosuch
done
expect 2 "'12x' is no value for --ctx" generate "${tiny[@]}" "${cpu[@]}" --tokens 1 --ctx 12x
expect 2 "'0' is no value for --ctx" generate "${tiny[@]}" "${cpu[@]}" --tokens 1 --ctx 0
expect 2 "'f64' is no value for --kv" generate "${tiny[@]}" "${cpu[@]}" --tokens 1 --kv f64
expect 2 "'12Q' is no value for --memory-cap" generate "${tiny[@]}" "${cpu[@]}" --tokens 1 --memory-cap 12Q
expect 2 -- '--n needs a value' generate "${tiny[@]}" -n
expect 2 'one argument too many' generate extra
expect 2 'either -p TEXT or --tokens' generate "${tiny[@]}"
expect 2 "'512' is no token id" generate "${tiny[@]}" "${cpu[@]}" --tokens 512
expect 2 "'x' is no token id" eval "${tiny[@]}" "${cpu[@]}" --tokens 1,x
expect 2 'no vocabulary' generate "${tiny[@]}" "${cpu[@]}" -p hello
expect 2 'do not fit a context of 4' generate "${tiny[@]}" "${cpu[@]}" --tokens 1,2,3,4,5 --ctx 4
expect 2 'Cache types are' sweep "${tiny[@]}" --kv f64
expect 2 'Depths are' sweep "${tiny[@]}" --depth 12x
expect 2 '.' synth gemma3-270m -o x.gguf --quant NOSUCH
expect 2 '.' synth nosuchpreset -o x.gguf
expect 2 'IN.gguf, OUT.gguf and TYPE' quantize x.gguf y.gguf
expect 2 'no quant mix' quantize x.gguf y.gguf Q9
expect 2 "none of the routings" eval "${moe[@]}" "${cpu[@]}" --tokens 1 --routing nosuch
expect 2 'no exponent' eval "${moe[@]}" "${cpu[@]}" --tokens 1 --routing zipf:x
expect 2 'has no experts' eval "${tiny[@]}" "${cpu[@]}" --tokens 1 --routing uniform
expect 2 'has no experts' trace "${tiny[@]}" "${cpu[@]}" --tokens 1 -o t.txt
expect 2 '-o FILE is needed' trace "${moe[@]}" "${cpu[@]}" --tokens 1
expect 2 'no value for --expert-memory' eval "${moe[@]}" "${cpu[@]}" --tokens 1 --expert-memory nowhere
expect 2 'no value for --bandwidth' inspect "${moe[@]}" --bandwidth 0

# ---- environment ----
expect 3 'nosuch.gguf' inspect nosuch.gguf
echo 'this is no model at all, but it is long enough to have a header' >bad.gguf
expect 3 'bad.gguf' inspect bad.gguf
expect 3 'bad.gguf' generate -m bad.gguf -p hello "${cpu[@]}"
expect 0 '' synth gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32 -o good.gguf
head -c 40000 good.gguf >short.gguf
expect 3 'short.gguf' eval -m short.gguf --tokens 1,2 "${cpu[@]}"
expect 3 'vocabulary|tokenizer' generate -m good.gguf -p hello "${cpu[@]}"
expect 3 'libnosuch.so' generate "${tiny[@]}" --tokens 1 --plugin ./libnosuch.so
expect 3 'nosuchplugin' generate "${tiny[@]}" --tokens 1 --plugin nosuchplugin
expect 3 'good.gguf|shared library' generate "${tiny[@]}" --tokens 1 --plugin ./good.gguf
expect 3 'tandem_backend_query' generate "${tiny[@]}" --tokens 1 --plugin "$library/libtandem.so"
expect 3 "none is '9'" generate "${tiny[@]}" --tokens 1 "${cpu[@]}" --device 9
expect 3 'none is' generate "${tiny[@]}" --tokens 1 "${cpu[@]}" --device 00000000-0000-0000-0000-000000000001
expect 3 '/nonexistent/l.npy' eval "${tiny[@]}" "${cpu[@]}" --tokens 1,2 --logits /nonexistent/l.npy
expect 3 '/dev/full.*No space' eval "${tiny[@]}" "${cpu[@]}" --tokens 1,2 --logits /dev/full
expect 3 '/dev/full.*No space' sweep "${tiny[@]}" "${cpu[@]}" --journal /dev/full --samples 1 --chunks 1 --batch 8
expect 3 '/nonexistent' sweep "${tiny[@]}" "${cpu[@]}" --journal /nonexistent/j.jsonl
expect 3 'nosuch.txt' eval "${tiny[@]}" "${cpu[@]}" --tokens @nosuch.txt
expect 3 'nosuch.gguf' quantize nosuch.gguf y.gguf Q8_0
expect 3 'bad.gguf' quantize bad.gguf y.gguf Q8_0
expect 3 '/nonexistent/y.gguf' quantize good.gguf /nonexistent/y.gguf Q8_0
check 'a refused quantize leaves no file' test ! -e y.gguf
expect 3 '/nonexistent/t.txt' trace "${moe[@]}" "${cpu[@]}" --tokens 1 -o /nonexistent/t.txt
expect 3 '/dev/full.*No space' trace "${moe[@]}" "${cpu[@]}" --tokens 1 -o /dev/full
expect 3 'nosuch.txt' eval "${moe[@]}" "${cpu[@]}" --tokens 1 --routing trace:nosuch.txt
expect 3 'bad.gguf, line 1' eval "${moe[@]}" "${cpu[@]}" --tokens 1 --routing trace:bad.gguf
check '/dev/full is still there' test -c /dev/full
if "$tandem" --help >/dev/full 2>"$work/err"; then fail 'a full standard output was not noticed'; fi
grep -q 'standard output cannot be written' "$work/err" || fail 'a full standard output was not named'
if [ -e "$library/libtandem_vulkan.so" ]; then
    export VK_DRIVER_FILES=/nonexistent.json VK_ICD_FILENAMES=/nonexistent.json
    expect 3 '[Vv]ulkan' generate "${tiny[@]}" --tokens 1 --plugin vulkan
    unset VK_DRIVER_FILES VK_ICD_FILENAMES
fi

# ---- memory ----
expect 4 'memory cap of 1.00 MiB' generate "${tiny[@]}" "${cpu[@]}" --tokens 1 --memory-cap 1M --ctx 262144
expect 4 'positions needs' generate -m gemma3-270m --tokens 1 "${cpu[@]}" --ctx 1048576 --kv f32 --memory-cap 300M

# ---- results ----
expect 0 '"kind"' devices --plugin reference --json
expect 0 '^[0-9,]+$' generate "${tiny[@]}" "${cpu[@]}" --tokens 2,5,7 -n 12
cp out first
expect 0 '^[0-9,]+$' generate -m good.gguf "${cpu[@]}" --tokens 2,5,7 -n 12
check 'a preset and its file make the same tokens' cmp first out
printf '2, 5\n7 9' >tokens.txt
expect 0 '^3 9 ' eval "${tiny[@]}" "${cpu[@]}" --tokens @tokens.txt --logits l.npy
check 'logits have 128 bytes of header and 4 rows' test "$(stat -c %s l.npy)" -eq $((128 + 4 * 512 * 4))
check 'the header is NumPy'"'"'s' grep -q "'shape': (4, 512)" l.npy
expect 0 'steps' inspect "${tiny[@]}" --steps "${cpu[@]}"
expect 0 'n_layer' inspect "${tiny[@]}" --json
expect 0 'experts +22837985280' inspect gemma4-26b-a4b
expect 0 '"n_active":.*3822530590' inspect gemma4-26b-a4b --json
expect 0 ' 262144 .*host +host +host +yes' inspect gemma4-26b-a4b --ctx 262144 --kv f16

# ---- other formats, experts ----
expect 0 '' synth gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32 --quant F32 -o f32.gguf
expect 0 'q8_0.gguf: .* tensors changed' quantize f32.gguf q8_0.gguf Q8_0 --threads 2
expect 0 'Q8_0' inspect q8_0.gguf
expect 0 '^0 2 ' eval -m q8_0.gguf "${cpu[@]}" --tokens 2,5,7,9
expect 0 '^ 5 ' trace "${moe[@]}" "${cpu[@]}" --tokens 2,5,7,9 -n 3 -o trace.txt
check 'a trace has a line a token' test "$(grep -Ec '^[0-9]+( [0-9]+,[0-9]+,[0-9]+,[0-9]+){6}$' trace.txt)" -eq 7
expect 0 '^3 9 ' eval "${moe[@]}" "${cpu[@]}" --tokens 2,5,7,9 --logits own.npy
expect 0 '^3 9 ' eval "${moe[@]}" "${cpu[@]}" --tokens 2,5,7,9 --routing trace:trace.txt --logits imposed.npy
check 'imposing the own choice changes nothing' cmp own.npy imposed.npy
expect 0 '^3 9 ' eval "${moe[@]}" "${cpu[@]}" --tokens 2,5,7,9 --routing zipf:2 --logits imposed.npy
check 'imposing another does' test "$(cmp -s own.npy imposed.npy; echo $?)" -eq 1
expect 0 '^3 9 ' eval "${moe[@]}" "${cpu[@]}" --tokens 2,5,7,9 --expert-memory host --logits imposed.npy
check 'where experts lie changes nothing' cmp own.npy imposed.npy
expect 0 '^[0-9,]+$' generate "${moe[@]}" "${cpu[@]}" --tokens 2,5,7 -n 6 --routing uniform

# ---- sweep: journal, resume, memory ----
sweep=(sweep --peaks-seconds 0 "${tiny[@]}" "${cpu[@]}" --samples 2 --chunks 1 --batch 16)
expect 0 '4 cells measured' "${sweep[@]}" --depth 0,64 -j a.jsonl
check 'four cells are in the journal' test "$(rows a.jsonl done)" -eq 4
expect 0 '6 cells measured' "${sweep[@]}" --depth 0,64,96 -j a.jsonl
check 'a rerun measured the two new ones only' test "$(rows a.jsonl done)" -eq 6
printf '{"schema":"tandem-sweep","version":1,"row":"ce' >>a.jsonl
expect 0 '6 cells measured' "${sweep[@]}" --depth 0,64,96 -j a.jsonl
expect 0 'beyond memory' "${sweep[@]}" --depth 0,1000K --memory-cap 16M -j b.jsonl
check 'what fits was measured' test "$(rows b.jsonl done)" -eq 2
check 'what does not fit is a row' test "$(rows b.jsonl out_of_memory)" -eq 2
expect 4 'beyond memory' "${sweep[@]}" --depth 1000K --memory-cap 16M -j c.jsonl
expect 3 "none is '9'" sweep "${tiny[@]}" --plugin reference --device 9 -j d.jsonl
expect 1 'no answer in 1 s' sweep -m gemma3-270m --layers 6 --vocab 4096 "${cpu[@]}" --depth 32K,64K --phase decode --timeout 1 -j e.jsonl --json
check 'the deeper cell was skipped' test "$(rows e.jsonl skipped)" -eq 1

# ---- sweep: experts ----
routed=(sweep --peaks-seconds 0 "${moe[@]}" "${cpu[@]}" --samples 1 --chunks 1 --batch 8 --phase decode -j r.jsonl)
expect 0 '1 cells? measured' "${routed[@]}" --json
expect 0 '.' "${routed[@]}" --routing uniform
check 'another routing is another column' test "$(rows r.jsonl done)" -eq 2
expect 0 '.' "${routed[@]}" --routing uniform
check 'the same routing is the same column' test "$(rows r.jsonl done)" -eq 2
expect 0 '.' "${routed[@]}" --routing uniform --seed 2
expect 0 '.' "${routed[@]}" --routing trace:trace.txt
expect 0 '.' "${routed[@]}" --expert-memory host
check 'so are other seeds, traces and places' test "$(rows r.jsonl done)" -eq 5
check 'rows name the routing' grep -q '"routing":"uniform@2"' r.jsonl

# ---- sweep: the stamp ----
# The reference under another name is a plugin that must be checked, and is right.
mkdir -p bin
LC_ALL=C sed 's/reference/rEfErEncE/g' "$library/libtandem_reference.so" >libtandem_twin.so
twin=(sweep --peaks-seconds 0 "${tiny[@]}" --plugin ./libtandem_twin.so --threads 2 --samples 2 --chunks 1 --batch 16)
expect 0 'all checked against the reference' "${twin[@]}" -j s.jsonl
check 'the reference prefix is a row, once' test "$(grep -c '"row":"reference"' s.jsonl)" -eq 1
check 'the stamp counts 16 equal tokens' grep -q '"top1_equal":16' s.jsonl
expect 0 'all checked' "${twin[@]}" --depth 32 -j s.jsonl
check 'the prefix was not computed again' test "$(grep -c '"row":"reference"' s.jsonl)" -eq 1
LC_ALL=C sed -i 's/"logits":\[\[/&9/' s.jsonl
expect 1 'WRONG' "${twin[@]}" --again -j s.jsonl
check 'wrong rows say so' grep -q '"ok":false' s.jsonl
cp "$tandem" bin/
alone=$tandem
tandem=$work/bin/tandem
expect 1 'UNCHECKED' "${twin[@]}" -j u.jsonl
tandem=$alone

# ---- sweep: lists, formats, what stands beside the cells ----
expect 2 'or ranges' sweep "${tiny[@]}" --depth 4K-1K*2
expect 2 'or ranges' sweep "${tiny[@]}" --depth 0-1K*2
expect 2 'chunks are' sweep "${tiny[@]}" --batch 0
expect 2 'a share of them' sweep "${moe[@]}" --expert-memory 1.5
expect 2 'name a UUID' sweep "${tiny[@]}" --plugin reference,vulkan --device 0
wide=(sweep --peaks-seconds 0 "${tiny[@]}" "${cpu[@]}" --samples 2 --chunks 1 --rounds 1 --phase decode)
expect 0 '8 cells measured' "${wide[@]}" --depth 0,8-32*2 --batch 8,16 -j w.jsonl
expect 0 '^\| kv' "${wide[@]}" --depth 0,8-32*2 --batch 8 -j w.jsonl --format markdown
expect 0 '^model,plugin' "${wide[@]}" --depth 0,8-32*2 --batch 8 -j w.jsonl --format csv
check 'a cell is a line of the CSV' test "$(wc -l <"$work/out")" -eq 5
check 'a rerun measured nothing again' test "$(rows w.jsonl done)" -eq 8
expect 0 'synthetic fill [+-][0-9.]+ % against real fill' "${wide[@]}" --depth 0,8-32*2 --batch 8 -j w.jsonl --fill synthetic
check 'the bias is measured once' test "$(grep -c '"row":"bias"' w.jsonl)" -eq 1
check 'depth 0 ran again at the end of each column' test "$(grep -c '"row":"drift"' w.jsonl)" -eq 3
expect 0 '.' "${wide[@]}" --rounds 5 --target 0 --batch 4 -j n.jsonl
check 'an interval that is too wide asks for rounds up to the cap' grep -q '"rounds":5' n.jsonl
expect 0 '.' "${routed[@]}" --expert-memory 0.25
check 'the share of experts in host memory is in the row' grep -q '"expert_memory":"0.25"' r.jsonl
check 'every cell is probed at its depth' test "$(grep -c '"status":"done".*"what":"attention"' w.jsonl)" -eq "$(rows w.jsonl done)"
check 'experts are computed again' grep -q '"what":"experts","layer":0' r.jsonl

# ---- rows by their schema ----
source_folder=$(dirname "$script")
check 'rows are valid' "$source_folder/schema_check.py" "$source_folder/../bench/schema.json" a.jsonl b.jsonl e.jsonl n.jsonl r.jsonl s.jsonl w.jsonl
sed 's/"status":"done"/"status":"crash"/' w.jsonl >x.jsonl
check 'a crash with a speed is not' test "$("$source_folder/schema_check.py" "$source_folder/../bench/schema.json" x.jsonl >/dev/null; echo $?)" -eq 1
sed 's/"kind":"software"/"kind":"simulated"/' w.jsonl >x.jsonl
check 'nor a simulated device with one' test "$("$source_folder/schema_check.py" "$source_folder/../bench/schema.json" x.jsonl >/dev/null; echo $?)" -eq 1
sed '1s/"version":1/"version":2/' w.jsonl >x.jsonl
expect 3 'schema version 2' "${wide[@]}" -j x.jsonl

# ---- sweep: crash, interruption ----
# slow FILE: a sweep in the background whose second cell takes long
slow() {
    "$tandem" sweep -m gemma3-270m --layers 6 --vocab 4096 "${cpu[@]}" --samples 2 --chunks 1 --batch 32 --phase decode \
        --depth 0,16K -j "$1" >"$work/out" 2>"$work/err" &
    parent=$!
    for _ in $(seq 300); do
        [ "$(rows "$1" done 2>/dev/null)" = 1 ] && return
        sleep 0.1
    done
    fail "no first cell in 30 s"
}
slow f.jsonl
kill -KILL "$(pgrep -P $parent)"
wait $parent
check 'a crash makes exit code 1' test $? -eq 1
check 'a crashed child is a row' grep -q '"status":"crash".*signal 9' f.jsonl
slow g.jsonl
kill -INT $parent
wait $parent
check 'an interrupted sweep ends by the signal' test $? -eq 130
check 'finished cells are kept' test "$(rows g.jsonl done)" -eq 1
check 'no child is left' test -z "$(pgrep -P $parent)"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
