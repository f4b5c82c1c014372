#!/usr/bin/env bash
# Installs a build tree into a fresh folder, and builds and runs a host and a plugin from nothing but what is there: once
# through the CMake package, once through pkg-config.
# usage: check.sh BUILD-FOLDER C-COMPILER [C-FLAGS]
set -euo pipefail
[ $# -ge 2 ] || { sed -n '4s/^# //p' "$0" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
build=$1 cc=$2 flags=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/stage
unset TANDEM_PLUGIN_PATH

die() {
    echo "check.sh: $1" >&2
    exit 1
}

# says EXPECTED COMMAND...: the command must succeed and print this line.
says() {
    local expected=$1 answer
    shift
    answer=$("$@") || die "failed: $* ($answer)"
    grep -qF "$expected" <<<"$answer" || die "\"$*\" said \"$answer\", not \"$expected\""
    echo "ok: $answer"
}

cmake --install "$build" --prefix "$stage" >/dev/null
mkdir "$work/source" # a copy: nothing of the source tree may be reached through ..
cp "$here"/*.c "$here/CMakeLists.txt" "$work/source"

# ---- CMake package ----
cmake -S "$work/source" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$stage" -DCMAKE_C_COMPILER="$cc" -DCMAKE_C_FLAGS="$flags" \
    >"$work/log" 2>&1 || { cat "$work/log"; die "the installed CMake package does not configure"; }
cmake --build "$work/cmake" >"$work/log" 2>&1 || { cat "$work/log"; die "the CMake build broke"; }
says "minimal on this process: right" "$work/cmake/host" "$work/cmake/libtandem_minimal.so"

# ---- pkg-config ----
export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$stage" -name tandem.pc)")
plugins=$(pkg-config --variable=plugindir tandem)
# shellcheck disable=SC2046,SC2086 # flags are words
"$cc" -std=c11 -Wall -Wextra -Werror $flags "$work/source/host.c" -o "$work/host" $(pkg-config --cflags --libs tandem-loader)
# shellcheck disable=SC2046,SC2086
"$cc" -std=c11 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden $flags "$work/source/minimal_plugin.c" \
    -o "$work/libtandem_minimal.so" $(pkg-config --cflags --libs tandem-kit)
says "minimal on this process: right" "$work/host" "$work/libtandem_minimal.so"
symbols=$(nm -D --defined-only "$work/libtandem_minimal.so" | awk '$2 == "T" {print $3}')
[ "$symbols" = tandem_backend_query ] || die "the plugin exports: $symbols"

# shellcheck disable=SC2046,SC2086
"$cc" -std=c11 -Wall -Wextra -Werror $flags "$work/source/embed.c" -o "$work/embed" $(pkg-config --cflags --libs libtandem)
for embed in "$work/embed" "$work/cmake/embed"; do
    says "4 tokens after 3" env LD_LIBRARY_PATH="$(dirname "$plugins")" "$embed" "$plugins/libtandem_reference.so"
done

# The header alone is enough for a plugin: no kit, no library.
# shellcheck disable=SC2046
printf '#include <tandem/tandem.h>\nint main(void) { return TANDEM_OK; }\n' |
    "$cc" -x c -std=c11 -pedantic -Werror - -o "$work/alone" $(pkg-config --cflags tandem)

# ---- the installed plugins, by name: from the environment, from a folder of one's own, and from the installed bin ----
says "reference on" env TANDEM_PLUGIN_PATH="$plugins" "$work/host" reference
cp "$work/host" "$stage/bin/"
says "reference on" "$stage/bin/host" reference
cp "$work/libtandem_minimal.so" "$plugins"
says "minimal on this process: right" "$stage/bin/host" minimal
if "$work/host" nosuch 2>"$work/log"; then
    die "a plugin was found where none can be"
fi
grep -q "there is no plugin nosuch" "$work/log" || die "no sentence for a plugin that is not there"
