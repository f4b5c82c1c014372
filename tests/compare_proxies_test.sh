#!/usr/bin/env bash
# tandem compare against plugins that lie, and against ones whose times are prescribed (proxy/proxy.h).
# usage: tests/compare_proxies_test.sh PATH/TO/tandem FOLDER_OF_PROXIES TEST
set -uo pipefail
tandem=$(realpath "$1")
proxies=$(realpath "$2")
name=$3
library=$(realpath "$(dirname "$tandem")/../lib")
reference=$library/libtandem_reference.so
unset TANDEM_PLUGIN_PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
fail() { echo "$name: $*"; tail -n 30 out 2>/dev/null; exit 1; }
holds() { tr '\n' ' ' <out | tr -s ' ' | grep -qF -- "$1" || fail "the output does not say: $1"; } # line breaks aside
proxy() { echo "$proxies/libtandem_proxy_$1.so"; }
small=(-m gemma3-270m --layers 6 --vocab 512 --d-model 64 --d-ff 64 --heads 2 --head-dim 32 --window 32 --batch 8 --threads 1)

# against A B "OPTION..." ARGUMENTS...: what it printed is in `out`; returns the exit code of `tandem compare`
against() {
    local a=$1 b=$2 options=() one
    for one in $3; do options+=(--plugin-option "$one"); done
    shift 3
    "$tandem" compare --plugin-a "$a" --plugin-b "$b" "${options[@]}" "$@" >out 2>&1
}
verdict() { sed -n 's/^[a-z]* at depth [0-9]* \[[a-z]*\]: //p' out | tail -n 1; }
# lying PROXY "OPTION..." ARGUMENTS...: the reference plugin against itself through a proxy
lying() {
    local options="proxy_$1.wrap=$reference" one
    for one in $2; do options+=" proxy_$1.$one"; done
    against reference "$(proxy "$1")" "$options" "${small[@]}" --blocks 6 "${@:3}"
}
not_comparable() {
    lying "$@"
    [ $? -eq 1 ] || fail "exit code of $*"
    [ "$(verdict)" = "not comparable" ] || fail "the verdict on $* is $(verdict)"
}

# Prescribed times: what comes out is a function of the seed. scripted SEED NOISE FACTOR
scripted() {
    local options="proxy_scripted.wrap=$reference proxy_rescripted.wrap=$reference"
    options+=" proxy_scripted.seed=$((2 * $1)) proxy_rescripted.seed=$((2 * $1 + 1))"
    options+=" proxy_scripted.noise=$2 proxy_rescripted.noise=$2 proxy_rescripted.op=ffn_down proxy_rescripted.factor=$3"
    against "$(proxy scripted)" "$(proxy rescripted)" "$options" "${small[@]}" --phase decode --seed "$1"
}

# ffn_down is 6 of 33 equal steps: a token takes 0.9 % longer, under noise of 1 % a run and a step.
five_per_cent_of_one_op_are_found_and_attributed() {
    local seed named=0
    for seed in 1 2 3 4 5 6 7 8; do
        scripted "$seed" 0.01 1.05
        [ "$(verdict)" = slower ] || fail "seed $seed: $(verdict)"
        tr '\n' ' ' <out | tr -s ' ' | grep -q 'most of it by ffn_down (' && named=$((named + 1))
    done
    [ $named -ge 7 ] || fail "ffn_down was named in $named of 8"
}

# 0.2 % of a token, under noise of 3 %: less than could be seen, and the output says what could.
one_per_cent_of_one_op_is_no_difference() {
    local seed called=0 smallest
    for seed in 1 2 3 4 5 6 7 8; do
        scripted "$seed" 0.03 1.01
        smallest=$(tr '\n' ' ' <out | tr -s ' ' | sed -n 's/.*smallest effect that would have been seen is \([0-9.]*\) %.*/\1/p')
        [ -n "$smallest" ] || fail "seed $seed: no smallest effect"
        if [ "$(verdict)" = "no difference" ]; then
            python3 -c "import sys; sys.exit(not 0.2 < $smallest < 5)" || fail "seed $seed: smallest effect $smallest %"
        else
            called=$((called + 1))
        fi
    done
    [ $called -le 1 ] || fail "a difference was called in $called of 8"
}

equal_scripts_are_no_difference() {
    local seed called=0
    for seed in 11 12 13 14 15 16 17 18; do
        scripted "$seed" 0.01 1
        [ "$(verdict)" = "no difference" ] || called=$((called + 1))
    done
    [ $called -le 1 ] || fail "a difference was called in $called of 8"
}

# On the software driver, really executed: the head is most of this model. On a busy machine a side also waits, which is
# named as (idle); a try may be spoilt.
an_op_that_runs_twice_is_slower_and_named() {
    local wrapped=$library/libtandem_vulkan.so plugin=vulkan seed
    [ -e "$wrapped" ] || { wrapped=$reference plugin=reference; }
    for seed in 1 2 3 4 5; do
        against $plugin "$(proxy twice)" "proxy_twice.wrap=$wrapped proxy_twice.op=output" -m gemma3-270m --layers 2 --vocab 16384 \
            --d-model 512 --d-ff 64 --heads 2 --head-dim 32 --window 32 --batch 8 --phase decode --runs 2 --blocks 10 --seed $seed
        [ $? -eq 1 ] && [ "$(verdict)" = slower ] && tr '\n' ' ' <out | tr -s ' ' | grep -q 'most of it by .*output (' && return
    done
    fail "the verdict is $(verdict)"
}

fast_garbage_is_not_comparable() {
    not_comparable garbage "" --phase decode
    holds "The outputs of proxy_garbage (B) are wrong"
    not_comparable garbage depth=64 --phase decode --depth 64
    holds "proxy_garbage (B) is wrong at depth 64"
    not_comparable garbage depth=64 --phase prefill --depth 64
    not_comparable garbage runs=100 --phase decode
    holds "changed between equal runs"
    ! grep -q 'x as fast' out || fail "a ratio is printed beside a verdict that forbids it"
}

garbage_at_depth_spoils_that_depth_alone() {
    lying garbage depth=64 --phase decode --depth 0,64
    grep -q '^decode at depth 64 .*: not comparable$' out && ! grep -q '^decode at depth 0 .*: not comparable$' out ||
        fail "depths are not judged one by one"
}

another_precision_is_said() {
    not_comparable precision "" --phase decode
    holds "does not compute with precision exact as it was asked to"
    holds "are those of q8"
    not_comparable precision disguise=1 --phase decode --precision f16
    holds "are those of q8"
}

another_cache_is_not_comparable() {
    not_comparable cache kv=8 --phase decode --depth 40
    holds "The outputs of proxy_cache (B) are wrong"
    not_comparable cache window=64 --phase decode --depth 200
    holds "proxy_cache (B) is wrong at depth 200: 'attention' of layer 5"
}

work_on_the_processor_is_said() {
    local ns
    for ns in 0 20000; do
        not_comparable fallback ns=$ns
        holds "The times of proxy_fallback (B) cannot be those of its device"
    done
}

what_one_side_lacks_is_said() {
    not_comparable lacks op=attention --phase decode
    holds "has no kernel for blk.0.attention"
}

a_crash_is_a_sentence() {
    export ASAN_OPTIONS=${ASAN_OPTIONS:-}:handle_segv=0 # a sanitizer would make an exit code of the signal
    lying crash "" --phase decode
    [ $? -eq 3 ] || fail "exit code"
    holds "the plugin proxy_crash ended the process in run: signal 11"
}

memory_that_ends_is_an_exit_code() {
    lying oom depth=64 --phase decode --depth 64
    [ $? -eq 4 ] || fail "exit code"
    holds "has no memory for a run"
}

a_simulated_side_has_no_times() {
    lying simulated "" --phase decode || fail "exit code"
    [ "$(verdict)" = "outputs agree" ] || fail "the verdict is $(verdict)"
    ! grep -q 'tokens/s' out || fail "a speed is printed"
}

"$name"
