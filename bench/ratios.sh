#!/usr/bin/env bash
# The speed of the Gemma 3 270M shape against what its parts allow, as ratios of figures taken side by side.
#   products  mat-vec against a naive anchor shader (exact: 3x) and q8 against exact (1.5x), judged at Q4_0; then others
#   decode    bytes a second of a whole token against its mat-vecs alone (80 %), exact and q8; for comparison, against
#             a matrix large enough that neither launches nor short rows count
#   prefill   tokens a second of chunks of 256 against decode, the head excluded from both (3x)
# usage: bench/ratios.sh [PART...]      default: all; needs a build in build/; TANDEM=PATH, PLUGIN=NAME (default vulkan)
# Prints what bench/examples/ratios.txt holds from its last run. exit: 0 all within limits, 1 not, 3 something is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tandem=${TANDEM:-$root/build/bin/tandem}
plugin=${PLUGIN:-vulkan}
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/build/mesa-cache}
matvec=$(dirname "$tandem")/matvec_bench
products=$(dirname "$tandem")/token_matvecs
[ -x "$tandem" ] && [ -x "$matvec" ] && [ -x "$products" ] ||
    { echo "ratios.sh: $tandem, matvec_bench or token_matvecs is not there; build first" >&2; exit 3; }
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
        if [ $format != q4_0 ]; then
            printf '%-5s 4096 x 2816: exact %.1f x the anchor; q8 %.2f x exact\n' $format "$anchor" "$q8"
            continue
        fi
        judge "$anchor" 3
        exact=$word
        judge "$q8" 1.5
        printf '%-5s 4096 x 2816: exact %.1f x the anchor (limit 3)  %s; q8 %.2f x exact (limit 1.5)  %s\n' \
            $format "$anchor" $exact "$q8" $word
    done
}

model=(-m gemma3-270m --quant Q4_K_M)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The products of a token, for token_matvecs: gate and up of one format are one product, q, k and v wait for one another
# no more than gate and up of two formats do.
list_products() {
    "$tandem" inspect "${model[@]}" --tensors | python3 -c '
import re, sys
tensors = {}
for line in sys.stdin:
    match = re.match(r"\s+(\S+)\.weight\s+(\S+)\s+\[(\d+), (\d+)\]", line)
    if match:
        tensors[match[1]] = (match[2].lower(), match[4], match[3])
layer = 0
while f"blk.{layer}.attn_q" in tensors:
    of = lambda name: tensors[f"blk.{layer}.{name}"]
    print(*of("attn_q"))
    print(*of("attn_k"), "beside")
    print(*of("attn_v"), "beside")
    print(*of("attn_output"))
    if of("ffn_gate") == of("ffn_up"):
        print(*of("ffn_gate"), "glu")
    else:
        print(*of("ffn_gate"))
        print(*of("ffn_up"), "beside")
    print(*of("ffn_down"))
    layer += 1
print(*tensors.get("output", tensors["token_embd"]))'
}
decoded() { # decoded PRECISION: ns a token, mean of 32
    "$tandem" generate "${model[@]}" --precision "$1" --ctx 64 --tokens 2,5,7 -n 33 --plugin "$plugin" --json 2>/dev/null |
        python3 -c "import json, sys; j = json.load(sys.stdin); print(j['decode_device_ns'] / (len(j['tokens']) - 1))"
}
alone() { # alone FORMAT PRECISION: GB/s of a large matrix of that format; best of its rounds
    "$matvec" --rows 32768 --cols 2048 --rounds 2 --format "$1" 2>/dev/null | sed -n "s/^matvec_$1_$2 .*\.\. *\([0-9.]*\) .*/\1/p"
}
decode() { # a round: the mat-vecs of a token alone, large matrices of its formats, the token; what share of its time those take
    local precision i format bytes ns token parts option
    list_products >"$work/products"
    parts=$("$tandem" inspect "${model[@]}" --json | python3 -c '
import json, sys
for part in json.load(sys.stdin)["formats"]:
    if part["type"] != "F32":
        print(part["type"].lower(), part["bytes"])')
    for precision in exact q8; do
        option=$([ $precision = q8 ] && echo --q8)
        for ((i = 0; i < rounds; i++)); do
            ns=0
            while read -r format bytes; do
                ns=$(awk "BEGIN { print $ns + $bytes / $(alone "$format" $precision) }")
            done <<<"$parts"
            token=$(decoded $precision)
            # shellcheck disable=SC2086 # none or one word
            "$products" "$work/products" --rounds 5 $option | awk "{ print 100 * \$2 * 1e9 / $token, 100 * $ns / $token }"
        done >"$work/shares"
        share=$(cut -d' ' -f1 "$work/shares" | median)
        judge "$share" 80
        printf 'decode, %-5s %.0f %% of the bytes a second of its mat-vecs alone, median of %d rounds (limit 80)  %s\n' $precision \
            "$share" $rounds $word
        printf '               %.0f %% of the bytes a second of a 32768 x 2048 matrix of each format\n' \
            "$(cut -d' ' -f2 "$work/shares" | median)"
    done
}

prefill() {
    local precision ratio
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
