//! axess 0.14, over its memory store.

use std::{
    collections::HashSet,
    hint::black_box,
    io,
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

pub use axess_core::AuthSession as Session;
use axess_core::{
    Clock, MemorySessionStore, SessionLayer, SystemClock, TenantId, UserId,
    session::{ConditionalUpdate, CycleOutcome, SessionData, SessionId, SessionStore},
};
use axum::Router;

use crate::{
    application::{Failed, Sessions},
    libraries::{Rows, Trouble},
};

impl Sessions for Session {
    async fn user(&self) -> Result<Option<String>, Failed> {
        Ok(self.snapshot().await.map(|found| name(found.user_id)))
    }

    async fn look(&self) -> Result<(), Failed> {
        black_box(self.snapshot().await);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<u64>, Failed> {
        Ok(self.get_custom(key).await.and_then(|value| value.as_u64()))
    }

    async fn set(&self, key: &str, value: u64) -> Result<(), Failed> {
        if self.set_custom(key, value.into()).await { Ok(()) } else { Err(Failed) }
    }

    async fn login(&self, user: &str) -> Result<(), Failed> {
        const TENANT: TenantId = TenantId::from_bytes([1; 16]);
        self.set_authenticated(id(user), TENANT, SystemClock.now()).await;
        Ok(())
    }

    async fn logout(&self) -> Result<(), Failed> {
        self.clear().await;
        Ok(())
    }

    async fn rotate(&self) -> Result<(), Failed> {
        self.regenerate().await;
        Ok(())
    }
}

/// Its user ids are 16 bytes. The names here are shorter, so they are padded instead of hashed,
/// which would be measured.
fn id(user: &str) -> UserId {
    let mut bytes = [0; 16];
    bytes[..user.len()].copy_from_slice(user.as_bytes());
    UserId::from_bytes(bytes)
}

fn name(user: UserId) -> String {
    String::from_utf8_lossy(user.as_bytes()).trim_end_matches('\0').to_owned()
}

/// Its layer around the routes, with its own key and the same absolute lifetime as ours.
pub fn layered(store: impl SessionStore, idle: Duration, routes: Router) -> Router {
    static SERVERS: AtomicU8 = AtomicU8::new(0);
    let mut key = *b"a key of 32 bytes for server ...";
    key[31] = SERVERS.fetch_add(1, Ordering::Relaxed);
    let layer = SessionLayer::new(store, key).with_cookie_name("__Host-id").with_ttl(idle);
    routes.layer(layer.with_max_session_age(Duration::from_secs(10 * 365 * 24 * 3600)))
}

pub fn memory() -> MemorySessionStore {
    MemorySessionStore::new()
}

/// A store that can be made to wait or fail, and that counts its rows.
#[derive(Clone)]
pub struct Watched {
    store: MemorySessionStore,
    trouble: Arc<Trouble>,
    rows: Rows,
}

impl Watched {
    pub fn new(trouble: Arc<Trouble>, rows: Rows) -> Self {
        Self { store: memory(), trouble, rows }
    }

    fn rows(&self) -> MutexGuard<'_, HashSet<String>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(&self) -> io::Result<()> {
        self.trouble.pass().await.map_err(|_| io::Error::other("the store is down"))
    }
}

impl SessionStore for Watched {
    type Error = io::Error;

    async fn load(&self, id: &SessionId) -> io::Result<Option<SessionData>> {
        self.check().await?;
        let Ok(found) = self.store.load(id).await;
        Ok(found)
    }

    async fn save(&self, id: &SessionId, data: &SessionData, ttl: Duration) -> io::Result<()> {
        self.check().await?;
        self.rows().insert(id.to_string());
        let Ok(()) = self.store.save(id, data, ttl).await;
        Ok(())
    }

    async fn delete(&self, id: &SessionId) -> io::Result<()> {
        self.check().await?;
        self.rows().remove(&id.to_string());
        let Ok(()) = self.store.delete(id).await;
        Ok(())
    }

    async fn update(&self, id: &SessionId, data: &SessionData, ttl: Duration) -> io::Result<bool> {
        self.check().await?;
        let Ok(found) = self.store.update(id, data, ttl).await;
        Ok(found)
    }

    async fn update_if_revision(
        &self,
        id: &SessionId,
        revision: u64,
        data: &SessionData,
        ttl: Duration,
    ) -> io::Result<ConditionalUpdate> {
        self.check().await?;
        let Ok(outcome) = self.store.update_if_revision(id, revision, data, ttl).await;
        Ok(outcome)
    }

    async fn cycle(
        &self,
        old: &SessionId,
        new: &SessionId,
        data: &SessionData,
        ttl: Duration,
        needs_old: bool,
    ) -> io::Result<CycleOutcome> {
        self.check().await?;
        let Ok(outcome) = self.store.cycle(old, new, data, ttl, needs_old).await;
        if outcome == CycleOutcome::Rotated {
            let mut rows = self.rows();
            rows.remove(&old.to_string());
            rows.insert(new.to_string());
        }
        Ok(outcome)
    }

    async fn prune_expired(&self) -> io::Result<u64> {
        self.check().await?;
        let Ok(pruned) = self.store.prune_expired().await;
        Ok(pruned)
    }
}
