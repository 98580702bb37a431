//! Whether a session is live, and what to record of a request.

use super::Policy;
use crate::{
    Timestamp,
    record::{EndReason, Lowering, Record, Timing, TimingChange},
};

/// Whether a request extends its session; see [L8](crate::rules#l8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activity {
    /// The user is active: it moves the idle deadline.
    Interaction,
    /// Enforced like any other request, but does not extend the session.
    Passive,
}

/// The verdict of [`decide`] on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is live.
    Live(Next),
    /// It is over.
    Over {
        /// Why.
        reason: EndReason,
        /// Since when.
        at: Timestamp,
        /// A lowering of the policy that applied first.
        lowering: Option<Lowering>,
    },
}

/// A live session after this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Next {
    /// The timing as it will be once `change` is recorded.
    pub timing: Timing,
    /// What to record; empty when nothing is due.
    pub change: TimingChange,
}

/// Judges a session when a request arrives.
///
/// 1. A policy that was lowered below what the session remembers binds ([L5](crate::rules#l5)).
/// 2. The deadlines are judged ([L2](crate::rules#l2)).
/// 3. An interaction moves the idle deadline, if it is due ([L9](crate::rules#l9)). It is due when
///    the recorded one is older than the granularity, or a one-off idle lifetime is pending.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::{Policy, Timestamp, policy::{Activity, Overrides, Verdict, decide, open}, record::EndReason};
///
/// let policy = Policy::owasp_high_value(); // idle 5 minutes
/// let login = Timestamp::from_unix_millis(0);
/// let timing = open(&policy, login, &Overrides::default()).unwrap().timing;
/// # let record = tower_tenure::testing::record(timing);
///
/// let deadline = login + Duration::from_secs(300);
/// let before = decide(&record, &policy, deadline - Duration::from_millis(1), Activity::Interaction);
/// assert!(matches!(before, Verdict::Live(next) if next.timing.idle_expires_at() > deadline));
/// let verdict = decide(&record, &policy, deadline, Activity::Interaction);
/// assert!(matches!(verdict, Verdict::Over { reason: EndReason::Idle, at, .. } if at == deadline));
/// ```
pub fn decide(record: &Record, policy: &Policy, now: Timestamp, activity: Activity) -> Verdict {
    let revoked_at = record.revoked_under(policy);
    // A lowering binds live sessions only. A session that was over before is judged by what it
    // remembers, as `Record::end` does.
    if let Some((reason, at)) = record.end_at(&record.timing, revoked_at, now) {
        return Verdict::Over { reason, at, lowering: None };
    }
    let mut timing = record.timing;
    let mut change = TimingChange { interaction_at: None, lowering: policy.lowering(&timing) };
    timing.apply(&change);

    if let Some(reason) = timing.end_reason_at(now) {
        return Verdict::Over { reason, at: now, lowering: change.lowering };
    }
    if activity == Activity::Interaction && is_due(&timing, policy, now) {
        change.interaction_at = Some(now);
        timing.apply(&change);
    }
    Verdict::Live(Next { timing, change })
}

/// Whether an interaction at this moment has to be recorded.
pub(crate) fn is_due(timing: &Timing, policy: &Policy, now: Timestamp) -> bool {
    let age = now.since(timing.last_interaction_at);
    timing.one_off_idle.is_some() || age > policy.granularity(timing.lifetimes.idle())
}
