#!/bin/sh
# Prepares the append-only files of a data directory before Redis starts: repair_aof.sh /data
#
# The changes of a script are a transaction in the file. If a crash tears one within a command, Redis cuts the file behind its
# MULTI, after the last whole command. The next restart then applies a part of a transaction that was never acknowledged.
# redis-check-aof cuts the file before the MULTI. This script lets it, but only if the file ends in the middle of
# something: anywhere else, the cut would remove all that follows, so people must decide.
#
# CHECK is the program to use instead of redis-check-aof.
set -eu

manifest=${1:?the data directory}/appendonlydir/appendonly.aof.manifest
CHECK=${CHECK:-redis-check-aof}

say() { echo "repair_aof: $*" >&2; }

[ -s "$manifest" ] || exit 0
if ! command -v "$CHECK" >/dev/null 2>&1; then
    say "$CHECK is missing, so the append-only files are not checked"
    exit 0
fi
report=$("$CHECK" "$manifest" 2>&1) && exit 0
case $report in
    *Unexpected*) is_torn=no ;;
    # A read that ended with the file: of an argument, of the line behind it, or of the next command.
    *"Reached EOF"* | *"Expected to read "* | *"got: 000d"* | *"got: 000a"* | *"got: 0d00"* | *"got: 0000"*) is_torn=yes ;;
    *) is_torn=no ;;
esac
if [ "$is_torn" = yes ]; then
    say "cuts off what a crash left at the end: $(printf '%s\n' "$report" | grep 'AOF analyzed' | tail -n 1)"
    echo y | "$CHECK" --fix "$manifest" >/dev/null
else
    say "leaves a damaged append-only file as it is, see redis-check-aof: $report"
fi
