#!/usr/bin/env bash
# What a sweep says beside its cells: rounds, the limit of the check at depth, drift, peaks.
# usage: tests/sweep_verdict_test.sh PATH/TO/tandem FOLDER_OF_PROXIES
set -uo pipefail
tandem=$(realpath "$1")
proxies=$(realpath "$2")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
. "$here/checks.sh"
model=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32)
sweep=("$tandem" sweep "${model[@]}" --plugin reference --threads 2 --samples 8 --chunks 2 --rounds 1 --batch 8 --depth 0,64)
rows() { # rows FILE CONDITION: every cell fulfils the Python condition on r, and there is one
    python3 - "$1" "$2" <<'CHECK'
import json, sys
cells = [r for r in map(json.loads, open(sys.argv[1])) if r["row"] == "cell"]
assert cells
for r in cells:
    assert eval(sys.argv[2]), r["key"] + str(r["stamp"])
CHECK
}

# ---- rounds, by prescribed times (proxy/proxy.h) ----
scripted() { # scripted NOISE JOURNAL
    "$tandem" sweep "${model[@]}" --plugin "$proxies/libtandem_proxy_scripted.so" --plugin-option "proxy_scripted.noise=$1" \
        --plugin-option "proxy_scripted.wrap=$(dirname "$tandem")/../lib/libtandem_reference.so" --phase decode --rounds 5 \
        --target 10 --samples 8 --batch 8 --peaks-seconds 0 -j "$2" >"$2.txt" 2>/dev/null
}
scripted 0.001 narrow.jsonl
check 'a narrow interval asks for no further round' rows narrow.jsonl 'r["rounds"] == 1'
scripted 2 wide.jsonl
check 'a wide one asks for rounds up to the cap' rows wide.jsonl 'r["rounds"] == 5'

# ---- the check at depth keeps to its time, and is never dropped ----
"${sweep[@]}" --peaks-seconds 0 -j a.jsonl >a.txt 2>/dev/null
check 'in five seconds nothing is left out' rows a.jsonl '"left_out" not in r["stamp"] and r["stamp"]["probe_ns"] <= r["stamp"]["limit_ns"]'
check 'both kinds of layers are probed' rows a.jsonl '{p["layer"] for p in r["stamp"]["probe"] if p["what"] == "attention"} == {0, 5}'
check 'times by op come from several runs' rows a.jsonl 'r["profile_runs"] > 1'
check 'without peaks there is no row of them' test "$(grep -c '"row":"peaks"' a.jsonl)" -eq 0
"${sweep[@]}" --peaks-seconds 0 --samples 1 --chunks 1 --stamp-seconds 0 -j b.jsonl >b.txt 2>/dev/null
check 'a cell whose check has no time leaves parts out' grep -q '"left_out":\[{"what":' b.jsonl
check 'each part is either done or named' rows b.jsonl 'all(((w, l) in {(p["what"], p["layer"]) for p in r["stamp"]["probe"]}) != ((w, l) in {(p["what"], p["layer"]) for p in r["stamp"].get("left_out", [])}) for w, l in (("attention", 0), ("attention", 5), ("down rows", 0), ("down rows", 5)))'
check 'one layer is always probed whole' rows b.jsonl '{"attention", "k row", "v row", "output rows"} <= {p["what"] for p in r["stamp"]["probe"] if p["layer"] == 0}'
check 'the verdict says that something was left out' grep -q 'left out for' b.txt

# ---- drift ----
edit() { # edit FACTOR KIND: a.jsonl with depth 0 that much faster at the end, on a device of that kind
    python3 - "$1" "$2" >d.jsonl <<'EDIT'
import json, sys
for r in map(json.loads, open("a.jsonl")):
    if r["row"] == "drift":
        r["ratio"] = float(sys.argv[1])
    if "device" in r:
        r["device"]["kind"] = sys.argv[2]
    print(json.dumps(r, separators=(",", ":")))
EDIT
}
verdict() { # verdict CODE PATTERN: of the edited journal; nothing is left to measure
    local code=0
    "${sweep[@]}" --peaks-seconds 0 -j d.jsonl >d.txt 2>/dev/null || code=$?
    [ $code -eq "$1" ] && tr '\n' ' ' <d.txt | grep -Eq "$2"
}
edit 1.04 gpu
check 'four per cent are no drift' verdict 0 'cells measured\. *$'
edit 1.06 gpu
check 'six per cent on a GPU fail, and are said in the verdict' verdict 1 'cells measured; DRIFT of more than 5 % in 2 series'
edit 0.94 gpu
check 'so do six per cent less' verdict 1 'DRIFT'
edit 1.5 software
check 'a software device drifts without failing, and it is said' verdict 0 'DRIFT.*on a software device is no failure'

# ---- peaks ----
"${sweep[@]}" --peaks-seconds 0.5 --kv f16,q8_0 -j p.jsonl >p.txt 2>/dev/null
check 'a sweep measures the peaks once for all its columns' test "$(grep -c '"row":"peaks"' p.jsonl)" -eq 1
"${sweep[@]}" --peaks-seconds 0.5 --kv f16,q8_0 --again -j p.jsonl >p.txt 2>/dev/null
check 'and takes them where they are' test "$(grep -c '"row":"peaks"' p.jsonl)" -eq 1
"$tandem" peaks --plugin reference --threads 2 --seconds 0.5 --max-bytes 4M -j q.jsonl >q.txt 2>/dev/null
"${sweep[@]}" -j q.jsonl >q.txt 2>/dev/null
check 'those of tandem peaks serve as well' test "$(grep -c '"row":"peaks"' q.jsonl)" -eq 1
check 'every row is valid' python3 "$here/schema_check.py" "$here/../bench/schema.json" a.jsonl b.jsonl p.jsonl q.jsonl
"$tandem" devices >devices.txt
for text in a b p devices; do
    check "$text.txt fits 80 columns" awk 'length > 80 { exit 1 }' $text.txt
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
