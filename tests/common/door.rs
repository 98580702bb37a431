//! A door in a handler. What `Probe::hold` is for a call of the store, this is for the work of the application.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

/// Where a handler waits until the test has done something else.
#[derive(Clone, Debug)]
pub struct Door {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Door {
    pub fn new() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) }
    }

    /// In the handler: waits until the door is opened for it.
    pub async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    /// In the test: waits until a handler is there.
    pub async fn arrived(&self) {
        soon(async { self.arrived.acquire().await.unwrap().forget() }).await;
    }

    /// Lets one handler pass, which may come later.
    pub fn open(&self) {
        self.open_for(1);
    }

    /// Lets so many handlers pass.
    pub fn open_for(&self, handlers: usize) {
        self.open.add_permits(handlers);
    }
}

/// What is waited for in vain fails the test instead of hanging it.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("something never got to where the test waits for it")
}

/// Lets tasks that were spawned run as far as they get without time passing.
pub async fn background_tasks() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
