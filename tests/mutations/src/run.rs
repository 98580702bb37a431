//! Runs the tests with one fault enabled at a time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
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

use crate::{plant::Mutant, state::State};

/// Tests of the repository's text, which the copy changes.
const LEFT_OUT: &[&str] = &["architecture::", "features::", "security_page::"];

/// Slower tests run last, after all others have passed.
const QUICK: Duration = Duration::from_secs(2);

/// More than the two cores: a few tests wait for real time, and faults make others wait.
const THREADS: usize = 3;

/// One test of one binary.
#[derive(Debug, Clone)]
struct Test {
    binary: PathBuf,
    name: String,
    took: Duration,
    /// How many faults the test reaches.
    reaches: usize,
}

/// The outcome of a fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Noticed by this test.
    Killed(String),
    /// The quick tests pass. The slow ones have not run yet.
    PassesQuick,
    Survived,
    NotReached,
}

impl Outcome {
    fn text(&self) -> &str {
        match self {
            Self::Killed(by) => by,
            Self::PassesQuick => "passes quick tests",
            Self::Survived => "survived",
            Self::NotReached => "not reached",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "passes quick tests" => Self::PassesQuick,
            "survived" => Self::Survived,
            "not reached" => Self::NotReached,
            by => Self::Killed(by.to_owned()),
        }
    }
}

/// The outcome of each fault. Outcomes of an earlier run are not computed again.
pub fn all(state: &State, mutants: &[Mutant], explained: &BTreeSet<&str>) -> Vec<Outcome> {
    let copy = state.copy();
    let tests: Vec<_> = state.binaries().iter().flat_map(|binary| list(&copy, binary)).collect();
    let reaching = reaching(state, &tests);
    let reached = mutants.iter().filter(|mutant| reaching.contains_key(&mutant.id)).count();
    println!("{} tests; {reached} of {} faults are reached", tests.len(), mutants.len());
    let noticed = state.noticed();
    let killers: Mutex<Vec<String>> = Mutex::default();
    // All faults with the quick tests first, because a few survivors take as long as all others.
    let mut outcomes = Vec::new();
    for slow in [false, true] {
        let results = state.results();
        let (left, begun) = (AtomicUsize::new(0), Instant::now());
        outcomes = in_parallel(mutants, |thread, at, mutant| {
            let known = results.get(&mutant.name).map(|result| Outcome::parse(result));
            if let Some(known) = known.filter(|known| !slow || *known != Outcome::PassesQuick) {
                return known;
            }
            // The slow tests take longer than all others, so explained survivors skip them.
            if slow && explained.contains(&*mutant.name) {
                state.add_result(&mutant.name, Outcome::Survived.text());
                return Outcome::Survived;
            }
            let outcome = reaching.get(&mutant.id).map_or(Outcome::NotReached, |tests| {
                // First the test that noticed this fault before, then those that noticed its
                // neighbours.
                let before = noticed.get(&mutant.name).cloned();
                let is_known = before.is_some();
                let mut first: Vec<_> = before.into_iter().collect();
                first.extend(killers.lock().expect("no thread panics").iter().rev().take(4).cloned());
                let tests = tests.iter().filter(|test| (test.took > QUICK) == slow).collect();
                Switched { copy: &copy, id: mutant.id, noticed: is_known, thread }
                    .outcome(tests, &first)
                    .unwrap_or(if slow { Outcome::Survived } else { Outcome::PassesQuick })
            });
            state.add_result(&mutant.name, outcome.text());
            if let Outcome::Killed(by) = &outcome {
                killers.lock().expect("no thread panics").push(by.clone());
            } else {
                left.fetch_add(1, Ordering::Relaxed);
                println!("{}: line {}: {}", outcome.text(), mutant.line, mutant.name);
            }
            if at % 50 == 49 {
                let left = left.load(Ordering::Relaxed);
                println!(
                    "{} of {} after {} s; {left} left",
                    at + 1,
                    mutants.len(),
                    begun.elapsed().as_secs()
                );
            }
            outcome
        });
    }
    outcomes
}

/// The name of a test with its binary's name.
fn full_name(binary: &Path, name: &str) -> String {
    let file = binary.file_name().unwrap_or_default().to_string_lossy();
    format!("{}::{name}", file.rsplit_once('-').map_or(&*file, |(stem, _)| stem))
}

fn list(copy: &Path, binary: &Path) -> Vec<Test> {
    let output = Command::new(binary).args(["--list", "--format=terse"]).current_dir(copy).output();
    let output = output.expect("a test binary runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| !LEFT_OUT.iter().any(|part| name.starts_with(part)))
        .map(|name| Test {
            binary: binary.to_owned(),
            name: name.to_owned(),
            took: Duration::ZERO,
            reaches: 0,
        })
        .collect()
}

/// The tests that reach each fault. They are measured once for each build.
fn reaching(state: &State, tests: &[Test]) -> HashMap<u32, Vec<Test>> {
    let mut lines = state.reached();
    if lines.len() != tests.len() {
        println!("{} tests: which faults does each reach?", tests.len());
        let copy = state.copy();
        lines = in_parallel(tests, |thread, _, test| reach(&copy, thread, test));
        state.keep_reached(lines.iter().cloned());
    }
    let mut reaching: HashMap<u32, Vec<Test>> = HashMap::new();
    for (test, line) in tests.iter().zip(lines) {
        let mut numbers = line.split(' ').filter_map(|number| number.parse::<u32>().ok());
        let took = Duration::from_millis(numbers.next().unwrap_or_default().into());
        let ids: Vec<_> = numbers.collect();
        for id in &ids {
            reaching.entry(*id).or_default().push(Test { took, reaches: ids.len(), ..test.clone() });
        }
    }
    reaching
}

/// How long a test takes, and which faults it reaches. A test that fails without a fault is left
/// out.
fn reach(copy: &Path, thread: usize, test: &Test) -> String {
    let notes = copy.join(format!("../notes-{thread}"));
    let _ = fs::remove_file(&notes);
    let mut command = Command::new(&test.binary);
    command.args(["--exact", &test.name]).env("MUTANTS_REACHED", &notes);
    let begun = Instant::now();
    let end = run(&mut command, copy, thread, Duration::from_secs(60), Duration::from_secs(120));
    let ids = fs::read_to_string(&notes).unwrap_or_default();
    let _ = fs::remove_file(&notes);
    // A test that times out has reached its faults by then.
    if end == End::Failed {
        println!("fails without a fault, left out: {}", test.name);
        return "0".to_owned();
    }
    format!("{} {}", begun.elapsed().as_millis(), ids.lines().collect::<Vec<_>>().join(" "))
}

/// One enabled fault.
struct Switched<'a> {
    copy: &'a Path,
    id: u32,
    /// Whether the first named test noticed it in an earlier run.
    noticed: bool,
    thread: usize,
}

impl Switched<'_> {
    /// Runs these tests until one fails: first the one that noticed the fault before, then unit
    /// tests, then the named ones, then quick tests that reach few faults.
    fn outcome(&self, mut tests: Vec<&Test>, first: &[String]) -> Option<Outcome> {
        // Unit tests come before tests of whole requests, because a fault may let those wait
        // forever.
        let is_unit = |test: &Test| full_name(&test.binary, "").starts_with("tower_tenure");
        tests.sort_by_cached_key(|test| {
            let named = first.iter().position(|name| *name == full_name(&test.binary, &test.name));
            let noticed = named == Some(0) && self.noticed;
            (
                Reverse(noticed),
                Reverse(is_unit(test)),
                named.is_none(),
                test.took.as_millis() / 100,
                test.reaches,
                test.took,
            )
        });
        // Small batches first, because the first tests that reach a fault usually notice it.
        let (mut rest, mut size) = (&tests[..], 4);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            (rest, size) = (later, size * 4);
            let mut of_binaries: BTreeMap<&Path, Vec<&Test>> = BTreeMap::new();
            for test in now {
                of_binaries.entry(&test.binary).or_default().push(test);
            }
            for (binary, tests) in of_binaries {
                if let Some(by) = self.failing(binary, &tests) {
                    return Some(Outcome::Killed(by));
                }
            }
        }
        None
    }

    /// The test of this binary that notices the fault.
    fn failing(&self, binary: &Path, tests: &[&Test]) -> Option<String> {
        let took: Duration = tests.iter().map(|test| test.took).sum();
        let mut command = Command::new(binary);
        command
            .args(["-Z", "unstable-options", "--fail-fast", "--exact"])
            .args(tests.iter().map(|test| &test.name))
            .env("RUSTC_BOOTSTRAP", "1")
            .env("MUTANT", self.id.to_string());
        // A test that never ends has noticed the fault, too. On a busy machine a waiting test looks
        // the same, so it gets a second, longer chance.
        let (work, wait) = (took * 5 + secs(2), took * 10 + secs(20));
        let mut end = run(&mut command, self.copy, self.thread, work, wait);
        if end == End::Waits {
            end = run(&mut command, self.copy, self.thread, work * 2, wait * 3);
        }
        match end {
            End::Passed => None,
            End::Failed => {
                let output = fs::read(output_path(self.copy, self.thread)).unwrap_or_default();
                let output = String::from_utf8_lossy(&output);
                let names: BTreeSet<_> =
                    output.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim).collect();
                let by = tests.iter().find(|test| names.contains(test.name.as_str()));
                // A process that crashes names no test.
                Some(by.map_or_else(
                    || format!("crash: {}", full_name(binary, &tests[0].name)),
                    |test| full_name(binary, &test.name),
                ))
            }
            End::Waits | End::Works => Some(format!("time: {}", full_name(binary, &tests[0].name))),
        }
    }
}

fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn output_path(copy: &Path, thread: usize) -> PathBuf {
    copy.join(format!("../output-{thread}"))
}

/// The end of a process.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Passed,
    Failed,
    /// It did not end within the time limit.
    Waits,
    /// It used more CPU time than allowed. The load of other programs does not count.
    Works,
}

fn run(command: &mut Command, copy: &Path, thread: usize, work: Duration, wait: Duration) -> End {
    let output = fs::File::create(output_path(copy, thread)).expect("target is writable");
    let mut process = command
        .current_dir(copy)
        .env("RUST_TEST_THREADS", "1")
        .env("PROPTEST_MAX_SHRINK_ITERS", "0")
        .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "true")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .expect("a test binary runs");
    let begun = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("a child can be asked") {
            return if status.success() { End::Passed } else { End::Failed };
        }
        let elapsed = begun.elapsed();
        let end = if elapsed > work && worked(process.id()) > work {
            End::Works
        } else if elapsed > wait {
            End::Waits
        } else {
            thread::sleep(Duration::from_millis(2));
            continue;
        };
        let _ = process.kill();
        let _ = process.wait();
        return end;
    }
}

/// The CPU time of a process. Linux counts in hundredths of a second.
fn worked(process: u32) -> Duration {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = line.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Maps all items on several threads, and returns the results in order.
fn in_parallel<T: Sync, R: Send>(all: &[T], work: impl Fn(usize, usize, &T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (next, results, work) = (&next, &results, &work);
            scope.spawn(move || {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(one) = all.get(at)
                {
                    let result = work(thread, at, one);
                    results.lock().expect("no thread panics").push((at, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no thread panics");
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}
