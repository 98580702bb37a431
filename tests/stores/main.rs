//! The stores that need no server: memory, SQLite, the example's, and broken ones that the
//! conformance suite must find.

#[path = "../common/mod.rs"]
mod common;

mod broken;
mod broken_stores;
mod conformance;
mod folder;
mod memory_store_sweeps;
mod memory_store_threads;
mod restored_backup;
mod sqlite_erasure;
mod sqlite_store;
mod threads;
