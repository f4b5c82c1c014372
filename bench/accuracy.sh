#!/usr/bin/env bash
# What takes too long for tests/run.sh: the trained model over whole texts, against the figures in tests/golden.
# usage: bench/accuracy.sh [PLUGIN...]      default: reference vulkan; cuda: all op cases on the simulated device in five
# adversarial orders; needs a build in build/ and tests/fetch_model.sh
# Prints what bench/accuracy.txt holds from its last run. exit: 0 all within limits, 1 not, 3 something is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tandem=${TANDEM:-$root/build/bin/tandem}
model=$root/build/models/gemma3-270m-q4_k_m.gguf
golden=$root/tests/golden
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/build/mesa-cache}
[ -x "$tandem" ] || { echo "accuracy.sh: $tandem is not there; build first" >&2; exit 3; }
[ -r "$model" ] || { echo "accuracy.sh: $model is not there; run tests/fetch_model.sh" >&2; exit 3; }
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import numpy' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "accuracy.sh: no Python with numpy (Debian package python3-numpy)" >&2; exit 3; }
work=$(mktemp -d "$root/build/accuracy-XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0

# within VALUE GOLDEN PERCENT
within() { "$python" -c 'import sys; v, g, p = map(float, sys.argv[1:]); sys.exit(abs(v / g - 1) > p / 100)' "$@"; }
figure() { "$python" -c 'import json, sys; print(json.load(open(sys.argv[1]))["perplexity"][sys.argv[2]]["all"]["perplexity"])' \
    "$golden/figures.json" "$1"; }
verdict() { if [ "$1" -eq 0 ]; then word=good; else word=BAD failed=1; fi; }

perplexity() { # perplexity PLUGIN OPTION...: of the whole text, within 1 % of llama.cpp on the file
    local value
    value=$("$tandem" perplexity -m "$model" -f "$golden/text.txt" --plugin "$@" --json 2>"$work/err" |
        sed 's/.*"perplexity":\([0-9.]*\).*/\1/')
    [ -n "$value" ] || { cat "$work/err" >&2; value=0; }
    within "$value" "$(figure q4_k_m)" 1
    verdict $?
    printf '%-40s %.4f  (llama.cpp %.4f; on dequantised weights %.4f)  %s\n' "perplexity, $*" "$value" \
        "$(figure q4_k_m)" "$(figure f32)" $word
}
window() { # window PLUGIN BATCH: rows on both sides of the window's edge and far beyond it
    "$tandem" eval -m "$model" --tokens "@$golden/tokens-1500.txt" --plugin "$1" --batch "$2" --logits "$work/logits.npy" \
        >/dev/null 2>"$work/err" || cat "$work/err" >&2
    "$python" "$golden/compare_logits.py" "$work/logits.npy" "$golden/logits-1500.exact.rows" --worst 1e-9 --median 1e-9 >"$work/out"
    verdict $?
    printf '%-40s %s  %s\n' "1,500 tokens, $1, chunks of $2" "$(sed -n 's/^worst row */worst row /p' "$work/out")" $word
    rm -f "$work/logits.npy"
}

instrumented() { # instrumented PLUGIN: the short list of op cases with shaders that notice addresses out of bounds
    [ "$1" = vulkan ] || return 0
    TANDEM_PLUGIN_PATH=$root/build/lib "$root/build/tests/op_test" "$1" --smoke --without 2816 \
        --option vulkan.validation=1 --option vulkan.gpu_assisted=1 >"$work/out" 2>&1
    verdict $?
    printf '%-40s %s  %s\n' "op cases, instrumented shaders" "$(grep -oE 'PASSED  \] [0-9]+' "$work/out" | tail -n 1)" $word
}

orders() { # orders [OPTION...]: all op cases on the simulated CUDA device, in the plain order and five adversarial ones
    local seed bits first=
    for seed in 0 1 2 3 4 5; do
        TANDEM_PLUGIN_PATH=$root/build/lib CUDASIM_SEED=$seed "$root/build/tests/op_test" cuda \
            --option cuda.library="$root/build/lib/cudasim/libcuda.so.1" "$@" >"$work/out" 2>&1
        verdict $?
        bits=$(sed -n 's/^bits of all outputs //p' "$work/out")
        first=${first:-$bits}
        [ -n "$bits" ] && [ "$bits" = "$first" ] || word=BAD failed=1
        printf '%-40s %s, bits %s  %s\n' "op cases, simulated device, order $seed" \
            "$(grep -oE 'PASSED  \] [0-9]+' "$work/out" | tail -n 1)" "$bits" $word
    done
}

echo "commit $(git -C "$root" rev-parse --short=12 HEAD), $("$tandem" --version)"
[ $# -gt 0 ] || set -- reference vulkan
for plugin in "$@"; do
    echo
    if [ "$plugin" = cuda ]; then # simulated: its models are tests/cuda_models.sh
        orders
        continue
    fi
    "$tandem" devices --plugin "$plugin" | grep -E '^[^ ]+ [0-9]+: '
    perplexity "$plugin"
    [ "$plugin" = reference ] || perplexity "$plugin" --precision q8
    [ "$plugin" = reference ] || perplexity "$plugin" --kv q8_0
    window "$plugin" 512
    window "$plugin" 7
    [ "$plugin" = reference ] || instrumented "$plugin"
done
exit $failed
