#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test. Ends with the line "N passed, N failed", and how many were skipped.
# usage: tests/run.sh [--no-install] [--quick | --drivers] [--no-roots] [--werror]
#   --quick     leaves out the sanitizer builds and the other systems and drivers
#   --no-roots  leaves out the other systems and drivers
#   --drivers   only the release build, and the tests that every Vulkan driver has to pass (ctest -L driver)
#   --werror    a warning of any compiler stops a build, as in CI
# The other systems are Debian roots that tests/root.sh makes, the other drivers those of these roots and SwiftShader. What
# this machine does not allow is named and counted as skipped.
# exit: 0 none failed, 1 a test failed or a build broke, 3 the machine lacks something
set -uo pipefail
cd "$(dirname "$0")/.."
root=$PWD
install=() sanitizers=1 roots=1 only_drivers=0 werror=OFF
for argument in "$@"; do
    case $argument in
        --no-install) install=(--no-install) ;;
        --quick) sanitizers=0 roots=0 ;;
        --no-roots) roots=0 ;;
        --werror) werror=ON ;;
        --drivers) only_drivers=1 sanitizers=0 roots=0 ;;
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
if [ $only_drivers -eq 1 ]; then
    stage "tests of the driver" check drivers build -L driver
else
    stage "tests, release" check release build
fi
if [ $sanitizers -eq 1 ]; then
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

# ---- other systems and drivers ----

# verdict passed|failed|skipped NAME [SENTENCE]: the result of something that is no test of ctest.
verdict() {
    echo "$1 $2${3:+: $3}" >>"$results/verdicts.txt"
    [ "$1" = passed ] || echo "$1: $2${3:+: $3}"
}
# As a new user: the README's first command in a clean clone of a new system, without a warning; then the driver's tests.
root_lane() { # root_lane NAME
    local name=$1 clone=$root/build/roots/$1/root/tandem status=0
    tests/root.sh "$name" >"$results/$name.log" 2>&1 || status=$?
    if [ $status -eq 77 ]; then
        verdict skipped "$name" "$(tail -n 1 "$results/$name.log")"
        return
    fi
    [ $status -eq 0 ] || { cat "$results/$name.log"; verdict failed "$name" "its root could not be made"; return; }
    rm -rf "$clone/build/results"
    mkdir -p "$clone/build/models" && cp -n build/models/* "$clone/build/models/" # what a test would download again
    if tests/root.sh "$name" bench/run.sh >"$results/$name-bench.log" 2>&1 &&
        grep -q '^verdict  GOOD' "$results/$name-bench.log"; then
        verdict passed "$name: bench/run.sh"
    else
        tail -n 15 "$results/$name-bench.log"
        verdict failed "$name: bench/run.sh"
    fi
    if grep -iE '\bwarning\b' "$clone/build/bench-build.log" | head -n 5 | grep .; then
        verdict failed "$name: a build without warnings"
    else
        verdict passed "$name: a build without warnings"
    fi
    tests/root.sh "$name" tests/run.sh --drivers >"$results/$name-drivers.log" 2>&1 || true
    sed -n '/^== times/q;/^not passed\|FAILED\|\*\*\*/p' "$results/$name-drivers.log"
    if cp "$clone/build/test-results/drivers.xml" "$results/$name.xml" 2>/dev/null; then
        cp "$clone/build/test-results/drivers.output.log" "$results/$name.output.log"
    else
        tail -n 15 "$results/$name-drivers.log"
        verdict failed "$name: tests/run.sh --drivers" "it did not come to its tests"
    fi
}
swiftshader_lane() {
    local status=0
    tests/fetch_swiftshader.sh >"$results/swiftshader.fetch.log" 2>&1 || status=$?
    if [ $status -eq 77 ]; then
        verdict skipped swiftshader "$(tail -n 1 "$results/swiftshader.fetch.log")"
        return
    fi
    [ $status -eq 0 ] || { cat "$results/swiftshader.fetch.log"; verdict failed swiftshader "it could not be had"; return; }
    local driver=$root/build/swiftshader/vk_swiftshader_icd.json
    VK_DRIVER_FILES=$driver VK_ICD_FILENAMES=$driver check swiftshader build -L swiftshader
}
if [ $roots -eq 1 ]; then
    stage "SwiftShader" swiftshader_lane
    stage "Debian 13" root_lane debian13
    stage "Debian 13 with Mesa 26" root_lane debian13-mesa26
elif [ $only_drivers -eq 0 ]; then
    for name in swiftshader debian13 debian13-mesa26; do verdict skipped $name "not asked for"; done
fi

echo "== times"
printf '%s\n' "${times[@]}"
cases=$(cat "$results"/*.output.log | grep -oE '\[  PASSED  \] [0-9]+' | awk '{n += $4} END {print n + 0}')
echo "cases inside the test programs that passed: $cases"
touch "$results/verdicts.txt"
python3 - "$results/verdicts.txt" "$results"/*.xml <<'PYTHON'
import sys
import xml.etree.ElementTree as tree

count = {"passed": 0, "failed": 0, "skipped": 0}
for line in open(sys.argv[1]):
    count[line.split()[0]] += 1
for path in sys.argv[2:]:
    lane, suite = path.rsplit("/", 1)[-1][:-4], tree.parse(path).getroot()
    cases = list(suite.iter("testcase"))
    for case in cases:
        status, skip = case.get("status"), case.find("skipped")
        if status == "run":
            result = "passed"
        elif skip is not None and skip.get("message", "").startswith("SKIP_RETURN_CODE"):
            result = "skipped" # the test itself said why; one that could not be started is none of these
        else:
            result = "failed"
        count[result] += 1
        if result != "passed":
            why = (case.findtext("system-out") or "").strip().splitlines() if result == "skipped" else []
            print(f"{result}: {lane} {case.get('name')}" + (f": {why[-1]}" if why else ""))
    if not cases:
        count["failed"] += 1
        print("failed: no test ran:", path)
print(f"{count['passed']} passed, {count['failed']} failed" + (f", {count['skipped']} skipped" if count["skipped"] else ""))
sys.exit(1 if count["failed"] or not count["passed"] else 0)
PYTHON
