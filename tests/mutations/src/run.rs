//! Runs the tests with one fault switched on at a time.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::plant::Mutant;

/// Tests of the repository's own text, which the copy changes, and of times that a busy machine stretches.
const LEFT_OUT: &[&str] = &["architecture::", "features::", "security_page::"];

/// One test of one binary.
#[derive(Debug, Clone)]
struct Test {
    binary: PathBuf,
    name: String,
    took: Duration,
}

/// The faults that all tests pass with.
pub fn all(copy: &Path, binaries: &[PathBuf], mutants: &[Mutant]) -> Vec<Mutant> {
    let tests: Vec<_> = binaries.iter().flat_map(|binary| list(copy, binary)).collect();
    println!("{} tests: which faults does each reach?", tests.len());
    let reached = in_parallel(&tests, |at, test| reach(copy, at, test));
    let mut reaching: HashMap<u32, Vec<Test>> = HashMap::new();
    for (test, (took, ids)) in tests.iter().zip(reached) {
        for id in ids {
            reaching.entry(id).or_default().push(Test { took, ..test.clone() });
        }
    }
    println!(
        "{} of {} faults are reached",
        mutants.iter().filter(|mutant| reaching.contains_key(&mutant.id)).count(),
        mutants.len()
    );
    let survived = in_parallel(mutants, |at, mutant| {
        let survived = reaching.get(&mutant.id).is_none_or(|tests| survives(copy, mutant.id, tests));
        if survived {
            println!("survived ({at} of {}): line {}: {}", mutants.len(), mutant.line, mutant.name());
        }
        survived
    });
    mutants.iter().zip(survived).filter(|(_, survived)| *survived).map(|(mutant, _)| mutant.clone()).collect()
}

/// What is in the copy: the faults, and the functions that stayed `const`.
pub fn planted(copy: &Path, files: &[&str]) -> (HashSet<u32>, HashSet<String>) {
    let (mut faults, mut constant) = (HashSet::new(), HashSet::new());
    for file in files {
        let text = fs::read_to_string(copy.join(file)).expect("the copy of a file");
        let numbers = text.lines().filter_map(|line| line.strip_prefix("crate :: mutant :: on ("));
        faults.extend(numbers.filter_map(|rest| rest.split("u32").next()?.trim().parse::<u32>().ok()));
        let names = text.split("const fn ").skip(1).filter_map(|rest| rest.split_whitespace().next());
        constant.extend(names.map(str::to_owned));
    }
    (faults, constant)
}

fn list(copy: &Path, binary: &Path) -> Vec<Test> {
    let output = Command::new(binary).args(["--list", "--format=terse"]).current_dir(copy).output();
    let output = output.expect("a test binary runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| !LEFT_OUT.iter().any(|part| name.starts_with(part)))
        .map(|name| Test { binary: binary.to_owned(), name: name.to_owned(), took: Duration::ZERO })
        .collect()
}

/// Which faults a test reaches, and how long it takes. A test that fails without a fault proves nothing.
fn reach(copy: &Path, at: usize, test: &Test) -> (Duration, Vec<u32>) {
    let notes = copy.join(format!("../reached-{at}"));
    let _ = fs::remove_file(&notes);
    let begun = Instant::now();
    let mut command = Command::new(&test.binary);
    command.args(["--exact", &test.name]).env("MUTANTS_REACHED", &notes).current_dir(copy);
    let within = Duration::from_secs(20);
    // One that takes longer has reached by then what it reaches.
    let passed = passes(&mut command, within) || begun.elapsed() > within;
    let ids = fs::read_to_string(&notes).unwrap_or_default();
    let _ = fs::remove_file(&notes);
    if !passed {
        println!("fails without a fault, left out: {}", test.name);
        return (begun.elapsed(), Vec::new());
    }
    (begun.elapsed(), ids.lines().filter_map(|id| id.parse().ok()).collect())
}

/// Whether all these tests pass with this fault; the quick ones go first.
fn survives(copy: &Path, id: u32, tests: &[Test]) -> bool {
    let mut tests = tests.to_vec();
    tests.sort_by_key(|test| test.took);
    // Small handfuls first: most faults are noticed by the first test that reaches them.
    let mut rest = &tests[..];
    let mut size = 8;
    while !rest.is_empty() {
        let (now, later) = rest.split_at(size.min(rest.len()));
        (rest, size) = (later, size * 4);
        let binaries: BTreeSet<_> = now.iter().map(|test| &test.binary).collect();
        for binary in binaries {
            let of_binary: Vec<_> = now.iter().filter(|test| test.binary == *binary).collect();
            let took: Duration = of_binary.iter().map(|test| test.took).sum();
            let mut command = Command::new(binary);
            command
                .args(["-Z", "unstable-options", "--fail-fast", "--exact"])
                .args(of_binary.iter().map(|test| &test.name))
                .env("RUSTC_BOOTSTRAP", "1")
                .env("MUTANT", id.to_string())
                .current_dir(copy);
            // A test that never ends has noticed, too; it is said, because a busy machine looks the same.
            if !passes(&mut command, took * 5 + Duration::from_secs(20)) {
                return false;
            }
        }
    }
    true
}

fn passes(command: &mut Command, within: Duration) -> bool {
    let mut process = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a test binary runs");
    let begun = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("a child can be asked") {
            return status.success();
        }
        if begun.elapsed() > within {
            let _ = process.kill();
            let _ = process.wait();
            println!("out of time: {command:?}");
            return false;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Does the same with all of them, on as many threads as there are cores; the results are in order.
fn in_parallel<T: Sync, R: Send>(all: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at) else { break };
                    let result = work(at, one);
                    results.lock().expect("no thread panics").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
