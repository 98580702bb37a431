//! How a lowered policy binds a live session.

use super::{Limits, Policy};
use crate::record::{Lifetimes, Lowering, Millis, Timing};

impl Policy {
    /// A policy that lowers nothing, for sessions whose policy is not known: they are judged by
    /// what they remember.
    pub(crate) const fn unlimited() -> Self {
        let longest = Limits::NONE.as_lifetimes();
        Self::new(longest, longest).with_limits(Limits::NONE)
    }

    /// How this policy lowers what the session remembers; `None` when it does not (L5).
    ///
    /// The limits always bind. The policy binds when it is below the policy at the session's
    /// creation, or was lowered since. For lifetimes that came from the policy this is
    /// `min(remembered, policy)`. An override at login (L6) that was longer than the policy stays
    /// until the policy is lowered.
    pub(crate) fn lowering(&self, timing: &Timing) -> Option<Lowering> {
        let is_anonymous = timing.authenticated_at.is_none();
        let policy = if is_anonymous { self.effective_anonymous() } else { self.effective(timing.mode) };
        let limits = self.limits().as_lifetimes();
        let lowered = self.history.lowered_since(timing.mode, timing.policy_stamp);
        let then = timing.policy_at_creation;
        let bound =
            |now: Millis, then: Millis, limit, lowered| if now < then || lowered { now } else { limit };
        let bounds = Lifetimes::of(
            bound(policy.idle_millis(), then.idle_millis(), limits.idle_millis(), lowered.idle),
            bound(
                policy.absolute_millis(),
                then.absolute_millis(),
                limits.absolute_millis(),
                lowered.absolute,
            ),
        );
        let one_off_idle = bounds.idle_millis();
        let lifetimes = timing.lifetimes.min(bounds);
        let binds =
            lifetimes != timing.lifetimes || timing.one_off_idle.is_some_and(|idle| idle > one_off_idle);
        binds.then_some(Lowering { lifetimes, one_off_idle })
    }
}
