#!/usr/bin/env bash
# Installs what building, testing and sweeping need, if any of it is missing: Debian/Ubuntu packages, and NVIDIA's
# compiler from PyPI (into build/cuda-toolkit) where the machine has none, and its ptxas of CUDA 12.2. A GPU or its driver is not needed.
# usage: bench/setup.sh [--no-install]     exit 3: something is missing and could not (or must not) be installed
set -euo pipefail

packages=(
    build-essential cmake ninja-build pkg-config git ca-certificates
    glslc spirv-tools libvulkan-dev libvulkan1 mesa-vulkan-drivers vulkan-validationlayers
    libcmocka-dev libcjson-dev abigail-tools
    python3 python3-pip python3-venv python3-matplotlib
)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
toolkit=$root/build/cuda-toolkit # where CMake looks, too

# The nvcc that CMake would take (in its order), and whether it can build the plugin: CUDA 12.5, headers included.
usable_nvcc() {
    local nvcc release
    for nvcc in "${CUDACXX:-}" "$toolkit/bin/nvcc" nvcc /usr/local/cuda/bin/nvcc; do
        nvcc=$(command -v "$nvcc") || continue
        release=$("$nvcc" --version 2>/dev/null | sed -n 's/.*release \([0-9.]*\).*/\1/p')
        [ "$(printf '%s\n' 12.5 "${release:-0}" | sort -V | head -n 1)" = 12.5 ] || return 1
        echo '#include <cuda_fp16.h>' | "$nvcc" -x cu -E -o /dev/null - 2>/dev/null
        return
    done
    return 1
}

# What nvcc 13.0 and the headers that kernels include consist of on PyPI; kernels are compiled, never run, with it.
install_nvcc() {
    if usable_nvcc; then
        return 0
    fi
    if [ "$1" = --no-install ]; then
        echo "setup: nvcc of CUDA 12.5 or newer is missing, not installed because of --no-install" >&2
        exit 3
    fi
    echo "setup: installing nvcc 13.0 into build/cuda-toolkit" >&2
    mkdir -p "$root/build"
    if ! { python3 -m venv "$root/build/cuda-venv" && "$root/build/cuda-venv/bin/pip" install --quiet \
        "nvidia-cuda-nvcc==13.0.*" "nvidia-nvvm==13.0.*" "nvidia-cuda-crt==13.0.*" "nvidia-cuda-runtime==13.0.*" \
        "nvidia-cuda-cccl==13.0.*"; } >&2; then
        echo "setup: pip could not install nvcc" >&2
        exit 3
    fi
    ln -sfn "$(echo "$root"/build/cuda-venv/lib/python3*/site-packages/nvidia/cu13)" "$toolkit"
    usable_nvcc || { echo "setup: the packages of PyPI do not make a working nvcc" >&2; exit 3; }
}

# The ptxas of CUDA 12.2, into build/cuda-ptxas, where CMake looks first: its machine code runs on every driver that the
# plugin takes. Without it the plugin is built, too; drivers older than nvcc's major version then compile the kernels.
install_ptxas() {
    [ ! -x "$root/build/cuda-ptxas/bin/ptxas" ] || return 0
    if [ "$1" = --no-install ]; then
        echo "setup: ptxas of CUDA 12.2 is not there (build/cuda-ptxas); nvcc's own will do" >&2
        return 0
    fi
    echo "setup: installing ptxas of CUDA 12.2 into build/cuda-ptxas" >&2
    mkdir -p "$root/build"
    if ! { python3 -m venv "$root/build/cuda-venv" && "$root/build/cuda-venv/bin/pip" install --quiet --no-deps \
        "nvidia-cuda-nvcc-cu12==12.2.*"; } >&2; then
        echo "setup: pip could not install ptxas of CUDA 12.2; nvcc's own will do" >&2
        return 0
    fi
    ln -sfn "$(echo "$root"/build/cuda-venv/lib/python3*/site-packages/nvidia/cuda_nvcc)" "$root/build/cuda-ptxas"
    if ! "$root/build/cuda-ptxas/bin/ptxas" --version >/dev/null; then
        echo "setup: the ptxas of PyPI does not run; nvcc's own will do" >&2
        rm -f "$root/build/cuda-ptxas" # CMake would take it
    fi
}

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    install_nvcc "${1:-}"
    install_ptxas "${1:-}"
    exit 0
fi

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
install_nvcc "${1:-}"
install_ptxas "${1:-}"
