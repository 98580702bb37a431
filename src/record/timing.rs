//! Everything that deadlines are computed from.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Millis;
use crate::{Error, ErrorKind, Timestamp};

/// Whether the browser keeps the cookie when it closes.
///
/// The mode also selects the pair of lifetimes of a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// The cookie has an expiry and survives a restart of the browser ("remember me").
    Persistent,
    /// The cookie has no expiry and ends with the browser session (also called ephemeral).
    NonPersistent,
}

impl Mode {
    /// `persistent` or `non-persistent`, as in the management API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Persistent => "persistent",
            Self::NonPersistent => "non-persistent",
        }
    }
}

/// Reads what [`Mode::as_str`] writes.
impl std::str::FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hint = "a mode is `persistent` or `non-persistent`";
        [Self::Persistent, Self::NonPersistent]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| Error::new(ErrorKind::InvalidInput, hint))
    }
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A pair of lifetimes: the idle one and the absolute one.
///
/// Each is a whole number of milliseconds from 1 ms to [`Lifetimes::LONGEST`]. An idle lifetime
/// longer than the absolute one is legal; the absolute deadline then comes first.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::Lifetimes;
///
/// let lifetimes = Lifetimes::new(Duration::from_secs(15 * 60), Duration::from_secs(8 * 3600))?;
/// assert_eq!(lifetimes.idle(), Duration::from_secs(900));
/// assert!(Lifetimes::new(Duration::ZERO, Duration::from_secs(1)).is_err());
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Lifetimes {
    idle: Millis,
    absolute: Millis,
}

/// Lifetimes before they are checked.
#[derive(Deserialize)]
struct Unchecked {
    idle: Millis,
    absolute: Millis,
}

impl TryFrom<Unchecked> for Lifetimes {
    type Error = Error;

    fn try_from(read: Unchecked) -> Result<Self, Error> {
        Self::new(read.idle.into(), read.absolute.into())
    }
}

impl Lifetimes {
    /// The longest lifetime: ten years. A longer one is most likely a mistake in units.
    pub const LONGEST: Duration = Duration::from_secs(3650 * 24 * 3600);

    /// A pair of lifetimes.
    ///
    /// # Errors
    ///
    /// When one is shorter than a millisecond or longer than [`Lifetimes::LONGEST`].
    pub fn new(idle: Duration, absolute: Duration) -> Result<Self, Error> {
        Ok(Self {
            idle: Self::check("an idle lifetime", idle)?,
            absolute: Self::check("an absolute lifetime", absolute)?,
        })
    }

    /// A pair from whole minutes, for constants.
    ///
    /// # Panics
    ///
    /// At compile time in a constant, when a value is zero or over ten years.
    pub const fn from_minutes(idle: u32, absolute: u32) -> Self {
        assert!(idle > 0 && absolute > 0, "a lifetime must be at least a minute here");
        assert!(idle <= 3650 * 24 * 60 && absolute <= 3650 * 24 * 60, "a lifetime must be at most ten years");
        Self { idle: Millis::new(idle as u64 * 60_000), absolute: Millis::new(absolute as u64 * 60_000) }
    }

    /// A pair of lifetimes that were checked already.
    pub(crate) const fn of(idle: Millis, absolute: Millis) -> Self {
        Self { idle, absolute }
    }

    /// The idle lifetime: how long after the last interaction a session is over.
    pub const fn idle(&self) -> Duration {
        self.idle.as_duration()
    }

    /// The absolute lifetime: how long after its creation a session is over.
    pub const fn absolute(&self) -> Duration {
        self.absolute.as_duration()
    }

    pub(crate) const fn idle_millis(&self) -> Millis {
        self.idle
    }

    pub(crate) const fn absolute_millis(&self) -> Millis {
        self.absolute
    }

    /// The shorter of both, field by field.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { idle: self.idle.min(other.idle), absolute: self.absolute.min(other.absolute) }
    }

    /// Checks one lifetime and rounds it down to the millisecond.
    pub(crate) fn check(what: &str, lifetime: Duration) -> Result<Millis, Error> {
        if lifetime < Duration::from_millis(1) {
            let message = format!("{what} must be at least 1 ms: zero would end the session at once");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        if lifetime > Self::LONGEST {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("{what} must be at most ten years (3650 days)"),
            ));
        }
        Ok(lifetime.into())
    }
}

/// What deadlines are computed from. The functions that do so are in [`policy`](crate::policy).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The mode, for the session's life.
    pub mode: Mode,
    /// When the session was created; the absolute deadline counts from it.
    pub created_at: Timestamp,
    /// When the user authenticated; `None` for an anonymous session.
    pub authenticated_at: Option<Timestamp>,
    /// The last recorded interaction; the idle deadline counts from it. It only moves forward.
    pub last_interaction_at: Timestamp,
    /// The longest time between two recorded interactions so far. A route with a shorter idle
    /// lifetime judges by it.
    pub longest_gap: Millis,
    /// The lifetimes that the session remembers: from its creation, an override at login, or a
    /// later lowering.
    pub lifetimes: Lifetimes,
    /// The lifetimes of the policy at the session's creation.
    pub policy_at_creation: Lifetimes,
    /// The version of that policy; see [`Policy::stamp`](crate::Policy::stamp). An override at
    /// login is superseded only by a policy that was lowered after it.
    pub policy_stamp: u64,
    /// A one-off idle lifetime, set at login, until the next interaction.
    pub one_off_idle: Option<Millis>,
}

/// What one request changes about the timing of a session.
///
/// Changes of several requests can be applied in any order: interactions only move forward and
/// lowerings are minima, so the deadlines are the same. Only `longest_gap` may get longer when an
/// older interaction comes late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimingChange {
    /// The arrival of the request, if it was an interaction.
    pub interaction_at: Option<Timestamp>,
    /// The policy was lowered below what the session remembers.
    pub lowering: Option<Lowering>,
}

/// A lowering of the policy that binds a session from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lowering {
    /// Upper bounds for the remembered lifetimes.
    pub lifetimes: Lifetimes,
    /// Upper bound for a pending one-off idle lifetime.
    pub one_off_idle: Millis,
}

impl TimingChange {
    /// Whether it changes nothing.
    pub const fn is_empty(&self) -> bool {
        self.interaction_at.is_none() && self.lowering.is_none()
    }
}

impl Timing {
    /// The timing of a session that begins now, without a user.
    pub(crate) const fn new(mode: Mode, now: Timestamp, lifetimes: Lifetimes) -> Self {
        Self {
            mode,
            created_at: now,
            authenticated_at: None,
            last_interaction_at: now,
            longest_gap: Millis::ZERO,
            lifetimes,
            policy_at_creation: lifetimes,
            policy_stamp: 0,
            one_off_idle: None,
        }
    }

    /// Applies a change. A late, older interaction does not move the last one back.
    pub fn apply(&mut self, change: &TimingChange) {
        if let Some(lowering) = change.lowering {
            self.lifetimes = self.lifetimes.min(lowering.lifetimes);
            self.one_off_idle = self.one_off_idle.map(|idle| idle.min(lowering.one_off_idle));
        }
        if let Some(arrival) = change.interaction_at {
            self.longest_gap = self.longest_gap.max(arrival.since(self.last_interaction_at).into());
            self.last_interaction_at = self.last_interaction_at.max(arrival);
            self.one_off_idle = None;
        }
    }
}
