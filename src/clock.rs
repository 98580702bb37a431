//! Where time comes from: the one clock read.

use std::{fmt, sync::Arc};

use crate::Timestamp;

/// A source of the current time.
///
/// The middleware asks it once per request, on arrival (SPEC L10); everything else gets that moment as an argument.
/// A clock may step back: no session is lengthened by it.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current moment.
    fn now(&self) -> Timestamp;

    /// Whether it keeps the time of day, so that it can be compared with the clock of a store (S12). A clock for tests may not.
    fn keeps_wall_time(&self) -> bool {
        true
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn keeps_wall_time(&self) -> bool {
        (**self).keeps_wall_time()
    }
}

/// The operating system's wall clock.
///
/// Wall time, not monotonic time, because deadlines are shared with stores, other nodes and browsers, and outlive the
/// process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one clock read of the crate")]
        let now = std::time::SystemTime::now();
        // Without the detour over a calendar that `OffsetDateTime` takes. Before 1970 the clock is wrong anyway.
        let since_epoch = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::UNIX_EPOCH + since_epoch
    }
}

/// A moment of the runtime's timers: for how often something is polled. No deadline is judged by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimerMoment(tokio::time::Instant);

impl TimerMoment {
    pub(crate) fn now() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the time of timers, which tests pause and advance")]
        Self(tokio::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> std::time::Duration {
        self.0.elapsed()
    }
}

/// Measures how long something takes, for metrics only: nothing is decided by it.
#[cfg(feature = "metrics")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopwatch(std::time::Instant);

#[cfg(feature = "metrics")]
impl Stopwatch {
    pub(crate) fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a duration, not a time")]
        Self(std::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> std::time::Duration {
        #[expect(clippy::disallowed_methods, reason = "a duration, not a time")]
        self.0.elapsed()
    }
}
