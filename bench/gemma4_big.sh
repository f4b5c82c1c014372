#!/usr/bin/env bash
# Gemma 4 at its true size, synthetic weights: what takes too much memory or time for tests/run.sh.
#   size     26B-A4B and E4B whole: load and decode; peak memory against what `tandem inspect` predicted (5 %)
#   slice    four layers of 26B-A4B with 48 experts: bytes a second against a mat-vec alone (80 %); steps and barriers
#   context  262144 positions on six layers of 26B-A4B (one is global), against the reference
# usage: bench/gemma4_big.sh [PART...]      default: all; needs a build in build/ and 16 GiB of free memory for `size`
#   TANDEM=PATH, PLUGIN=NAME (default vulkan); CPU_TIME=1: `slice` takes the CPU time of the processes instead of device
#   time, which on a software device is blind to other load on the machine
# Prints what bench/examples/gemma4_big.txt holds from its last run. exit: 0 all within limits, 1 not, 3 something is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tandem=${TANDEM:-$root/build/bin/tandem}
plugin=${PLUGIN:-vulkan}
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/build/mesa-cache}
[ -x "$tandem" ] || { echo "gemma4_big.sh: $tandem is not there; build first" >&2; exit 3; }
python=
for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import numpy' 2>/dev/null; then python=$candidate; break; fi
done
[ -n "$python" ] || { echo "gemma4_big.sh: no Python with numpy (Debian package python3-numpy)" >&2; exit 3; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

verdict() { if "$@"; then word=good; else word=BAD failed=1; fi; }
calculate() { "$python" -c "print($1)"; }
holds() { "$python" -c "import sys; sys.exit(not ($1))"; }
# member FILE EXPRESSION: of the JSON document j
member() { "$python" -c "import json, sys; j = json.load(open(sys.argv[1])); print($2)" "$1"; }

# watch COMMAND...: runs it, output in $work/out and err; $peak: most KiB of anonymous and shared memory it ever held
watch() {
    local child kib
    "$@" >"$work/out" 2>"$work/err" &
    child=$!
    peak=0
    while kill -0 $child 2>/dev/null; do
        kib=$(awk '/^RssAnon|^RssShmem/ { n += $2 } END { print n + 0 }' /proc/$child/status 2>/dev/null)
        [ "${kib:-0}" -le $peak ] || peak=$kib
        sleep 0.05
    done
    wait $child
}

# ---- true sizes ----
size() { # size PRESET MIX
    local model=(-m "$1" --quant "$2") room=(--ctx 4096 --batch 32) predicted share ns
    "$tandem" inspect "${model[@]}" "${room[@]}" --kv f16 --json >"$work/inspect" || { failed=1; return; }
    predicted=$(member "$work/inspect" 'j["predicted_memory"][0]["bytes"]')
    if ! watch "$tandem" generate "${model[@]}" "${room[@]}" --kv f16 --plugin "$plugin" --tokens 2,5,7,100,2000 -n 4 --json; then
        cat "$work/err" >&2
        failed=1
        return
    fi
    share=$(calculate "f'{$peak * 1024 / $predicted - 1:+.2%}'")
    verdict holds "abs($peak * 1024 / $predicted - 1) < 0.05"
    printf '%-16s %-9s peak %.3f GB, predicted %.3f GB (%s, limit 5 %%)  %s\n' "$1" "$2" \
        "$(calculate "$peak * 1024e-9")" "$(calculate "$predicted * 1e-9")" "$share" $word
    ns=$(member "$work/out" 'j["decode_device_ns"] / (len(j["tokens"]) - 1)')
    printf '  tokens %s; decode %.2f s a token, %.2f GB/s\n' "$(member "$work/out" '",".join(map(str, j["tokens"]))')" \
        "$(calculate "$ns * 1e-9")" "$(calculate "$(member "$work/inspect" 'j["bytes_per_token"]') / $ns")"
}

# ---- the slice ----
matvec=$(dirname "$tandem")/matvec_bench
best_matvec() { # best_matvec PRECISION: GB/s of 52 MB of weights alone (no cache holds them), the best of its rounds
    "$matvec" --rows 32768 --cols 2816 --rounds 4 --format Q4_0 ${CPU_TIME:+--cpu-time} 2>/dev/null |
        sed -n "s/^matvec_q4_0_$1 .*\.\. *\([0-9.]*\) .*/\1/p"
}
best_decode() { # best_decode PRECISION: ns a token, the best of three runs
    "$python" - "${CPU_TIME:-0}" "$tandem" generate "${slice[@]}" --precision "$1" --ctx 512 --batch 16 --tokens 2,5,7 \
        --plugin "$plugin" --json <<'PYTHON'
import json
import resource
import subprocess
import sys

by_cpu, command = sys.argv[1] != "0", sys.argv[2:]


def cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (usage.ru_utime + usage.ru_stime) * 1e9


def run(n):
    """Device ns of the decoded tokens, CPU ns of the process."""
    before = cpu()
    out = json.loads(subprocess.run([*command, "-n", str(n)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)
    return out["decode_device_ns"], cpu() - before


if by_cpu:  # what 32 tokens more cost
    print(min(run(33)[1] for _ in range(3)) / 32 - min(run(1)[1] for _ in range(3)) / 32)
else:
    print(min(run(17)[0] for _ in range(3)) / 16)
PYTHON
}
slice() {
    local precision alone ns rate bytes
    slice=(-m gemma4-26b-a4b --layers 4 --experts 48 --vocab 8192 --quant Q4_0_PURE)
    "$tandem" inspect "${slice[@]}" --json >"$work/inspect" || { failed=1; return; }
    bytes=$(member "$work/inspect" 'int(j["bytes_per_token"])')
    echo "four layers, 48 experts, vocabulary 8192, Q4_0: $(calculate "f'{$bytes * 1e-6:.0f}'") MB of weights a token${CPU_TIME:+; rates by CPU time}"
    for precision in exact q8; do
        alone=$(best_matvec $precision)
        ns=$(best_decode $precision) || { failed=1; return; }
        alone=$(calculate "max(${alone:-0}, $(best_matvec $precision))")
        rate=$(calculate "$bytes / $ns")
        verdict holds "$rate >= 0.8 * $alone"
        printf '  %-6s %.1f tokens/s, %.2f GB/s, %.0f %% of %.2f GB/s, a mat-vec alone (limit 80 %%)  %s\n' $precision \
            "$(calculate "1e9 / $ns")" "$rate" "$(calculate "100 * $rate / $alone")" "$alone" $word
    done
    "$tandem" inspect "${slice[@]}" --steps --plugin "$plugin" 2>/dev/null | tail -n 3 | sed 's/^/  /'
}

# ---- long context ----
context() {
    local model=(-m gemma4-26b-a4b --layers 6 --experts 16 --vocab 8192 --quant Q4_0_PURE)
    local input=(--fill 262141 --tokens "5,9,17" --batch 8 --routing uniform) kv name
    for kv in f16 q8_0; do
        for name in reference "$plugin"; do
            "$tandem" eval "${model[@]}" "${input[@]}" --kv $kv --plugin "$name" --logits "$work/$name.npy" >"$work/out" 2>"$work/err" ||
                { cat "$work/err" >&2; failed=1; return; }
        done
        "$python" "$root/tests/golden/compare_logits.py" "$work/$plugin.npy" "$work/reference.npy" --worst 1e-5 --median 1e-5 >"$work/judged"
        verdict grep -q '^PASS' "$work/judged"
        printf 'positions 262141 to 262143, six layers, %-5s %s  %s\n' "$kv" \
            "$(sed -n 's/^worst row */worst row /p' "$work/judged")" $word
    done
}

echo "commit $(git -C "$root" rev-parse --short=12 HEAD), $("$tandem" --version)"
"$tandem" devices --plugin "$plugin" | grep -E '^[^ ]+ [0-9]+: '
[ $# -gt 0 ] || set -- size slice context
for part in "$@"; do
    echo
    case $part in
        size) size gemma4-26b-a4b Q4_0_PURE; size gemma4-e4b Q4_0_PURE ;;
        slice) slice ;;
        context) context ;;
        *) echo "gemma4_big.sh: there is no part '$part'" >&2; exit 2 ;;
    esac
done
exit $failed
