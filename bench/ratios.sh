#!/usr/bin/env bash
# The speed of the Gemma 3 270M shape against what its parts allow, as ratios of figures taken side by side.
#   products  mat-vec against a naive anchor shader (exact: 3x), q8 against exact (1.5x); Q4_0, Q8_0, Q4_K, Q5_0, Q6_K
#   decode    bytes a second of a whole token against a mat-vec alone (80 %), exact and q8
#   prefill   tokens a second of chunks of 256 against decode, the head excluded from both (3x)
# usage: bench/ratios.sh [PART...]      default: all; needs a build in build/; TANDEM=PATH, PLUGIN=NAME (default vulkan)
# Prints what bench/examples/ratios.txt holds from its last run. exit: 0 all within limits, 1 not, 3 something is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tandem=${TANDEM:-$root/build/bin/tandem}
plugin=${PLUGIN:-vulkan}
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/build/mesa-cache}
matvec=$(dirname "$tandem")/matvec_bench
[ -x "$tandem" ] && [ -x "$matvec" ] || { echo "ratios.sh: $tandem or matvec_bench is not there; build first" >&2; exit 3; }
rounds=5
failed=0

median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
# judge VALUE LIMIT: sets $word
judge() { if awk "BEGIN { exit !($1 >= $2) }"; then word=good; else word=BAD failed=1; fi; }

products() {
    local format line anchor exact q8
    for format in q4_0 q8_0 q4_k q5_0 q6_k; do
        line=$("$matvec" --rows 4096 --cols 2816 --rounds 7 --format $format 2>/dev/null | grep "^matvec_$format")
        # columns: name, range of GB/s (three words), times the anchor, times exact
        anchor=$(awk '/_exact / { print $5 }' <<<"$line")
        q8=$(awk '/_q8 / { print $6 }' <<<"$line")
        judge "$anchor" 3
        exact=$word
        judge "$q8" 1.5
        printf '%-5s 4096 x 2816: exact %.1f x the anchor (limit 3)  %s; q8 %.2f x exact (limit 1.5)  %s\n' \
            $format "$anchor" $exact "$q8" $word
    done
}

model=(-m gemma3-270m --quant Q4_K_M)
alone() { # alone FORMAT PRECISION: GB/s of a matrix of that format alone, more bytes than caches hold; best of its rounds
    "$matvec" --rows 32768 --cols 2048 --rounds 2 --format "$1" 2>/dev/null | sed -n "s/^matvec_$1_$2 .*\.\. *\([0-9.]*\) .*/\1/p"
}
decoded() { # decoded PRECISION: ns a token, mean of 32
    "$tandem" generate "${model[@]}" --precision "$1" --ctx 64 --tokens 2,5,7 -n 33 --plugin "$plugin" --json 2>/dev/null |
        python3 -c "import json, sys; j = json.load(sys.stdin); print(j['decode_device_ns'] / (len(j['tokens']) - 1))"
}
decode() { # a round: the matrices of each format alone, then the model; the time that mat-vecs alone would take over the model's
    local precision i format bytes ns parts
    parts=$("$tandem" inspect "${model[@]}" --json | python3 -c '
import json, sys
for part in json.load(sys.stdin)["formats"]:
    if part["type"] != "F32":
        print(part["type"].lower(), part["bytes"])')
    for precision in exact q8; do
        share=$(for ((i = 0; i < rounds; i++)); do
            ns=0
            while read -r format bytes; do
                ns=$(awk "BEGIN { print $ns + $bytes / $(alone "$format" $precision) }")
            done <<<"$parts"
            awk "BEGIN { print 100 * $ns / $(decoded $precision) }"
        done | median)
        judge "$share" 80
        printf 'decode, %-5s %.0f %% of the bytes a second of mat-vecs alone, median of %d rounds (limit 80)  %s\n' $precision \
            "$share" $rounds $word
    done
}

prefill() {
    local precision ratio
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for precision in exact q8; do
        "$tandem" sweep "${model[@]}" --plugin "$plugin" --precision $precision --phase prefill,decode-no-head --batch 256 \
            --chunks $rounds --samples 32 --journal "$work/$precision.jsonl" --json >"$work/out" 2>"$work/err" ||
            { cat "$work/err" >&2; failed=1; continue; }
        ratio=$(python3 - "$work/$precision.jsonl" <<'PYTHON'
import json
import statistics
import sys

rate = {}
for line in open(sys.argv[1]):
    row = json.loads(line)
    if row.get("phase"):
        rate[row["phase"]] = 1e9 * row["n_token"] / statistics.median(row["device_ns"])
print(rate["prefill"], rate["decode-no-head"], rate["prefill"] / rate["decode-no-head"])
PYTHON
        ) || { failed=1; continue; }
        # shellcheck disable=SC2086 # three words
        set -- $ratio
        judge "$3" 3
        printf 'prefill, %-5s %.0f tokens/s in chunks of 256, decode without head %.0f: %.1f x (limit 3)  %s\n' $precision "$1" "$2" "$3" $word
    done
}

echo "commit $(git -C "$root" rev-parse --short=12 HEAD), $("$tandem" --version)"
"$tandem" devices --plugin "$plugin" | grep -E '^[^ ]+ [0-9]+: '
[ $# -gt 0 ] || set -- products decode prefill
for part in "$@"; do
    case $part in
        products | decode | prefill) $part ;;
        *) echo "ratios.sh: there is no part '$part'" >&2; exit 2 ;;
    esac
done
exit $failed
