//! tower-sessions 0.15.

#[path = "of_tower_sessions.rs"]
mod of_tower_sessions;

use tower_sessions as lib;

pub use self::of_tower_sessions::*;

/// Its own memory store.
pub fn memory() -> lib::MemoryStore {
    lib::MemoryStore::default()
}
