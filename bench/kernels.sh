#!/usr/bin/env bash
# What can be said of the CUDA kernels without a card: registers, shared memory and occupancy by ptxas for sm_86 and sm_89;
# and from the simulated device, on two layers of 26B-A4B (Q4_0, 16 experts), instructions, sectors and bank conflicts.
# And of the Vulkan pipelines what RADV's compiler makes of them for a card that is not there (kernels_vulkan.py).
# usage: bench/kernels.sh [--cuda | --vulkan [OPTION-OF-KERNELS_VULKAN...]]      both, or one of them
# Needs a build in build/; prints what bench/examples/kernels.txt and kernels-radv.txt hold from its last run.
# Limits: of registers, spills and stacks those of cuda/limits.cmake; sectors of global loads 1.1 times the least (mat-vec).
# Instructions a weight count all that a mat-vec does: norms, rounding and sums too. exit: 0 within limits, 1 not, 3 something
# is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build
part=${1:-both}
case $part in
    both | --cuda | --vulkan) ;;
    *) sed -n '5s/^# //p' "$0" >&2; exit 2 ;;
esac
[ $# -gt 0 ] && shift

# Prints, and says 0 where this machine's RADV has no such device: then it has said so.
vulkan_part() {
    local status=0
    python3 "$root/bench/kernels_vulkan.py" "$build" "$@" || status=$?
    [ $status -eq 77 ] || return $status
}
if [ "$part" = --vulkan ]; then
    vulkan_part "$@"
    exit
fi
library=$build/lib/cudasim/libcuda.so.1
[ -r "$library" ] && ls "$build"/cuda/kernels/*.images.ptxas >/dev/null 2>&1 ||
    { echo "kernels.sh: no build of the CUDA plugin and the simulator in build/" >&2; exit 3; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "commit $(git -C "$root" rev-parse --short=12 HEAD), $("$build/bin/tandem" --version)"
prompt=$(seq -s, 2 41)
model=(-m gemma4-26b-a4b --layers 2 --experts 16 --vocab 4096 --quant Q4_0_PURE)
"$build/bin/tandem" inspect "${model[@]}" --json >"$work/model.json" || exit 1
for precision in exact q8 f16; do
    CUDASIM_COUNTERS=$work/$precision.json "$build/bin/tandem" generate "${model[@]}" \
        --precision $precision --tokens "$prompt" -n 3 --batch 64 --ctx 64 --plugin cuda \
        --plugin-option cuda.library="$library" >/dev/null 2>"$work/err" || { cat "$work/err" >&2; exit 1; }
done
python3 - "$work" "$root/cuda/limits.cmake" "$build"/cuda/kernels/*.images.ptxas <<'PYTHON'
import collections
import json
import re
import sys

work, logs = sys.argv[1], sys.argv[3:]
model = json.load(open(f"{work}/model.json"))
# Two decoded tokens, and the head of the prompt's last row; Q4_0 holds a weight in 0.5625 bytes.
n_weight = (2 * model["bytes_per_token"] + model["head_bytes"]) / 0.5625
bad = []


limits = re.findall(r'^    "\S+ +(\S+) +(\d+)"', open(sys.argv[2]).read(), re.M)


def limit(name):
    return next(int(most) for pattern, most in limits if re.search(pattern, name))


kernels = collections.defaultdict(dict)
entry = re.compile(r"entry function '(\w+)' for '(sm_\d+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
                   r".*?Used (\d+) registers(?:.*?(\d+) bytes smem)?", re.S)
for log in logs:
    text = open(log).read()
    for part in text.split("Compiling ")[1:]:
        m = entry.search(part)
        name, arch, stack, stores, loads, registers, shared = m.groups()
        kernels[name][arch] = (int(registers), int(stack), int(stores) + int(loads), int(shared or 0))
print(f"\n{len(kernels)} kernels, by ptxas; warps: of 48 a multiprocessor, as registers allow")
groups = collections.defaultdict(list)
for name in sorted(kernels):
    key = re.sub(r"_(f32|f16|bf16|q\d_\d|q\d_k|iq4_nl|iq4_xs|mxfp4)(?=_|$)", "_FORMAT", name, count=1)
    groups[key].append(name)
for key, names in groups.items():
    line = []
    for arch in ("sm_86", "sm_89"):
        registers = [kernels[n][arch][0] for n in names]
        most = max(registers)
        warps = min(48, 65536 // ((most + 7) // 8 * 8 * 32))
        line.append(f"{arch} {min(registers):3}..{most:3} registers, {warps:2} warps")
        if most > limit(names[0]):
            bad.append(f"{key} on {arch}: {most} registers, limit {limit(names[0])}")
        for n in names:
            if kernels[n][arch][2] or kernels[n][arch][1] > 64:
                bad.append(f"{n} on {arch}: spills or stack")
    shared = max(kernels[n]["sm_86"][3] for n in names)
    print(f"{key:34} {len(names):3}  {'; '.join(line)}; {shared} B shared, static")
for precision in ("exact", "q8", "f16"):
    print(f"\nsimulated device, precision {precision}: a prompt of 40 and 2 tokens; counts, no measure of time")
    print(f"{'kernel':30} launches  thread instr.  a weight  sectors/least  bank conflicts (loads, stores)")
    for k in sorted(json.load(open(f"{work}/{precision}.json"))["kernels"], key=lambda k: -k["thread_instructions"]):
        load, weight = k["global_load"], ""
        if k["name"].startswith("matvec_q4_0"):
            weight = f"{k['thread_instructions'] / n_weight:.2f}"
            if load["sectors"] > 1.1 * load["min_sectors"]:
                bad.append(f"{k['name']} ({precision}): sectors {load['sectors'] / load['min_sectors']:.2f} times the least")
        ratio = f"{load['sectors'] / load['min_sectors']:.2f}" if load["min_sectors"] else ""
        print(f"{k['name']:30} {k['launches']:8} {k['thread_instructions']:14} {weight:>9} {ratio:>14}  "
              f"{k['shared_load']['conflicts']} of {k['shared_load']['requests']}, "
              f"{k['shared_store']['conflicts']} of {k['shared_store']['requests']}")
print()
for line in bad:
    print("BAD ", line)
print("within limits" if not bad else f"{len(bad)} beyond a limit")
sys.exit(1 if bad else 0)
PYTHON
status=$?
if [ "$part" = both ]; then
    echo
    vulkan_part || { code=$?; [ $status -ne 0 ] || status=$code; }
fi
exit $status
