//! Whether this node's clock agrees with that of the store (S12).

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use super::Engine;
use crate::{
    Timestamp,
    events::{EventKind, Operation},
};

/// What is known of this node's clock.
#[derive(Debug)]
pub(super) struct ClockState {
    /// Store's time less ours, in milliseconds.
    offset: AtomicI64,
    compared_at: AtomicI64,
    agrees: AtomicBool,
    /// The store has no clock, or ours does not keep wall time: there is nothing to compare.
    is_alone: AtomicBool,
}

const NEVER: i64 = i64::MIN;

/// How often the clocks are compared.
const COMPARE_EVERY: i64 = 60_000;

impl Default for ClockState {
    fn default() -> Self {
        Self {
            offset: AtomicI64::new(0),
            compared_at: AtomicI64::new(NEVER),
            agrees: AtomicBool::new(false),
            is_alone: AtomicBool::new(false),
        }
    }
}

impl Engine {
    /// Whether this node may end sessions by time: its clock agrees with the store's, by a
    /// comparison of at most a minute ago.
    pub(crate) async fn clock_agrees(&self, now: Timestamp) -> bool {
        self.compare_clocks(now).await;
        let clock = &self.shared.clock;
        clock.is_alone.load(Ordering::Relaxed) || clock.agrees.load(Ordering::Relaxed)
    }

    /// A moment of this node's clock by the clock that all nodes share. Besides deadlines, nodes
    /// share the grace of a rotation and the moment of "sign out everywhere". Both are by that
    /// clock, so a few seconds between the nodes' clocks do not matter.
    pub(crate) async fn shared_time(&self, moment: Timestamp) -> Timestamp {
        self.compare_clocks(moment).await;
        self.shared_time_as_known(moment)
    }

    /// The same, without asking the store.
    pub(crate) fn shared_time_as_known(&self, moment: Timestamp) -> Timestamp {
        let offset = self.shared.clock.offset.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(moment.as_unix_millis().saturating_add(offset))
    }

    /// Whether the clocks were never compared, as before the first request.
    pub(crate) fn clock_is_unknown(&self) -> bool {
        let clock = &self.shared.clock;
        !clock.is_alone.load(Ordering::Relaxed) && clock.compared_at.load(Ordering::Relaxed) == NEVER
    }

    /// Compares the clocks, unless that was done within a minute.
    pub(crate) async fn compare_clocks(&self, now: Timestamp) {
        let clock = &self.shared.clock;
        if clock.is_alone.load(Ordering::Relaxed) {
            return;
        }
        if self.store.in_process() || !self.clock.keeps_wall_time() {
            clock.is_alone.store(true, Ordering::Relaxed);
            return;
        }
        let compared_at = clock.compared_at.load(Ordering::Relaxed);
        let age = now.as_unix_millis().saturating_sub(compared_at);
        if compared_at != NEVER && (0..COMPARE_EVERY).contains(&age) {
            return;
        }
        // A failure is an event already, and leaves what was known.
        let Ok(time) = self.call(self.timer(Operation::Time), None, now, self.store.calls().time()).await
        else {
            return;
        };
        let Some(theirs) = time else {
            clock.is_alone.store(true, Ordering::Relaxed);
            return;
        };
        // Off by the latency of the answer, some milliseconds.
        let ours = self.clock.now();
        let offset = theirs.as_unix_millis().saturating_sub(ours.as_unix_millis());
        let tolerance = i64::try_from(self.clock_tolerance.as_millis()).unwrap_or(i64::MAX);
        let agrees = offset.saturating_abs() <= tolerance;
        clock.offset.store(offset, Ordering::Relaxed);
        let known = clock.compared_at.swap(ours.as_unix_millis(), Ordering::Relaxed) != NEVER;
        let did_agree = clock.agrees.swap(agrees, Ordering::Relaxed);
        if !agrees && (did_agree || !known) {
            self.emit(ours, "", None, None, EventKind::ClocksApart { ahead_by_millis: -offset });
        } else if agrees && known && !did_agree {
            self.emit(ours, "", None, None, EventKind::ClocksAgree);
        }
    }
}
