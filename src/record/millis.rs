//! A length of time in whole milliseconds.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A length of time in whole milliseconds, which every store keeps exactly.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::record::Millis;
///
/// assert_eq!(Millis::from(Duration::from_micros(2_500)).as_u64(), 2);
/// assert_eq!(Millis::new(1_500).as_duration(), Duration::from_secs_f32(1.5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(u64);

impl Millis {
    /// Zero milliseconds.
    pub const ZERO: Self = Self(0);

    /// This many milliseconds.
    pub const fn new(millis: u64) -> Self {
        Self(millis)
    }

    /// The number of milliseconds.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The same length as a [`Duration`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Rounds down to the millisecond; a duration too long for a `u64` saturates.
impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Millis> for Duration {
    fn from(millis: Millis) -> Self {
        millis.as_duration()
    }
}

/// Saturates at the end of representable time.
impl std::ops::Add<Millis> for Timestamp {
    type Output = Self;

    fn add(self, length: Millis) -> Self {
        self.plus_millis(length.0)
    }
}
