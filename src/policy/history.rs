//! Whether the policy lowered a lifetime since a login.

use serde::{Deserialize, Serialize};

use super::Policy;
use crate::record::{Lifetimes, Millis, Mode};

/// For each lifetime of a policy, the version that last lowered it.
///
/// Comparing with the policy at the login is not enough: a policy that was raised and then lowered
/// to its old value was lowered too, and supersedes overrides of logins in between (L6). Each
/// version has a stamp, which grows with each change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LoweredAt {
    /// The version of the policy.
    pub(super) stamp: u64,
    persistent: Pair<u64>,
    non_persistent: Pair<u64>,
}

/// One value for the idle lifetime and one for the absolute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair<T> {
    pub(super) idle: T,
    pub(super) absolute: T,
}

impl LoweredAt {
    /// A policy that was never changed.
    pub(super) const NONE: Self = Self { stamp: 0, persistent: Pair::NEVER, non_persistent: Pair::NEVER };

    /// Which of the lifetimes were lowered since the version with this stamp.
    pub(super) fn lowered_since(&self, mode: Mode, stamp: u64) -> Pair<bool> {
        let at = match mode {
            Mode::Persistent => self.persistent,
            Mode::NonPersistent => self.non_persistent,
        };
        Pair { idle: at.idle > stamp, absolute: at.absolute > stamp }
    }
}

impl Pair<u64> {
    const NEVER: Self = Self { idle: 0, absolute: 0 };
}

/// The past versions of a policy that can be swapped, as far as they matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PolicyHistory {
    stamp: u64,
    persistent: Pair<Peaks>,
    non_persistent: Pair<Peaks>,
}

/// Past values of one lifetime that were above the present one, each with the stamp of the version
/// that lowered it. The values fall while the stamps grow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Peaks(Vec<(Millis, u64)>);

/// How many past values of a lifetime are kept.
const MAX_PEAKS: usize = 16;

impl PolicyHistory {
    /// A policy without past versions. `now` is in milliseconds since the epoch, so that stamps
    /// also grow over a restart.
    pub(crate) fn new(now: u64) -> Self {
        Self { stamp: now, ..Self::default() }
    }

    /// Records a new version.
    pub(crate) fn change(&mut self, from: &Policy, to: &Policy, now: u64) {
        self.stamp = now.max(self.stamp + 1);
        let modes =
            [(Mode::Persistent, &mut self.persistent), (Mode::NonPersistent, &mut self.non_persistent)];
        for (mode, peaks) in modes {
            let (from, to): (Lifetimes, Lifetimes) = (from.effective(mode), to.effective(mode));
            peaks.idle.change(from.idle_millis(), to.idle_millis(), self.stamp);
            peaks.absolute.change(from.absolute_millis(), to.absolute_millis(), self.stamp);
        }
    }

    /// The policy with the part of its past that decisions need.
    pub(crate) fn stamped(&self, policy: Policy) -> Policy {
        let last = |peaks: &Pair<Peaks>| Pair { idle: peaks.idle.last(), absolute: peaks.absolute.last() };
        let history = LoweredAt {
            stamp: self.stamp,
            persistent: last(&self.persistent),
            non_persistent: last(&self.non_persistent),
        };
        Policy { history, ..policy }
    }
}

impl Peaks {
    fn change(&mut self, from: Millis, to: Millis, stamp: u64) {
        if from > to {
            self.0.push((from, stamp));
        }
        // A raise takes back the lowerings that it reaches: those bind no session that has not seen
        // them (L5).
        self.0.retain(|(value, _)| *value > to);
        if self.0.len() > MAX_PEAKS {
            // Merges the two oldest, which may bind a session that was not lowered, but never
            // misses one.
            let (value, _) = self.0.remove(0);
            self.0[0].0 = value;
        }
    }

    fn last(&self) -> u64 {
        self.0.last().map_or(0, |(_, stamp)| *stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(minutes: u32) -> Policy {
        Policy::both(Lifetimes::from_minutes(minutes, minutes))
    }

    /// Compares with the definition: some version since the login was above the present one.
    #[test]
    fn l6_lowered_since_the_login_is_what_the_versions_say() {
        let mut random = 1_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        for _ in 0..200 {
            let mut history = PolicyHistory::new(1);
            let mut versions = vec![(history.stamp, policy(5))];
            for _ in 0..12 {
                let (_, before) = *versions.last().unwrap();
                let after = policy(u32::try_from(1 + next(9)).unwrap());
                history.change(&before, &after, 0);
                versions.push((history.stamp, after));
            }
            let present = history.stamped(versions.last().unwrap().1);
            let idle = |policy: &Policy| policy.effective(Mode::Persistent).idle();
            for (stamp, _) in &versions {
                let mut since = versions.iter().filter(|(other, _)| other >= stamp);
                let lowered = since.any(|(_, policy)| idle(policy) > idle(&present));
                let says = present.history.lowered_since(Mode::Persistent, *stamp);
                assert_eq!((says.idle, says.absolute), (lowered, lowered));
            }
        }
    }

    /// A session from before its policy could be swapped has the stamp zero.
    #[test]
    fn l6_a_policy_that_was_never_lowered_lowers_nothing_since_any_stamp() {
        let policy = PolicyHistory::new(5).stamped(policy(5));
        let lowered = policy.history.lowered_since(Mode::Persistent, 0);
        assert_eq!(lowered, Pair { idle: false, absolute: false });
    }

    /// With more lowerings than are kept, the oldest are merged: no lowering is missed. Up to there
    /// none is made up.
    #[test]
    fn l6_many_lowerings_are_exact_up_to_what_is_kept_and_then_never_too_few() {
        for lowerings in [MAX_PEAKS, MAX_PEAKS + 1] {
            let minutes = |step: usize| policy(100 - u32::try_from(step).unwrap());
            let mut history = PolicyHistory::new(1);
            let mut stamps = vec![history.stamp];
            for step in 0..lowerings {
                history.change(&minutes(step), &minutes(step + 1), 0);
                stamps.push(history.stamp);
            }
            // Takes back all but the first lowering.
            history.change(&minutes(lowerings), &minutes(1), 0);
            let present = history.stamped(minutes(1)).history;
            let lowered = |step: usize| present.lowered_since(Mode::Persistent, stamps[step]).idle;
            assert!(lowered(0), "a session from before the first lowering");
            assert_eq!(lowered(1), lowerings > MAX_PEAKS, "{lowerings} lowerings");
            assert!(!lowered(2));
        }
    }
}
