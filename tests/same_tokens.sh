#!/usr/bin/env bash
# The trained Gemma 3 270M makes the same 16 tokens on every plugin, device and driver: greedy, after one prompt.
# usage: tests/same_tokens.sh PATH/TO/tandem MODEL.gguf [OPTION OF generate]...
#   Options such as --plugin reference or --plugin-option vulkan.shape=gpu; the driver is that of the environment
#   (VK_DRIVER_FILES). Prints the ids. exit: 0 the same, 1 not, 2 usage, 3 the model is not there
set -uo pipefail
[ $# -ge 2 ] || { sed -n '3,5s/^# //p' "$0" >&2; exit 2; }
tandem=$1 model=$2
shift 2
[ -r "$model" ] || { echo "$model is not there: run tests/fetch_model.sh" >&2; exit 3; }
# " the capital of the country of France. It is the largest city in France and": what the reference makes.
expected=506,5279,529,506,2891,529,7001,236761,1030,563,506,7488,3207,528,7001,532
answer=$("$tandem" generate -m "$model" -p "The capital of France is" -n 16 --temp 0 --ignore-end --json "$@") || exit 1
made=$(grep -o '"tokens":\[[0-9,]*' <<<"$answer" | sed 's/.*\[//')
device=$(grep -o '"device":"[^"]*' <<<"$answer" | sed 's/.*"//')
echo "$device: $made"
[ "$made" = "$expected" ] || { echo "expected: $expected" >&2; exit 1; }
