//! A store that counts its look-ups.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tower_tenure::{
    Error, MemoryStore, SessionId, SessionStore, Timestamp,
    record::{Change, End, Ending, Record, Updated},
    store::{Created, Creation, Page, Swept},
};

/// The memory store, with its look-ups counted. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    store: MemoryStore,
    loads: Arc<AtomicU64>,
}

impl Counted {
    /// How many look-ups there were so far.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }
}

impl SessionStore for Counted {
    const IN_PROCESS: bool = true;

    async fn create(&self, creation: Creation) -> Result<Created, Error> {
        self.store.create(creation).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.store.load(sid).await
    }

    async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        self.store.update(sid, change).await
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        self.store.end(sid, end).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.store.list(page).await
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        self.store.end_subject(subject, end, except).await
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        self.store.sweep(before, limit).await
    }
}
