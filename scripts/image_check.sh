#!/bin/sh
# Builds the image of the Dockerfile without a container registry, runs it, and shows what docs/operations.md promises: its
# user, its read-only root, its health check, and its stop.
#
#   scripts/image_check.sh                   compiles the service in the image, which takes many minutes
#   scripts/image_check.sh --binary FILE     puts FILE where the compiler would put the binary
#
# Needs root, Debian's buildah and debootstrap, curl and redis-server. The base images are made by debootstrap, under the
# names in the Dockerfile; the Rust toolchain is that of this machine.
set -eu
cd "$(dirname "$0")/.."

BINARY=""
if [ "${1:-}" = --binary ]; then
    BINARY=$(realpath "$2")
fi
MIRROR=${MIRROR:-http://deb.debian.org/debian}
PORT=${PORT:-18080}

say() { echo "image_check: $*"; }

fail() {
    echo "image_check: $*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "run it as root"
for program in buildah debootstrap curl redis-server unshare; do
    command -v "$program" >/dev/null 2>&1 || fail "$program is missing: install it first"
done

WORK=$(mktemp -d)
# Images are kept apart from those of the machine, and need no overlay file system.
export STORAGE_DRIVER=vfs
export BUILDAH_ISOLATION=chroot
root() { buildah --root "$WORK/images" --runroot "$WORK/run" "$@"; }
pids=""
clean_up() {
    for pid in $pids; do kill "$pid" 2>/dev/null || true; done
    root rm --all >/dev/null 2>&1 || true
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

base_images=$(sed -n 's/^FROM \([^ ]*\).*/\1/p' Dockerfile)
build_image=$(echo "$base_images" | head -n 1)
run_image=$(echo "$base_images" | tail -n 1)

say "making the base images $build_image and $run_image"
packages=ca-certificates
[ -n "$BINARY" ] || packages=ca-certificates,g++,gcc,libc6-dev,make
debootstrap --variant=minbase --include="$packages" bookworm "$WORK/build" "$MIRROR" >"$WORK/log" 2>&1 || {
    tail -n 20 "$WORK/log" >&2
    fail "debootstrap failed"
}
mkdir -p "$WORK/build/usr/local/bin" "$WORK/build/usr/local/cargo/registry"
if [ -n "$BINARY" ]; then
    cp "$BINARY" "$WORK/build/usr/local/bin/prebuilt"
    printf '#!/bin/sh\nmkdir -p target/release && cp /usr/local/bin/prebuilt target/release/gridtokenx-redis\n' \
        >"$WORK/build/usr/local/bin/cargo"
    chmod 755 "$WORK/build/usr/local/bin/cargo"
else
    cp -a "$(rustc --print sysroot)" "$WORK/build/usr/local/rust"
    for program in cargo rustc; do ln -s "/usr/local/rust/bin/$program" "$WORK/build/usr/local/bin/$program"; done
fi
# The compiler's downloads trust what this machine trusts.
cp -L /etc/ssl/certs/ca-certificates.crt "$WORK/build/etc/ssl/certs/"
# Like distroless: the libraries of a C program, certificates, and users, but no shell.
mkdir -p "$WORK/base/etc/ssl" "$WORK/base/tmp" "$WORK/base/lib64"
for file in libc.so.6 libm.so.6 libgcc_s.so.1 libdl.so.2 libpthread.so.0 ld-linux-x86-64.so.2 ld-linux-aarch64.so.1; do
    for path in "$WORK"/build/lib/*-linux-gnu/"$file"; do
        [ -e "$path" ] || continue
        target="$WORK/base${path#"$WORK/build"}"
        mkdir -p "$(dirname "$target")"
        cp -L "$path" "$target"
    done
done
cp -L "$WORK"/build/lib64/* "$WORK/base/lib64/" 2>/dev/null || true
cp -a "$WORK/build/etc/ssl/certs" "$WORK/base/etc/ssl/certs"
echo "nonroot:x:65532:65532:nonroot:/:/sbin/nologin" >"$WORK/base/etc/passwd"
echo "nonroot:x:65532:" >"$WORK/base/etc/group"

make_image() { # NAME FOLDER USER
    container=$(root from scratch)
    root copy -q "$container" "$2/" / >/dev/null
    root config --user "$3" --env PATH=/usr/local/bin:/usr/bin:/bin --env CARGO_HOME=/usr/local/cargo "$container"
    root commit -q --rm "$container" "$1" >/dev/null
}
make_image "$build_image" "$WORK/build" 0
make_image "$run_image" "$WORK/base" 65532
rm -rf "$WORK/build" "$WORK/base"

say "building the image"
root build --pull-never --layers=false --format docker --tag gridtokenx-redis . >"$WORK/log" 2>&1 || {
    tail -n 40 "$WORK/log" >&2
    fail "the build failed"
}
inspect() { root inspect --type image --format "$1" gridtokenx-redis; }
user=$(inspect '{{.Docker.Config.User}}')
[ "$user" = 65532 ] || [ "$user" = nonroot ] || fail "the image runs as user \`$user\`"
container=$(root from --pull-never gridtokenx-redis)
files=$(root mount "$container")
size=$(wc -c <"$files/gridtokenx-redis")
say "the binary has $((size / 1000000)) MB"
[ "$size" -le 50000000 ] || [ -n "$BINARY" ] || fail "the binary is larger than 50 MB"
[ ! -e "$files/bin/sh" ] || fail "the image has a shell"

say "running it as user 65532 on a read-only root"
redis-server --port 0 --unixsocket "$WORK/redis.sock" --unixsocketperm 777 --save "" --dir "$WORK" >/dev/null &
pids="$pids $!"
chmod 755 "$WORK"
mkdir -p "$files/run/redis"
# The socket of Redis is the only thing in the root file system that is not the image's.
unshare --mount sh -euc "
    mount --bind '$files' '$files'
    mount --bind '$WORK' '$files/run/redis'
    mount -o remount,bind,ro '$files'
    exec env -i PORT=$PORT REDIS_URL=unix:///run/redis/redis.sock \
        $(command -v chroot) --userspec=65532:65532 '$files' /gridtokenx-redis serve
" >"$WORK/service.log" 2>&1 &
service=$!
pids="$pids $service"
tries=0
until curl -sf "http://127.0.0.1:$PORT/health/ready" >/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { tail -n 20 "$WORK/service.log" >&2; fail "the service is not ready"; }
    sleep 0.2
done
[ "$(awk '/^Uid:/ {print $2}' "/proc/$service/status")" = 65532 ] || fail "the process does not run as user 65532"
[ "$(awk '/^CapEff:/ {print $2}' "/proc/$service/status")" = 0000000000000000 ] || fail "the process has capabilities"
awk '$2 == "/" {print $4}' "/proc/$service/mounts" | tail -n 1 | grep -q '^ro' || fail "the root is not read-only"
curl -sf -X PUT --data x "http://127.0.0.1:$PORT/cache/a" >/dev/null || fail "a write failed"
[ "$(curl -sf "http://127.0.0.1:$PORT/cache/a")" = x ] || fail "a read failed"
PORT=$PORT chroot "$files" /gridtokenx-redis healthcheck || fail "the health check of the image failed"

say "stopping it"
started=$(date +%s)
kill -TERM "$service"
code=0
wait "$service" || code=$?
took=$(($(date +%s) - started))
[ "$code" -eq 0 ] || fail "the service ended with $code"
[ "$took" -le 30 ] || fail "the stop took $took s"
say "the image is built, runs as 65532 on a read-only root, is healthy, and stops within $took s"
