//! Each library: its implementation of the routes' operations, and its layer around the routes.
//!
//! All have an idle timeout of one day, and a `Secure` cookie with the prefix `__Host-`.

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

/// The ids of the rows in a probed store.
pub type Rows = Arc<Mutex<HashSet<String>>>;

/// The faults of a probed store.
#[derive(Debug, Default)]
pub struct Trouble {
    /// Each call yields to other tasks first, as a call over a network does.
    pub waits: AtomicBool,
    pub fails: AtomicBool,
}

impl Trouble {
    /// Runs before each call.
    pub async fn pass(&self) -> Result<(), Failed> {
        if self.waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        if self.fails.load(Ordering::SeqCst) { Err(Failed) } else { Ok(()) }
    }
}
