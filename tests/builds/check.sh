#!/usr/bin/env bash
# tests/builds/check.sh TARGET: builds of this crate beside others that share a dependency with it, and with the oldest
# Rust that it declares. Each has a resolution of its own, with what is newest.
set -euo pipefail
export CARGO_TARGET_DIR=$PWD/$1
cd "$(dirname "$0")"

(cd sqlx_0_8 && cargo check --quiet)
(cd sqlx_0_9 && cargo check --quiet)
(cd axum_login && cargo test --quiet)

declared() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1"; }
oldest=$(declared ../../Cargo.toml)
if [ "$(declared oldest_rust/Cargo.toml)" != "$oldest" ]; then
    echo "tests/builds/oldest_rust declares another Rust than Cargo.toml, which has $oldest" >&2
    exit 1
fi
rustup toolchain install "$oldest" --profile minimal --no-self-update
(cd oldest_rust && cargo "+$oldest" check --quiet)
