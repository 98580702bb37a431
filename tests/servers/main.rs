//! Real servers: Redis, Valkey, a cluster and PostgreSQL, with their faults, and several processes
//! on one store.
//!
//! If a server is not installed, its tests print on stderr that they are skipped. With `TENURE_ALL`
//! set they fail.

#[path = "../common/mod.rs"]
mod common;

mod crashes;
mod device;
mod heavy;
mod killed_connections;
mod near_cache;
mod outage_events;
mod outages;
mod postgres_store;
mod redis_store;
mod server_round_trips;
mod several_nodes;
mod two_nodes;
