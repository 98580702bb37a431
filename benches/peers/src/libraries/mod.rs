//! Each library: how it does what the routes ask, and its layer around them.
//!
//! All keep sessions for a day without use, in a cookie that is `Secure` and has the prefix `__Host-`.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::application::Failed;

pub mod axess;
pub mod axum_session;
pub mod tenure;
pub mod tower_sessions;
pub mod tower_sessions_0_14;

/// The ids of rows in a store that is watched.
pub type Rows = Arc<Mutex<HashSet<String>>>;

/// What a watched store does on command.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Each call lets other tasks run first, as the call of a store over a network does.
    pub waits: AtomicBool,
    pub fails: AtomicBool,
}

impl Trouble {
    /// In front of each call.
    pub async fn pass(&self) -> Result<(), Failed> {
        if self.waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        if self.fails.load(Ordering::SeqCst) { Err(Failed) } else { Ok(()) }
    }
}
