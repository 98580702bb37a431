//! Histories: random clients against each store with two nodes, everything recorded, and rules that judge the record alone.
//!
//! `TENURE_SEARCH=100` tries a hundred times as many. A failure names the seed.

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
