#!/usr/bin/env bash
# Fetches SwiftShader, a second software Vulkan driver, out of Debian's package chromium-common; nothing is installed.
# usage: tests/fetch_swiftshader.sh [DIR]      default DIR: build/swiftshader; select DIR/vk_swiftshader_icd.json by VK_DRIVER_FILES
# exit: 0 good, 2 usage, 3 the fetch failed, 77 this machine's package lists do not have it
set -euo pipefail
[ $# -le 1 ] && [ "${1-}" != -h ] && [ "${1-}" != --help ] || { sed -n '3p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=${1:-$root/build/swiftshader}
fail() { echo "fetch_swiftshader: $2" >&2; exit "$1"; }
[ ! -s "$dir/vk_swiftshader_icd.json" ] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail 77 "this machine has no apt-get"
known() { [ -n "$(apt-cache show --no-all-versions chromium-common 2>/dev/null)" ]; }
known || { [ "$(id -u)" -ne 0 ] || apt-get update >/dev/null 2>&1 || true; }
known || fail 77 "the package lists of this system have no chromium-common (Debian has)"
mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt may download as a user of its own
(cd "$work" && apt-get download chromium-common >apt.log 2>&1) || fail 3 "$(tail -n 1 "$work/apt.log")"
dpkg-deb --extract "$work"/chromium-common_*.deb "$work/package" || fail 3 "the package could not be unpacked"
for file in libvk_swiftshader.so vk_swiftshader_icd.json; do
    found=$(find "$work/package" -name $file -print -quit)
    [ -n "$found" ] || fail 3 "the package holds no $file"
    mv "$found" "$dir/" # the list of drivers last: it says that all is there
done
