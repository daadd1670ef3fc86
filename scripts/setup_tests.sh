#!/bin/sh
# Installs the dependencies of the checks and the tests; existing installations are not changed.
#
#   scripts/setup_tests.sh               all parts except deny: everything that the tests need
#   scripts/setup_tests.sh PART...       only these: redis, nextest, deny, browser, python, node, faketime, nginx, prometheus
set -eu
cd "$(dirname "$0")/.."

VENV=${CARGO_TARGET_DIR:-target}/test-venv
REQUIREMENTS=tests/requirements.txt
NODE=${CARGO_TARGET_DIR:-target}/test-node
PACKAGES=tests/interoperability

say() { echo "setup_tests: $*"; }

fail() {
    echo "setup_tests: $*" >&2
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

apt_install() {
    scripts/apt_install.sh "$@"
}

# Installs a cargo tool, built without optimisation: an optimised build takes longer than it saves.
setup_cargo_tool() {
    if ! cargo "$1" --version >/dev/null 2>&1; then
        say "building cargo-$1 (a few minutes, once)"
        cargo install --quiet --locked --debug "cargo-$1"
    fi
}

find_first() {
    for name in "$@"; do
        if command -v "$name" >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

setup_browser() {
    if find_first chromium chromium-browser google-chrome && find_first chromedriver; then
        return 0
    fi
    say "installing chromium and its driver"
    if command -v apt-get >/dev/null 2>&1; then
        # Ubuntu uses other package names.
        apt_install chromium chromium-driver || apt_install chromium-browser chromium-chromedriver
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q chromium chromedriver
    elif command -v brew >/dev/null 2>&1; then
        brew install --quiet --cask google-chrome chromedriver
    else
        fail "chromium or chromedriver is missing: install both manually"
    fi
}

setup_python() {
    if cmp -s "$REQUIREMENTS" "$VENV/installed.txt"; then
        return 0
    fi
    if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
        say "installing python3 with venv"
        if command -v apt-get >/dev/null 2>&1; then
            apt_install python3 python3-venv
        elif command -v dnf >/dev/null 2>&1; then
            as_root dnf install -y -q python3
        elif command -v brew >/dev/null 2>&1; then
            brew install --quiet python3
        else
            fail "python3 with its venv module is missing: install it manually"
        fi
    fi
    say "installing the Python tools of the tests into $VENV"
    rm -rf "$VENV"
    python3 -m venv "$VENV"
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --requirement "$REQUIREMENTS"
    # Written last, so that an interrupted installation is repeated.
    cp "$REQUIREMENTS" "$VENV/installed.txt"
}

setup_node() {
    if ! find_first node || ! find_first npm; then
        say "installing Node.js with npm"
        if command -v apt-get >/dev/null 2>&1; then
            apt_install nodejs npm
        elif command -v dnf >/dev/null 2>&1; then
            as_root dnf install -y -q nodejs npm
        elif command -v brew >/dev/null 2>&1; then
            brew install --quiet node
        else
            fail "node or npm is missing: install both manually"
        fi
    fi
    if cmp -s "$PACKAGES/package-lock.json" "$NODE/installed.json"; then
        return 0
    fi
    say "installing the Node packages of the tests into $NODE"
    rm -rf "$NODE"
    mkdir -p "$NODE"
    cp "$PACKAGES/package.json" "$PACKAGES/package-lock.json" "$NODE"
    npm ci --prefix "$NODE" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cp "$NODE/package-lock.json" "$NODE/installed.json"
}

setup_faketime() {
    if find_first faketime; then
        return 0
    fi
    say "installing faketime"
    if command -v apt-get >/dev/null 2>&1; then
        apt_install faketime
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q libfaketime
    elif command -v brew >/dev/null 2>&1; then
        brew install --quiet libfaketime
    else
        fail "faketime is missing: install libfaketime manually"
    fi
}

setup_nginx() {
    # Debian installs it into a directory that is only on root's PATH.
    if find_first nginx /usr/sbin/nginx; then
        return 0
    fi
    say "installing nginx; its system service is neither started nor enabled"
    if command -v apt-get >/dev/null 2>&1; then
        apt_install nginx
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q nginx
    elif command -v brew >/dev/null 2>&1; then
        brew install --quiet nginx
    else
        fail "nginx is missing: install it manually"
    fi
}

setup_prometheus() {
    if find_first prometheus; then
        return 0
    fi
    say "installing prometheus; its system service is neither started nor enabled"
    if command -v apt-get >/dev/null 2>&1; then
        apt_install prometheus
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q golang-github-prometheus
    elif command -v brew >/dev/null 2>&1; then
        brew install --quiet prometheus
    else
        fail "prometheus is missing: install it manually"
    fi
}

[ $# -gt 0 ] || set -- redis nextest browser python node faketime nginx prometheus
for part in "$@"; do
    case $part in
        redis) scripts/setup_redis.sh ;;
        nextest | deny) setup_cargo_tool "$part" ;;
        browser) setup_browser ;;
        python) setup_python ;;
        node) setup_node ;;
        faketime) setup_faketime ;;
        nginx) setup_nginx ;;
        prometheus) setup_prometheus ;;
        *)
            fail "unknown part \`$part\`; the comment at the top of this script lists the parts"
            ;;
    esac
done
