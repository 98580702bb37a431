//! Sessions inside other libraries.

#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;

#[cfg(feature = "axum")]
pub use self::axum::MissingSessionLayer;
#[cfg(feature = "tower-sessions")]
pub use self::tower_sessions::TowerSessions;
