#!/usr/bin/env bash
# tandem compare from outside: verdicts, exit codes, what it prints and what it writes.
# usage: tests/compare_test.sh PATH/TO/tandem FOLDER_OF_FAKE_NVML [PATH/TO/SIMULATED/libcuda.so.1]
set -uo pipefail
tandem=$(realpath "$1")
fake=$(realpath "$2")
simulated=${3:-}
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
unset TANDEM_PLUGIN_PATH
library=$(dirname "$tandem")/../lib
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
. "$here/checks.sh"
# The reference plugin under another name: equal, and on a device of the same UUID.
LC_ALL=C sed 's/reference/rEfErEncE/g' "$library/libtandem_reference.so" >twin.so
model=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32)
experts=(-m gemma4-26b-a4b --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --kv-heads 1 --head-dim 32 --window 32
    --experts 8 --experts-used 2 --d-expert 32)
compare=("$tandem" compare --batch 8 --threads 1)
twins=(--plugin-a reference --plugin-b ./twin.so)
row() { python3 -c "import json,sys; r=[json.loads(l) for l in open('$1')][0]; sys.exit(not ($2))"; }

an_implementation_against_itself_is_no_difference() {
    local plugin=reference
    [ -e "$library/libtandem_vulkan.so" ] && plugin=vulkan
    for seed in 1 2 3; do # a busy machine may disturb one
        "${compare[@]}" "${model[@]}" --plugin-a $plugin --plugin-b $plugin --phase decode --blocks 12 --seed $seed >self.txt &&
            grep -q '^decode at depth 0 \[software\]: no difference$' self.txt && tr -s '\n ' ' ' <self.txt | grep -q 'smallest effect' && return
    done
    return 1
}
the_output_fits_eighty_columns() { [ -s self.txt ] && ! grep -qE '.{81}' self.txt && "$tandem" compare --help >help.txt && ! grep -qE '.{81}' help.txt; }
devices_of_one_uuid_are_a_pair() {
    "${compare[@]}" "${model[@]}" "${twins[@]}" --phase prefill --blocks 6 --json -j twins.jsonl >twins.json
    [ $? -le 1 ] && row twins.json "r['same_device'] and r['verdict'] != 'not comparable' and r['a']['kernels'] == r['b']['kernels'] and len(r['pairs']) == len(r['self']) == 6"
}
devices_of_other_uuids_must_be_named() {
    [ -e "$library/libtandem_vulkan.so" ] || return 0
    "${compare[@]}" "${model[@]}" --plugin-a reference --plugin-b vulkan >out 2>&1
    [ $? -eq 3 ] && grep -q 'name both, with --device-a and --device-b' out || return 1
    "${compare[@]}" "${model[@]}" --plugin-a reference --plugin-b vulkan --device-a 0 --device-b 0 --blocks 6 --phase decode >slow.txt
    [ $? -eq 1 ] && grep -q ': slower$' slow.txt && grep -q 'may be different devices' slow.txt && tr '\n' ' ' <slow.txt | grep -q 'most of it *by *[a-z_]* ('
}
one_side_at_a_time_is_said() {
    "${compare[@]}" "${model[@]}" "${twins[@]}" --swap --depth 40 --blocks 6 --phase decode --json -j swapped.jsonl >swapped.json
    [ $? -le 1 ] && row swapped.json "r['swapped'] and r['verdict'] != 'not comparable' and r['depth'] == 40"
}
experts_are_imposed() {
    "${compare[@]}" "${experts[@]}" "${twins[@]}" --blocks 6 --phase decode --json -j experts.jsonl >experts.json
    [ $? -le 1 ] && row experts.json "r['model']['routing'].startswith('uniform@') and r['depth_error'] == 0" || return 1
    "${compare[@]}" "${experts[@]}" "${twins[@]}" --routing model >out 2>&1
    [ $? -eq 2 ] && grep -q 'Experts are imposed' out
}
a_simulated_device_is_compared_by_outputs_only() {
    [ -e "$simulated" ] || return 0
    "${compare[@]}" "${model[@]}" --plugin-a cuda --plugin-b reference --device-a 0 --device-b 0 --depth 20 --json -j simulated.jsonl \
        --plugin-option cuda.library="$simulated" >simulated.json || return 1
    [ "$(wc -l <simulated.json)" -eq 2 ] && ! grep -qE '"(pairs|ratio|device_ns|wall_ns|ops)"' simulated.json &&
        row simulated.json "r['verdict'] == 'outputs agree' and not r['timed'] and r['depth_error'] < 1e-4"
}
two_models_that_do_not_fit_take_turns() {
    [ -e "$simulated" ] || return 0
    CUDASIM_MEMORY=8M "${compare[@]}" "${model[@]}" --runs 2 --plugin-a cuda --plugin-b cuda --phase decode --json -j small.jsonl \
        --plugin-option cuda.library="$simulated" >small.json || return 1
    row small.json "r['swapped'] and r['verdict'] == 'outputs agree'"
}
too_little_time_is_no_comparison() {
    "${compare[@]}" "${model[@]}" "${twins[@]}" --runs 255 --batch 256 --chunks 4 --phase prefill --max-seconds 1 --json -j late.jsonl >late.json
    [ $? -eq 1 ] && row late.json "r['verdict'] == 'not comparable' and r['reasons'][0]['guard'] == 'blocks' and r['out_of_time']"
}
a_throttled_block_does_not_count() {
    NVML_THROTTLE=0x40 LD_LIBRARY_PATH=$fake "${compare[@]}" "${model[@]}" "${twins[@]}" --blocks 6 --phase decode --json -j hot.jsonl >hot.json
    [ $? -eq 1 ] && row hot.json "r['reasons'][0]['guard'] == 'throttled' and r['n_throttled'] == 6 and 'ratio' not in r" || return 1
    LD_LIBRARY_PATH=$fake "${compare[@]}" "${model[@]}" "${twins[@]}" --blocks 6 --phase decode --json -j cool.jsonl >cool.json
    [ $? -le 1 ] && row cool.json "r['a']['card']['celsius'] == 61 and 'n_throttled' not in r and r['verdict'] != 'not comparable'"
}
# A journal keeps what the reference found; a rerun asks it no more.
the_reference_is_asked_once() {
    [ "$(grep -c '"row":"reference"' twins.jsonl)" -eq 1 ] || return 1
    "${compare[@]}" "${model[@]}" "${twins[@]}" --phase prefill --blocks 6 -j twins.jsonl >/dev/null
    [ $? -le 1 ] && [ "$(grep -c '"row":"reference"' twins.jsonl)" -eq 1 ] && [ "$(grep -c '"row":"compare"' twins.jsonl)" -eq 2 ]
}
bad_options_are_one_sentence() {
    for bad in "--blocks 7" "--phase decode-no-head" "--depth x" "--kv f64"; do
        "${compare[@]}" "${model[@]}" "${twins[@]}" $bad >out 2>err.txt
        [ $? -eq 2 ] && [ "$(wc -l <err.txt)" -eq 1 ] && [ ! -s out ] || return 1
    done
    "${compare[@]}" "${model[@]}" --plugin-a reference >out 2>&1
    [ $? -eq 2 ]
}
every_row_is_valid() { python3 "$here/schema_check.py" "$here/../bench/schema.json" ./*.jsonl; }

for test in an_implementation_against_itself_is_no_difference the_output_fits_eighty_columns devices_of_one_uuid_are_a_pair \
    devices_of_other_uuids_must_be_named one_side_at_a_time_is_said experts_are_imposed a_simulated_device_is_compared_by_outputs_only \
    two_models_that_do_not_fit_take_turns too_little_time_is_no_comparison a_throttled_block_does_not_count the_reference_is_asked_once bad_options_are_one_sentence every_row_is_valid; do
    start=$SECONDS
    check $test $test
    [ -n "${TIMES:-}" ] && echo "$test $((SECONDS - start)) s"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
