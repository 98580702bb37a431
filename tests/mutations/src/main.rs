//! Which small faults in the rules would no test notice?
//!
//! Tools that build the crate again for each fault need a minute a fault here. This one plants all faults of all files
//! in one copy, each behind a branch (`plant.rs`), builds the tests once, and runs them with one fault switched on at a
//! time: only the tests that reach it, until the first fails.
//!
//! ```console
//! $ cargo run --manifest-path tests/mutations/Cargo.toml --target-dir target/mutations [-- src/policy/ ...]
//! ```
//!
//! It fails if a fault survives that `survivors.txt` does not explain. Arguments name the files by a part of their path.

mod plant;
mod run;

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use plant::{Mutant, Planter};

/// The rules: what decides, and what reads and writes bytes that come from outside.
const FILES: &[&str] = &[
    "src/policy/deadline.rs",
    "src/policy/decide.rs",
    "src/policy/end.rs",
    "src/policy/limits.rs",
    "src/policy/lowering.rs",
    "src/policy/admission.rs",
    "src/policy/open.rs",
    "src/policy/history.rs",
    "src/policy/mod.rs",
    "src/record/timing.rs",
    "src/record/mark.rs",
    "src/record/millis.rs",
    "src/record/change.rs",
    "src/record/ending.rs",
    "src/record/secret.rs",
    "src/record/data.rs",
    "src/record/id.rs",
    "src/cookie/read.rs",
    "src/cookie/token.rs",
    "src/cookie/write.rs",
    "src/cookie/base64.rs",
    "src/cookie/bound.rs",
    "src/cookie/mod.rs",
    "src/browser/logout.rs",
    "src/browser/origin.rs",
    "src/request/plan.rs",
    "src/request/judge.rs",
    "src/request/cookie.rs",
    "src/request/answer.rs",
    "src/request/known.rs",
    "src/request/mod.rs",
];

/// The switch, which the copy gets as a module.
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

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let mut wanted: Vec<_> = std::env::args().skip(1).collect();
    // Runs what the last call built.
    let resumes = wanted.iter().any(|argument| argument == "--resume");
    wanted.retain(|argument| argument != "--resume");
    let files: Vec<_> = FILES
        .iter()
        .filter(|file| wanted.is_empty() || wanted.iter().any(|part| file.contains(part.as_str())))
        .copied()
        .collect();
    let copy = root.join("target/mutations/source");
    let built = root.join("target/mutations/built.txt");
    let (mut unviable, mut constant) = (HashSet::new(), HashSet::new());
    let (mutants, binaries) = if resumes {
        (unviable, constant) = run::planted(&copy, &files);
        let binaries = fs::read_to_string(&built).expect("a list of binaries");
        let mutants = plant(&root, None, &files, &HashSet::new(), &constant);
        unviable = mutants.iter().map(|mutant| mutant.id).filter(|id| !unviable.contains(id)).collect();
        (mutants, binaries.lines().map(PathBuf::from).collect())
    } else {
        copy_sources(&root, &copy);
        loop {
            let mutants = plant(&root, Some(&copy), &files, &unviable, &constant);
            match build(&root, &copy) {
                Ok(binaries) => break (mutants, binaries),
                Err(wrong) => {
                    let before = unviable.len() + constant.len();
                    unviable.extend(wrong.faults);
                    constant.extend(wrong.functions);
                    println!(
                        "left out: {} faults that do not compile, {} const functions",
                        unviable.len(),
                        constant.len()
                    );
                    assert!(
                        unviable.len() + constant.len() > before,
                        "the copy does not compile: {}",
                        wrong.text
                    );
                }
            }
        }
    };
    let list: Vec<_> =
        binaries.iter().map(|binary: &PathBuf| binary.to_string_lossy().into_owned()).collect();
    fs::write(built, list.join("\n")).expect("target is writable");
    let viable: Vec<_> = mutants.into_iter().filter(|mutant| !unviable.contains(&mutant.id)).collect();
    let survivors = run::all(&copy, &binaries, &viable);
    report(&root, &files, viable.len(), unviable.len(), &constant, &survivors)
}

/// Says what was found; a survivor without an explanation is a failure.
fn report(
    root: &Path,
    files: &[&str],
    viable: usize,
    unviable: usize,
    constant: &HashSet<String>,
    survivors: &[Mutant],
) -> ExitCode {
    let list = fs::read_to_string(root.join("tests/mutations/survivors.txt")).unwrap_or_default();
    let known: BTreeSet<_> =
        list.lines().filter(|line| line.starts_with("src/")).map(str::trim_end).collect();
    println!(
        "{viable} faults in {} files, {unviable} more do not compile, {} survived",
        files.len(),
        survivors.len()
    );
    println!(
        "nothing is planted in functions that must be const: {:?}",
        constant.iter().collect::<BTreeSet<_>>()
    );
    let unexplained: Vec<_> = survivors.iter().filter(|mutant| !known.contains(&*mutant.name())).collect();
    for mutant in &unexplained {
        println!("line {}: {}", mutant.line, mutant.name());
    }
    println!("{} survivors are not explained in tests/mutations/survivors.txt", unexplained.len());
    ExitCode::from(u8::from(!unexplained.is_empty()))
}

/// Copies what the tests are built from.
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

/// Plants all faults in the copy. The same faults get the same ids, also those that are left out.
fn plant(
    root: &Path,
    copy: Option<&Path>,
    files: &[&str],
    unviable: &HashSet<u32>,
    constant: &HashSet<String>,
) -> Vec<Mutant> {
    let mut mutants = Vec::new();
    for file in files {
        let source = fs::read_to_string(root.join(file)).expect(file);
        let mut syntax = syn::parse_file(&source).expect(file);
        Planter::new((*file).to_owned(), &mut mutants, unviable, constant).plant(&mut syntax);
        let Some(copy) = copy else { continue };
        let text = quote::quote!(#syntax).to_string();
        // A line for each fault, so that an error's line says whose it is.
        let text = text.replace("crate :: mutant :: on", "\ncrate :: mutant :: on");
        fs::write(copy.join(file), text).expect("the copy is writable");
    }
    let Some(copy) = copy else { return mutants };
    fs::write(copy.join("src/mutant.rs"), SWITCH).expect("the copy is writable");
    let lib = fs::read_to_string(root.join("src/lib.rs")).expect("src/lib.rs");
    fs::write(copy.join("src/lib.rs"), lib.replacen("mod admin;", "pub mod mutant;\nmod admin;", 1))
        .expect("the copy is writable");
    mutants
}

/// What the compiler would not take.
struct Wrong {
    faults: BTreeSet<u32>,
    functions: BTreeSet<String>,
    text: String,
}

/// Builds the tests; the binaries, or whose faults are errors.
fn build(root: &Path, copy: &Path) -> Result<Vec<PathBuf>, Wrong> {
    let output = Command::new("cargo")
        .args(["test", "--no-run", "--message-format=json", "--lib", "--test", "rules", "--test", "request"])
        .args(["--all-features"])
        .env("CARGO_TARGET_DIR", root.join("target"))
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(copy)
        .stderr(Stdio::null())
        .output()
        .expect("cargo runs");
    let mut wrong = Wrong { faults: BTreeSet::new(), functions: BTreeSet::new(), text: String::new() };
    let mut binaries = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        if let Some(binary) = message["executable"].as_str().filter(|_| message["profile"]["test"] == true) {
            binaries.push(PathBuf::from(binary));
        }
        let error = &message["message"];
        if error["level"] != "error" {
            continue;
        }
        wrong.text.push_str(error["rendered"].as_str().unwrap_or_default());
        let text = error["message"].as_str().unwrap_or_default();
        if error["code"]["code"] == "E0015" && !text.contains("`on`") {
            let path = text.split('`').nth(1).unwrap_or_default();
            let name =
                path.split(['(', '<']).next().unwrap_or_default().rsplit("::").next().unwrap_or_default();
            wrong.functions.insert(name.to_owned());
            continue;
        }
        let mut spans: Vec<_> = error["spans"].as_array().into_iter().flatten().collect();
        spans.sort_by_key(|span| span["is_primary"] != true);
        for span in spans {
            let file = copy.join(span["file_name"].as_str().unwrap_or_default());
            let line = usize::try_from(span["line_start"].as_u64().unwrap_or_default()).unwrap_or_default();
            let source = fs::read_to_string(file).unwrap_or_default();
            let before: Vec<_> = source.lines().take(line).collect();
            let id = before.iter().rev().find_map(|line| {
                line.strip_prefix("crate :: mutant :: on (")?.split("u32").next()?.trim().parse::<u32>().ok()
            });
            if let Some(id) = id {
                wrong.faults.insert(id);
                break;
            }
        }
    }
    if output.status.success() { Ok(binaries) } else { Err(wrong) }
}
