#!/usr/bin/env bash
# Runs a case of every kernel on the simulated CUDA device in five adversarial orders besides the plain one: all must be
# right, and of the same bits.
# usage: cuda_orders.sh OP_TEST LIBCUDA     exit: 0 right
set -uo pipefail
[ $# -eq 2 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
op_test=$1 library=$2
failed=0 first=
for seed in 0 1 2 3 4 5; do
    out=$(CUDASIM_SEED=$seed "$op_test" cuda --option cuda.library="$library" --smoke \
        --without 2816 --without 2112 2>&1) || { printf '%s\n' "$out" | grep -A3 'ERROR\|FAILED' | head -n 40; failed=1; }
    bits=$(grep '^bits of all outputs' <<<"$out")
    first=${first:-$bits}
    echo "order $seed: $(grep -o 'PASSED  \] [0-9]*' <<<"$out" | grep -o '[0-9]*$') cases, $bits"
    [ -n "$bits" ] && [ "$bits" = "$first" ] || { echo "order $seed gives other bits than order 0"; failed=1; }
done
exit $failed
