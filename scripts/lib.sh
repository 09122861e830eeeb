# shellcheck shell=bash
# What the scripts share: messages, the server to use, the user to run it as.
# Sourced by bash scripts that have set $top, the source tree's root.

umask 022
export LC_ALL=C

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# can_build_extensions PG_CONFIG: are its PGXS and headers there? Debian's client
# package brings PGXS, but not the headers.
can_build_extensions() {
    [ -x "$1" ] && [ -f "$("$1" --pgxs)" ] \
        && [ -f "$("$1" --includedir-server)/postgres.h" ]
}

# Prints the path of a server's pg_config that can build extensions and has a
# server beside it: PG_CONFIG if set, else the newest of the distribution's
# or the one on the PATH. Fails if there is none.
find_pg_config() {
    local c list
    if [ -n "${PG_CONFIG:-}" ]; then
        list=$(command -v "$PG_CONFIG")
    else
        list=$(ls -d /usr/lib/postgresql/*/bin/pg_config 2>/dev/null | sort -Vr
               command -v pg_config)
    fi
    for c in $list; do
        if can_build_extensions "$c" && [ -x "$("$c" --bindir)/postgres" ]; then
            printf '%s\n' "$("$c" --bindir)/pg_config"
            return 0
        fi
    done
    return 1
}

# Sets $run_user: nobody special when we are an ordinary user, else the user
# that servers run as, since PostgreSQL refuses to run as root.
choose_run_user() {
    run_user=
    if [ "$(id -u)" = 0 ]; then
        run_user=nobody
        if id postgres >/dev/null 2>&1; then
            run_user=postgres
        fi
    fi
}

# as_run_user COMMAND...: runs it as $run_user, with a clean environment of its
# own, HOME in the stage.
as_run_user() {
    if [ -z "$run_user" ]; then
        "$@"
    else
        setpriv --reuid="$run_user" --regid="$(id -g "$run_user")" \
            --clear-groups --inh-caps=-all \
            env HOME="${stage:-/}" USER="$run_user" LOGNAME="$run_user" "$@"
    fi
}

# Sets $stage: an empty directory NAME that $run_user owns, for the private
# server tree and everything that runs. It is build/NAME, or a directory in
# $TMPDIR when $run_user can't reach the source tree (then $stage_is_temp is
# set and the caller removes it).
make_stage() {
    local name=$1 dir
    choose_run_user
    stage=$top/build/$name
    stage_is_temp=
    mkdir -p "$top/build"
    rm -rf "$stage"
    mkdir "$stage"
    [ -n "$run_user" ] || return 0
    chown "$run_user" "$stage"
    as_run_user test -w "$stage" && return 0
    rmdir "$stage"
    stage_is_temp=1
    for dir in "${TMPDIR:-/tmp}" /tmp; do
        stage=$(mktemp -d "$dir/pgq-$name.XXXXXX")
        chown "$run_user" "$stage"
        as_run_user test -w "$stage" && return 0
        rmdir "$stage"
    done
    die "user $run_user can write neither in $top/build nor in /tmp"
}

# Prints the configuration line that lets the server in BINDIR $1 load our output
# plugin; nothing if that server does not restrict plugins.
plugin_list_setting() {
    local settings
    settings=$("$1/postgres" --describe-config)
    if [[ $settings == *output_plugin_libraries* ]]; then
        echo "output_plugin_libraries = 'pgoutput, test_decoding, pgq'"
    fi
}

# Builds as the caller, against the server of PG_CONFIG $1, and installs into
# the private tree at $2. Sets $tree_pg_config, the tree's own pg_config. The
# objects of another server are thrown away first.
build_and_install() {
    local pg_config=$1 tree=$2 stamp=$top/build/built-for
    local want
    want=$("$pg_config" --version; "$pg_config" --bindir)
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$want" ]; then
        make -s -C "$top" PG_CONFIG="$pg_config" clean
        printf '%s\n' "$want" > "$stamp"
    fi
    make -s -C "$top" -j2 PG_CONFIG="$pg_config" all || return 1
    tree_pg_config=$("$top/scripts/private-tree" "$tree" "$pg_config") \
        || return 1
    make -s -C "$top" PG_CONFIG="$tree_pg_config" install \
        >/dev/null
}

# copy_sources DIR: the sources as they are now, without what was built from
# them, with their times.
copy_sources() {
    local to=$1
    rm -rf "$to"
    mkdir -p "$to"
    if git -C "$top" rev-parse --git-dir >/dev/null 2>&1; then
        (cd "$top" && git ls-files -z -co --exclude-standard \
            | while IFS= read -r -d '' f; do
                if [ -e "$f" ]; then printf '%s\0' "$f"; fi; done \
            | tar -c --null -T - -f -) | tar -x -f - -C "$to"
    else
        tar -c -C "$top" --exclude=./build --exclude='*.o' --exclude='*.so' \
            -f - . | tar -x -f - -C "$to"
    fi
}

# collect_reports FOUND COPY: puts into COPY/build/reports what checkers of memory
# left as FOUND/r.*, and the logs of COPY's scripts/check that sanitizers wrote to.
collect_reports() {
    local found=$1 copy=$2 log
    mkdir -p "$copy/build/reports"
    find "$found" -type f -name 'r.*' -size +0 \
        -exec cp -t "$copy/build/reports" {} +
    (cd "$copy/build/check-logs" \
        && grep -rlE 'Sanitizer|runtime error:' . || true) \
        | while read -r log; do
            cp "$copy/build/check-logs/$log" \
                "$copy/build/reports/$(tr / - <<<"${log#./}")"
        done
}
