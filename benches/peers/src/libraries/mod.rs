//! Each library: how it does what the routes ask, and its layer around them.
//!
//! All keep sessions for a day without use, in a cookie that is `Secure` and has the prefix `__Host-`.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

pub mod axess;
pub mod axum_session;
pub mod tenure;
pub mod tower_sessions;
pub mod tower_sessions_0_14;

/// The ids of rows in a store that is watched.
pub type Rows = Arc<Mutex<HashSet<String>>>;
