#!/usr/bin/env bash
# Builds tandem and measures it: a sweep over context depths with a table, a journal and a page of plots.
#
# usage: bench/run.sh [--no-install] [-m MODEL] [options of `tandem sweep`]
#   without -m    synthetic weights in the shape of Gemma 3 270M: the whole model where there is a GPU; a few layers and a
#                 small vocabulary where there is only a software driver, so that it takes about two minutes
#   --no-install  do not install missing packages; say which and stop
# A rerun goes on where the last one stopped; --again measures anew. Results: build/results/.
# exit: 0 every number was checked and is right, 1 a check failed, 2 usage, 3 the machine lacks something, 4 memory
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
results=$root/build/results
tandem=$root/build/bin/tandem

say() { echo "bench/run.sh: $*" >&2; }
stop() { say "$2"; exit "$1"; }

setup=()
arguments=()
for argument in "$@"; do
    case $argument in
        --no-install) setup=(--no-install) ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) arguments+=("$argument") ;;
    esac
done

# given NAME...: one of the options is among the arguments.
given() {
    local name argument
    for name in "$@"; do
        for argument in ${arguments[@]+"${arguments[@]}"}; do
            case $argument in "$name" | "$name="*) return 0 ;; esac
        done
    done
    return 1
}

# ---- what is needed, and the build ----
"$root/bench/setup.sh" ${setup[@]+"${setup[@]}"} || exit 3
mkdir -p "$results"
log=$root/build/bench-build.log
say "building in $root/build"
{ cmake -S "$root" -B "$root/build" -G Ninja && ninja -C "$root/build"; } >"$log" 2>&1 ||
    { tail -n 15 "$log" >&2; stop 3 "the build failed; all of it is in $log."; }
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/build/mesa-cache}
mkdir -p "$MESA_SHADER_CACHE_DIR"

# ---- what to measure ----
"$tandem" devices >"$results/devices.txt" || { cat "$results/devices.txt" >&2; stop 3 "there is no device to measure."; }
grep -E '^[a-z]+ [0-9]+: ' "$results/devices.txt" >&2 || true
gpu=0
if grep -Eq '\[(gpu|integrated)\]$' "$results/devices.txt"; then gpu=1; fi
defaults=()
if ! given -m --model; then
    defaults+=(-m gemma3-270m)
    if [ $gpu -eq 0 ]; then
        given --layers || defaults+=(--layers 6)
        given --vocab || defaults+=(--vocab 16384)
    fi
fi
if ! given -d --depth; then
    if [ $gpu -eq 1 ]; then defaults+=(--depth 0,1K,4K,16K,32K); else defaults+=(--depth 0,256,1K); fi
fi
given --precision || defaults+=(--precision exact,q8)
if [ $gpu -eq 0 ]; then
    given --samples || defaults+=(--samples 8)
    given --chunks || defaults+=(--chunks 2)
    given --batch || defaults+=(--batch 128)
fi
journal=$results/sweep.jsonl
previous=
for argument in ${arguments[@]+"${arguments[@]}"}; do
    case $previous in -j | --journal) journal=$argument ;; esac
    case $argument in --journal=*) journal=${argument#--journal=} ;; esac
    previous=$argument
done
given -j --journal || defaults+=(--journal "$journal")

# ---- the sweep ----
code=0
"$tandem" sweep ${defaults[@]+"${defaults[@]}"} ${arguments[@]+"${arguments[@]}"} || code=$?
[ $code -ne 2 ] || exit 2

# ---- the report ----
# python_with_matplotlib: prints an interpreter; makes a virtual environment where none has the library.
python_with_matplotlib() {
    local python
    for python in python3 /usr/bin/python3 "$root/build/plot-venv/bin/python"; do
        if command -v "$python" >/dev/null && "$python" -c 'import matplotlib' 2>/dev/null; then
            echo "$python"
            return 0
        fi
    done
    [ ${#setup[@]} -eq 0 ] || return 1
    python3 -m venv "$root/build/plot-venv" >&2 &&
        "$root/build/plot-venv/bin/pip" install -q -r "$root/bench/requirements.txt" >&2 &&
        echo "$root/build/plot-venv/bin/python"
}
echo
echo "journal  $journal"
page=0
if [ -s "$journal" ] && python=$(python_with_matplotlib); then
    "$python" "$root/bench/report.py" "$journal" -o "${journal%.jsonl}" >/dev/null || page=$?
    [ $page -ne 0 ] || echo "report   ${journal%.jsonl}.html, and its pictures as PNG and SVG beside it"
else
    page=3
fi
[ $page -eq 0 ] || say "no report was written."

# ---- the verdict ----
note=
[ $gpu -eq 1 ] || note=' Only software devices: these speeds say nothing about a GPU.'
case $code in
    0) verdict="GOOD: every number above was checked against the reference plugin.$note" ;;
    1) verdict="BAD: a number is wrong or unchecked, a cell failed, or the machine changed; see the column \`check\` and the journal." ;;
    4) verdict='NOTHING MEASURED: the model does not fit this device.' ;;
    *) verdict="NOT FINISHED: the sweep ended with exit code $code." ;;
esac
echo "verdict  $verdict"
[ $code -ne 0 ] || [ $page -le 1 ] || code=$page
exit $code
