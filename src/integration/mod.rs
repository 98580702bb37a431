//! Sessions inside other libraries.

#[cfg(feature = "axum")]
mod axum;
#[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
mod tower_sessions;

#[cfg(feature = "axum")]
pub use self::axum::{MissingSessionLayer, User};
#[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
pub use self::tower_sessions::TowerSessions;
