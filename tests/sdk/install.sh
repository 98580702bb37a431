#!/usr/bin/env bash
# Installs the official clients of the management API, which tests/demo/sdk.rs runs, into the named
# folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
python3 -m venv "$1/python"
"$1/python/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cp "$here/package.json" "$1/"
npm install --silent --no-audit --no-fund --prefix "$1"
