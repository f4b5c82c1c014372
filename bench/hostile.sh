#!/usr/bin/env bash
# Bad plugins by the hundred: every slot of the ABI x what goes wrong x command, drawn by a seed (tests/hostile_test.sh).
#
# usage: bench/hostile.sh [N [SEED]]      N modes (default 200) of SEED (default 1); the output stays in bench/examples/hostile.txt
# exit: 0 no signal, no hang, right exit codes, and a word about the plugin each time; 1 not; 3 something is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${BUILD:-$root/build}
case ${1:-} in -*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;; esac
[ -x "$build/bin/tandem" ] && [ -e "$build/tests/gemma4-small.gguf" ] ||
    { echo "hostile.sh: $build has no program, or not its tests; build first" >&2; exit 3; }
VERBOSE=1 "$root/tests/hostile_test.sh" "$build/bin/tandem" "$build/tests/proxy" "$build/tests/gemma4-small.gguf" \
    "${1:-200}" "${2:-1}" | tee "$root/bench/examples/hostile.txt"
exit "${PIPESTATUS[0]}"
