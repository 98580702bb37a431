//! tower-sessions 0.14, which third-party stores support.

#[path = "of_tower_sessions.rs"]
mod of_tower_sessions;

use tower_sessions_0_14 as lib;

pub use self::of_tower_sessions::*;

/// A moka cache without a limit.
pub fn moka() -> tower_sessions_moka_store::MokaStore {
    tower_sessions_moka_store::MokaStore::new(None)
}
