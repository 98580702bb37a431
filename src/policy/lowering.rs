//! What a lowered policy does to a live session.

use super::Policy;
use crate::record::{Lifetimes, Lowering, Timing};

impl Policy {
    /// What this policy takes from what the session remembers; `None` when nothing (SPEC L5).
    ///
    /// A lifetime gives way to a policy that is below the one of the session's creation (`bound`), and to the limits. For
    /// lifetimes that came from the policy itself this is `min(remembered, policy)`; an override of the login (L6) that
    /// was longer than the policy of its day survives until the policy falls below that.
    pub(super) fn lowering(&self, timing: &Timing) -> Option<Lowering> {
        let policy = self.effective(timing.mode);
        let limits = self.limits().as_lifetimes();
        let idle_bound = if policy.idle() < timing.bound.idle() { policy.idle() } else { limits.idle() };
        let absolute_bound =
            if policy.absolute() < timing.bound.absolute() { policy.absolute() } else { limits.absolute() };
        let lowered = timing.lifetimes.min(Lifetimes::of(idle_bound, absolute_bound));
        let binds = lowered != timing.lifetimes || timing.one_off_idle.is_some_and(|idle| idle > idle_bound);
        binds.then_some(Lowering { lifetimes: lowered, one_off_idle: idle_bound })
    }
}
