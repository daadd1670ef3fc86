#!/bin/sh
# Checks the systemd unit and the overlays of Kubernetes offline, and says what it cannot check.
set -eu
cd "$(dirname "$0")/.."

unit=config/systemd/gridtokenx-redis.service
if command -v systemd-analyze >/dev/null 2>&1; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    # The binary is not installed here.
    sed 's|^ExecStart=[^ ]*|ExecStart=/bin/true|' "$unit" >"$folder/${unit##*/}"
    # An unknown setting is only a warning.
    if systemd-analyze verify "$folder/${unit##*/}" 2>&1 | grep "${unit##*/}"; then
        echo "check_deployment: $unit has mistakes" >&2
        exit 1
    fi
    systemd-analyze security --offline=true --threshold=20 "$unit" >/dev/null || {
        systemd-analyze security --offline=true "$unit" >&2
        exit 1
    }
else
    echo "check_deployment: systemd-analyze is not installed, so $unit is NOT checked" >&2
fi

if command -v kubectl >/dev/null 2>&1; then
    for overlay in config/kubernetes/overlays/*; do
        kubectl kustomize "$overlay" >/dev/null
    done
else
    echo "check_deployment: kubectl is not installed, so the overlays of Kubernetes are NOT rendered" >&2
fi
