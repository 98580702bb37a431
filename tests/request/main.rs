//! What a request does, over stores in memory. These tests need no server, no browser and no other
//! process.

#[path = "../common/mod.rs"]
mod common;
#[path = "../fuzz/mod.rs"]
mod fuzz;
#[path = "../fuzz/replay.rs"]
mod fuzz_replay;

mod audit;
mod browser_endpoints;
mod cancellation;
mod clocks;
mod closures;
mod concurrency;
mod cookies;
mod counters;
mod device;
mod ends;
mod events;
mod every_order;
mod failures;
mod handle;
mod hostile;
mod json;
mod lifetimes;
mod limits;
mod login;
mod logout;
mod management;
mod metrics;
mod near_cache;
mod outage;
mod own_sessions;
mod plain_http;
mod policy_runtime;
mod problems;
mod realms;
mod require;
mod resume;
mod round_trips;
mod second_look;
mod shared_policy;
mod stack;
mod tower_sessions;
mod user;
mod values;
mod went_wrong;
