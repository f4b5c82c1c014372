#!/usr/bin/env bash
# Every model of tests/golden/gemma4 on one plugin. The reference plugin is judged by llama.cpp and a float64 oracle
# (check.py there), and must give the same bits in chunks of any size; any other plugin is judged by the reference, whose
# experts are imposed on it.
# usage: tests/gemma4_test.sh PATH/TO/tandem PLUGIN [NAME...]      default: all models
# PLUGIN_OPTION=PLUGIN.NAME=VALUE: a setting of the plugin, as tandem --plugin-option takes it
set -uo pipefail
tandem=$1 plugin=$2
shift 2
golden=$(cd "$(dirname "${BASH_SOURCE[0]}")/golden/gemma4" && pwd)
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

# make_model NAME: $model; its file has the sha256 of the list
make_model() {
    model=$work/gemma4-$1.gguf
    "$python" - "$golden" "$tandem" "$work" "$1" <<'PYTHON'
import argparse
import json
import pathlib
import sys

golden, tandem, work, name = sys.argv[1:]
sys.path.insert(0, golden)
import check

entry = next(e for e in json.load(open(f"{golden}/models.json")) if e["name"] == name)
check.make_file(entry, argparse.Namespace(tandem=tandem, work=pathlib.Path(work)))
PYTHON
}
list_models() {
    "$python" -c 'import json, sys
for e in json.load(open(sys.argv[1])): print(e["name"], e["n_token"], int("swaps" in e), sep=":")' "$golden/models.json"
}
tokens() { cut -d, -f "1-$1" "$golden/tokens.txt"; }
run() { # run COMMAND OPTION...: on $model with $ids
    local command=$1
    shift
    "$tandem" "$command" ${PLUGIN_OPTION:+--plugin-option "$PLUGIN_OPTION"} -m "$model" --tokens "$ids" "$@" >"$work/out" 2>"$work/err" || { cat "$work/err"; return 1; }
}

# The reference in chunks of any size: the bits of one chunk.
chunks() {
    local size
    run eval --plugin "$plugin" --logits "$work/whole.npy" --batch 512 || return 1
    for size in 1 3 64; do
        run eval --plugin "$plugin" --logits "$work/chunks.npy" --batch $size && cmp "$work/whole.npy" "$work/chunks.npy" || return 1
    done
}

# compare LIMIT OPTION...: the plugin against the reference
compare() {
    local limit=$1
    shift
    run eval --plugin reference --logits "$work/reference.npy" "$@" &&
        run eval --plugin "$plugin" --logits "$work/logits.npy" "$@" --batch 24 || return 1
    "$python" "$golden/../compare_logits.py" "$work/logits.npy" "$work/reference.npy" --worst "$limit" --median "$limit" >"$work/judged"
    local status=$?
    error=$(sed -n 's/^worst row *\([^ ]*\) .*/\1/p' "$work/judged")
    return $status
}

if [ "$plugin" = reference ]; then
    "$python" "$golden/check.py" --tandem "$tandem" --plugin reference --work "$work" "$@"
    report $? "goldens on $plugin"
fi
for entry in $(list_models); do
    IFS=: read -r name n_token routed <<<"$entry"
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    ids=$(tokens "$n_token")
    if [ "$plugin" = reference ]; then
        [[ $name == *-f32 ]] || continue
        make_model "$name" && chunks
        report $? "$name in chunks of 1, 3, 64 and 512: the same bits"
    else
        imposed=()
        make_model "$name" && { [ "$routed" = 0 ] || run trace --plugin reference -o "$work/trace"; } || { report 1 "$name"; continue; }
        [ "$routed" = 0 ] || imposed=(--routing "trace:$work/trace")
        compare 1e-9 --kv f32 "${imposed[@]}"
        report $? "$name against the reference, f32 cache: worst row $error of 1e-9"
        if [[ $name == *-f32 ]]; then
            compare 1e-5 --kv f16 "${imposed[@]}"
            report $? "$name against the reference, f16 cache: worst row $error of 1e-5"
        fi
    fi
    rm -f "$model"
done
exit $failed
