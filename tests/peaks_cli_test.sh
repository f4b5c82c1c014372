#!/usr/bin/env bash
# `tandem peaks` from outside, and the help of every command in 80 columns.
# usage: tests/peaks_cli_test.sh PATH/TO/tandem [SIMULATED_DRIVER]
set -uo pipefail
tandem=$(realpath "$1")
simulated=${2:-}
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 3
. "$here/checks.sh"
narrow() { [ -s "$1" ] && ! LC_ALL=C.UTF-8 grep -nE '^.{81}' "$1"; }

# ---- help ----
"$tandem" --help >help.txt
check 'the list of commands fits 80 columns' narrow help.txt
commands=$(sed -n 's/^  \([a-z]\{1,\}\) \{2,\}.*/\1/p' help.txt)
check 'the list names them all' test "$(echo "$commands" | wc -l)" -ge 11
for command in $commands; do
    check "$command --help is good" "$tandem" "$command" --help
    "$tandem" "$command" --help >help.txt
    check "the help of $command fits 80 columns" narrow help.txt
done

# ---- peaks ----
little=(peaks --plugin reference --threads 2 --seconds 10 --max-bytes 4M) # the samples end it before
check 'peaks of the CPU' "$tandem" "${little[@]}" -j p.jsonl
"$tandem" "${little[@]}" >text.txt 2>/dev/null
check 'the text fits 80 columns' narrow text.txt
check 'a software device is marked' grep -q 'A SOFTWARE DEVICE' text.txt
check 'sizes are shown' grep -Eq '^ +4\.00 MiB +[0-9]' text.txt
check 'the row is valid' python3 "$here/schema_check.py" "$here/../bench/schema.json" p.jsonl
figures() {
    "$tandem" "${little[@]}" --json 2>/dev/null | python3 -c '
import json, sys
r = json.load(sys.stdin)
assert r["row"] == "peaks" and r["device"]["kind"] == "software"
for name in ("read_bytes_per_s", "copy_bytes_per_s", "f32_flops_per_s", "f16_flops_per_s", "q8_flops_per_s", "submit_ns"):
    assert r[name] > 0, name
sizes = r["read"]["sizes"]
assert [s["size"] for s in sizes] == [1 << 20, 1 << 22] and r["read_bytes_per_s"] == sizes[-1]["rate"]["median"]
assert all(s["error"] < 1e-8 for s in sizes)'
}
check 'the figures are there' figures
"$tandem" peaks --seconds 0 >text.txt 2>&1
check 'no time is a usage error' test $? -eq 2
"$tandem" "${little[@]}" -j /nonexistent/p.jsonl >text.txt 2>err.txt
check 'a journal that cannot be written is one' test $? -eq 3
check 'seen before anything is measured' test ! -s text.txt
if [ -n "$simulated" ]; then
    "$tandem" peaks --plugin cuda --plugin-option "cuda.library=$simulated" -j s.jsonl >text.txt 2>err.txt
    check 'a simulated device is refused' test $? -eq 3
    check 'with its reason' grep -q 'simulated device: its times say nothing' err.txt
    check 'and leaves no row' test ! -e s.jsonl
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
