//! Moments, and the clock that they come from.

mod clock;
mod timestamp;

#[cfg(feature = "metrics")]
pub(crate) use self::clock::Stopwatch;
pub(crate) use self::clock::TimerMoment;
pub use self::{
    clock::{Clock, SystemClock},
    timestamp::Timestamp,
};
