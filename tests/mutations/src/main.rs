//! Finds small faults in the rules that no test notices.
//!
//! Tools that rebuild the crate for each fault would need a minute a fault here. This one plants
//! all faults of all files in one copy, each behind a branch (`plant.rs`), and builds the tests
//! once (`build.rs`). It enables one fault at a time, and runs the tests that reach it until the
//! first fails (`run.rs`).
//!
//! ```console
//! $ cargo run --manifest-path tests/mutations/Cargo.toml --target-dir target/mutations [-- --resume src/policy/ ...]
//! ```
//!
//! It fails if a fault survives that `survivors.txt` does not explain, and if that file explains a
//! fault that does not survive. Arguments select files by a part of their path.

#![expect(clippy::disallowed_methods, reason = "a tool looks at the clock")]

mod build;
mod plant;
mod run;
mod state;

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use plant::Mutant;
use run::Outcome;
use state::State;

/// The files of the rules: those that decide, and those that parse and write bytes from outside.
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
    "src/record/json.rs",
    "src/record/data.rs",
    "src/record/edits.rs",
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
    "src/request/call.rs",
    "src/request/judge.rs",
    "src/request/cookie.rs",
    "src/request/answer.rs",
    "src/request/known.rs",
    "src/request/mod.rs",
];

fn main() -> ExitCode {
    let begun = Instant::now();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let mut wanted: Vec<_> = std::env::args().skip(1).collect();
    // Resumes with the build and the results of the last run.
    let resumes = wanted.iter().any(|argument| argument == "--resume");
    wanted.retain(|argument| argument != "--resume");
    let state = State::new(&root.join("target/mutations"));
    if !resumes {
        state.start_again();
        build::build(&root, &state);
    }
    let mut mutants = state.mutants();
    let unviable = state.unviable();
    mutants
        .retain(|mutant| wanted.is_empty() || wanted.iter().any(|part| mutant.file.contains(part.as_str())));
    let planted = mutants.len();
    mutants.retain(|mutant| !unviable.contains(&mutant.name));
    println!("{planted} faults, {} of them do not compile", planted - mutants.len());
    let list = fs::read_to_string(root.join("tests/mutations/survivors.txt")).unwrap_or_default();
    let explained = list.lines().filter(|line| line.starts_with("src/")).map(str::trim_end).collect();
    let outcomes = run::all(&state, &mutants, &explained);
    report(&mutants, &outcomes, &explained, begun.elapsed())
}

/// Prints the results. A survivor without an explanation is a failure, and so is an explanation
/// without a survivor.
fn report(mutants: &[Mutant], outcomes: &[Outcome], known: &BTreeSet<&str>, took: Duration) -> ExitCode {
    let survivors: Vec<_> = mutants
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| matches!(outcome, Outcome::Survived | Outcome::NotReached))
        .collect();
    let timed_out =
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Killed(by) if by.starts_with("time:")));
    println!(
        "{} faults ran in {} s: {} killed ({} of these because a test did not end), {} survived",
        mutants.len(),
        took.as_secs(),
        mutants.len() - survivors.len(),
        timed_out.count(),
        survivors.len(),
    );
    let unexplained: Vec<_> =
        survivors.iter().filter(|(mutant, _)| !known.contains(mutant.name.as_str())).collect();
    for (mutant, outcome) in &unexplained {
        let how = if matches!(outcome, Outcome::NotReached) { " (no test reaches it)" } else { "" };
        println!("line {}{how}: {}", mutant.line, mutant.name);
    }
    let survived: BTreeSet<_> = survivors.iter().map(|(mutant, _)| mutant.name.as_str()).collect();
    let noticed = mutants.iter().map(|mutant| mutant.name.as_str());
    let noticed: Vec<_> = noticed.filter(|name| known.contains(name) && !survived.contains(name)).collect();
    for name in &noticed {
        println!("explained, but a test notices it: {name}");
    }
    println!("{} survivors are not explained in tests/mutations/survivors.txt", unexplained.len());
    ExitCode::from(u8::from(!unexplained.is_empty() || !noticed.is_empty()))
}
