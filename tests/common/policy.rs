//! Times, and the lifetimes of most tests.

use std::time::Duration;

use tower_tenure::{Lifetimes, MemoryStore, Mode, Policy, store::AnyStore, testing::Probe};

/// The smallest unit of time.
pub const TICK: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);
pub const HOUR: Duration = Duration::from_secs(3600);
pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// The lifetimes of [`policy`].
pub const IDLE: Duration = Duration::from_secs(900);
pub const ABSOLUTE: Duration = HOUR;

/// More than the granularity, and less than half of an idle lifetime of an hour.
pub const TOUCH_IS_DUE: Duration = Duration::from_secs(61);

/// Non-persistent unless a login requests something else, with [`IDLE`] and [`ABSOLUTE`].
pub fn policy() -> Policy {
    policy_of(IDLE, ABSOLUTE).with_default_mode(Mode::NonPersistent)
}

/// The default policy with these lifetimes for both modes.
pub fn policy_of(idle: Duration, absolute: Duration) -> Policy {
    Policy::both(Lifetimes::new(idle, absolute).unwrap())
}

/// An empty store of each kind that the layer treats differently: in-process and remote.
pub fn stores() -> [AnyStore; 2] {
    [MemoryStore::new().into(), Probe::remote(MemoryStore::new()).into()]
}
