//! The decisions, as pure functions: record, policy, time and kind of request in, verdict and next
//! record out.
//!
//! [`Policy`] has the settings, which [`Limits`] cap. [`open`] computes the lifetimes of a new
//! session, [`decide`] judges a session at a request, and [`admit`] judges a login by the cap of
//! its subject. This module uses no clock, I/O, randomness, async or HTTP types.

mod admission;
mod deadline;
mod decide;
mod end;
mod history;
mod limits;
mod lowering;
mod open;
mod presets;
mod stored;

use std::time::Duration;

use self::history::LoweredAt;
use crate::{
    Timestamp,
    record::{Lifetimes, Millis, Mode},
};

pub(crate) use self::decide::is_due;
pub use self::{
    admission::{Admission, Cap, Departure, Overflow, UNCONFIRMED, admit},
    decide::{Activity, Next, Verdict, decide},
    limits::Limits,
    open::{Clamped, Opening, Overrides, Refusal, open},
    stored::PolicySettings,
};
pub(crate) use self::{history::PolicyHistory, stored::StoredPolicy};

/// The settings by which sessions live and end: two pairs of lifetimes, the default mode, limits
/// and a cap.
///
/// It is `Copy`: each request takes its own, so a swap does not affect requests in flight. A value
/// above the limits is kept as configured, and the limit is used in its place: see
/// [`Policy::effective`].
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::{Lifetimes, Mode, Policy};
///
/// let hour = Duration::from_secs(3600);
/// let policy = Policy::default().with_persistent(Lifetimes::new(24 * hour, 24 * 365 * 5 * hour)?);
///
/// // The default limits are those of an enterprise plan, 365 days at most.
/// assert_eq!(policy.effective(Mode::Persistent).absolute(), 24 * 365 * hour);
/// assert!(policy.is_superseded(Mode::Persistent));
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    persistent: Lifetimes,
    non_persistent: Lifetimes,
    /// `None` for those of non-persistent sessions.
    anonymous: Option<Lifetimes>,
    default_mode: Mode,
    limits: Limits,
    granularity: Option<Duration>,
    cap: Option<Cap>,
    rotation_grace: Millis,
    resume_for: Millis,
    /// The version, and when its lifetimes were lowered. Not a setting.
    history: LoweredAt,
    /// The moment at which everybody in the realm was signed out. Not a setting.
    not_before: Option<Timestamp>,
}

/// Compares the settings only, not the version.
impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let settings = |policy: &Self| {
            let Self {
                persistent,
                non_persistent,
                anonymous,
                default_mode,
                limits,
                granularity,
                cap,
                rotation_grace,
                ..
            } = *policy;
            let lifetimes = (persistent, non_persistent, anonymous, default_mode, limits);
            (lifetimes, granularity, cap, rotation_grace, policy.resume_for)
        };
        settings(self) == settings(other)
    }
}

impl Eq for Policy {}

/// Auth0's defaults: [`Policy::auth0`].
impl Default for Policy {
    fn default() -> Self {
        Self::auth0()
    }
}

impl Policy {
    /// How long the secret before a rotation is honoured unless configured: 10 seconds.
    pub const DEFAULT_ROTATION_GRACE: Duration = Duration::from_secs(10);

    /// A policy with the same lifetimes for both modes, and otherwise as [`Policy::new`].
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{Lifetimes, Mode, Policy};
    ///
    /// const OFFICE: Policy = Policy::both(Lifetimes::from_minutes(15, 8 * 60)); // idle, absolute
    ///
    /// assert_eq!(OFFICE.configured(Mode::Persistent), OFFICE.configured(Mode::NonPersistent));
    /// ```
    pub const fn both(lifetimes: Lifetimes) -> Self {
        Self::new(lifetimes, lifetimes)
    }

    /// A policy with these lifetimes, logins persistent by default, the default limits and the
    /// default cap. [`Policy::both`] is for one pair of lifetimes.
    pub const fn new(persistent: Lifetimes, non_persistent: Lifetimes) -> Self {
        Self {
            persistent,
            non_persistent,
            anonymous: None,
            default_mode: Mode::Persistent,
            limits: Limits::ENTERPRISE,
            granularity: None,
            cap: Some(Cap::DEFAULT),
            rotation_grace: Millis::new(10_000),
            resume_for: Millis::ZERO,
            history: LoweredAt::NONE,
            not_before: None,
        }
    }

    /// The lifetimes of persistent sessions, which logins open unless
    /// [`Policy::with_default_mode`] says otherwise. [`Policy::configured`] reads them.
    #[must_use]
    pub const fn with_persistent(mut self, lifetimes: Lifetimes) -> Self {
        self.persistent = lifetimes;
        self
    }

    /// The lifetimes of non-persistent sessions, and of anonymous ones unless
    /// [`Policy::with_anonymous`] sets others. [`Policy::configured`] reads them.
    ///
    /// A login is persistent unless it or [`Policy::with_default_mode`] says otherwise, so this alone
    /// does not change a plain `session.login(user)`.
    #[must_use]
    pub const fn with_non_persistent(mut self, lifetimes: Lifetimes) -> Self {
        self.non_persistent = lifetimes;
        self
    }

    /// The lifetimes of anonymous sessions; `None`, the default, for those of non-persistent ones.
    #[must_use]
    pub const fn with_anonymous(mut self, lifetimes: Option<Lifetimes>) -> Self {
        self.anonymous = lifetimes;
        self
    }

    /// The mode of logins that do not choose one.
    #[must_use]
    pub const fn with_default_mode(mut self, mode: Mode) -> Self {
        self.default_mode = mode;
        self
    }

    /// Caps the lifetimes; see [L4](crate::rules#l4).
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How old the recorded interaction may get before the next one is written; zero writes every
    /// one.
    ///
    /// Unless set, it is the lesser of a minute and a 64th of the idle lifetime. Stores within the
    /// process record every one. See [L9](crate::rules#l9).
    #[must_use]
    pub const fn with_granularity(mut self, granularity: Duration) -> Self {
        self.granularity = Some(granularity);
        self
    }

    /// How many live sessions a subject may have: 1,000 unless set; `None` is no cap.
    #[must_use]
    pub const fn with_cap(mut self, cap: Option<Cap>) -> Self {
        self.cap = cap;
        self
    }

    /// How long the secret before a rotation is still honoured, so that requests in flight do not
    /// get 401; 10 seconds unless set.
    #[must_use]
    pub fn with_rotation_grace(mut self, grace: Duration) -> Self {
        self.rotation_grace = grace.into();
        self
    }

    /// How long the data of a session that timed out waits for its user; zero, the default, drops
    /// it at once.
    ///
    /// A login of the same user in the same browser takes it over, once. No request can read it
    /// before. A session that was signed out or revoked leaves nothing; see
    /// [L13](crate::rules#l13).
    #[must_use]
    pub fn with_resume_for(mut self, length: Duration) -> Self {
        self.resume_for = length.into();
        self
    }

    /// The lifetimes as configured, perhaps above the limits.
    pub const fn configured(&self, mode: Mode) -> Lifetimes {
        match mode {
            Mode::Persistent => self.persistent,
            Mode::NonPersistent => self.non_persistent,
        }
    }

    /// The lifetimes in force: as configured, but never above the limits.
    pub fn effective(&self, mode: Mode) -> Lifetimes {
        self.configured(mode).min(self.limits.as_lifetimes())
    }

    /// The lifetimes in force of anonymous sessions, which never are above the limits either.
    pub fn effective_anonymous(&self) -> Lifetimes {
        self.anonymous.unwrap_or(self.non_persistent).min(self.limits.as_lifetimes())
    }

    /// Whether a limit supersedes a configured lifetime of this mode.
    pub fn is_superseded(&self, mode: Mode) -> bool {
        self.effective(mode) != self.configured(mode)
    }

    /// The mode of logins that do not choose one.
    pub const fn default_mode(&self) -> Mode {
        self.default_mode
    }

    /// The limits, which cap the lifetimes.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The cap on live sessions per subject.
    pub const fn cap(&self) -> Option<Cap> {
        self.cap
    }

    /// How long the secret before a rotation is honoured.
    pub const fn rotation_grace(&self) -> Duration {
        self.rotation_grace.as_duration()
    }

    /// How long the data of a session that timed out waits for its user.
    pub const fn resume_for(&self) -> Duration {
        self.resume_for.as_duration()
    }

    /// The version of the policy. It grows with each change of a [`LivePolicy`](crate::LivePolicy);
    /// zero without one.
    pub const fn stamp(&self) -> u64 {
        self.history.stamp
    }

    /// When everybody in the realm was last signed out, by the clock that all nodes share.
    pub(crate) const fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    #[must_use]
    pub(crate) const fn with_not_before(mut self, moment: Option<Timestamp>) -> Self {
        self.not_before = moment;
        self
    }

    /// How old the recorded interaction of a session with this idle lifetime may get.
    ///
    /// At most half of the lifetime, so that a session in constant use does not expire.
    pub fn granularity(&self, idle: Duration) -> Duration {
        self.granularity.unwrap_or_else(|| (idle / 64).min(Duration::from_secs(60))).min(idle / 2)
    }
}
