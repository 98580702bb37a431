//! Compares the public API with `tests/public_api.txt`, so that a review shows each change.
//!
//! `cargo run` in this folder prints the differences and fails. `cargo run -- --accept` writes the
//! file. The JSON of rustdoc is unstable, so `RUSTC_BOOTSTRAP` allows it in the stable rustdoc. If
//! the compiler had that variable too, cargo would recompile every dependency. So this program acts
//! as rustdoc for cargo, and calls the real one with the variable.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

type Failure = Box<dyn std::error::Error>;

/// Set when cargo calls this program as rustdoc.
const AS_RUSTDOC: &str = "PUBLIC_API_AS_RUSTDOC";

fn as_rustdoc() -> Result<ExitCode, Failure> {
    let status = Command::new("rustdoc").args(env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The rustdoc JSON of the crate with all features.
fn rustdoc_json(root: &Path) -> Result<PathBuf, Failure> {
    let target = root.join("target");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .env("RUSTDOC", env::current_exe()?)
        .env(AS_RUSTDOC, "1")
        .args(["rustdoc", "--quiet", "--lib", "--all-features", "--target-dir"])
        .arg(&target)
        .args(["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .status()?;
    if !status.success() {
        return Err("rustdoc failed".into());
    }
    Ok(target.join("doc").join("tower_tenure.json"))
}

/// One item a line, ordered by path. Auto trait and blanket implementations are left out, because
/// they follow from the rest.
fn listing(json: &Path) -> Result<String, Failure> {
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(false)
        .build()?;
    Ok(api.to_string())
}

fn run() -> Result<ExitCode, Failure> {
    if env::var_os(AS_RUSTDOC).is_some() {
        return as_rustdoc();
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).ok_or("no root")?;
    let file = root.join("tests").join("public_api.txt");
    let now = listing(&rustdoc_json(root)?)?;
    if env::args().any(|argument| argument == "--accept") {
        fs::write(&file, &now)?;
        println!("{} items in {}", now.lines().count(), file.display());
        return Ok(ExitCode::SUCCESS);
    }
    let before = fs::read_to_string(&file).unwrap_or_default();
    if before == now {
        return Ok(ExitCode::SUCCESS);
    }
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.lines().collect(), now.lines().collect());
    old.difference(&new).for_each(|line| println!("- {line}"));
    new.difference(&old).for_each(|line| println!("+ {line}"));
    eprintln!(
        "\nthe public API is not that of tests/public_api.txt; if the change is meant, say so in CHANGELOG.md \
        and accept it with\n    cargo run --manifest-path tests/public_api/Cargo.toml --target-dir target/public_api -- --accept"
    );
    Ok(ExitCode::FAILURE)
}

fn main() -> ExitCode {
    run().unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}
