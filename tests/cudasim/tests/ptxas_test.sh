#!/usr/bin/env bash
# NVIDIA's assembler takes every program that the simulator is tested with: no opcode here is invented.
# usage: ptxas_test.sh PTX_TEST PTXAS DIRECTORY
set -uo pipefail
directory=$3
rm -rf "$directory"
mkdir -p "$directory" || exit 3
"$1" --dump "$directory/p" >"$directory/log" 2>&1 || { tail -n 20 "$directory/log"; exit 1; }
failed=0 files=0
for file in "$directory"/p*.ptx; do
    files=$((files + 1))
    "$2" -arch=sm_86 -o /dev/null "$file" || { failed=$((failed + 1)); echo "refused: $file"; }
done
echo "$files files, $failed refused"
[ "$failed" -eq 0 ] && [ "$files" -gt 100 ]
