#!/usr/bin/env bash
# Runs all checks on a fresh Debian machine with Rust. It installs what is missing, and then checks
# formatting, lints, dependencies, the archive of a release, documentation, every test with every
# feature, the searches of interleavings and of orders of messages, and the benchmarks' own checks.
# Runs as root or as a user with sudo. Nothing is skipped: a check that cannot run fails.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s (after %d s)\n' "$*" "$SECONDS"; }

# need COMMAND PACKAGE...: installs the Debian packages if the command is missing.
missing=()
need() { command -v "$1" >/dev/null || missing+=("${@:2}"); }
need chromium chromium
need chromedriver chromium-driver
need certutil libnss3-tools
need curl curl
need valgrind valgrind
need redis-server redis-server
need nginx nginx-light
need node nodejs
need npm npm
python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
[ -n "$(ls /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ] || missing+=(postgresql)
need cc gcc libc6-dev
if [ ${#missing[@]} -gt 0 ]; then
    step "installing ${missing[*]}"
    root=(); [ "$(id -u)" = 0 ] || root=(sudo)
    "${root[@]}" apt-get update -q
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
fi

# A minimal toolchain has neither component.
if ! { cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    rustup component add rustfmt clippy
fi

step "clients of the management API"
tests/sdk/install.sh target/sdk

step "libraries that swap the body of a page"
tests/pages/install.sh target/pages

step "a Valkey server"
tests/valkey/install.sh target/valkey

# A test that would print "left out" fails instead.
export TENURE_ALL=1
# Tests of servers and of browsers wait most of their time: with one for each of two processors they take twice as long.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-4}
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}

step "formatting"
cargo fmt --check

step "lints"
cargo clippy --quiet --all-targets --all-features -- -D warnings

step "dependencies, and the archive of a release"
tests/package/check.sh target

# Builds of the archive with sets of features, beside other crates, and with the oldest Rust and dependencies. They need
# nothing of what follows, which waits a lot, so they continue beside it.
other_builds() {
    tests/package/sets.sh target/archive target/sets
    tests/builds/check.sh target/builds
}
set -m   # a group of processes of its own, so that all of it can be stopped
(renice -n 19 "$BASHPID"; set -e; other_builds) > target/beside.log 2>&1 &
beside=$!
set +m
trap 'kill -- "-$beside" 2>/dev/null || true' EXIT

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --quiet --no-deps --all-features

step "the public API is that of tests/public_api.txt"
cargo run --quiet --manifest-path tests/public_api/Cargo.toml --target-dir target/public_api

step "BENCHMARKS.md shows the kept results"
benches/peers/plot.py --check

step "tests"
cargo test --all-features

step "interleavings of the memory store"
RUSTFLAGS="--cfg shuttle" cargo test --manifest-path tests/interleavings/Cargo.toml --target-dir target/shuttle

step "every order of messages between three nodes and a store"
cargo test --manifest-path tests/model/Cargo.toml --target-dir target/model

step "what a request may cost, in instructions and allocations"
cargo bench --manifest-path benches/gate/Cargo.toml --target-dir target/gate --bench overhead -- --gate

# Without optimizations, which saves to compile all stores a second time: their numbers mean nothing here.
step "the other benchmarks, as short as possible"
STORES_SESSIONS=3000 cargo bench --profile dev --bench stores
BENCH_SECONDS=0.1 cargo bench --profile dev --bench through
cargo bench --profile dev --bench binding

step "the end of the other builds (target/beside.log)"
wait "$beside" || { cat target/beside.log; exit 1; }
trap - EXIT

printf '\nall checks passed after %d s\n' "$SECONDS"
