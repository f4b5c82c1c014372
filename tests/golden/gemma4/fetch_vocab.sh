#!/usr/bin/env bash
# Fetches the published Gemma 4 vocabulary (a GGUF file without tensors, 16 MB) that tokens.json is about.
#
#   tests/golden/gemma4/fetch_vocab.sh [DIR]      writes DIR/gemma4-vocab.gguf (default DIR: build/models)
#
# It lies among the test vocabularies of llama.cpp, whose sources are part of the source package of llama-cpp-python
# on PyPI (77 MB). pip checks the pinned sha256 of the package before it looks into it; nothing is installed. A file
# that is already there and right is left alone. Exit status: 0 good, 2 usage, 3 the fetch failed.
set -euo pipefail

readonly NAME=gemma4-vocab.gguf
readonly SHA256=58b1ba0b57f3b4d7c468ba4ffd91ad85190346a3d7ad7e71d1cabaae8a14bb65
readonly PACKAGE=llama-cpp-python==0.3.36
readonly PACKAGE_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly MEMBER=vendor/llama.cpp/models/ggml-vocab-gemma-4.gguf

fail() {
    echo "fetch_vocab: $1" >&2
    exit 3
}

if [ $# -gt 1 ] || [ "${1-}" = -h ] || [ "${1-}" = --help ]; then
    echo "usage: tests/golden/gemma4/fetch_vocab.sh [DIR]" >&2
    exit 2
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
dir=${1:-$root/build/models}
target=$dir/$NAME
python=${PYTHON:-python3}

command -v "$python" >/dev/null || fail "$python is not installed; install python3 and python3-pip"

sha256_of() {
    "$python" -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
}

if [ -f "$target" ] && [ "$(sha256_of "$target")" = "$SHA256" ]; then
    echo "$target"
    exit 0
fi

"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; install python3-pip"
mkdir -p "$dir" 2>/dev/null || fail "cannot make the directory $dir"
tmp=$(mktemp -d "$dir/.fetch.XXXXXX" 2>/dev/null) || fail "cannot write in $dir"
trap 'rm -rf "$tmp"' EXIT

echo "fetch_vocab: downloading $PACKAGE (77 MB) from the package index" >&2
echo "$PACKAGE --hash=sha256:$PACKAGE_SHA256" >"$tmp/requirement"
if ! TMPDIR=$tmp "$python" -m pip download --quiet --no-deps --no-binary llama-cpp-python --no-cache-dir \
    --disable-pip-version-check --retries 2 --timeout 30 --dest "$tmp" --require-hashes -r "$tmp/requirement" \
    2>"$tmp/pip.log"; then
    reason=$(grep -m1 -E '^ *ERROR' "$tmp/pip.log" | sed 's/^ *ERROR: *//' || true)
    fail "pip could not download $PACKAGE (${reason:-see $python -m pip download})"
fi

"$python" - "$tmp" "$MEMBER" 2>"$tmp/unpack.log" <<'PY' ||
import glob, os, shutil, sys, tarfile
tmp, member = sys.argv[1:]
package, = glob.glob(os.path.join(tmp, "*.tar.gz"))
with tarfile.open(package) as archive:
    top = os.path.basename(package).removesuffix(".tar.gz")
    with archive.extractfile(f"{top}/{member}") as f, open(os.path.join(tmp, "vocab"), "wb") as out:
        shutil.copyfileobj(f, out)
PY
    fail "cannot unpack the vocabulary: $(tail -n 1 "$tmp/unpack.log")"

found=$(sha256_of "$tmp/vocab")
[ "$found" = "$SHA256" ] || fail "the vocabulary has sha256 $found, not the pinned $SHA256"
mv -f "$tmp/vocab" "$target" || fail "cannot write $target"
echo "$target"
