//! A clock for benchmarks.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use tower_tenure::{Clock, SystemClock, Timestamp};

/// As expensive as the system's clock, but advances by a fixed step with every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clockwork(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    now: AtomicI64,
    step: AtomicI64,
}

impl Default for Hands {
    fn default() -> Self {
        Self { now: AtomicI64::new(1_767_225_600_000), step: AtomicI64::new(0) }
    }
}

impl Clockwork {
    pub(crate) fn step_by(&self, millis: i64) {
        self.0.step.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn to_next_second(&self) {
        let now = self.0.now.load(Ordering::Relaxed);
        self.0.now.store((now / 1000 + 1) * 1000, Ordering::Relaxed);
    }
}

impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        black_box(SystemClock.now());
        let step = self.0.step.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(self.0.now.fetch_add(step, Ordering::Relaxed) + step)
    }
}
