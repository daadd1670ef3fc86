#!/bin/sh
# Starts a data node of a group with Sentinel as what the Sentinels say it is:
#   NODE=redis-2 SENTINELS="sentinel-1:26379 sentinel-2:26379 sentinel-3:26379" start_data_node.sh /data [options of redis-server]
#
# A node without data never becomes the master while a Sentinel that answers knows a replica: replicas would delete their data
# to follow it. The node waits until the Sentinels have named another master, and follows that one.
#
# A new group: start the Sentinels, which name the first node, and that node with FIRST=yes. Without an answer of a Sentinel,
# only a node with data starts.
#
# NODE is this node's name, as the Sentinels and replicas use it, PORT its port (6379), GROUP the name that the Sentinels know
# (gridtokenx), PATIENCE the seconds until the node gives up (60). The Sentinels' password, if any, is REDISCLI_AUTH.
set -eu

: "${NODE:?the name of this node}" "${SENTINELS:?the addresses of the Sentinels}"
PORT=${PORT:-6379}
GROUP=${GROUP:-gridtokenx}
PATIENCE=${PATIENCE:-60}
data=${1:?the data directory}
shift

say() { echo "start_data_node: $*" >&2; }

has_data() {
    [ -s "$data/dump.rdb" ] || [ -n "$(find "$data/appendonlydir" -type f -size +0 2>/dev/null | head -n 1)" ]
}

# The reply of the first Sentinel that has one, one element a line.
ask() {
    for sentinel in $SENTINELS; do
        # redis-cli ends with 0 for an error reply as well.
        reply=$(timeout 3 redis-cli -h "${sentinel%:*}" -p "${sentinel##*:}" SENTINEL "$1" "$GROUP" 2>/dev/null) || continue
        case $reply in
            '' | ERR* | NOAUTH* | WRONGPASS* | NOPERM*) ;;
            *)
                echo "$reply"
                return 0
                ;;
        esac
    done
    return 1
}

start() {
    [ -f "$data/replica.conf" ] || cp "$conf/replica.conf" "$data/"
    cp "$conf/redis.conf" "$data/"
    "$conf/repair_aof.sh" "$data"
    cd "$data"
    exec redis-server replica.conf --dir . --port "$PORT" --replica-announce-ip "$NODE" "$@"
}

conf=$(cd "$(dirname "$0")" && pwd)
waited=0
while :; do
    # Sentinels answer with the address, or with an empty line if they do not know the group.
    master=$(ask GET-MASTER-ADDR-BY-NAME | tr '\n' ' ') || true
    master=${master% }
    if [ -n "$master" ] && [ "$master" != "$NODE $PORT" ]; then
        say "follows ${master% *}:${master##* }, which the Sentinels name"
        start --replicaof "$master" "$@"
    elif has_data; then
        start "$@"
    elif [ -z "$master" ]; then
        say "has no data, and no Sentinel of $SENTINELS names a master"
        exit 1
    elif [ "${FIRST:-}" = yes ] && [ -z "$(ask REPLICAS)" ]; then
        say "begins a new group without data"
        start "$@"
    elif [ "$waited" -ge "$PATIENCE" ]; then
        say "has no data, but the Sentinels still name it as the master: promote a replica, restore the data, or begin a new group with FIRST=yes"
        exit 1
    fi
    say "has no data, and waits until the Sentinels name another master than this node"
    sleep 1
    waited=$((waited + 1))
done
