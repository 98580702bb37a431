#!/usr/bin/env bash
# Runs the benchmarks and probes beside other session layers, and writes results/*.json, plots/*.svg and BENCHMARKS.md.
#
#   benches/peers/run.sh                 everything
#   benches/peers/run.sh memory          only this; probes is the other
#
# Instructions need valgrind.
set -euo pipefail
cd "$(dirname "$0")"

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$(cd ../.. && pwd)/target/peers}
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(memory probes)
for part in "${parts[@]}"; do
    cargo run --quiet --release --bin "$part"
done
./plot.py
