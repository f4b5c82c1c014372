#!/usr/bin/env bash
# Models end to end on the simulated CUDA device: the trained Gemma 3 270M (first tokens as the reference makes them,
# logits within budget), prefill of heads of 256 and 512, and that nothing takes the device for a real one.
# usage: cuda_models.sh TANDEM LIBCUDA     exit: 0 right
set -uo pipefail
[ $# -eq 2 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
tandem=$1
option="--plugin-option=cuda.library=$2"
here=$(cd "$(dirname "$0")" && pwd)
model=${TANDEM_MODEL:-$here/../build/models/gemma3-270m-q4_k_m.gguf}
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import numpy' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "FAILED: no Python with numpy (Debian package python3-numpy)"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { if [ "$2" -eq 0 ]; then echo "ok: $1"; else echo "FAILED: $1"; failed=1; fi; }

"$tandem" devices "$option" --plugin cuda >"$work/devices" 2>&1
grep -q '^cuda 0: tandem simulated GPU \[simulated\]' "$work/devices"
check "devices names the simulated device as simulated" $?

# A token of a layer with experts: q, k, v with the norms before them; append; attention; output; gate, up and router with
# their norms; choice and down; experts up; experts down. Of the whole model beside that: embedding, head, top k, result.
for precision in exact q8 f16; do
    "$tandem" inspect "$option" -m gemma4-26b-a4b --layers 6 --experts 16 --vocab 512 --plugin cuda --steps --precision $precision \
        >"$work/steps" 2>"$work/err" || cat "$work/err"
    grep -q '^52 steps (8.7 a layer)' "$work/steps"
    check "six layers of 26B-A4B take 8 steps each, and 4: $precision, $(grep -m1 ' steps (' "$work/steps")" $?
done

[ -r "$model" ] || { echo "FAILED: $model is not there (tests/fetch_model.sh)"; exit 1; }
for plugin in reference cuda; do
    "$tandem" generate "$option" -m "$model" -p "The capital of France is" -n 8 --temp 0 --plugin $plugin --json \
        >"$work/$plugin.json" 2>"$work/$plugin.err" || { cat "$work/$plugin.err"; failed=1; }
done
tokens() { grep -o '"tokens": *\[[^]]*\]' "$1"; }
[ -n "$(tokens "$work/cuda.json")" ] && [ "$(tokens "$work/cuda.json")" = "$(tokens "$work/reference.json")" ]
check "eight greedy tokens of the trained model equal the reference's: $(tokens "$work/cuda.json")" $?
if "$tandem" generate "$option" -m "$model" -p "The capital of France is" -n 2 --plugin cuda 2>&1 >/dev/null | grep -q 'tokens/s'; then false; fi
check "no throughput of a simulated device is printed" $?

ids=2,818,5279,529,7001,563,9079
for plugin in reference cuda; do
    "$tandem" eval "$option" -m "$model" --tokens $ids --plugin $plugin --kv f32 --batch 4 --logits "$work/$plugin.npy" \
        >/dev/null 2>"$work/err" || { cat "$work/err"; failed=1; }
done
"$python" "$here/golden/compare_logits.py" "$work/cuda.npy" "$work/reference.npy" --worst 1e-9 --median 1e-9 >"$work/out" 2>&1
check "logits of the trained model, f32 cache: $(grep -m1 'worst' "$work/out")" $?

# Prefill attention on matrix units, heads of both sizes, as part of a model. Synthetic weights are the same for every plugin.
for plugin in reference cuda; do
    own=$option; [ $plugin = cuda ] || own=
    "$tandem" eval $own -m gemma4-e2b --layers 5 --vocab 512 --tokens "$(seq -s, 2 37)" --plugin $plugin --kv f16 --batch 36 \
        --logits "$work/$plugin.npy" >/dev/null 2>"$work/err" || { cat "$work/err"; failed=1; }
done
"$python" "$here/golden/compare_logits.py" "$work/cuda.npy" "$work/reference.npy" --worst 1e-5 --median 1e-5 >"$work/out" 2>&1
check "logits of five layers of E2B, f16 cache: $(grep -m1 'worst' "$work/out")" $?

# ---- the sweep, and what a user gets wrong ----
"$tandem" sweep "$option" -m gemma3-270m --layers 1 --vocab 512 --plugin cuda --samples 2 --chunks 1 --rounds 1 --batch 8 \
    -j "$work/sweep.jsonl" >"$work/out" 2>"$work/err" && grep -q 'No throughput is shown: the device is simulated' "$work/out" &&
    grep -q '"no_rate"' "$work/sweep.jsonl" && ! grep -q '"device_ns"\|"rate"' "$work/sweep.jsonl"
check "a sweep checks the simulated device, and shows and keeps no throughput" $?

# refused CODE SENTENCE OPTION...: of a small model on the CUDA plugin
refused() {
    local code=$1 sentence=$2 got
    shift 2
    "$tandem" generate -m gemma3-270m --layers 1 --vocab 512 --tokens 2 -n 1 --plugin cuda "$@" >/dev/null 2>"$work/err"
    got=$?
    [ $got -eq "$code" ] && grep -q "$sentence" "$work/err"
    check "exit code $got: $(tail -n 1 "$work/err")" $?
}
refused 3 'driver cannot be opened' --plugin-option cuda.library=/nonexistent/libcuda.so.1
refused 3 'Unknown option' --plugin-option cuda.librari="$2"
refused 3 'device 9' "$option" --device 9
refused 4 'memory cap' "$option" --memory-cap 1M
refused 2 'PLUGIN.NAME=VALUE' --plugin-option library
"$tandem" generate "$option" --plugin-option cdua.library=x -m gemma3-270m --layers 1 --vocab 512 --tokens 2 -n 1 --plugin cuda \
    2>&1 >/dev/null | grep -q 'cdua.library=x went to no plugin'
check "an option of a plugin that is not there is said" $?
exit $failed
