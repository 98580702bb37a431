//! The clock: the only place that reads the time.

use std::{fmt, sync::Arc};

use crate::Timestamp;

/// A source of the current time.
///
/// The middleware reads it once per request, on arrival; everything else gets that moment as an
/// argument. A clock may step back: that lengthens no session.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current moment.
    fn now(&self) -> Timestamp;

    /// Whether it keeps wall time, so that it can be compared with the clock of a store. A clock
    /// for tests may not.
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
/// Wall time, not monotonic time, because deadlines are shared with stores, other nodes and
/// browsers, and outlive the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "the one clock read of the crate")]
        let now = std::time::SystemTime::now();
        // Avoids the calendar arithmetic of `OffsetDateTime`. A clock before 1970 is wrong anyway.
        let since_epoch = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::UNIX_EPOCH + since_epoch
    }
}

/// A moment of the runtime's timers, for polling intervals. No deadline depends on it.
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

/// Measures how long something takes, for metrics only.
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
