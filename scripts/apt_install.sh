#!/bin/sh
# Installs Debian or Ubuntu packages: scripts/apt_install.sh PACKAGE...
#
# Some packages also start a system service of the same name. The service, the tests and the benchmarks start private
# servers instead, so this script prevents the start and disables the system service.
set -eu

say() { echo "apt_install: $*"; }

fail() {
    echo "apt_install: $*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        fail "needs root for: $*; run it as root or install sudo"
    fi
}

# How long another package manager, such as the daily update, may hold a lock, in seconds.
LOCK_WAIT=600

# Runs apt-get. It waits for the lock of dpkg by itself, but not for the lock of its lists.
apt_get() {
    waited=0
    until output=$(as_root env LC_ALL=C DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -o "DPkg::Lock::Timeout=$LOCK_WAIT" "$@" 2>&1); do
        case $output in
            *"Could not get lock"*) ;;
            *) fail "apt-get $1: $output" ;;
        esac
        [ "$waited" -lt "$LOCK_WAIT" ] || fail "apt-get $1: another program still holds the lock: $output"
        [ "$waited" -gt 0 ] || say "waiting until another program releases apt's lock"
        waited=$((waited + 2))
        sleep 2
    done
}

POLICY=/usr/sbin/policy-rc.d
policy_is_ours=no

remove_policy() {
    if [ "$policy_is_ours" = yes ]; then
        policy_is_ours=no
        as_root rm -f "$POLICY"
    fi
}

# invoke-rc.d runs this file before it starts a service; exit status 101 forbids the start.
forbid_service_starts() {
    [ ! -e "$POLICY" ] || return 0
    trap remove_policy EXIT
    trap 'exit 130' INT TERM HUP
    policy_is_ours=yes
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
}

disable_service() {
    if command -v systemctl >/dev/null 2>&1; then
        systemctl cat "$1.service" >/dev/null 2>&1 || [ -e "/lib/systemd/system/$1.service" ] || return 0
        as_root systemctl disable "$1.service" >/dev/null 2>&1 || say "could not disable $1.service"
        # Without a running systemd there is nothing to stop.
        if [ -d /run/systemd/system ]; then
            as_root systemctl stop "$1.service" || say "could not stop $1.service"
        fi
    elif [ -x "/etc/init.d/$1" ]; then
        as_root update-rc.d "$1" disable >/dev/null
        as_root "/etc/init.d/$1" stop >/dev/null 2>&1 || true
    fi
}

forbid_service_starts
apt_get update
apt_get install -y --no-install-recommends "$@"
remove_policy
for package in "$@"; do
    disable_service "$package"
done
