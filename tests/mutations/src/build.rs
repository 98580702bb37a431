//! Makes a copy of the crate with all faults, and builds its tests.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{
    FILES,
    plant::{Mutant, Planter},
    state::State,
};

/// The switch, a module that is added to the copy.
const SWITCH: &str = r#"
#![allow(missing_docs, clippy::all)]
use std::{io::Write, sync::{LazyLock, atomic::{AtomicBool, Ordering::Relaxed}}};

static ACTIVE: LazyLock<u32> =
    LazyLock::new(|| std::env::var("MUTANT").map_or(u32::MAX, |text| text.parse().unwrap()));
/// A file that names the faults that were reached.
static NOTES: LazyLock<Option<std::fs::File>> = LazyLock::new(|| {
    let path = std::env::var("MUTANTS_REACHED").ok()?;
    Some(std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap())
});
static REACHED: [AtomicBool; 5000] = [const { AtomicBool::new(false) }; 5000];

/// Whether this fault is switched on.
pub fn on(id: u32) -> bool {
    if let Some(mut notes) = NOTES.as_ref()
        && !REACHED[id as usize].load(Relaxed)
        && !REACHED[id as usize].swap(true, Relaxed)
    {
        notes.write_all(format!("{id}\n").as_bytes()).unwrap();
    }
    *ACTIVE == id
}
"#;

/// Plants the faults, and builds those that compile. Faults that did not compile the last time are
/// left out from the start.
pub fn build(root: &Path, state: &State) {
    let copy = state.copy();
    copy_sources(root, &copy);
    let (mut unviable, mut constant) = (state.unviable(), state.constant());
    // Checking only the library is much faster, and finds nearly all faults that do not compile.
    for tests in [false, true] {
        loop {
            let mutants = plant(root, &copy, &unviable, &constant);
            state.keep_mutants(&mutants);
            let output = cargo(root, &copy, tests);
            if output.status.success() {
                state.keep_binaries(&binaries(&output));
                break;
            }
            let wrong = Wrong::read(&output, &copy, &mutants);
            let before = unviable.len() + constant.len();
            unviable.extend(wrong.faults);
            constant.extend(wrong.functions);
            println!("left out: {} faults, {} const functions", unviable.len(), constant.len());
            assert!(unviable.len() + constant.len() > before, "the copy does not compile: {}", wrong.text);
            state.keep_left_out(&unviable, &constant);
        }
    }
}

/// Copies the sources that the tests need.
fn copy_sources(root: &Path, copy: &Path) {
    let _ = fs::remove_dir_all(copy);
    fs::create_dir_all(copy).expect("a directory");
    let mut tar = Command::new("tar")
        .args([
            "-c",
            "Cargo.toml",
            "Cargo.lock",
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
        ])
        .args(["src", "examples", "benches", "tests"])
        .current_dir(root)
        .stdout(Stdio::piped())
        .spawn()
        .expect("tar runs");
    let packed = tar.stdout.take().expect("a pipe");
    let status = Command::new("tar").args(["-x", "-C"]).arg(copy).stdin(packed).status();
    assert!(status.is_ok_and(|status| status.success()), "the copy is made");
    assert!(tar.wait().is_ok_and(|status| status.success()), "the sources are read");
}

/// Plants all faults in the copy. The list includes those that are left out.
fn plant(root: &Path, copy: &Path, unviable: &BTreeSet<String>, constant: &BTreeSet<String>) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for file in FILES {
        let source = fs::read_to_string(root.join(file)).expect(file);
        let mut syntax = syn::parse_file(&source).expect(file);
        Planter::new(file, &mut mutants, unviable, constant).plant(&mut syntax);
        let text = quote::quote!(#syntax).to_string();
        // A separate line for each fault, so that an error's line identifies the fault.
        let text = text.replace("crate :: mutant :: on", "\ncrate :: mutant :: on");
        fs::write(copy.join(file), text).expect("the copy is writable");
    }
    fs::write(copy.join("src/mutant.rs"), SWITCH).expect("the copy is writable");
    let lib = fs::read_to_string(root.join("src/lib.rs")).expect("src/lib.rs");
    fs::write(copy.join("src/lib.rs"), lib.replacen("mod admin;", "pub mod mutant;\nmod admin;", 1))
        .expect("the copy is writable");
    mutants
}

/// Checks the library, or builds the tests. With `opt-level` 1 they run three times as fast.
fn cargo(root: &Path, copy: &Path, tests: bool) -> Output {
    let mut command = Command::new("cargo");
    if tests {
        command
            .args(["test", "--no-run", "--lib", "--test", "rules", "--test", "request", "--test", "stores"]);
        command.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
    } else {
        // With a test, so that dependencies have the same features and are not checked again.
        command.args(["check", "--lib", "--test", "rules"]);
    }
    command
        .args(["--all-features", "--message-format=json"])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(copy)
        .stderr(Stdio::null())
        .output()
        .expect("cargo runs")
}

/// The test binaries that were built.
fn binaries(output: &Output) -> Vec<PathBuf> {
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let Some(binary) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true) {
            binaries.push(PathBuf::from(binary));
        }
    }
    binaries
}

/// What the compiler rejected.
struct Wrong {
    faults: BTreeSet<String>,
    functions: BTreeSet<String>,
    text: String,
}

impl Wrong {
    fn read(output: &Output, copy: &Path, mutants: &[Mutant]) -> Self {
        let mut wrong = Self { faults: BTreeSet::new(), functions: BTreeSet::new(), text: String::new() };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let error = &message["message"];
            if error["level"] != "error" {
                continue;
            }
            wrong.text.push_str(error["rendered"].as_str().unwrap_or_default());
            let text = error["message"].as_str().unwrap_or_default();
            if error["code"]["code"] == "E0015" && !text.contains("`on`") && !text.contains("mutant::on") {
                wrong.functions.extend(constant_function(text));
                continue;
            }
            let mut spans: Vec<_> = error["spans"].as_array().into_iter().flatten().collect();
            spans.sort_by_key(|span| span["is_primary"] != true);
            wrong.faults.extend(spans.iter().find_map(|span| fault_before(span, copy, mutants)));
        }
        wrong
    }
}

/// The function that must be `const` according to an error: its name, after its type's name if it
/// has one.
fn constant_function(error: &str) -> Option<String> {
    let path = error.split('`').nth(1)?.split('(').next()?;
    let parts: Vec<_> = path.split("::").filter(|part| !part.starts_with('<')).collect();
    let (name, of) = parts.split_last()?;
    let of = of.last().filter(|of| of.starts_with(char::is_uppercase));
    Some(of.map_or_else(|| (*name).to_owned(), |of| format!("{of}::{name}")))
}

/// The last fault before a position in the copy.
fn fault_before(span: &serde_json::Value, copy: &Path, mutants: &[Mutant]) -> Option<String> {
    let source = fs::read_to_string(copy.join(span["file_name"].as_str()?)).ok()?;
    let line = usize::try_from(span["line_start"].as_u64()?).ok()?;
    let before: Vec<_> = source.lines().take(line).collect();
    let id = before.iter().rev().find_map(|line| {
        line.strip_prefix("crate :: mutant :: on (")?.split("u32").next()?.trim().parse::<usize>().ok()
    })?;
    Some(mutants[id].name.clone())
}
