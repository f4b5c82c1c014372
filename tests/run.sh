#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. Ends with the line "N passed, N failed".
# usage: tests/run.sh [--no-install] [--quick] [--werror]
#   --quick   leaves out the sanitizer builds and whole op tables at other subgroup sizes
#   --werror  a warning of any compiler stops a build, as in CI
# exit: 0 all passed, 1 a test failed or a build broke, 3 the machine lacks something
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
install=() quick=0 werror=OFF
for argument in "$@"; do
    case $argument in
        --no-install) install=(--no-install) ;;
        --quick) quick=1 ;;
        --werror) werror=ON ;;
        *) sed -n '3,6s/^# //p' "$0" >&2; exit 2 ;;
    esac
done

results=$root/build/test-results
rm -rf "$results"
mkdir -p "$results" "$root/build/mesa-cache"
export MESA_SHADER_CACHE_DIR=$root/build/mesa-cache
jobs=$(nproc)
times=()

# stage NAME COMMAND...: runs it, remembers the time, says when it fails.
stage() {
    local name=$1 start=$SECONDS status=0
    shift
    echo "== $name"
    "$@" || status=$?
    times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
    return $status
}
give_up() {
    echo "tests/run.sh: $1" >&2
    printf '%s\n' "${times[@]}" >&2
    echo "0 passed, 1 failed"
    exit "${2:-1}"
}

# build FOLDER OPTION...
build() {
    local folder=$1
    shift
    cmake -S . -B "$folder" -G Ninja -DTANDEM_REQUIRE_ALL=ON -DTANDEM_WERROR=$werror "$@" >"$results/configure.log" 2>&1 ||
        { tail -n 30 "$results/configure.log" >&2; return 1; }
    ninja -C "$folder" -j "$jobs" >"$results/build.log" 2>&1 || { tail -n 40 "$results/build.log" >&2; return 1; }
}

# check NAME FOLDER CTEST-OPTION...: runs ctest and keeps its log and a machine-readable report.
check() {
    local name=$1 folder=$2
    shift 2
    # Only failed tests print their output here; the rest is in the log.
    (cd "$folder" && ctest -j "$jobs" --output-on-failure --output-junit "$results/$name.xml" "$@") \
        >"$results/$name.log" 2>&1
    local status=$?
    cp "$folder/Testing/Temporary/LastTest.log" "$results/$name.output.log" # whole; the XML cuts long output
    grep -E '^ *[0-9]+/[0-9]+ Test|tests passed|tests failed' "$results/$name.log" | grep -v ' Passed ' || true
    [ $status -eq 0 ] || sed -n '/\[  FAILED  \]\|\[  ERROR   \]\|ERROR: \|error: /p' "$results/$name.log" | head -n 60
    return 0
}

stage "install packages" bench/setup.sh "${install[@]}" || give_up "packages are missing" 3
stage "fetch the trained model" tests/fetch_model.sh || give_up "the trained model could not be had" 3
stage "build, release" build build -DCMAKE_BUILD_TYPE=Release || give_up "the release build broke"
stage "tests, release" check release build
if [ $quick -eq 0 ]; then
    stage "build, address and undefined-behaviour sanitizers" \
        build build/sanitizers -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTANDEM_SANITIZE=address,undefined \
        -DTANDEM_CUDA_IMAGES="$root/build/cuda/kernels" ||
        give_up "the sanitizer build broke"
    stage "tests, sanitizers" check sanitizers build/sanitizers -L sanitize
    stage "build, thread sanitizer" build build/thread -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTANDEM_SANITIZE=thread \
        -DTANDEM_CUDA=OFF ||
        give_up "the thread sanitizer build broke"
    stage "tests, thread sanitizer" check thread build/thread -L threads
fi

echo "== times"
printf '%s\n' "${times[@]}"
cases=$(cat "$results"/*.output.log | grep -oE '\[  PASSED  \] [0-9]+' | awk '{n += $4} END {print n + 0}')
echo "cases inside the test programs that passed: $cases"
python3 - "$results"/*.xml <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

passed = failed = 0
for path in sys.argv[1:]:
    suite = tree.parse(path).getroot()
    bad = int(suite.get("failures", 0)) + int(suite.get("disabled", 0)) + int(suite.get("skipped", 0))
    failed += bad
    passed += int(suite.get("tests", 0)) - bad
    for case in suite.iter("testcase"):
        if case.get("status") != "run":
            print("not passed:", path.rsplit("/", 1)[-1][:-4], case.get("name"), case.get("status"))
    if int(suite.get("tests", 0)) == 0:
        failed += 1
        print("no test ran:", path)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed or not passed else 0)
PYTHON
