#!/usr/bin/env bash
# Installs the Debian/Ubuntu packages that building, testing and sweeping need, if any is missing.
# usage: bench/setup.sh [--no-install]     exit 3: something is missing and could not (or must not) be installed
set -euo pipefail

packages=(
    build-essential cmake ninja-build pkg-config git ca-certificates
    glslc spirv-tools libvulkan-dev libvulkan1 mesa-vulkan-drivers vulkan-validationlayers
    libcmocka-dev libcjson-dev abigail-tools
    python3 python3-pip python3-venv python3-matplotlib
)

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "${1:-}" = --no-install ]; then
    echo "setup: missing packages, not installed because of --no-install: ${missing[*]}" >&2
    exit 3
fi
if ! command -v apt-get >/dev/null; then
    echo "setup: this machine has no apt-get; install the equivalents of: ${missing[*]}" >&2
    exit 3
fi
sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "setup: run as root, or install sudo, to get: ${missing[*]}" >&2; exit 3; }
    sudo=(sudo)
fi
echo "setup: installing ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${sudo[@]}" apt-get update && "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "setup: apt-get could not install: ${missing[*]}" >&2
    exit 3
fi
