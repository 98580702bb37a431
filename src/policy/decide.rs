//! Is the session live, and what is to be recorded of this request?

use super::Policy;
use crate::{
    Timestamp,
    record::{EndReason, Lowering, Record, Timing, TimingChange},
};

/// What kind of request it is (SPEC L8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activity {
    /// The user being active: it moves the idle deadline.
    Interaction,
    /// Enforced like any other request, but it does not extend.
    Passive,
}

/// What [`decide`] says of a session.
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
        /// A lowering of the policy that bound first.
        lowering: Option<Lowering>,
    },
}

/// The state of a live session after this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Next {
    /// The timing as it will be once `change` is recorded.
    pub timing: Timing,
    /// What is to be recorded; empty when nothing is due.
    pub change: TimingChange,
}

/// Decides over a session at the arrival of a request (L2, L3, L5, L9, L10).
///
/// A policy lowered below what the session remembers binds first, then the deadlines are judged, then the interaction
/// moves the idle one. An interaction is recorded only when the recorded one is older than the granularity: coalescing
/// may end a session early, by at most the granularity, never late. A one-off idle lifetime (L6) is replaced at once.
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
    // A lowering binds live sessions only: what was over before it is over by what it remembers, and `Record::end` will
    // say the same.
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
