//! Many concurrent callers, and how fast they are served. `benches/stores.rs` and
//! `benches/through.rs` share it.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`drive`]: the callers; [`Served`]: what they measured |
//! | `sessions.rs` | made-up sessions |
//! | `times.rs` | how long calls took |

#![expect(clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

pub(crate) mod sessions;
mod times;

use std::{
    env, fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use times::Times;

/// When the callers stop.
#[derive(Clone)]
pub(crate) enum Until {
    /// After this many calls of all callers together.
    Calls(u64),
    /// After this time.
    Time(Duration),
    /// When the flag is set.
    Set(Arc<AtomicBool>),
}

impl Until {
    fn goes_on(&self, number: u64, begun: Instant) -> bool {
        match self {
            Self::Calls(calls) => number < *calls,
            Self::Time(time) => begun.elapsed() < *time,
            Self::Set(flag) => !flag.load(Ordering::Relaxed),
        }
    }
}

/// How fast calls were served.
pub(crate) struct Served {
    pub(crate) calls: u64,
    pub(crate) time: Duration,
    /// The 50th, 99th and 99.9th percentiles of the calls' times.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
}

impl Served {
    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.time.as_secs_f64()
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s ({:.1?}, {:.1?}, {:.1?})", self.per_second(), self.p50, self.p99, self.p999)
    }
}

/// A caller yields after this many calls, because calls to an in-process store never wait.
const TURN: usize = 32;

/// Runs this many callers. Each makes its next call as soon as it gets an answer. Calls are
/// numbered from 0. A caller stops before the first number that is too high, but makes at least one
/// call.
pub(crate) async fn drive<F>(
    callers: u64,
    until: Until,
    call: impl Fn(u64) -> F + Clone + Send + 'static,
) -> Served
where
    F: Future<Output = ()> + Send,
{
    let begun = Instant::now();
    let tasks = (0..callers).map(|caller| {
        let (call, until) = (call.clone(), until.clone());
        tokio::spawn(async move {
            let (mut times, mut number, mut calls) = (Times::new(), caller, 0_usize);
            let mut now = Instant::now();
            while until.goes_on(number, begun) {
                call(number).await;
                let done = Instant::now();
                times.add(done - now);
                now = done;
                number += callers;
                calls += 1;
                if calls.is_multiple_of(TURN) {
                    tokio::task::yield_now().await;
                }
            }
            times
        })
    });
    let mut times = Times::new();
    for task in tasks.collect::<Vec<_>>() {
        times.merge(&task.await.expect("no caller fails"));
    }
    let time = begun.elapsed();
    assert!(times.calls() > 0, "there were calls");
    let [p50, p99, p999] = [500, 990, 999].map(|of_1000| times.within(of_1000));
    Served { calls: times.calls(), time, p50, p99, p999 }
}

/// The time of one call: the median of several, and the maximum.
pub(crate) async fn each<F: Future<Output = ()>>(times: usize, call: impl Fn() -> F) -> (Duration, Duration) {
    let mut taken = Vec::with_capacity(times);
    for _ in 0..times {
        let begun = Instant::now();
        call().await;
        taken.push(begun.elapsed());
    }
    taken.sort_unstable();
    (taken[times / 2], taken[times - 1])
}

pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A setting from the environment.
pub(crate) fn setting<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    let read = |text: String| text.parse().unwrap_or_else(|_| panic!("{name} cannot be {text}"));
    env::var(name).map_or(otherwise, read)
}

/// Whether the command line names this part, or no part.
pub(crate) fn is_wanted(part: &str) -> bool {
    let mut named = env::args().skip(1).filter(|argument| !argument.starts_with("--")).peekable();
    named.peek().is_none() || named.any(|named| named == part)
}

/// The resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}
