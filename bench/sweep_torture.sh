#!/usr/bin/env bash
# A sweep that is killed twice and runs out of memory in the middle, and still ends with every cell measured once.
# Synthetic 26B-A4B of six layers, five depths to 256K, decode and prefill, two cache types: 20 cells. The memory cap holds
# a q8_0 cache of 256K positions and not an f16 one, so those two cells are out-of-memory rows.
#
# usage: bench/sweep_torture.sh [--tiny] [FOLDER]     FOLDER: where results stay (default bench/examples/torture)
#   --tiny   narrow layers: what the tests run
#   TANDEM=PATH, PLUGIN=NAME (default vulkan)
# exit: 0 no cell lost or repeated and every row valid, 1 not, 3 something is missing
set -uo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tandem=${TANDEM:-$root/build/bin/tandem}
plugin=${PLUGIN:-vulkan}
tiny=0
if [ "${1:-}" = --tiny ]; then tiny=1; shift; fi
case ${1:-} in -*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; exit 2 ;; esac
out=${1:-$root/bench/examples/torture}
export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/build/mesa-cache}
[ -x "$tandem" ] || { echo "sweep_torture.sh: $tandem is not there; build first" >&2; exit 3; }
mkdir -p "$out" || exit 3
out=$(cd "$out" && pwd) || exit 3
journal=$out/sweep.jsonl
rm -f "$journal"

model=(-m gemma4-26b-a4b --layers 6 --experts 16 --vocab 2048 --d-model 512 --d-ff 512 --d-expert 128)
depths=0,4K,32K,128K,256K cap=1000M
if [ $tiny -eq 1 ]; then
    model=(-m gemma4-26b-a4b --layers 6 --experts 16 --experts-used 4 --vocab 512 --d-model 64 --d-ff 64 --heads 4
        --kv-heads 2 --head-dim 32 --window 32 --d-expert 32)
    cap=85M
fi
[ -z "${CAP:-}" ] || cap=$CAP
sweep=("$tandem" sweep "${model[@]}" --plugin "$plugin" --kv f16,q8_0 --depth "$depths" --fill synthetic --samples 6 --chunks 2
    --rounds 1 --batch 4 --memory-cap "$cap" --journal "$journal")

n_cells() { cat "$journal" 2>/dev/null | grep -c '"row":"cell"'; }
log=$out/run.txt
say() { echo "$*" | tee -a "$log"; }
: >"$log"
say "\$ tandem sweep ${sweep[*]:2:$((${#sweep[@]} - 4))}"

# kill_after N: starts the sweep and kills it, parent and all, as soon as the journal has N cells
kill_after() {
    "${sweep[@]}" >/dev/null 2>&1 &
    local parent=$!
    while kill -0 $parent 2>/dev/null && [ "$(n_cells)" -lt "$1" ]; do sleep 0.02; done
    kill -KILL $parent 2>/dev/null
    wait $parent 2>/dev/null
    say "killed by signal 9 (exit code $?) after $(n_cells) cells"
}
kill_after 3
kill_after 12
code=0
"${sweep[@]}" >"$out/table.txt" 2>/dev/null || code=$?
say "resumed: exit code $code, $(n_cells) cells"
before=$(wc -l <"$journal")
"${sweep[@]}" >/dev/null 2>&1
say "run once more: $(($(wc -l <"$journal") - before)) new rows"

python3 - "$journal" <<'CHECK' | tee -a "$log"
import collections, json, sys
rows = []
for line in open(sys.argv[1], encoding="utf-8", errors="replace"):
    try:
        rows.append(json.loads(line))
    except ValueError:
        print("a torn line, left alone")
cells = [r for r in rows if r["row"] == "cell"]
done = collections.Counter(r["key"] for r in cells if r["status"] == "done")
memory = {r["key"] for r in cells if r["status"] == "out_of_memory"}
keys = {r["key"] for r in cells}
bad = [k for k, n in done.items() if n != 1] + [k for k in keys if k not in done and k not in memory]
wrong = [r["key"] for r in cells if r["status"] == "done" and not r["stamp"]["ok"]]
print(f"{len(keys)} cells: {len(done)} measured, each once; {len(memory)} out of memory; {len(bad)} lost or repeated; {len(wrong)} wrong")
sys.exit(bool(bad or wrong or len(keys) != 20 or len(memory) != 2))
CHECK
good=$?
"$root/tests/schema_check.py" "$root/bench/schema.json" "$journal" | tee -a "$log" || good=1
page=0
python=python3
for candidate in python3 /usr/bin/python3 "$root/build/plot-venv/bin/python"; do
    if "$candidate" -c 'import matplotlib' 2>/dev/null; then python=$candidate; break; fi
done
"$python" "$root/bench/report.py" "$journal" -o "$out/report" >/dev/null || page=$?
say "report: exit code $page"
[ $good -eq 0 ] && [ $page -eq 0 ] && [ $code -eq 0 ]
