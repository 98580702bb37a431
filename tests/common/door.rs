//! A door in a handler. It holds the application's work, as `Probe::hold` holds a call to the
//! store.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

/// A point where a handler waits until the test has done something else.
#[derive(Clone, Debug)]
pub struct Door {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Door {
    pub fn new() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// For the handler: waits until the door is opened for it.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// For the test: waits until a handler has arrived.
    pub async fn arrived(&self) {
        soon(async { self.arrived.acquire().await.unwrap().forget() }).await;
    }

    /// Lets one handler pass, which may arrive later.
    pub fn open(&self) {
        self.open_for(1);
    }

    /// Lets this many handlers pass.
    pub fn open_for(&self, handlers: usize) {
        self.open.add_permits(handlers);
    }
}

/// A wait with a timeout, so that a test fails instead of hanging.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("something never got to where the test waits for it")
}

/// Lets spawned tasks run until they wait for time to pass.
pub async fn background_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
