#!/usr/bin/env bash
# Compares the ABI of the public headers with the committed dump.
# usage: check.sh LIBRARY            LIBRARY: surface.c, compiled with debug information (build/tests/libtandem_surface.so)
#        check.sh --update LIBRARY   writes the dump anew; CHANGELOG and abi_layout.def want a line too
#        check.sh --guard CC         shows that the comparison sees what it must, on changed copies of the headers
# exit: 0 equal, 1 not equal, 2 usage, 3 no libabigail (Debian package abigail-tools)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dump=$here/tandem.abi
command -v abidw >/dev/null && command -v abidiff >/dev/null || {
    echo "check.sh: abidw and abidiff were not found (Debian package abigail-tools)" >&2
    exit 3
}

differs() { # DUMP LIBRARY: 0 when equal; the differences on standard output
    abidiff --no-architecture --no-show-locs "$1" "$2"
}

guard() {
    local cc=$1 library
    copy=$(mktemp -d) # global: the trap outlives this function
    trap 'rm -rf "$copy"' EXIT
    library=$copy/surface.so
    # change WHAT FILE SED-EXPRESSION
    change() {
        rm -rf "$copy/include"
        cp -r "$here/../include" "$copy/include"
        sed -i "$3" "$copy/include/tandem/$2"
        cmp -s "$copy/include/tandem/$2" "$here/../include/tandem/$2" && {
            echo "check.sh: the change \"$1\" did not apply" >&2
            exit 1
        }
        "$cc" -std=c11 -g -shared -fPIC -I "$copy/include" "$here/surface.c" -o "$library"
        if differs "$dump" "$library" >"$copy/diff"; then
            echo "check.sh: nobody would have seen this: $1" >&2
            exit 1
        fi
        echo "seen: $1"
    }
    change "a slot moved" backend.h '/tandem_status (\*device_count)/{h;d};/get_interface/{G}'
    change "a slot retyped" backend.h 's/(\*device_count)(uint32_t \*n/(*device_count)(uint64_t *n/'
    change "a member of another type and the same size" program.h 's/uint32_t position; /int32_t position; /'
    change "a member inserted" kv.h 's/    uint32_t head_dim;/    uint32_t head_dim;\n    uint32_t groups;/'
    change "a member of an op appended" op.h 's/^} tandem_op_topk;/    uint64_t more;\n} tandem_op_topk;/'
    change "a longer string" program.h 's/char kernel\[64\]/char kernel[72]/'
}

case ${1:-} in
    --guard)
        [ $# -eq 2 ] || { sed -n '3,6s/^# //p' "$0" >&2; exit 2; }
        guard "$2"
        ;;
    --update)
        [ $# -eq 2 ] || { sed -n '3,6s/^# //p' "$0" >&2; exit 2; }
        abidw --no-corpus-path --no-comp-dir-path --no-show-locs --type-id-style hash --no-architecture "$2" |
            sed "s#path='[^']*surface.c'#path='surface.c'#" >"$dump"
        echo "wrote $dump"
        ;;
    '' | -*)
        sed -n '3,6s/^# //p' "$0" >&2
        exit 2
        ;;
    *)
        if ! differs "$dump" "$1"; then
            echo "The ABI is not that of $dump. Members may only be added at the end of a struct, slots only at the end of" >&2
            echo "the table; if this change does that, run: $0 --update $1" >&2
            exit 1
        fi
        ;;
esac
