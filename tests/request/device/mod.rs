//! Sessions bound to the device of their browser (SPEC B).

mod candidates;
mod cost;
mod flow;
mod fuzz;
mod hostile;
mod hostile_keys;
mod lifetimes;
mod outages;
mod races;
mod refused;
mod several;
mod steady;

use std::time::Duration;

use tower_tenure::{DeviceBinding, MemoryStore};

use crate::common::{Site, bound::site_over};

/// How long a bound cookie is valid, by default.
const BOUND_COOKIE: Duration = Duration::from_secs(600);

/// How long requests need no bound cookie after the binding.
const GRACE: Duration = Duration::from_secs(30);

fn site() -> Site {
    site_over(MemoryStore::new(), DeviceBinding::enforce())
}
