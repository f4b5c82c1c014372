#!/usr/bin/env bash
# Runs a command in a clean clone of this repository inside a Debian of its own, made with debootstrap.
#
# usage: tests/root.sh NAME [COMMAND [ARGUMENT ...]]
#   NAME      debian13         Debian 13 (trixie) and its Mesa
#             debian13-mesa26  the same with Mesa of trixie-backports
#   COMMAND   runs in the clone, as root and with nothing installed but git; without one the root is only made
# The clone holds what is committed. Root and clone stay in build/roots/NAME, so that a second run is quick; remove that
# folder for a fresh start. On the first use debian13-mesa26 copies debian13, what is built in it included, where that exists.
# exit: the command's, 2 usage, 77 a root cannot be made here (one sentence on standard error says why), 3 making it failed
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mirror=http://deb.debian.org/debian
needed_kib=$((8 * 1024 * 1024)) # root, packages, clone, build and models

usage() { sed -n '3,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
cannot() { echo "tests/root.sh: no root can be made: $1" >&2; exit 77; }
fail() { echo "tests/root.sh: $1" >&2; exit 3; }

name=${1-}
case $name in debian13 | debian13-mesa26) ;; *) usage ;; esac
shift
roots=$here/build/roots
root=$roots/$name
log=$roots/$name.log

# ---- what a root takes ----
[ "$(id -u)" -eq 0 ] || cannot "it takes the rights of root"
[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || cannot "this machine is not a Debian or Ubuntu of amd64"
unshare --mount --pid --fork true 2>/dev/null || cannot "this machine does not allow mounts"
mkdir -p "$roots"
if [ ! -e "$root/made" ]; then
    free_kib=$(df --output=avail -k "$roots" | tail -n 1)
    [ "$free_kib" -ge $needed_kib ] || cannot "it takes 8 GiB in $roots, and $((free_kib / 1024)) MiB are free"
fi
# As in the name space of enter() below: nothing mounted here outlives the command.
in_root='
    root=$1; shift
    mount --make-rprivate /
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    [ -d "$root/sys/kernel" ] || mount -t sysfs -o ro sysfs "$root/sys" || mount --rbind /sys "$root/sys"
    exec chroot "$root" "$@"'

# enter ROOT COMMAND...: an empty environment, but for what says how this machine reaches the network.
enter() {
    local place=$1 words
    shift
    words=(HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
        DEBIAN_FRONTEND=noninteractive)
    local variable
    for variable in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY PIP_INDEX_URL PIP_CERT \
        PIP_DEFAULT_TIMEOUT SSL_CERT_FILE GIT_SSL_CAINFO; do
        [ -z "${!variable-}" ] || words+=("$variable=${!variable}")
    done
    unshare --mount --pid --fork --kill-child bash -euc "$in_root" in_root "$place" /usr/bin/env -i "${words[@]}" "$@"
}

# ---- making it ----
make_debian13() {
    if ! command -v debootstrap >/dev/null; then
        { apt-get update && apt-get install -y --no-install-recommends debootstrap; } >>"$log" 2>&1 ||
            cannot "debootstrap could not be installed"
    fi
    debootstrap --variant=minbase --include=ca-certificates,git trixie "$1" "$mirror" >>"$log" 2>&1 || return
    # A machine behind a proxy has certificates of its own.
    if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
        cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/"
        enter "$1" update-ca-certificates >>"$log" 2>&1
    fi
}
make_debian13-mesa26() {
    if [ -e "$roots/debian13/made" ]; then
        cp -a --reflink=auto "$roots/debian13" "$1" && rm -f "$1/made" || return
    else
        make_debian13 "$1" || return
    fi
    echo "deb $mirror trixie-backports main" >"$1/etc/apt/sources.list.d/backports.list"
    { enter "$1" apt-get update && enter "$1" apt-get install -y --no-install-recommends -t trixie-backports \
        mesa-vulkan-drivers; } >>"$log" 2>&1
}
if [ ! -e "$root/made" ]; then
    : >"$log"
    rm -rf --one-file-system "$root" "$root.part"
    "make_$name" "$root.part" || { tail -n 5 "$log" >&2; fail "$name could not be made; $log has all of it."; }
    mv "$root.part" "$root"
    touch "$root/made"
fi

# ---- the clone ----
commit=$(git -C "$here" rev-parse HEAD) || fail "$here is not a git checkout, so there is nothing to clone."
[ -z "$(git -C "$here" status --porcelain --untracked-files=no)" ] ||
    echo "tests/root.sh: the clone holds commit ${commit:0:12}, without what is changed and not committed." >&2
clone=$root/root/tandem
if [ ! -d "$clone/.git" ]; then
    git clone --quiet --no-hardlinks "$here" "$clone" || fail "the repository could not be cloned."
fi
git -C "$clone" fetch --quiet "$here" HEAD && git -C "$clone" checkout --quiet --force --detach "$commit" &&
    git -C "$clone" clean --quiet -fd || fail "the clone could not be brought to ${commit:0:12}."
[ $# -gt 0 ] || exit 0
enter "$root" bash -c 'cd /root/tandem && exec "$@"' command "$@"
