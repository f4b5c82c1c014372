#!/usr/bin/env bash
# The gate on what ptxas says of a kernel (cuda/compile.cmake): what is too much is refused, in a sentence with the
# kernel's name and the number. And the program that takes PTX apart (cuda/pack.c).
# usage: cuda_gate_test.sh CMAKE NVCC FATBINARY PTXAS PACK     exit: 0 right
set -uo pipefail
[ $# -eq 5 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
cmake=$1 nvcc=$2 fatbinary=$3 ptxas=$4 pack=$5
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
compile() { # compile REGISTERS SOURCE IMAGE [PTX_VERSION]
    "$cmake" -DNVCC="$nvcc" -DFATBINARY="$fatbinary" -DPTXAS="$ptxas" -DPACK="$pack" "-DPTXAS_FLAGS=-maxrregcount=$1" \
        -DSOURCE="$2" -DIMAGE="$3" -DPTX_TARGET=80 -DPTX_VERSION="${4:-8.2}" -DCODE=86 -DMADE=test \
        -P "$source/compile.cmake" >"$work/out" 2>&1
}
! compile 32 "$work/sums.cu" "$work/bad" && [ ! -e "$work/bad" ] && grep -q 'sums for sm_86 spills' "$work/out"
check "a kernel that spills stops the build, and leaves no image" $?
! compile 255 "$work/sums.cu" "$work/bad" && [ ! -e "$work/bad" ] && grep -q 'sums for sm_86 takes [0-9]* registers, over the 64' "$work/out"
check "one with too many registers too" $?
compile 255 "$source/kernels/elementwise.cu" "$work/good" && [ -s "$work/good" ]
check "kernels that fit are compiled" $?

# ---- PTX taken apart ----
cat >"$work/two.ptx" <<'PTX'
// a comment with .entry nobody( and a }
.version 9.0
.target sm_80
.address_size 64

.global .align 4 .b8 table[4] = {1, 2, 3, 4};
.global .align 8 .u64 pointer[1] = {generic(table)};
.shared .align 4 .b8 both[16];
.extern .shared .align 16 .b8 tables[];
.visible .entry first(.param .u64 first_param_0)
{
	.reg .b64 %rd<4>;
	.pragma "used_bytes_mask 15";
	mov.u64 %rd1, pointer;
	{ mov.u64 %rd2, both; }
	ret;
}
/* between */
.visible .entry second(.param .u64 second_param_0)
{
	.reg .b64 %rd<4>;
	mov.u64 %rd1, tables;
	mov.u64 %rd2, both;
	ret;
}
PTX
[ "$("$pack" split "$work/two.ptx" "$work" 8.2 | tr '\n' ' ')" = "first second " ]
check "a module of two kernels becomes two" $?
head -n 1 "$work/first.ptx" "$work/second.ptx" | grep -c '^\.version 8\.2$' | grep -qx 2 && ! grep -q used_bytes_mask "$work/first.ptx"
check "of the lower version, without the hint that it does not know" $?
grep -q 'table\[4\]' "$work/first.ptx" && grep -q 'pointer\[1\]' "$work/first.ptx" && grep -q both "$work/first.ptx" &&
    ! grep -q 'tables\|second' "$work/first.ptx" && grep -q 'tables\[\]' "$work/second.ptx" && ! grep -q 'table\[4\]\|pointer' "$work/second.ptx"
check "each with what it names, by way of others too, and nothing else" $?
for kernel in first second; do "$ptxas" -arch=sm_80 -o "$work/cubin" "$work/$kernel.ptx" >"$work/out" 2>&1 || { cat "$work/out"; false; }; done
check "ptxas takes both" $?
sed 's/9\.0/8.0/' "$work/two.ptx" >"$work/old.ptx" && "$pack" split "$work/old.ptx" "$work" 8.2 >/dev/null && grep -q '^\.version 8\.0' "$work/first.ptx"
check "an older version stays" $?
for bad in 'not PTX' '.version 9.0 .target sm_80 .address_size 32' '.version 9.0 .target sm_80 .address_size 64 .visible .entry x() { ret;' \
    '.version 9.0 .target sm_80 .address_size 64 stray;'; do
    printf '%s\n' "$bad" >"$work/bad.ptx"
    ! "$pack" split "$work/bad.ptx" "$work" 8.2 >"$work/out" 2>&1 && grep -q '^pack: ' "$work/out"
    check "refused: $(cut -c 1-90 "$work/out")" $?
done
# What a kernel needs beyond the version it states stops the build: this instruction came with PTX 8.6, for other cards.
cat >"$work/newer.cu" <<'CUDA'
extern "C" __global__ void newer(float *x) { asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.u32 [%0], 1, [%0];" ::"r"(0)); }
CUDA
! compile 255 "$work/newer.cu" "$work/bad" && [ ! -e "$work/bad" ] && grep -q 'requires\|not supported\|Feature' "$work/out"
check "PTX that its target lacks stops the build: $(grep -m1 -o "Feature.*\|requires.*" "$work/out")" $?
exit $failed
