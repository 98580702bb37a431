#!/usr/bin/env bash
# Fuzzes all targets, or the named ones, for this many seconds each. Coverage guides the search to
# inputs that reach new code:
#
#     SECONDS_EACH=300 tests/fuzz/guided/run.sh [TARGET...]
#
# It begins with tests/fuzz/corpus and the inputs of earlier runs in target/fuzz/corpus. An input
# that breaks a rule is written to target/fuzz/findings and fails the run. Put it into
# tests/fuzz/corpus, which each `cargo test` replays.
set -euo pipefail
cd "$(dirname "$0")/../../.."

host=$(rustc -vV | sed -n 's/^host: //p')
# The flags of cargo-fuzz without its sanitizers: there is no `unsafe` here, and these flags work
# with a stable compiler.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
cargo build --locked --release --manifest-path tests/fuzz/guided/Cargo.toml --target-dir target/fuzz --target "$host"

mkdir -p target/fuzz/findings
for target in ${*:-$(ls tests/fuzz/corpus)}; do
    export FUZZ_TARGET=$target
    found=target/fuzz/corpus/$target
    mkdir -p "$found"
    printf '\n== %s\n' "$target"
    "target/fuzz/$host/release/guided" -max_total_time="${SECONDS_EACH:-60}" -max_len=2048 -timeout=20 -print_final_stats=1 \
        -artifact_prefix="target/fuzz/findings/$target-" "$found" "tests/fuzz/corpus/$target" 2>&1 |
        { grep -v '^#.*NEW\|^#.*REDUCE\|pulse' || true; }
done
