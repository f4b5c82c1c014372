#!/usr/bin/env bash
# The gate on what ptxas says of a kernel (cuda/compile.cmake): what is too much is refused, in a sentence with the
# kernel's name and the number.
# usage: cuda_gate_test.sh CMAKE NVCC     exit: 0 right
set -uo pipefail
[ $# -eq 2 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
cmake=$1 nvcc=$2
source=$(cd "$(dirname "$0")/../cuda" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { if [ "$2" -eq 0 ]; then echo "ok: $1"; else echo "FAILED: $1"; failed=1; fi; }

# report NAME STACK STORES LOADS REGISTERS: as ptxas words it
report() {
    cat <<REPORT
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'harmless' for 'sm_86'
ptxas info    : Function properties for harmless
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 20 registers, used 1 barriers, 400 bytes cmem[0]
ptxas info    : Compiling entry function '$1' for 'sm_89'
ptxas info    : Function properties for $1
    $2 bytes stack frame, $3 bytes spill stores, $4 bytes spill loads
ptxas info    : Used $5 registers, used 1 barriers, 128 bytes smem, 656 bytes cmem[0]
REPORT
}
judge() { "$cmake" -DREPORT="$1" -P "$source/compile.cmake" >"$work/out" 2>&1; }
accepted() { # accepted REPORT...
    report "$@" >"$work/report"
    judge "$work/report"
    check "$1 with $5 registers and a stack of $2 is taken" $?
}
refused() { # refused SENTENCE REPORT...
    local sentence=$1
    shift
    report "$@" >"$work/report"
    ! judge "$work/report" && tr -s ' \n' ' ' <"$work/out" | grep -qF "$sentence"
    check "refused: $sentence" $?
}
accepted matvec_q4_0_exact_1 64 0 0 64
accepted attention_f16_256_8 0 0 0 168
accepted matmul_q4_0_f16_tall 0 0 0 255
refused "matvec_q4_0_exact_1 for sm_89 takes 65 registers, over the 64 of class matvec" matvec_q4_0_exact_1 0 0 0 65
refused "attention_f16_256_8 for sm_89 takes 169 registers, over the 168 of class attention" attention_f16_256_8 0 0 0 169
refused "attention_append_f16 for sm_89 takes 65 registers, over the 64" attention_append_f16 0 0 0 65
refused "topk for sm_89 takes 100 registers, over the 64 of class other" topk 0 0 0 100
refused "matmul_q4_0_f16_tall for sm_89 spills: 4 bytes stored, 8 loaded" matmul_q4_0_f16_tall 0 4 8 255
refused "stream for sm_89 has a stack frame of 72 bytes, over 64" stream 72 0 0 20
: >"$work/report"
! judge "$work/report"
check "silence of ptxas is refused" $?

# Kernels that are compiled: this one keeps 64 numbers, and spills with 32 registers.
cat >"$work/sums.cu" <<'CUDA'
extern "C" __global__ void sums(const float *x, float *y, int n) {
    float sum[64] = {0};
    for (int i = 0; i < n; i++)
#pragma unroll
        for (int k = 0; k < 64; k++)
            sum[k] = sum[k] * x[64 * i + k] + x[i];
#pragma unroll
    for (int k = 0; k < 64; k++)
        y[k] = sum[k];
}
CUDA
compile() { # compile REGISTERS SOURCE IMAGE
    "$cmake" -DNVCC="$nvcc" "-DFLAGS=-maxrregcount=$1;-gencode;arch=compute_86,code=sm_86" -DSOURCE="$2" -DIMAGE="$3" \
        -P "$source/compile.cmake" >"$work/out" 2>&1
}
! compile 32 "$work/sums.cu" "$work/bad" && [ ! -e "$work/bad" ] && grep -q 'sums for sm_86 spills' "$work/out"
check "a kernel that spills stops the build, and leaves no image" $?
! compile 255 "$work/sums.cu" "$work/bad" && [ ! -e "$work/bad" ] && grep -q 'sums for sm_86 takes [0-9]* registers, over the 64' "$work/out"
check "one with too many registers too" $?
compile 255 "$source/kernels/elementwise.cu" "$work/good" && [ -s "$work/good" ]
check "kernels that fit are compiled" $?
exit $failed
