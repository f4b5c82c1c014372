#!/usr/bin/env bash
# Drivers and devices that the CUDA plugin runs on, and those that it refuses, each in a sentence.
# usage: cuda_drivers_test.sh TANDEM LIBCUDA LIBCUDA_LESS_SHARED     exit: 0 right
set -uo pipefail
[ $# -eq 3 ] || { sed -n '3s/^# //p' "$0" >&2; exit 2; }
tandem=$1 library=$2 less_shared=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
check() { if [ "$2" -eq 0 ]; then echo "ok: $1"; else echo "FAILED: $1"; failed=1; fi; }

small=(generate -m gemma3-270m --layers 1 --vocab 512 --tokens 2,5,6 -n 1 --plugin cuda)

# ---- shared memory ----
# One row of d_ff numbers is staged: with the kernel's static bytes it is beyond 48 KiB from 11,616 on, and rows over 11,648 are not staged.
for d_ff in 11584 11616 11648; do
    "$tandem" "${small[@]}" --d-ff $d_ff --quant Q4_0_PURE --plugin-option cuda.library="$library" >"$work/out" 2>"$work/err"
    check "a model whose rows of $d_ff fill a block's shared memory runs" $?
done
"$tandem" "${small[@]}" --plugin-option cuda.library="$less_shared" >"$work/out" 2>"$work/err"
[ $? -eq 3 ] && grep -q 'gives a block 65536 bytes of shared memory, and the kernels take up to 101376' "$work/err"
check "a device with too little is refused: $(tail -n 1 "$work/err")" $?
exit $failed
