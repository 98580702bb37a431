//! Upper limits of a policy.

use std::time::Duration;

use crate::{Error, record::Lifetimes};

const DAY: u32 = 24 * 60;

/// Upper limits for lifetimes. A value above a limit is clamped to it, not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits(Lifetimes);

impl Limits {
    /// Idle 3 days, absolute 30 days: Auth0's self-service plans.
    pub const SELF_SERVICE: Self = Self(Lifetimes::from_minutes(3 * DAY, 30 * DAY));

    /// Idle 100 days, absolute 365 days: Auth0's enterprise plans. The default.
    pub const ENTERPRISE: Self = Self(Lifetimes::from_minutes(100 * DAY, 365 * DAY));

    /// No limit below [`Lifetimes::LONGEST`], which is ten years.
    pub const NONE: Self = Self(Lifetimes::from_minutes(3650 * DAY, 3650 * DAY));

    /// Custom limits.
    ///
    /// # Errors
    ///
    /// As [`Lifetimes::new`].
    pub fn new(idle: Duration, absolute: Duration) -> Result<Self, Error> {
        Lifetimes::new(idle, absolute).map(Self)
    }

    /// The limits as a pair of lifetimes.
    pub const fn as_lifetimes(&self) -> Lifetimes {
        self.0
    }
}
