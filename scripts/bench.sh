#!/bin/sh
# Measures the service and comparable services; writes target/bench/report.md. Arguments select parts (see
# benches/service).
#
# Installs wrk, webdis, redis-benchmark, Node.js and nchan (Debian, Ubuntu) if they are missing; the system services of
# webdis and nginx are neither started nor enabled. No process keeps running afterwards, even if this script is interrupted.
set -eu
cd "$(dirname "$0")/.."

OUTPUT=${CARGO_TARGET_DIR:-target}/bench
FASTIFY=benches/peers/fastify
cargo_pid=
scratch=

say() { echo "bench: $*"; }

# Field 22 of proc(5), counted after the name, which may contain spaces.
start_ticks() {
    sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# The harness records the id of every process that it starts; this ends the processes that it could not end itself.
clean_up() {
    [ -z "$cargo_pid" ] || kill "$cargo_pid" 2>/dev/null || true
    if [ -f "$OUTPUT/pids" ]; then
        while read -r pid started; do
            if [ "$(start_ticks "$pid")" = "$started" ]; then kill "$pid" 2>/dev/null || true; fi
        done <"$OUTPUT/pids"
        rm -f "$OUTPUT/pids"
    fi
    [ -z "$scratch" ] || rm -rf "$scratch"
}

install_peers() {
    missing=
    for program in redis-server wrk webdis npm; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    command -v redis-benchmark >/dev/null 2>&1 || missing="$missing redis-tools"
    [ -f /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing="$missing nginx-light libnginx-mod-nchan"
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null 2>&1; then
        say "needs$missing on PATH, and apt-get is not available to install them" >&2
        exit 1
    fi
    say "installing$missing with apt-get; no system service is started or enabled"
    # shellcheck disable=SC2086 # a list of packages
    scripts/apt_install.sh $missing
}

# Installs the packages in the lock file of the Node peer.
install_fastify() {
    if cmp -s "$FASTIFY/package-lock.json" "$OUTPUT/fastify/installed.json"; then
        return 0
    fi
    say "installing the packages of the Node peer into $OUTPUT/fastify"
    rm -rf "$OUTPUT/fastify"
    mkdir -p "$OUTPUT/fastify"
    cp "$FASTIFY/package.json" "$FASTIFY/package-lock.json" "$OUTPUT/fastify"
    npm ci --prefix "$OUTPUT/fastify" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    # Written last, so that an interrupted installation is repeated.
    cp "$FASTIFY/package-lock.json" "$OUTPUT/fastify/installed.json"
}

trap clean_up EXIT
trap 'exit 130' INT TERM HUP
install_peers
mkdir -p "$OUTPUT"
install_fastify
rm -f "$OUTPUT/pids"
scratch=$(mktemp -d)
# In the background, since a shell does not handle signals while it waits for a foreground command.
TMPDIR=$scratch cargo bench --locked --quiet --bench service -- "$@" &
cargo_pid=$!
wait "$cargo_pid"
cargo_pid=
