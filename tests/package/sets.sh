#!/usr/bin/env bash
# tests/package/sets.sh ARCHIVE TARGET: checks that a release compiles by itself, with each set of
# features in features.txt.
#
# The sets are linted in the archive and not in the checkout, so that one compilation serves both.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$2"
CARGO_TARGET_DIR=$(cd "$2" && pwd)
export CARGO_TARGET_DIR CLIPPY_CONF_DIR=$here/../..
cd "$1"
grep -v '^#' "$here/features.txt" | while read -r features; do
    cargo clippy --quiet --locked --lib --no-default-features --features "${features/none/}" -- -D warnings </dev/null || {
        echo "with the features: $features" >&2
        exit 1
    }
done
