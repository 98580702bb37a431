//! The lifetimes of a new session: the policy's, or the login's overrides within the limits.

use std::time::Duration;

use super::Policy;
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Lifetimes, Millis, Mode, Timing},
};

/// What a login sets in place of the policy; see [L6](crate::rules#l6).
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::{Policy, Timestamp, policy::{Overrides, open}};
///
/// let now = Timestamp::from_unix_millis(0);
/// let hour = Duration::from_secs(3600);
/// let mut overrides = Overrides::default();
/// overrides.expires_at(now + 8 * hour);
/// overrides.expires_at(now + 2 * hour); // the earliest wins
///
/// let opening = open(&Policy::default(), now, &overrides).unwrap();
/// assert_eq!(opening.timing.expires_at(), now + 2 * hour);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    mode: Option<Mode>,
    expires_at: Option<Timestamp>,
    not_after: Option<Timestamp>,
    idle_expires_at: Option<Timestamp>,
    idle_lifetime: Option<Millis>,
}

impl Overrides {
    /// Sets the mode for the session's life, which selects the pair of lifetimes. The last call
    /// wins.
    pub fn mode(&mut self, mode: Mode) {
        self.mode = Some(mode);
    }

    /// Sets the absolute deadline in place of the policy's. The earliest of several calls wins.
    pub fn expires_at(&mut self, deadline: Timestamp) {
        self.expires_at = Some(earliest(self.expires_at, deadline));
    }

    /// Sets an upper bound for the absolute deadline, for example the identity provider's own
    /// session expiry. The earliest of several calls wins.
    pub fn not_after(&mut self, deadline: Timestamp) {
        self.not_after = Some(earliest(self.not_after, deadline));
    }

    /// Sets the first idle deadline. The next interaction goes back to the policy's idle lifetime.
    /// The earliest of several calls wins.
    pub fn idle_expires_at(&mut self, deadline: Timestamp) {
        self.idle_expires_at = Some(earliest(self.idle_expires_at, deadline));
    }

    /// Sets the idle lifetime of this session for its life, in place of the policy's. The last call
    /// wins.
    ///
    /// # Errors
    ///
    /// When it is shorter than a millisecond; nothing is changed then.
    pub fn idle_lifetime(&mut self, lifetime: Duration) -> Result<(), Error> {
        if lifetime < Duration::from_millis(1) {
            let message = "an idle lifetime must be at least 1 ms: zero would end the session at once";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        self.idle_lifetime = Some(lifetime.into());
        Ok(())
    }
}

fn earliest(known: Option<Timestamp>, new: Timestamp) -> Timestamp {
    known.map_or(new, |known| known.min(new))
}

/// The timing of a new session, and which overrides the limits clamped.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Opening {
    /// The timing. `authenticated_at` is the moment of opening.
    pub timing: Timing,
    /// The overrides that were above a limit and were clamped to it.
    pub clamped: Vec<Clamped>,
}

/// An override that was above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clamped {
    /// `expires_at`.
    ExpiresAt,
    /// `idle_expires_at`.
    IdleExpiresAt,
    /// `idle_lifetime`.
    IdleLifetime,
}

impl Clamped {
    /// The name of the override.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ExpiresAt => "expires_at",
            Self::IdleExpiresAt => "idle_expires_at",
            Self::IdleLifetime => "idle_lifetime",
        }
    }
}

/// Why a login yields no session. A value, not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A deadline that was set is not in the future. The browser's earlier session ends.
    DeadlinePassed,
    /// The subject has as many live sessions as the cap allows.
    TooManySessions,
    /// The subject was signed out everywhere while this login was in flight.
    SignedOutEverywhere,
    /// A login hook denied the login, for this reason. The browser's earlier session stays.
    Denied(String),
    /// A login hook revoked the session, for this reason. The browser's earlier session ends too.
    Revoked(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::DeadlinePassed => f.write_str("the requested deadline is not in the future"),
            Self::TooManySessions => f.write_str("this user has too many live sessions"),
            Self::SignedOutEverywhere => {
                f.write_str("this user was signed out everywhere while the login was in flight")
            }
            Self::Denied(reason) => write!(f, "denied: {reason}"),
            Self::Revoked(reason) => write!(f, "revoked: {reason}"),
        }
    }
}

/// Computes the timing of a login's new session.
///
/// # Errors
///
/// [`Refusal::DeadlinePassed`] when a deadline that was set is not in the future.
pub fn open(policy: &Policy, now: Timestamp, overrides: &Overrides) -> Result<Opening, Refusal> {
    let asked = [overrides.expires_at, overrides.not_after, overrides.idle_expires_at];
    if asked.into_iter().flatten().any(|deadline| deadline <= now) {
        return Err(Refusal::DeadlinePassed);
    }
    let mode = overrides.mode.unwrap_or(policy.default_mode());
    let effective = policy.effective(mode);
    let limits = policy.limits().as_lifetimes();
    let mut clamped = Vec::new();
    let mut clamp = |asked: Option<Millis>, limit: Millis, what: Clamped| {
        clamped.extend(asked.is_some_and(|asked| asked > limit).then_some(what));
        asked.map(|asked| asked.min(limit))
    };
    let after = |deadline: Timestamp| Millis::from(deadline.since(now));

    let absolute = clamp(overrides.expires_at.map(after), limits.absolute_millis(), Clamped::ExpiresAt);
    let idle = clamp(overrides.idle_lifetime, limits.idle_millis(), Clamped::IdleLifetime);
    let one_off_idle =
        clamp(overrides.idle_expires_at.map(after), limits.idle_millis(), Clamped::IdleExpiresAt);

    let absolute = absolute.unwrap_or(effective.absolute_millis());
    let absolute = overrides.not_after.map_or(absolute, |deadline| absolute.min(after(deadline)));
    let timing = Timing {
        authenticated_at: Some(now),
        lifetimes: Lifetimes::of(idle.unwrap_or(effective.idle_millis()), absolute),
        one_off_idle,
        policy_stamp: policy.stamp(),
        ..Timing::new(mode, now, effective)
    };
    Ok(Opening { timing, clamped })
}

impl Policy {
    /// The timing of an anonymous session that begins now. It is non-persistent.
    pub fn anonymous(&self, now: Timestamp) -> Timing {
        let mode = Mode::NonPersistent;
        let timing = Timing::new(mode, now, self.effective_anonymous());
        Timing { policy_stamp: self.stamp(), ..timing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Limits;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn opened(overrides: impl FnOnce(&mut Overrides)) -> Result<Opening, Refusal> {
        let mut asked = Overrides::default();
        overrides(&mut asked);
        open(&Policy::default().with_limits(Limits::SELF_SERVICE), NOW, &asked)
    }

    #[test]
    fn l6_overrides_lengthen_up_to_the_limits_and_are_clamped_above() {
        let longer = opened(|o| o.expires_at(NOW + 20 * DAY)).unwrap();
        assert_eq!(longer.timing.expires_at(), NOW + 20 * DAY, "longer than the policy's 7 days");
        assert_eq!(longer.clamped, []);

        let all = opened(|o| {
            o.expires_at(NOW + 31 * DAY);
            o.idle_expires_at(NOW + 4 * DAY);
            o.idle_lifetime(5 * DAY).unwrap();
        })
        .unwrap();
        assert_eq!(all.timing.expires_at(), NOW + 30 * DAY);
        assert_eq!(all.timing.idle_expires_at(), NOW + 3 * DAY);
        assert_eq!(all.timing.lifetimes.idle(), 3 * DAY);
        assert_eq!(all.clamped, [Clamped::ExpiresAt, Clamped::IdleLifetime, Clamped::IdleExpiresAt]);
    }

    #[test]
    fn l6_earliest_deadline_and_last_mode_win() {
        let opening = opened(|o| {
            o.expires_at(NOW + 3 * DAY);
            o.expires_at(NOW + 2 * DAY);
            o.expires_at(NOW + 5 * DAY);
            o.idle_expires_at(NOW + 2 * DAY);
            o.idle_expires_at(NOW + DAY / 2);
            o.idle_expires_at(NOW + DAY);
            o.mode(Mode::Persistent);
            o.mode(Mode::NonPersistent);
        })
        .unwrap();
        assert_eq!(opening.timing.expires_at(), NOW + 2 * DAY);
        assert_eq!(opening.timing.idle_expires_at(), NOW + DAY / 2);
        assert_eq!(opening.timing.mode, Mode::NonPersistent);
        assert_eq!(opening.timing.lifetimes.idle(), DAY, "the mode picks the pair");
    }

    #[test]
    fn l6_a_deadline_that_is_not_in_the_future_refuses_the_login() {
        let one = Duration::from_millis(1);
        assert_eq!(opened(|o| o.expires_at(NOW)), Err(Refusal::DeadlinePassed));
        assert_eq!(opened(|o| o.idle_expires_at(NOW - one)), Err(Refusal::DeadlinePassed));
        assert_eq!(opened(|o| o.not_after(NOW)), Err(Refusal::DeadlinePassed));
        assert!(opened(|o| o.expires_at(NOW + one)).is_ok());
        assert!(Overrides::default().idle_lifetime(Duration::ZERO).is_err());
    }

    #[test]
    fn l7_the_identity_providers_expiry_is_the_least_of_all() {
        let bounded = |bound, asked: Option<Timestamp>| {
            opened(|o| {
                o.not_after(bound);
                if let Some(asked) = asked {
                    o.expires_at(asked);
                }
            })
            .unwrap()
            .timing
            .expires_at()
        };
        assert_eq!(bounded(NOW + DAY, None), NOW + DAY);
        assert_eq!(bounded(NOW + DAY, Some(NOW + 2 * DAY)), NOW + DAY);
        assert_eq!(bounded(NOW + 3 * DAY, Some(NOW + 2 * DAY)), NOW + 2 * DAY);
        assert_eq!(bounded(NOW + 300 * DAY, None), NOW + 7 * DAY, "a bound never lengthens");
    }
}
