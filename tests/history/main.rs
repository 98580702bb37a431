//! Histories: random clients use each store through two nodes, everything is recorded, and rules
//! check the recorded history alone.
//!
//! `TENURE_SEARCH=100` runs a hundred times as many. A failure names the seed. For a million calls
//! of each store, run `TENURE_SEARCH=63 cargo test --release --test history memory::`, and
//! `TENURE_SEARCH=500 … over_redis_keep` and the like. With faults of the server (`that_fails`)
//! each 500 calls take eight seconds.

#[path = "../common/mod.rs"]
mod common;

#[path = "../stores/broken/mod.rs"]
#[expect(dead_code, reason = "clients see a part of the defects")]
mod broken;

mod bugs;
mod check;
mod clients;
mod connection;
mod faults;
mod memory;
mod node;
mod planted;
mod record;
mod rules;
mod run;
mod stores;
