#!/bin/sh
# Makes an encrypted backup of Redis and removes the backups that are no longer kept. One line of a crontab is enough:
#   15 3 * * * gridtokenx /opt/gridtokenx/scripts/redis_backup.sh /etc/gridtokenx/redis.toml
#
#   scripts/redis_backup.sh [CONFIG]
#
# CONFIG is the configuration file of the service, with [backup]. GRIDTOKENX_REDIS names the binary if it is not in PATH.
# Exit codes: 0 the backup is complete and its file is what was written, 1 it failed, 64 the configuration is wrong,
# 69 Redis cannot be reached.
set -eu

binary=${GRIDTOKENX_REDIS:-gridtokenx-redis}

run() {
    if [ -n "${config:-}" ]; then
        "$binary" "$@" --config "$config"
    else
        "$binary" "$@"
    fi
}

config=${1:-}
if [ $# -gt 1 ]; then
    echo "redis_backup: at most one argument, the configuration file" >&2
    exit 64
fi
# A backup also prunes, after it is complete.
run backup
run backup verify
