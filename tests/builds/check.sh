#!/usr/bin/env bash
# tests/builds/check.sh TARGET: builds this crate beside others that share a dependency with it, the
# examples that are separate crates, and this crate with the oldest Rust and the oldest dependencies
# that it declares. Each build has its own lock file. `cargo update` there selects the newest
# versions.
set -euo pipefail
export CARGO_TARGET_DIR=$PWD/$1
cd "$(dirname "$0")"

(cd sqlx_0_8 && cargo check --quiet)
(cd sqlx_0_9 && cargo check --quiet)
(cd axum_login && cargo test --quiet)

# Examples with their own dependencies.
(cd ../../examples/crates && cargo fmt --check && cargo test --quiet)

declared() { sed -n 's/^rust-version = "\(.*\)"/\1/p' "$1"; }
oldest=$(declared ../../Cargo.toml)
if [ "$(declared oldest_rust/Cargo.toml)" != "$oldest" ]; then
    echo "tests/builds/oldest_rust declares another Rust than Cargo.toml, which has $oldest" >&2
    exit 1
fi
rustup toolchain install "$oldest" --profile minimal --no-self-update

# The oldest Rust with the oldest versions that Cargo.toml allows, for every feature except `redis`.
# That driver requires a newer tokio and arc-swap than this crate, so with it the lower bounds would
# be the driver's. Dev-dependencies are left out, because their lower bounds do not matter to users.
# Minimal versions are unstable, so RUSTC_BOOTSTRAP allows them in the stable cargo, for that
# command alone.
bounds=$CARGO_TARGET_DIR/lower_bounds
mkdir -p "$bounds"
ln -sfn "$(cd ../.. && pwd)/src" "$bounds/src"
awk '/^\[/ { skip = /^\[(dev-dependencies|\[bench|\[example|target)/ } !skip' ../../Cargo.toml \
    | sed -e '/^redis = /d' -e 's/"redis?[^"]*", //g' \
        -e "s/'cfg(docsrs)'/&, 'cfg(feature, values(\"redis\"))'/" > "$bounds/Cargo.toml"
printf '\n[workspace]\n' >> "$bounds/Cargo.toml"
rm -f "$bounds/Cargo.lock"
(cd "$bounds" && RUSTC_BOOTSTRAP=1 cargo "+$oldest" generate-lockfile --quiet -Z direct-minimal-versions)
(cd "$bounds" && cargo "+$oldest" check --quiet --locked --lib --all-features)

# `redis` with the oldest Rust.
(cd oldest_rust && cargo "+$oldest" check --quiet)
