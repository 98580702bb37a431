#!/usr/bin/env bash
# Installs the libraries that swap the body of a page, which tests/demo/warning_survives.rs serves,
# into the named folder.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cp "$here/package.json" "$1/"
npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$1"
