#!/usr/bin/env bash
# Who only wants to run tandem is not stopped by a warning; CI is (option TANDEM_WERROR). A source with a warning is
# compiled both ways, and no compiler of shaders or kernels is given -Werror without the option.
# usage: tests/warnings_test.sh C-COMPILER C++-COMPILER
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() {
    echo "warnings_test.sh: $1" >&2
    exit 1
}
echo 'static int never_used;' >"$work/warns.h"

# configure NAME OPTION...
configure() {
    local name=$1
    shift
    cmake -S "$root" -B "$work/$name" -G Ninja -DCMAKE_C_COMPILER="$c" -DCMAKE_CXX_COMPILER="$cxx" \
        -DCMAKE_C_FLAGS="-include $work/warns.h" "$@" >"$work/$name.log" 2>&1 ||
        { tail -n 20 "$work/$name.log" >&2; fail "the tree could not be configured"; }
}
# compile NAME: one source of the kit, with what the compiler says
compile() {
    ninja -C "$work/$1" -v backend/CMakeFiles/tandem_kit.dir/kit/message.c.o >"$work/said" 2>&1
}
c=$1 cxx=$2
configure plain
configure strict -DTANDEM_WERROR=ON

compile plain || { cat "$work/said" >&2; fail "a warning stopped a build that is not CI's"; }
grep -q 'never_used' "$work/said" || fail "the compiler did not warn of what it was given, so this test shows nothing"
compile strict && fail "with TANDEM_WERROR=ON a warning did not stop the build"
grep -q 'error.*never_used\|never_used.*Werror' "$work/said" || { cat "$work/said" >&2; fail "another error stopped CI's build"; }

n=$(grep -c -- '-Werror' "$work/plain/build.ninja")
[ "$n" -eq 0 ] || fail "$n commands of a plain build have -Werror"
for tool in glslc nvcc; do
    grep -q "$tool" "$work/plain/build.ninja" || continue # left out of this build
    grep -q -- "$tool .*-Werror" "$work/strict/build.ninja" || fail "CI's build lets $tool warn"
done
echo "a warning stops CI's build and no other"
