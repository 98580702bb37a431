//! tower-sessions, in the version of `super::lib`.

use std::{
    collections::HashSet,
    fmt::Debug,
    sync::{Arc, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use axum::Router;

pub use super::lib::Session;
use super::lib::{
    Expiry, SessionManagerLayer, SessionStore,
    cookie::time::Duration,
    session::{Id, Record},
    session_store,
};
use crate::{
    application::{Failed, Sessions},
    libraries::{Rows, Trouble},
};

impl Sessions for Session {
    async fn user(&self) -> Result<Option<String>, Failed> {
        Self::get(self, "user").await.map_err(drop_error)
    }

    async fn get(&self, key: &str) -> Result<Option<u64>, Failed> {
        Self::get(self, key).await.map_err(drop_error)
    }

    async fn set(&self, key: &str, value: u64) -> Result<(), Failed> {
        self.insert(key, value).await.map_err(drop_error)
    }

    async fn login(&self, user: &str) -> Result<(), Failed> {
        self.cycle_id().await.map_err(drop_error)?;
        self.insert("user", user).await.map_err(drop_error)
    }

    async fn logout(&self) -> Result<(), Failed> {
        self.flush().await.map_err(drop_error)
    }

    async fn rotate(&self) -> Result<(), Failed> {
        self.cycle_id().await.map_err(drop_error)
    }
}

fn drop_error<E>(_: E) -> Failed {
    Failed
}

/// Its layer around the routes.
pub fn layered(
    store: impl SessionStore + Clone,
    idle: std::time::Duration,
    always_save: bool,
    routes: Router,
) -> Router {
    let idle = Duration::try_from(idle).expect("not for centuries");
    let layer = SessionManagerLayer::new(store).with_name("__Host-id");
    routes.layer(layer.with_expiry(Expiry::OnInactivity(idle)).with_always_save(always_save))
}

/// A store that can be made to wait or fail, and that counts its rows.
#[derive(Clone, Debug)]
pub struct Watched<S> {
    store: S,
    trouble: Arc<Trouble>,
    rows: Rows,
}

impl<S> Watched<S> {
    pub fn new(store: S, trouble: Arc<Trouble>, rows: Rows) -> Self {
        Self { store, trouble, rows }
    }

    fn rows(&self) -> MutexGuard<'_, HashSet<String>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn check(&self) -> session_store::Result<()> {
        let down = |_| session_store::Error::Backend("the store is down".to_owned());
        self.trouble.pass().await.map_err(down)
    }
}

#[async_trait]
impl<S: SessionStore + Clone + Debug> SessionStore for Watched<S> {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        self.check().await?;
        self.store.create(record).await?;
        self.rows().insert(record.id.to_string());
        Ok(())
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.check().await?;
        self.rows().insert(record.id.to_string());
        self.store.save(record).await
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        self.check().await?;
        self.store.load(id).await
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.check().await?;
        self.rows().remove(&id.to_string());
        self.store.delete(id).await
    }
}
