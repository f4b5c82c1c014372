#!/usr/bin/env bash
# Mistakes that others published, and withdrew or could not explain: a test a tale, named after the thread.
# usage: tests/tales_test.sh PATH/TO/tandem FOLDER_OF_PROXIES FOLDER_OF_FAKE_NVML TALE
set -uo pipefail
tandem=$(realpath "$1")
proxies=$(realpath "$2")
nvml=$(realpath "$3")
tale=$4
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
library=$(realpath "$(dirname "$tandem")/../lib")
unset TANDEM_PLUGIN_PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3

small=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32)
short=(--threads 2 --samples 8 --chunks 2 --rounds 1 --batch 8)
fail() { echo "$tale: $*"; tail -n 25 out 2>/dev/null; exit 1; }
holds() { tr '\n' ' ' <out | tr -s ' ' | grep -qF -- "$1" || fail "the output does not say: $1"; } # line breaks aside
lacks() { ! tr '\n' ' ' <out | grep -qF -- "$1" || fail "the output says: $1"; }
ends_with() { [ "$1" -eq "$2" ] || fail "exit code $1, not $2"; }
# sweep JOURNAL PLUGIN ARGUMENTS...: what it printed is in `out`; returns its exit code
sweep() {
    local journal=$1 plugin=$2
    shift 2
    "$tandem" sweep --plugin "$plugin" --peaks-seconds 0 -j "$journal" "$@" >out 2>&1
}
# proxied JOURNAL PROXY "OPTION..." ARGUMENTS...: a sweep of the reference plugin through a proxy
proxied() {
    local journal=$1 name=$2 options=(--plugin-option "proxy_$2.wrap=$library/libtandem_reference.so") one
    for one in $3; do options+=(--plugin-option "proxy_$2.$one"); done
    shift 3
    sweep "$journal" "$proxies/libtandem_proxy_$name.so" "${options[@]}" "$@"
}
# compared PROXY "OPTION..." ARGUMENTS...: the reference plugin against itself through a proxy, as `tandem compare` sees it
compared() {
    local options=(--plugin-option "proxy_$1.wrap=$library/libtandem_reference.so") one
    for one in $2; do options+=(--plugin-option "proxy_$1.$one"); done
    "$tandem" compare "${small[@]}" --plugin-a reference --plugin-b "$proxies/libtandem_proxy_$1.so" "${options[@]}" --batch 8 \
        --threads 1 --blocks 6 "${@:3}" >out 2>&1
}
# rows JOURNAL EXPRESSION: over the list c of cells, the last row of each, and over all rows of cells, every; must be true
rows() {
    python3 - "$1" "$2" <<'CHECK' || fail "$1: $2"
import json, sys
every = [r for r in map(json.loads, open(sys.argv[1])) if r["row"] == "cell"]
c = list({r["key"]: r for r in every}.values())
sys.exit(not eval(sys.argv[2]))
CHECK
}
has_vulkan() { [ -e "$library/libtandem_vulkan.so" ]; }
valid() { python3 "$here/schema_check.py" "$here/../bench/schema.json" "$@" >out 2>&1 || fail "a row breaks the schema"; }

# Attention ran on the processor in one arm, and the first table had to be withdrawn.
# Here: what a plugin lacks is refused, a processor that calls itself a GPU is found out by the host's clock.
tale_llama_cpp_10206() {
    proxied honest.jsonl fallback ns=0 "${small[@]}" "${short[@]}" --samples 100 --chunks 100
    ends_with $? 1
    holds "WRONG"
    holds "the plugin computes on the CPU"
    proxied made_up.jsonl fallback ns=20000 "${small[@]}" "${short[@]}" --samples 100 --chunks 100
    ends_with $? 1
    rows made_up.jsonl 'len(c) == 2 and not any(r["stamp"]["ok"] for r in c)'
    proxied without.jsonl lacks op=attention "${small[@]}" "${short[@]}"
    ends_with $? 3
    holds "has no kernel for blk.0.attention"
    rows without.jsonl 'len(c) == 2 and all(r["status"] == "unsupported" and "rate" not in r for r in c)'
    valid honest.jsonl made_up.jsonl without.jsonl
    compared fallback ns=0
    ends_with $? 1
    holds "decode at depth 0 [software]: not comparable"
    holds "prefill at depth 0 [software]: not comparable"
    holds "the plugin computes on the CPU"
}

# Drafting was on in one arm and off in the other; the sign of the result turned round once it was equal.
# Here: two figures are set beside each other under equal terms only.
tale_colibri_523() {
    sweep equal.jsonl reference "${small[@]}" "${short[@]}" || fail "no sweep"
    python3 - "$here/../bench" equal.jsonl <<'CHECK' || fail "arms that are not equal got a ratio"
import copy, json, sys
sys.path.insert(0, sys.argv[1])
import report
cell = [r for r in map(json.loads, open(sys.argv[2])) if r["row"] == "cell" and r["phase"] == "decode"][0]
def ratios(change):
    sides = [copy.deepcopy(cell), copy.deepcopy(cell)]
    for side, name in zip(sides, ("cuda", "vulkan")):
        side["plugin"]["name"] = name
    change(sides[1])
    return len(report.ratio_rows(sides))
assert ratios(lambda r: None) == 1
for name, value in (("kv", "q8_0"), ("precision", "q8"), ("fill", "synthetic"), ("batch", 512), ("depth", 64), ("phase", "prefill")):
    assert ratios(lambda r: r.update({name: value})) == 0, name
for name, value in (("routing", "zipf:1@1"), ("expert_memory", "host"), ("name", "another")):
    assert ratios(lambda r: r["model"].update({name: value})) == 0, name
assert ratios(lambda r: r["device"].update(uuid="another")) == 0
CHECK
    # A comparison has one set of terms: nothing but plugin and device can be said of one side.
    "$tandem" compare --help >out || fail "no help"
    [ "$(grep -oE -- '--[a-z-]+-[ab]\b' out | sort -u | tr '\n' ' ')" = "--device-a --device-b --plugin-a --plugin-b " ] ||
        fail "sides can be told apart by more than plugin and device"
    compared precision "" --phase decode
    ends_with $? 1
    holds "not comparable"
    holds "are those of q8"
}

# A perplexity of 727 instead of 7 left the throughput as it was, and the benchmark could not see it.
# Here: no rate counts without right outputs, at the start, at depth and after a while.
tale_colibri_1502() {
    local how
    for how in "" depth=64 runs=40; do
        proxied "garbage$how.jsonl" garbage "$how" "${small[@]}" "${short[@]}" -d 0,64
        ends_with $? 1
        holds "WRONG"
        rows "garbage$how.jsonl" 'not any(r["stamp"]["ok"] for r in c if r["depth"] == 64) and len(c) == 4'
    done
    # Garbage in the measured programs alone, at depth alone: the layers that are probed one by one are right.
    for how in "rows=2" "most=1"; do
        proxied "whole$how.jsonl" garbage "whole=1 depth=64 $how" "${small[@]}" "${short[@]}" -d 0,64
        ends_with $? 1
        holds "'agreement' of layer 6 is off"
        rows "whole$how.jsonl" 'len(c) == 4 and all(r["stamp"]["ok"] == (r["depth"] == 0) for r in c)'
    done
    # Right while it was measured, and wrong when asked again: what has gone bad since may have been bad before.
    proxied late.jsonl garbage "rows=16 runs=10" "${small[@]}" --threads 2 --samples 8 --rounds 1 --batch 16 --phase decode
    ends_with $? 1
    holds "run again after the last cell, are off by"
    rows late.jsonl 'len(every) == 2 and len(c) == 1 and every[0]["stamp"]["ok"] and not c[0]["stamp"]["ok"] and c[0]["stamp"]["late_error"] > 0'
    rows garbagedepth=64.jsonl 'all(r["stamp"]["ok"] for r in c if r["depth"] == 0)'
    proxied head.jsonl garbage "op=output depth=64" "${small[@]}" "${short[@]}" -d 64 --phase decode
    ends_with $? 1
    holds "'logits' of layer 6 is off"
    python3 -c "
import sys; sys.path.insert(0, '$here/../bench')
import report
rows = report.read_rows(['garbage.jsonl'])
cells = report.of_kind(rows, 'cell')
assert cells and not any(report.is_drawn(r) for r in cells)" || fail "the report draws it"
    valid ./*.jsonl
    for how in "" depth=64 runs=100; do
        compared garbage "$how" --phase decode --depth 64
        ends_with $? 1
        holds "not comparable"
        lacks "x as fast"
    done
}

# A cache type without a kernel dropped prefill from 1511 to 197 tokens a second, and nothing was logged.
# Here: it is a row with its reason, beside the types that there are kernels for; and what ran is in the row.
tale_llama_cpp_28456() {
    proxied types.jsonl lacks "op=attention kv=8" "${small[@]}" "${short[@]}" --kv f16,q8_0
    ends_with $? 0
    holds "2 cells measured, 2 not offered by the plugin"
    holds "has no kernel for blk.0.attention"
    rows types.jsonl 'all((r["status"] == "unsupported") == (r["kv"] == "q8_0") and ("rate" in r) == (r["kv"] == "f16") for r in c)'
    rows types.jsonl 'all(any(k.startswith("attention_f16") for k in r["kernels"]) for r in c if r["kv"] == "f16")'
    # A plugin that takes another type, or a window over all, without a word is found out.
    proxied quiet.jsonl cache kv=8 "${small[@]}" "${short[@]}"
    ends_with $? 1
    holds "'k row' of layer 0 is off"
    proxied near.jsonl cache window=64 "${small[@]}" "${short[@]}" -d 0,200
    ends_with $? 1
    rows near.jsonl 'len(c) == 4 and all(r["stamp"]["ok"] == (r["depth"] == 0) for r in c)'
    holds "'attention' of layer 5 has nothing to do with what it should be"
    # In the last layer alone, whose cache lies farthest out.
    proxied far.jsonl cache "window=64 layer=11" "${small[@]}" --layers 12 "${short[@]}" -d 200
    ends_with $? 1
    rows far.jsonl 'len(c) == 2 and all(any(p["layer"] == 11 and not p["ok"] for p in r["stamp"]["probe"]) for r in c)'
    holds "'attention' of layer 11 has nothing to do with what it should be"
    has_vulkan || return 0
    sweep vulkan.jsonl vulkan "${small[@]}" "${short[@]}" --kv f32,f16,q8_0 --phase prefill || fail "no sweep"
    rows vulkan.jsonl 'len(c) == 3 and len({tuple(sorted(r["kernels"].items())) for r in c}) == 1'
    rows vulkan.jsonl 'all({"attention", "attn_qkv"} <= {p["op"] for p in r["profile"]} for r in c)'
}

# Heads of 512, as Gemma 4 has, fell to a slow path without a word.
# Here: the op and layer are named by the plugin that lacks them; our own run them on the device, and are checked.
tale_ollama_15332() {
    local wide=(-m gemma4-12b --layers 6 --vocab 512 --d-model 128 --d-ff 64 --heads 2 --kv-heads 1 --window 32)
    proxied wide.jsonl lacks "op=attention head=512" "${wide[@]}" "${short[@]}"
    ends_with $? 3
    holds "has no kernel for blk.5.attention"
    has_vulkan || return 0
    sweep vulkan.jsonl vulkan "${wide[@]}" "${short[@]}" -d 100 || fail "no sweep"
    rows vulkan.jsonl 'len(c) == 2 and all(r["stamp"]["ok"] and any(p["what"] == "attention" and p["layer"] == 5 and p["ok"] for p in r["stamp"]["probe"]) for r in c)'
    rows vulkan.jsonl 'all(any(k.startswith("attention") for k in r["kernels"]) for r in c)'
}

# Built with an old shader compiler, a plugin had no matrix cores, and the card looked slow.
# Here: idle matrix units are said above the figures, the compiler is in the row, and another one is another column.
tale_eliza_9092() {
    proxied idle.jsonl matrix "" "${small[@]}" "${short[@]}" || fail "no sweep"
    holds "The device has matrix units and this build of the plugin does not use them (shader compiler: none)"
    "$tandem" devices --plugin reference --json >devices.json || fail "no devices"
    local compiler
    compiler=$(python3 -c 'import json; print(json.load(open("devices.json"))["plugins"][0]["toolchain"])')
    "$tandem" devices --plugin "$library/libtandem_reference.so" >out
    holds "kernels use fma"
    holds "$compiler"
    sweep built.jsonl reference "${small[@]}" "${short[@]}" || fail "no sweep"
    lacks "has changed"
    # The same plugin and commit from another compiler.
    LC_ALL=C sed "s/${compiler:0:3}/abc/g" "$library/libtandem_reference.so" >libtandem_reference.so
    sweep built.jsonl ./libtandem_reference.so "${small[@]}" "${short[@]}" || fail "no sweep of the other build"
    holds "its compiler has changed from $compiler to abc${compiler:3}"
    rows built.jsonl 'len(c) == 4 and len({r["key"] for r in c}) == 4 and len({r["plugin"]["toolchain"] for r in c}) == 2'
    has_vulkan || return 0
    "$tandem" devices --plugin vulkan --json >devices.json
    python3 -c 'import json; p = json.load(open("devices.json"))["plugins"][0]; assert p["shaders"] and p["toolchain"] and p["git"]' || fail "the Vulkan plugin does not say what built it"
}

# "Vulkan is 10x slower than CUDA", and the thread could not say why.
# Here: the row says what ran, how long each op took, and at which clocks, heat, link and throttling the card was.
tale_llama_install_20() {
    LD_LIBRARY_PATH=$nvml sweep card.jsonl reference "${small[@]}" "${short[@]}" || fail "no sweep"
    rows card.jsonl 'len(c) == 2 and all(r["card"]["pcie"] == "PCIe 4 x16" and r["card"]["sm_mhz"] == 1800 and r["card"]["celsius"] == 61 and "throttle" in r["card"] for r in c)'
    rows card.jsonl 'all(r["kernels"] and r["plugin"]["git"] and r["plugin"]["toolchain"] and r["device"]["driver"] for r in c)'
    rows card.jsonl 'all(sum(p["ns"] for p in r["profile"]) > 0 and {"attn_qkv", "attention", "attn_output", "ffn_gate_up", "ffn_down"} <= {p["op"] for p in r["profile"]} for r in c)'
    rows card.jsonl 'all(0 <= r["host"]["cpu_load"] <= 1 for r in c)'
    small=(-m gemma3-270m --layers 2 --vocab 16384 --d-model 512 --d-ff 64 --heads 2 --head-dim 32 --window 32)
    local try
    for try in 1 2 3 4 5; do # a busy machine may spoil one
        compared twice op=output --phase decode --runs 2 --seed $try && continue
        tr '\n' ' ' <out | tr -s ' ' | grep -q 'most of it by .*output (' && return
    done
    fail "the slower side's op is not named"
}

# The same words about another machine: the slow arm had run on another device than its reader thought.
# Here: a software device is never chosen silently, and every figure from it is labelled.
tale_llama_cpp_21984() {
    has_vulkan || { echo "there is no Vulkan plugin"; exit 77; }
    if ! "$tandem" devices --json | grep -q '"kind": *"\(gpu\|integrated\)"'; then
        "$tandem" eval "${small[@]}" --tokens 2,5 --logits x.npy >out 2>&1 || fail "no eval"
        holds "no GPU found; vulkan runs on the software device"
    fi
    sweep soft.jsonl vulkan "${small[@]}" "${short[@]}" || fail "no sweep"
    holds "[software]"
    rows soft.jsonl 'all(r["device"]["kind"] == "software" and r["device"]["name"] and r["device"]["uuid"] for r in c)'
    proxied none.jsonl simulated "" "${small[@]}" "${short[@]}"
    holds "No throughput is shown"
    rows none.jsonl 'len(c) == 2 and all("rate" not in r and "device_ns" not in r for r in c)'
}

# 16 against 36 tokens a second after an update of the driver; nobody could say what had changed.
# Here: another driver is another column, what has changed is said, and both stay in the journal and the report.
tale_llama_cpp_28274() {
    proxied driver.jsonl driver driver=577.00 "${small[@]}" "${short[@]}" || fail "no sweep"
    lacks "has changed"
    proxied driver.jsonl driver driver=577.01 "${small[@]}" "${short[@]}" || fail "no sweep after the update"
    holds "since proxy_driver measured this last, its driver has changed from 577.00 to 577.01"
    rows driver.jsonl 'len(c) == 4 and len({r["key"] for r in c}) == 4 and sorted({r["device"]["driver"] for r in c}) == ["577.00", "577.01"]'
    proxied driver.jsonl driver driver=577.01 "${small[@]}" "${short[@]}" || fail "no third sweep"
    lacks "has changed"
    rows driver.jsonl 'len(c) == 4'
    valid driver.jsonl
}

# A model with experts, partly in host memory, failed past a context length.
# Here: the same bits wherever experts lie, and every depth is checked.
tale_ik_llama_1618() {
    has_vulkan || { echo "there is no Vulkan plugin"; exit 77; }
    local experts=(-m gemma4-26b-a4b --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --kv-heads 1 --head-dim 32 --window 32
        --experts 8 --experts-used 2 --d-expert 32) one
    sweep split.jsonl vulkan "${experts[@]}" "${short[@]}" --expert-memory device,0.5,host -d 0,600 || fail "no sweep"
    rows split.jsonl 'len(c) == 12 and all(r["stamp"]["ok"] for r in c)'
    rows split.jsonl 'len({(r["phase"], r["depth"], r["stamp"]["hash"]["top_k"]) for r in c}) == 4'
    for one in device host; do
        "$tandem" eval "${experts[@]}" --plugin vulkan --expert-memory $one --tokens "$(seq -s, 2 99)" --logits $one.npy >out 2>&1 ||
            fail "no eval"
    done
    cmp -s device.npy host.npy || fail "logits depend on where the experts lie"
}

# Same model, same seed, and the log-probabilities did not reproduce.
# Here: equal programs give equal bits, from process to process and from run to run.
tale_llama_cpp_21532() {
    local plugin run
    for plugin in reference vulkan; do
        [ -e "$library/libtandem_$plugin.so" ] || continue
        for run in 1 2; do
            "$tandem" eval "${small[@]}" --plugin $plugin --tokens "$(seq -s, 2 99)" --logits $plugin$run.npy >out 2>&1 || fail "no eval"
        done
        cmp -s ${plugin}1.npy ${plugin}2.npy || fail "$plugin does not reproduce"
    done
    sweep twice.jsonl reference "${small[@]}" "${short[@]}" --rounds 3 --target 0 || fail "no sweep"
    rows twice.jsonl 'all(r["stamp"]["hash"]["n"] > 3 and r["stamp"]["hash"]["unequal"] == 0 for r in c)'
}

"$tale"
