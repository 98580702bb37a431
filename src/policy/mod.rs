//! The rules, as pure functions: record, policy, time and kind of request in; verdict and next record out.
//!
//! | file | rules |
//! |---|---|
//! | `mod.rs` | [`Policy`]: the settings (L1) |
//! | `limits.rs` | [`Limits`]: what caps a policy, as a plan does (L4) |
//! | `deadline.rs` | the one place where a deadline is computed (L2) |
//! | `lowering.rs` | what a lowered policy does to a live session (L5) |
//! | `decide.rs` | [`decide`]: is it live, and what is to be recorded (L2, L3, L9, L10) |
//! | `end.rs` | what becomes of a record that is ended (S2, S4, E3) |
//! | `kept.rs` | [`PolicySettings`]: the part that all nodes share (S7, M2) |
//! | `open.rs` | [`open`], [`Overrides`]: a login's lifetimes (L6, L7) |
//! | `admission.rs` | [`admit`], [`Cap`]: how many sessions a subject may have (S9) |
//! | `presets.rs` | policies from the literature, with their sources (L12) |
//!
//! No clock, I/O, randomness, async or HTTP reaches this module; `tests/architecture.rs` sees to it.

mod admission;
mod deadline;
mod decide;
mod end;
mod kept;
mod limits;
mod lowering;
mod open;
mod presets;

use std::time::Duration;

use crate::record::{Lifetimes, Mode};

pub(crate) use self::kept::KeptPolicy;
pub use self::{
    admission::{Admission, Cap, Overflow, admit},
    decide::{Activity, Next, Verdict, decide},
    kept::PolicySettings,
    limits::Limits,
    open::{Clamped, Opening, Overrides, Refusal, open},
};

/// The live settings: two pairs of lifetimes, the default mode, and what goes with them (SPEC L1).
///
/// `Copy` and small, so a request takes its own and a swap while it runs changes nothing for it (L11). Values above the
/// limits are kept as they were configured and superseded when they are used (L4): see [`Policy::effective`].
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    persistent: Lifetimes,
    non_persistent: Lifetimes,
    default_mode: Mode,
    limits: Limits,
    granularity: Option<Duration>,
    cap: Option<Cap>,
    rotation_grace: Duration,
}

/// Auth0's defaults: [`Policy::auth0`].
impl Default for Policy {
    fn default() -> Self {
        Self::auth0()
    }
}

impl Policy {
    /// How long the secret before a rotation is honoured, unless configured otherwise (C6).
    pub const DEFAULT_ROTATION_GRACE: Duration = Duration::from_secs(10);

    /// A policy with these lifetimes, logins persistent by default, the default limits and no cap.
    pub const fn new(persistent: Lifetimes, non_persistent: Lifetimes) -> Self {
        Self {
            persistent,
            non_persistent,
            default_mode: Mode::Persistent,
            limits: Limits::ENTERPRISE,
            granularity: None,
            cap: None,
            rotation_grace: Self::DEFAULT_ROTATION_GRACE,
        }
    }

    /// The lifetimes of persistent sessions.
    #[must_use]
    pub const fn with_persistent(mut self, lifetimes: Lifetimes) -> Self {
        self.persistent = lifetimes;
        self
    }

    /// The lifetimes of non-persistent sessions, anonymous ones among them.
    #[must_use]
    pub const fn with_non_persistent(mut self, lifetimes: Lifetimes) -> Self {
        self.non_persistent = lifetimes;
        self
    }

    /// The mode of logins that do not choose one.
    #[must_use]
    pub const fn with_default_mode(mut self, mode: Mode) -> Self {
        self.default_mode = mode;
        self
    }

    /// What caps the lifetimes (L4).
    #[must_use]
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How old the recorded interaction may get before the next one is written (L9); zero writes every one. Unset, it is
    /// the lesser of a minute and a 64th of the idle lifetime. Stores within the process always record every one.
    #[must_use]
    pub const fn with_granularity(mut self, granularity: Duration) -> Self {
        self.granularity = Some(granularity);
        self
    }

    /// How many live sessions a subject may have (S9); `None` is as many as they like.
    #[must_use]
    pub const fn with_cap(mut self, cap: Option<Cap>) -> Self {
        self.cap = cap;
        self
    }

    /// How long the secret before a rotation is still honoured, so that requests in flight do not get 401 (C6).
    #[must_use]
    pub const fn with_rotation_grace(mut self, grace: Duration) -> Self {
        self.rotation_grace = grace;
        self
    }

    /// The lifetimes as they were configured, perhaps above the limits.
    pub const fn configured(&self, mode: Mode) -> Lifetimes {
        match mode {
            Mode::Persistent => self.persistent,
            Mode::NonPersistent => self.non_persistent,
        }
    }

    /// The lifetimes in force: as configured, but never above the limits (L4).
    pub fn effective(&self, mode: Mode) -> Lifetimes {
        self.configured(mode).min(self.limits.as_lifetimes())
    }

    /// Whether a limit supersedes a configured lifetime of this mode (L4).
    pub fn is_superseded(&self, mode: Mode) -> bool {
        self.effective(mode) != self.configured(mode)
    }

    /// The mode of logins that do not choose one.
    pub const fn default_mode(&self) -> Mode {
        self.default_mode
    }

    /// What caps the lifetimes.
    pub const fn limits(&self) -> Limits {
        self.limits
    }

    /// The cap on live sessions per subject.
    pub const fn cap(&self) -> Option<Cap> {
        self.cap
    }

    /// How long the secret before a rotation is honoured.
    pub const fn rotation_grace(&self) -> Duration {
        self.rotation_grace
    }

    /// How old the recorded interaction of a session with this idle lifetime may get (L9). Never over half of it, so that a
    /// session in constant use does not end for want of a record.
    pub fn granularity(&self, idle: Duration) -> Duration {
        self.granularity.unwrap_or_else(|| (idle / 64).min(Duration::from_secs(60))).min(idle / 2)
    }
}
