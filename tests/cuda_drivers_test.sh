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

sim=(--plugin-option cuda.library="$library")
small=(generate -m gemma3-270m --layers 1 --vocab 512 --tokens "2,5,6" -n 1 --plugin cuda)
# refused SENTENCE LIBRARY: with exit code 3; environment variables stand before
refused() {
    local got
    "$tandem" "${small[@]}" --plugin-option cuda.library="$2" >"$work/out" 2>"$work/err"
    got=$?
    [ $got -eq 3 ] && [ "$(grep -c . "$work/err")" -eq 1 ] && grep -qF "$1" "$work/err"
    check "exit code $got: $(cat "$work/err")" $?
}

# ---- what drivers and devices there may be ----
for version in 12.1 12.0 11.8; do
    CUDASIM_DRIVER_VERSION=$version refused "The CUDA driver is of CUDA $version, and one of CUDA 12.2 or newer is needed" "$library"
done
refused "The CUDA driver cannot be opened: $work/none.so" "$work/none.so"
refused "The CUDA driver libm.so.6 lacks cuDriverGetVersion: a driver of CUDA 12.2 or newer is needed" libm.so.6
refused "gives a block 65536 bytes of shared memory, and the kernels take up to 101376" "$less_shared"

devices() { "$tandem" devices "${sim[@]}" --plugin cuda 2>&1 | tr -s ' \n' ' ' >"$work/out"; }
# said TEXT: `devices` says so; environment variables stand before
said() {
    devices && grep -qF "$1" "$work/out"
    check "devices says: $1" $?
}
devices
toolkit=$(grep -o 'by ptxas [0-9]*' "$work/out" | grep -o '[0-9]*$')
[ -n "$toolkit" ] && grep -q 'PTX 8.2 for compute capability 8.0 and newer' "$work/out" && grep -q 'libcuda.so.1 of CUDA 12.2' "$work/out"
check "devices says what the kernels are compiled for, by which ptxas and which driver it takes" $?
by_driver="kernels are compiled by the driver at first use"
CUDASIM_DRIVER_VERSION=13.0 said "machine code for sm_86"
CUDASIM_DRIVER_VERSION=13.0 CUDASIM_ARCH=89 said "machine code for sm_89"
if [ "$toolkit" = 12 ]; then CUDASIM_DRIVER_VERSION=12.2 said "machine code for sm_86"; else CUDASIM_DRIVER_VERSION=12.2 said "$by_driver"; fi
for arch in 80 90; do CUDASIM_DRIVER_VERSION=12.2 CUDASIM_ARCH=$arch said "$by_driver"; done
CUDASIM_ARCH=120 said "$by_driver"

# ---- one result everywhere; and only what a program launches is loaded ----
counted() { # counted: modules that were loaded are the kernels that were launched, one each
    python3 -c '
import json, sys
run = json.load(open(sys.argv[1]))
loads, kernels = run["calls"]["cuModuleLoadData"], len([k for k in run["kernels"] if k["launches"]])
print(loads, "modules,", kernels, "kernels")
sys.exit(loads != kernels or kernels < 5)' "$work/counters" >"$work/count"
}
first=
for driver in 13.0:86 12.2:86 12.4:89 12.2:80 12.2:90 13.0:120; do
    out=$(CUDASIM_DRIVER_VERSION=${driver%:*} CUDASIM_ARCH=${driver#*:} CUDASIM_COUNTERS=$work/counters "$tandem" eval "${sim[@]}" \
        -m gemma3-270m --layers 1 --vocab 512 --tokens 2,5,6,7 --batch 3 --plugin cuda --logits "$work/logits.npy" 2>&1 >/dev/null)
    bits=$(sha256sum <"$work/logits.npy" 2>/dev/null)
    first=${first:-$bits}
    [ -n "$first" ] && [ "$bits" = "$first" ]
    check "a driver of CUDA ${driver%:*} and compute capability ${driver#*:}: the same bits ${out:+$(tail -n 1 <<<"$out")}" $?
    counted
    check "and it is given what runs and nothing else: $(cat "$work/count")" $?
    rm -f "$work/logits.npy" "$work/counters"
done

# ---- shared memory ----
# One row of d_ff numbers is staged: with the kernel's static bytes it is beyond 48 KiB from 11,616 on, and rows over 11,648 are not staged.
for d_ff in 11584 11616 11648; do
    "$tandem" "${small[@]}" --d-ff $d_ff --quant Q4_0_PURE "${sim[@]}" >"$work/out" 2>"$work/err"
    check "a model whose rows of $d_ff fill a block's shared memory runs" $?
done
exit $failed
