# shellcheck shell=bash
# Debian systems in a folder ("roots"), to build and test in without touching
# this one. Sourced after lib.sh, by scripts that run as root on Debian or
# Ubuntu.

roots=${PGQ_ROOTS:-$top/build/roots}

# What a root needs of this system; says what to do when it is not there.
need_roots() {
    local p
    [ "$(id -u)" = 0 ] || die "making and entering a Debian root needs root: sudo $0"
    for p in debootstrap unshare chroot; do
        command -v "$p" >/dev/null \
            || die "no program $p: apt-get install debootstrap util-linux"
    done
    unshare --mount --pid --fork true 2>/dev/null \
        || die "no right to make namespaces here (a container without CAP_SYS_ADMIN?)"
}

# make_root RELEASE [NAME]: makes $roots/RELEASE, or $roots/NAME, unless it is
# there. A root that was not finished is thrown away.
make_root() {
    local release=$1 root=$roots/${2:-$1}
    [ -f "$root/.made" ] && return 0
    say "Making a root of Debian $release in $root"
    rm -rf "$root"
    mkdir -p "$roots"
    debootstrap --variant=minbase "$release" "$root" ${PGQ_MIRROR:-} \
        >"$root.log" 2>&1 \
        || { tail -n 5 "$root.log" >&2; die "debootstrap $release failed: $root.log"; }
    # a mirror of sid may be older than its signature says
    printf '%s\n' 'Acquire::Languages "none";' \
        'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/90pgq"
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
        "$@"
}
