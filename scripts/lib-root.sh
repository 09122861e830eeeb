# shellcheck shell=bash
# Debian systems in a folder ("roots"), to build and test in without touching
# this one. Sourced after lib.sh, by scripts that run as root on Debian or
# Ubuntu.

roots=${PGQ_ROOTS:-$top/build/roots}
ubuntu_mirror=${PGQ_UBUNTU_MIRROR:-http://archive.ubuntu.com/ubuntu}
security_mirror=${PGQ_SECURITY_MIRROR:-http://deb.debian.org/debian-security}

# What a root needs of this system; says what to do when it is not there.
need_roots() {
    local p
    [ "$(id -u)" = 0 ] || die "making and entering a Debian root needs root: sudo $0"
    for p in debootstrap unshare chroot; do
        command -v "$p" >/dev/null \
            || die "no program $p: scripts/install-deps --roots installs it"
    done
    unshare --mount --pid --fork true 2>/dev/null \
        || die "no right to make namespaces here (a container without CAP_SYS_ADMIN?)"
}

# Sets $ubuntu_keyring, which Debian has no package for: the one of Ubuntu's
# package with this checksum.
need_ubuntu_keyring() {
    local deb=ubuntu-keyring_2021.03.26_all.deb
    local sum=0d0e7ed6b112f5d03eabf3c7eb01ebdacf9c57714b279e90495cfc58c8c4520f
    ubuntu_keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
    [ ! -f "$ubuntu_keyring" ] || return 0
    ubuntu_keyring=$roots/keyring$ubuntu_keyring
    [ ! -f "$ubuntu_keyring" ] || return 0
    mkdir -p "$roots/keyring"
    wget -q -O "$roots/$deb" "$ubuntu_mirror/pool/main/u/ubuntu-keyring/$deb" \
        || die "no $deb at $ubuntu_mirror"
    echo "$sum  $roots/$deb" | sha256sum --check --status \
        || die "$roots/$deb is not what it should be"
    dpkg-deb -x "$roots/$deb" "$roots/keyring"
}

# make_root RELEASE [NAME]: makes $roots/RELEASE, or $roots/NAME, unless it is
# there. A root that was not finished is thrown away. Release experimental is sid,
# with PostgreSQL's packages from experimental.
make_root() {
    local release=$1 root=$roots/${2:-$1} mirror=${PGQ_MIRROR:-}
    local options=(--variant=minbase) experimental=
    [ -f "$root/.made" ] && return 0
    case $release in
    jammy | noble)
        need_ubuntu_keyring
        options+=(--components=main,universe --keyring="$ubuntu_keyring")
        mirror="$ubuntu_mirror gutsy"
        ;;
    esac
    if [ "$release" = experimental ]; then
        experimental=1
        release=sid
    fi
    say "Making a root of $release in $root"
    rm -rf "$root"
    mkdir -p "$roots"
    # shellcheck disable=SC2086
    debootstrap "${options[@]}" "$release" "$root" $mirror \
        >"$root.log" 2>&1 \
        || { tail -n 5 "$root.log" >&2; die "debootstrap $release failed: $root.log"; }
    # a mirror of sid may be older than its signature says
    printf '%s\n' 'Acquire::Languages "none";' \
        'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90pgq"
    # the minor release that users have
    case $release in
    bookworm | trixie)
        echo "deb $security_mirror $release-security main" \
            >>"$root/etc/apt/sources.list"
        ;;
    esac
    if [ -n "$experimental" ]; then
        sed 's/ sid / experimental /' "$root/etc/apt/sources.list" \
            >"$root/etc/apt/sources.list.d/experimental.list"
        printf '%s\n' 'Package: postgresql* libpq*' \
            'Pin: release a=experimental' 'Pin-Priority: 900' \
            >"$root/etc/apt/preferences.d/postgresql"
    fi
    # no daemon starts because a package was installed
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    touch "$root/.made"
}

# in_root ROOT COMMAND...: runs it there as root, in a process tree and with
# mounts of its own, all of which end with it.
in_root() {
    local root=$1
    shift
    cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child sh -ec '
        root=$1; shift
        mount -t proc proc "$root/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount --rbind /dev "$root/dev"
        mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
        exec chroot "$root" "$@"' in_root "$root" \
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        DEBIAN_FRONTEND=noninteractive \
        ${http_proxy:+http_proxy="$http_proxy"} \
        ${https_proxy:+https_proxy="$https_proxy"} \
        ${JOBS:+JOBS="$JOBS"} \
        ${TAP_DIR:+TAP_DIR="$TAP_DIR"} \
        ${TAP_TIMEOUT:+TAP_TIMEOUT="$TAP_TIMEOUT"} \
        ${PGQ_DEPS:+PGQ_DEPS="$PGQ_DEPS"} \
        ${PGQ_CLUSTER_SECONDS:+PGQ_CLUSTER_SECONDS="$PGQ_CLUSTER_SECONDS"} \
        "$@"
}

# The release of Debian or Ubuntu that has a version.
release_of() {
    case $1 in
    14) echo jammy ;;
    15) echo bookworm ;;
    16) echo noble ;;
    17) echo trixie ;;
    18) echo sid ;;
    19) echo experimental ;;
    *) die "no release is known to have PostgreSQL $1: take 14 to 19" ;;
    esac
}

# need_root_of VERSION: sets $root, the root of the release that has it, with
# the sources and what building and testing need.
need_root_of() {
    need_roots
    root=$roots/$(release_of "$1")
    make_root "$(release_of "$1")"
    copy_sources "$root/pgq"
    in_root "$root" env PGVERSION="$1" /pgq/scripts/install-deps
}
