#!/usr/bin/env bash
# Mistakes that others published and withdrew, as tests of the sweep: each is named after what must not happen here.
# usage: tests/sweep_tales_test.sh PATH/TO/tandem FOLDER_OF_FAKE_NVML
set -uo pipefail
tandem=$(realpath "$1")
fake=$(realpath "$2")
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
unset TANDEM_PLUGIN_PATH
library=$(dirname "$tandem")/../lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
. "$here/checks.sh"
LC_ALL=C sed 's/reference/rEfErEncE/g' "$library/libtandem_reference.so" >twin.so
model=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32)
sweep=("$tandem" sweep "${model[@]}" --plugin ./twin.so --threads 2 --samples 8 --chunks 2 --rounds 1 --batch 8)

# A perplexity of 727 instead of 7 did not change the throughput: a wrong result is no result.
a_wrong_result_has_no_speed_to_show() {
    "${sweep[@]}" -j a.jsonl >/dev/null 2>&1
    LC_ALL=C sed -i 's/"logits":\[\[/&9/' a.jsonl
    ! "${sweep[@]}" -j a.jsonl --again >out 2>/dev/null && grep -q WRONG out
}
# Attention ran on the CPU in one arm, unseen; a toolchain without matrix cores looked like a slow card.
a_row_names_kernels_device_driver_and_toolchain() {
    grep '"status":"done"' a.jsonl | head -n 1 >row
    grep -q '"kernels":{"' row && grep -q '"toolchain":"[^"]' row && grep -q '"driver":"[^"]' row &&
        grep -q '"kind":"software"' row && grep -q '"matrix_used":' row
}
# A cache type without a kernel dropped prefill eightfold and nothing was logged.
what_a_plugin_does_not_offer_is_a_row_and_no_fallback() {
    [ -e "$library/libtandem_vulkan.so" ] || return 0
    "$tandem" sweep "${model[@]}" --plugin vulkan --precision f16 --samples 1 --chunks 1 --rounds 1 --batch 8 -j u.jsonl >out 2>/dev/null
    grep -q '"status":"unsupported","reason":"[^"]' u.jsonl || grep -q '"precision":"f16".*"status":"done"' u.jsonl ||
        grep -q '"status":"done".*"precision":"f16"' u.jsonl
}
# 16 against 36 tokens a second after an update, and nobody could say what had changed.
another_driver_or_commit_is_another_column() {
    python3 - <<'CHECK'
import json
cells = [r for r in map(json.loads, open("a.jsonl")) if r["row"] == "cell"]
assert cells
for r in cells:
    parts = r["key"].split("|")
    assert parts[1] == r["plugin"]["name"] + "@" + r["plugin"]["git"] and parts[2] == r["device"]["uuid"], parts
    assert parts[3] == r["device"]["driver"][:128], parts
CHECK
}
# Throttled runs were published as results.
a_throttled_sample_does_not_count() {
    NVML_THROTTLE=0x40 LD_LIBRARY_PATH=$fake "${sweep[@]}" -j t.jsonl >out 2>/dev/null
    grep -q '"no_rate":"every sample was discarded"' t.jsonl && ! grep -q '"rate":{' t.jsonl &&
        grep -q '"why":"throttled"' t.jsonl && grep -q '"thermal (hardware)"' t.jsonl && grep -q 'No throughput is shown' out
}
a_power_cap_is_named_and_counts() {
    NVML_THROTTLE=0x4 LD_LIBRARY_PATH=$fake "${sweep[@]}" -j p.jsonl >/dev/null 2>&1
    grep -q '"throttle":\["power cap"\]' p.jsonl && grep -q '"rate":{' p.jsonl
}
energy_and_price_follow_from_the_card() {
    LD_LIBRARY_PATH=$fake "${sweep[@]}" --price-kwh 0.36 -j e.jsonl >/dev/null 2>&1
    python3 - <<'CHECK'
import json
rows = [json.loads(line) for line in open("e.jsonl")]
cells = [r for r in rows if r["row"] == "cell"]
assert len(cells) == 2, len(cells)
for r in cells:
    e, rate = r["energy"], r["rate"]["median"]
    assert 90 < e["watts"] < 110, e  # the counter runs at 100 W
    assert abs(e["tokens_per_joule"] * e["watts"] / rate - 1) < 1e-6
    assert abs(e["price_per_million"] - 1e6 / e["tokens_per_joule"] / 3.6e6 * 0.36) < 1e-6
    assert r["card"]["pcie"] == "PCIe 4 x16" and r["card"]["celsius"] == 61 and r["card"]["sm_mhz"] == 1800
    assert 0 <= r["host"]["cpu_load"] <= 1 and r["host"]["memory_available"] > 0
CHECK
}
without_a_card_there_are_no_watts() { ! grep -q '"watts"' a.jsonl; }
a_journal_of_another_version_is_not_merged() {
    sed 's/"version":1/"version":2/' e.jsonl >v2.jsonl
    python3 "$here/../bench/report.py" e.jsonl v2.jsonl -o page
    [ $? -eq 3 ]
}
every_row_is_valid() { python3 "$here/schema_check.py" "$here/../bench/schema.json" a.jsonl t.jsonl p.jsonl e.jsonl; }

for tale in a_wrong_result_has_no_speed_to_show a_row_names_kernels_device_driver_and_toolchain \
    what_a_plugin_does_not_offer_is_a_row_and_no_fallback another_driver_or_commit_is_another_column \
    a_throttled_sample_does_not_count a_power_cap_is_named_and_counts energy_and_price_follow_from_the_card \
    without_a_card_there_are_no_watts a_journal_of_another_version_is_not_merged every_row_is_valid; do
    check $tale $tale
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
