#!/bin/sh
# Installs redis-server if it is missing.
#
# The service and the tests start private servers: the system service of the package is neither started nor enabled.
# An existing redis-server is not changed.
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

if command -v redis-server >/dev/null 2>&1; then
    exit 0
fi

if command -v apt-get >/dev/null 2>&1; then
    say "installing redis-server with apt-get; its system service is neither started nor enabled"
    "$(dirname "$0")/apt_install.sh" redis-server
elif command -v dnf >/dev/null 2>&1; then
    # dnf neither starts nor enables services. Newer Fedora releases provide Valkey with Redis's command names instead.
    say "installing redis-server with dnf; its system service is neither started nor enabled"
    as_root dnf install -y -q redis || as_root dnf install -y -q valkey-compat-redis
elif command -v brew >/dev/null 2>&1; then
    say "installing redis with brew; its service is not started"
    brew install --quiet redis
else
    fail "redis-server is missing, and apt-get, dnf and brew are not available: install Redis 7 manually"
fi

command -v redis-server >/dev/null 2>&1 || fail "the package was installed, but redis-server is not on PATH"
say "installed: $(redis-server --version)"
