//! Shared parts of the tests. Each binary (`tests/NAME/main.rs`) includes all of it once.
//!
//! Some modules are included separately: [`servers`] by benches and a unit test, [`search`] and
//! [`store`] by `tests/interleavings`.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::missing_panics_doc,
    reason = "shared: each binary uses a part of it"
)]

pub mod authority;
pub mod backends;
pub mod bound;
pub mod chrome;
pub mod client;
pub mod demo;
pub mod device;
pub mod door;
pub mod logs;
pub mod nodes;
pub mod policy;
pub mod proxy;
pub mod search;
pub mod servers;
pub mod site;
pub mod store;
pub mod turns;
pub mod visit;

pub use device::SoftwareDevice;
pub use door::{Door, background_tasks, soon};
pub use policy::{ABSOLUTE, DAY, HOUR, IDLE, MINUTE, SECOND, TICK, TOUCH_IS_DUE, policy, policy_of, stores};
pub use site::{Browser, Reply, Site, usual_routes};
