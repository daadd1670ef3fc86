#!/bin/sh
# Tells whether a Redis server works, in one line, for monitoring by exit status:
#
#   scripts/redis_health_check.sh [OPTIONS OF redis-cli]     for example: -h redis -p 6379 --user gridtokenx
#
# REDISCLI_AUTH is the password. Exit status:
#   0  the server works
#   1  it works with less safety: it refuses writes, is nearly full, cannot save, or has lost its master
#   2  it does not answer, or refuses connections
set -u

# The share of maxmemory, percent, above which memory is a reason.
NEARLY_FULL=90

say() {
    echo "redis: $2"
    exit "$1"
}

command -v redis-cli >/dev/null 2>&1 || say 2 "redis-cli is not installed"

# redis-cli exits with 0 even if the reply is an error, so the reply decides.
reply=$(timeout 5 redis-cli "$@" PING 2>&1)
case $reply in
    PONG) ;;
    MISCONF*) say 1 "refuses writes, because it cannot save: ${reply%%.*}" ;;
    "") say 2 "does not answer" ;;
    *) say 2 "$(echo "$reply" | head -n 1)" ;;
esac

info=$(timeout 5 redis-cli "$@" INFO 2>&1 | tr -d '\r')
field() { echo "$info" | sed -n "s/^$1://p" | head -n 1; }
[ -n "$(field redis_version)" ] || say 1 "answers PING, but not INFO: $(echo "$info" | head -n 1)"

reasons=""
reason() { reasons="$reasons${reasons:+; }$1"; }
[ "$(field loading)" != 1 ] || say 2 "loads its data"
[ "$(field rdb_last_bgsave_status)" = ok ] || reason "the last snapshot failed"
[ "$(field aof_enabled)" = 0 ] || [ "$(field aof_last_write_status)" = ok ] || reason "the append-only file cannot be written"
[ "$(field role)" != slave ] || [ "$(field master_link_status)" = up ] || reason "the master is not connected"
limit=$(field maxmemory)
used=$(field used_memory)
if [ "${limit:-0}" -gt 0 ] && [ $((used * 100 / limit)) -ge "$NEARLY_FULL" ]; then
    reason "$((used * 100 / limit))% of maxmemory is used"
fi
[ -z "$reasons" ] || say 1 "$reasons"
say 0 "works, version $(field redis_version), $(field role)"
