#!/bin/sh
# Installs redis-server when it is missing.
#
# The packages of Debian and Ubuntu also start a system service. Nobody asked for one here: the service and the tests
# start private servers. So the start is prevented, and what the package enabled for the next boot is disabled.
# A redis-server that was there before is left as it is.
set -eu

say() { echo "setup_redis: $*"; }

fail() {
    echo "setup_redis: $*" >&2
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

POLICY=/usr/sbin/policy-rc.d
policy_is_ours=no

remove_policy() {
    if [ "$policy_is_ours" = yes ]; then
        policy_is_ours=no
        as_root rm -f "$POLICY"
    fi
}

# invoke-rc.d asks this file before it starts a service; 101 means no.
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
        as_root systemctl disable redis-server.service >/dev/null 2>&1 || say "could not disable redis-server.service"
        # Without a running systemd there is nothing to stop.
        if [ -d /run/systemd/system ]; then
            as_root systemctl stop redis-server.service || say "could not stop redis-server.service"
        fi
    elif [ -x /etc/init.d/redis-server ]; then
        as_root update-rc.d redis-server disable >/dev/null
        as_root /etc/init.d/redis-server stop >/dev/null 2>&1 || true
    fi
}

install_with_apt() {
    forbid_service_starts
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null
    remove_policy
    disable_service
}

if command -v redis-server >/dev/null 2>&1; then
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    say "installing redis-server with apt-get; its system service is neither started nor enabled"
    install_with_apt
elif command -v dnf >/dev/null 2>&1; then
    # dnf neither starts nor enables services. Newer Fedoras carry Valkey with Redis's command names instead.
    say "installing redis-server with dnf; its system service is neither started nor enabled"
    as_root dnf install -y -q redis || as_root dnf install -y -q valkey-compat-redis
elif command -v brew >/dev/null 2>&1; then
    say "installing redis with brew; its service is not started"
    brew install --quiet redis
else
    fail "redis-server is missing, and neither apt-get, dnf nor brew is here: install Redis 7 by hand"
fi

command -v redis-server >/dev/null 2>&1 || fail "the package was installed, but redis-server is not on PATH"
say "installed: $(redis-server --version)"
