#!/bin/sh
# Installs the dependencies of the checks and the tests; existing installations are not changed.
#
#   scripts/setup_tests.sh               all parts except deny and clients: everything that `make test` needs
#   scripts/setup_tests.sh PART...       only these: redis, nextest, deny, browser, python, node, faketime, nginx, postgres,
#                                        prometheus, age, clients
set -eu
cd "$(dirname "$0")/.."

TARGET=${CARGO_TARGET_DIR:-target}

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

# The web page is also in Thai.
setup_thai_font() {
    if command -v fc-list >/dev/null 2>&1 && [ -n "$(fc-list :lang=th)" ]; then
        return 0
    fi
    say "installing a Thai font"
    if command -v apt-get >/dev/null 2>&1; then
        apt_install fonts-tlwg-waree
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q thai-scalable-waree-fonts
    fi
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

# setup_python VENV REQUIREMENTS: a virtual environment with these packages.
setup_python() {
    if cmp -s "$2" "$1/installed.txt"; then
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
    say "installing the Python tools of the tests into $1"
    rm -rf "$1"
    python3 -m venv "$1"
    "$1/bin/pip" install --quiet --disable-pip-version-check --requirement "$2"
    # Written last, so that an interrupted installation is repeated.
    cp "$2" "$1/installed.txt"
}

# setup_node FOLDER PACKAGES: the packages of the lock file in PACKAGES.
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
    if cmp -s "$2/package-lock.json" "$1/installed.json"; then
        return 0
    fi
    say "installing the Node packages of the tests into $1"
    rm -rf "$1"
    mkdir -p "$1"
    cp "$2/package.json" "$2/package-lock.json" "$1"
    npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null
    cp "$1/package-lock.json" "$1/installed.json"
}

# The generated Go client has one dependency. Debian packages it; elsewhere Go downloads it.
setup_go() {
    if command -v apt-get >/dev/null 2>&1; then
        if ! find_first go || [ ! -d /usr/share/gocode/src/gopkg.in/validator.v2 ]; then
            say "installing Go and the dependency of the generated client"
            apt_install golang-go golang-gopkg-validator.v2-dev
        fi
    elif ! find_first go; then
        say "installing Go"
        if command -v dnf >/dev/null 2>&1; then
            as_root dnf install -y -q golang
        elif command -v brew >/dev/null 2>&1; then
            brew install --quiet go
        else
            fail "go is missing: install it manually"
        fi
    fi
}

setup_clients() {
    setup_python "$TARGET/test-clients/venv" tests/clients/requirements.txt
    setup_node "$TARGET/test-clients/node" tests/clients
    setup_go
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

setup_postgres() {
    # Debian installs the servers into directories that are not on the PATH.
    if find_first /usr/lib/postgresql/*/bin/initdb initdb && find_first pgbouncer /usr/sbin/pgbouncer; then
        return 0
    fi
    say "installing PostgreSQL and PgBouncer; their system services are neither started nor enabled"
    if command -v apt-get >/dev/null 2>&1; then
        apt_install postgresql pgbouncer
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q postgresql-server pgbouncer
    elif command -v brew >/dev/null 2>&1; then
        brew install --quiet postgresql@15 pgbouncer
    else
        fail "postgresql or pgbouncer is missing: install both manually"
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

# Opens backups as an operator without the service does.
setup_age() {
    if find_first age && find_first zstd; then
        return 0
    fi
    say "installing age and zstd"
    if command -v apt-get >/dev/null 2>&1; then
        apt_install age zstd
    elif command -v dnf >/dev/null 2>&1; then
        as_root dnf install -y -q age zstd
    elif command -v brew >/dev/null 2>&1; then
        brew install --quiet age zstd
    else
        fail "age or zstd is missing: install both manually"
    fi
}

[ $# -gt 0 ] || set -- redis nextest browser python node faketime nginx postgres prometheus age
for part in "$@"; do
    case $part in
        redis) scripts/setup_redis.sh ;;
        nextest | deny) setup_cargo_tool "$part" ;;
        browser)
            setup_browser
            setup_thai_font
            ;;
        python) setup_python "$TARGET/test-venv" tests/requirements.txt ;;
        node) setup_node "$TARGET/test-node" tests/interoperability ;;
        clients) setup_clients ;;
        faketime) setup_faketime ;;
        nginx) setup_nginx ;;
        postgres) setup_postgres ;;
        prometheus) setup_prometheus ;;
        age) setup_age ;;
        *)
            fail "unknown part \`$part\`; the comment at the top of this script lists the parts"
            ;;
    esac
done
