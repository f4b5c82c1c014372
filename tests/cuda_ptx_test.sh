#!/usr/bin/env bash
# The driver of CUDA 12.2 compiles PTX as ptxas 12.2 does: it takes the PTX of every kernel for sm_80, and of every eighth for
# sm_90, the families that get PTX and are known to it. The build itself compiles for sm_86 and sm_89.
# usage: cuda_ptx_test.sh PACK PTXAS IMAGES...     exit: 0 right, 77 ptxas is another one (bench/setup.sh gets that of 12.2)
set -uo pipefail
[ $# -ge 3 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
pack=$1 ptxas=$2
shift 2
"$ptxas" --version | grep -q 'release 12\.2' || { echo "$ptxas is not of CUDA 12.2 (bench/setup.sh)"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for images; do "$pack" show "$images" "$work" >>"$work/names" || exit 1; done
n=0 n_kernel=0 failed=0
while read -r kernel; do
    [ "$(head -n 1 "$work/$kernel.ptx")" = ".version 8.2" ] || { echo "FAILED: $kernel begins with $(head -n 1 "$work/$kernel.ptx")"; failed=1; }
    # Without optimisation: it is about what the compiler takes.
    archs=80
    [ $((n_kernel % 8)) -ne 0 ] || archs="80 90"
    n_kernel=$((n_kernel + 1))
    for arch in $archs; do
        "$ptxas" -O0 -arch=sm_$arch -o "$work/cubin" "$work/$kernel.ptx" >"$work/out" 2>&1 ||
            { echo "FAILED: $kernel for sm_$arch: $(head -n 1 "$work/out")"; failed=1; }
        n=$((n + 1))
    done
done <"$work/names"
echo "$n compilations of $(wc -l <"$work/names") kernels by ptxas 12.2"
[ "$n_kernel" -ge 250 ] && [ $failed -eq 0 ]
