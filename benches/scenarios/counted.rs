//! A store that counts its look-ups.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tower_tenure::{
    Error, MemoryStore, SessionId, SessionStore, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, Sweep, Swept},
};

/// The memory store, with its look-ups counted. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counted {
    store: MemoryStore,
    loads: Arc<AtomicU64>,
}

impl Counted {
    /// The number of look-ups so far.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// The number of records.
    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }
}

impl SessionStore for Counted {
    const IN_PROCESS: bool = true;

    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        self.store.create(creation).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.store.load(sid).await
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        self.store.update(sid, change, seen).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        self.store.end(sid, request, seen).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        self.store.revoke(revocation).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        self.store.not_before(realm).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.store.list(page).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.store.sweep(sweep).await
    }

    fn place_key(&self) -> PlaceKey {
        self.store.place_key()
    }
}
