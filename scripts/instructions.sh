#!/bin/sh
# Prints the number of user instructions per request of the service, counted by callgrind; see docs/benchmarks.md.
#
#   scripts/instructions.sh [ENDPOINT...]    live, get, check, webdis-get; default: all that are installed
#
# GTX_BINARY selects another binary. The profiles stay in target/instructions for callgrind_annotate.
set -eu
cd "$(dirname "$0")/.."

TARGET=${CARGO_TARGET_DIR:-target}
OUTPUT=$TARGET/instructions
BINARY=${GTX_BINARY:-$TARGET/release/gridtokenx-redis}
# The difference between two runs excludes the start, the connections and the shutdown.
FEW=2000
MANY=12000
# The time limit of one run, in seconds.
LIMIT=300
VALUE=$(printf 'gridtokenx%.0s' 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20)
CHECK='{"limiter":"bench","key":"client-7"}'

scratch=
redis_pid=
server_pid=

say() { echo "instructions: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

clean_up() {
    [ -z "$server_pid" ] || kill -9 "$server_pid" 2>/dev/null || true
    [ -z "$redis_pid" ] || kill "$redis_pid" 2>/dev/null || true
    [ -z "$scratch" ] || rm -rf "$scratch"
}

install_tools() {
    scripts/setup_redis.sh
    missing=
    for program in valgrind python3; do
        command -v "$program" >/dev/null 2>&1 || missing="$missing $program"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "needs$missing on PATH, and apt-get is not available to install them"
    say "installing$missing with apt-get"
    # shellcheck disable=SC2086 # a list of packages
    scripts/apt_install.sh $missing
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_redis() {
    redis-server --port "$redis_port" --bind 127.0.0.1 --unixsocket "$scratch/redis.sock" --save '' --appendonly no \
        --dir "$scratch" >"$scratch/redis.log" 2>&1 &
    redis_pid=$!
    attempts=0
    until [ -S "$scratch/redis.sock" ]; do
        attempts=$((attempts + 1))
        [ "$attempts" -lt 100 ] || fail "redis-server did not start: $(cat "$scratch/redis.log")"
        # A shell cannot wait for a file without polling.
        sleep 0.1
    done
}

# The timeouts are long because a process under valgrind is about 50 times slower.
write_configuration() {
    cat >"$scratch/service.toml" <<TOML
[http]
workers = 1
request_deadline = "60s"
streaming_deadline = "60s"
header_timeout = "60s"
shutdown_deadline = "60s"
[redis]
command_timeout = "30s"
connect_timeout = "30s"
[log]
level = "error"
[[ratelimit.limiters]]
name = "bench"
key = "rate_limit:bench:{key}"
strategy = { kind = "gcra", limit = 10000, period = "1s", burst = 100000000 }
without_redis = "closed"
TOML
    cat >"$scratch/webdis.json" <<JSON
{"redis_host": "127.0.0.1", "redis_port": $redis_port, "redis_auth": null, "database": 0, "http_host": "127.0.0.1",
 "http_port": $port, "threads": 1, "daemonize": false, "verbosity": 0, "logfile": "$scratch/webdis.log"}
JSON
}

load() {
    timeout "$LIMIT" python3 benches/instructions/load.py "127.0.0.1:$port" "$@"
}

start_server() {
    case $1 in
        webdis-get) set -- webdis "$scratch/webdis.json" ;;
        *) set -- "$BINARY" --config "$scratch/service.toml" ;;
    esac
    env REDIS_URL="unix://$scratch/redis.sock" PORT="$port" \
        valgrind --tool=callgrind --callgrind-out-file="$profile" --quiet "$@" >"$scratch/server.log" 2>&1 &
    server_pid=$!
}

stop_server() {
    kill "$server_pid"
    wait "$server_pid" || true
    server_pid=
}

# Sends $2 requests to a new server and stores the number of its instructions in `counted`.
count() {
    profile=$OUTPUT/$1-$2.callgrind
    rm -f "$profile"
    start_server "$1"
    case $1 in
        live) load "$2" GET /health/live ;;
        get)
            load 1 PUT /cache/bench:value "$VALUE" text/plain && load "$2" GET /cache/bench:value
            ;;
        check) load "$2" POST /ratelimit/check "$CHECK" application/json ;;
        webdis-get) load "$2" GET /GET/bench:value ;;
        *) fail "unknown endpoint \`$1\`" ;;
    esac || fail "the load failed: $(cat "$scratch/server.log")"
    stop_server
    counted=$(sed -n 's/^totals: //p' "$profile")
    [ -n "$counted" ] || fail "callgrind wrote no total: $(cat "$scratch/server.log")"
}

trap clean_up EXIT
trap 'exit 130' INT TERM HUP
install_tools
[ -n "${GTX_BINARY:-}" ] || cargo build --locked --release --quiet
mkdir -p "$OUTPUT"
scratch=$(mktemp -d)
redis_port=$(free_port)
port=$(free_port)
start_redis
redis-cli -s "$scratch/redis.sock" set bench:value "$VALUE" >/dev/null
write_configuration

if [ $# -eq 0 ]; then
    set -- live get check
    if command -v webdis >/dev/null 2>&1; then set -- "$@" webdis-get; fi
fi
for endpoint in "$@"; do
    count "$endpoint" "$FEW"
    few=$counted
    count "$endpoint" "$MANY"
    echo "$endpoint: $(((counted - few) / (MANY - FEW))) instructions per request"
done
