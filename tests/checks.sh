# shellcheck shell=bash
# checks.sh: what shell tests that count share; read by them.
passed=0 failed=0
check() { # check WHAT COMMAND...
    local what=$1
    shift
    if "$@" >check.out 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $what"; head -n 4 check.out; fi
}
