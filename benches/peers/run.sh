#!/usr/bin/env bash
# Runs the benchmarks and probes of this and other session layers, and writes results/*.json,
# plots/*.svg and BENCHMARKS.md.
#
#   benches/peers/run.sh                 everything
#   benches/peers/run.sh memory          only this; probes and network are the others
#
# Instructions need valgrind. network needs redis-server, PostgreSQL, and about 150 more crates.
set -euo pipefail
cd "$(dirname "$0")"

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target/peers}
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(memory probes network)
for part in "${parts[@]}"; do
    features=()
    [ "$part" != network ] || features=(--features network)
    cargo run --quiet --release "${features[@]}" --bin "$part"
done
./plot.py
