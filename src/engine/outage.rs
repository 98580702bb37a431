//! Whether the store is unavailable (O3): one event when an outage begins, and one when it is over.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::lock;
use crate::Timestamp;

/// What is known of an outage of the store. The clones of an engine share it; other engines have
/// their own, also in the same process.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Read by each successful call, which takes the lock only during an outage.
    is_on: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began_at: Timestamp,
    failed_at: Timestamp,
    /// The end of the outage before.
    over_at: Option<Timestamp>,
    failures: u64,
    /// How long no call may have failed before the outage counts as over.
    quiet: Duration,
}

/// An outage that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PastOutage {
    pub(super) lasted: Duration,
    pub(super) failures: u64,
}

const QUIET: Duration = Duration::from_secs(1);

/// A store that fails again within this time must be without failure for twice as long. So a store
/// that fails now and then does not fill the log.
const SOON: Duration = Duration::from_secs(60);

impl Outage {
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// A call of a request that arrived at `at` has failed. Whether an outage begins.
    pub(super) fn failed(&self, at: Timestamp, now: Timestamp) -> bool {
        let mut state = lock(&self.state);
        if self.is_on() {
            state.failed_at = now;
            state.failures += 1;
            return false;
        }
        // Guards against a call of the outage before, which reached its timeout only now.
        if state.over_at.is_some_and(|over| at < over && over <= now) {
            return false;
        }
        let soon = state.over_at.is_some_and(|over| apart(over, now) < SOON);
        let quiet = if soon { (state.quiet * 2).min(SOON) } else { QUIET };
        *state = State { began_at: now, failed_at: now, over_at: state.over_at, failures: 1, quiet };
        self.is_on.store(true, Ordering::Relaxed);
        true
    }

    /// A call has succeeded during an outage. The outage, if that was its end.
    pub(super) fn succeeded(&self, at: Timestamp, now: Timestamp) -> Option<PastOutage> {
        let mut state = lock(&self.state);
        // A request that arrived before the last failure may have been answered before it. A clock
        // that stepped back must not make the outage last.
        let is_old = at < state.failed_at && state.failed_at <= now;
        if !self.is_on() || is_old || apart(state.failed_at, now) < state.quiet {
            return None;
        }
        self.is_on.store(false, Ordering::Relaxed);
        state.over_at = Some(now);
        Some(PastOutage { lasted: now.since(state.began_at), failures: state.failures })
    }
}

fn apart(a: Timestamp, b: Timestamp) -> Duration {
    a.since(b).max(b.since(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_000_000 + millis)
    }

    #[test]
    fn o3_an_outage_is_over_when_no_call_has_failed_for_a_second() {
        let outage = Outage::default();
        assert!(!outage.is_on());
        assert!(outage.failed(at(0), at(0)), "it begins");
        assert!(!outage.failed(at(0), at(400)), "and goes on");
        assert!(outage.is_on());
        assert_eq!(outage.succeeded(at(500), at(500)), None, "one that got through");
        assert_eq!(outage.succeeded(at(399), at(1400)), None, "of before the last failure");
        let past = PastOutage { lasted: Duration::from_millis(1400), failures: 2 };
        assert_eq!(outage.succeeded(at(400), at(1400)), Some(past));
        assert!(!outage.is_on());
        assert_eq!(outage.succeeded(at(1400), at(2400)), None, "emitted once");
    }

    #[test]
    fn o3_a_call_of_the_outage_before_begins_no_new_one() {
        let outage = Outage::default();
        outage.failed(at(0), at(0));
        outage.succeeded(at(1000), at(1000)).unwrap();
        assert!(!outage.failed(at(500), at(1500)), "it arrived during the outage");
        assert!(outage.failed(at(1000), at(3000)));
    }

    #[test]
    fn o3_a_store_that_fails_now_and_then_is_reported_less_and_less_often() {
        let (outage, mut begun, mut now) = (Outage::default(), 0, 0);
        for _ in 0..1000 {
            begun += u32::from(outage.failed(at(now), at(now)));
            for _ in 0..3 {
                now += 1500;
                outage.succeeded(at(now), at(now));
            }
        }
        assert!(begun <= 4, "{begun}");
        now += 3_600_000;
        outage.succeeded(at(now), at(now));
        now += 3_600_000;
        assert!(outage.failed(at(now), at(now)));
        assert!(outage.succeeded(at(now + 1000), at(now + 1000)).is_some(), "quick again after an hour");
    }

    #[test]
    fn l10_a_clock_that_steps_back_does_not_make_an_outage_last() {
        let outage = Outage::default();
        outage.failed(at(0), at(0));
        assert!(outage.succeeded(at(-5000), at(-5000)).is_some());
        assert!(outage.failed(at(-4000), at(-4000)));
    }
}
