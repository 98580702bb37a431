//! Sessions from the operator's side: in code, over HTTP, and on a page.

// sessions.rs    the sessions of a realm, to list, revoke and sweep them
// management/    the same and the settings over HTTP (feature `management`)
// dashboard/     a page that uses the management API (feature `management`)

#[cfg(feature = "management")]
mod dashboard;
#[cfg(feature = "management")]
pub mod management;
mod sessions;

#[cfg(feature = "management")]
pub use self::dashboard::Dashboard;
pub(crate) use self::sessions::LayerSettings;
pub use self::sessions::{SessionPage, Sessions, SweepReport};
