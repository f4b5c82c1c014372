#!/usr/bin/env bash
# The trained Gemma 3 270M on one plugin, against what llama.cpp and a float64 oracle say about it (tests/golden).
# usage: tests/model_test.sh PATH/TO/tandem PLUGIN MODEL.gguf
# PLUGIN_OPTION=PLUGIN.NAME=VALUE: a setting of the plugin, as tandem --plugin-option takes it
set -uo pipefail
tandem=$1 plugin=$2 model=$3
golden=$(cd "$(dirname "${BASH_SOURCE[0]}")/golden" && pwd)
[ -r "$model" ] || { echo "$model is not there: run tests/fetch_model.sh"; exit 1; }
python=
for candidate in python3 /usr/bin/python3; do
    if command -v "$candidate" >/dev/null && "$candidate" -c 'import numpy' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "no Python with numpy (Debian package python3-numpy)"; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
report() { # report STATUS WHAT
    if [ "$1" -eq 0 ]; then echo "ok      $2"; else echo "FAILED  $2"; failed=1; fi
}

# Greedy text: the first 16 tokens of every prompt, against llama.cpp on the dequantised weights. Against the file itself
# llama.cpp rounds activations to 8 bits, and where two tokens are closer than that noise it may choose the other one.
"$python" - "$golden/greedy.json" "$work" <<'PYTHON'
import json
import sys

for i, case in enumerate(json.load(open(sys.argv[1]))):
    with open(f"{sys.argv[2]}/prompt{i}", "w") as file:
        file.write(case["prompt"])
    with open(f"{sys.argv[2]}/expected{i}", "w") as file:
        file.write(",".join(map(str, case["f32"]["ids"][:16])))
PYTHON
for prompt in "$work"/prompt*; do
    i=${prompt##*prompt}
    text=$(cat "$prompt"; echo x) # keeps a newline at the end
    "$tandem" generate ${PLUGIN_OPTION:+--plugin-option "$PLUGIN_OPTION"} -m "$model" -p "${text%x}" -n 16 --temp 0 --kv f32 --plugin "$plugin" --json >"$work/out" 2>"$work/err" ||
        cat "$work/err"
    grep -o '"tokens":\[[0-9,]*' "$work/out" | sed 's/.*\[//' | tr -d '\n' >"$work/got"
    cmp -s "$work/got" "$work/expected$i"
    report $? "16 greedy tokens after '$(head -n 1 "$prompt")'"
done

# Logits of 200 tokens. f32: llama.cpp on the dequantised weights, 1.4e-6 off by its f16 GELU; exact: float64, no rounding.
"$tandem" eval ${PLUGIN_OPTION:+--plugin-option "$PLUGIN_OPTION"} -m "$model" --tokens "@$golden/tokens-200.txt" --plugin "$plugin" --logits "$work/logits.npy" \
    >"$work/rows" 2>"$work/err" || cat "$work/err"
compare() { # compare ROWS WORST MEDIAN
    "$python" "$golden/compare_logits.py" "$work/logits.npy" "$golden/logits-200.$1.rows" --worst "$2" --median "$3"
    report $? "logits of 200 tokens against $1: worst $2, median $3"
}
compare exact 1e-9 1e-9
compare f32 1e-5 1e-6
# llama.cpp on the file itself: its own 8-bit noise is 1.02e-2 in the worst row (figures.json), no error of ours.
compare q4_k_m 1.2e-2 5e-3
exit $failed
