//! axum_session 0.22, with its cache in memory or without.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use axum::Router;
use axum_session::{DatabaseError, DatabasePool, SessionConfig, SessionLayer, SessionStore};
pub use axum_session::{Session, SessionNullPool};

use crate::{
    application::{Failed, Sessions},
    libraries::Trouble,
};

impl<P> Sessions for Session<P>
where
    P: DatabasePool + Clone + Debug + Send + Sync + 'static,
{
    async fn user(&self) -> Result<Option<String>, Failed> {
        Ok(Self::get(self, "user"))
    }

    async fn get(&self, key: &str) -> Result<Option<u64>, Failed> {
        Ok(Self::get(self, key))
    }

    async fn set(&self, key: &str, value: u64) -> Result<(), Failed> {
        Self::set(self, key, value);
        Ok(())
    }

    async fn login(&self, user: &str) -> Result<(), Failed> {
        self.renew();
        Self::set(self, "user", user);
        Ok(())
    }

    async fn logout(&self) -> Result<(), Failed> {
        self.destroy();
        Ok(())
    }

    async fn rotate(&self) -> Result<(), Failed> {
        self.renew();
        Ok(())
    }
}

/// Its layer around the routes. `pool` is `None` for sessions in memory only. Without its cache,
/// each request loads and stores.
pub async fn layered<P>(pool: Option<P>, idle: Duration, has_cache: bool, routes: Router) -> Router
where
    P: DatabasePool + Clone + Debug + Send + Sync + 'static,
{
    let chrono = |time: Duration| time.try_into().expect("not for centuries");
    let mut config = SessionConfig::default()
        .with_session_name("__Host-id")
        .with_secure(true)
        .with_lifetime(chrono(idle))
        .with_memory_lifetime(chrono(idle));
    if !has_cache {
        config = config.with_memory_lifetime(chrono(Duration::ZERO)).with_always_save(true);
    }
    let store = SessionStore::new(pool, config).await.expect("a store");
    routes.layer(SessionLayer::new(store))
}

/// A database in memory that can be made to wait or fail, and that counts its rows.
#[derive(Clone, Debug)]
pub struct Watched {
    rows: Arc<Mutex<HashMap<String, (String, i64)>>>,
    trouble: Arc<Trouble>,
}

impl Watched {
    pub fn new(trouble: Arc<Trouble>) -> Self {
        Self { rows: Arc::default(), trouble }
    }

    pub fn len(&self) -> usize {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    async fn rows(&self) -> Result<MutexGuard<'_, HashMap<String, (String, i64)>>, DatabaseError> {
        let down = |_| DatabaseError::GenericAcquire("the store is down".to_owned());
        self.trouble.pass().await.map_err(down)?;
        Ok(self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// As in its own pools, an expired row is not found.
#[async_trait]
impl DatabasePool for Watched {
    async fn initiate(&self, _: &str) -> Result<(), DatabaseError> {
        Ok(())
    }

    async fn count(&self, _: &str) -> Result<i64, DatabaseError> {
        Ok(self.rows().await?.len() as i64)
    }

    async fn store(&self, id: &str, session: &str, expires: i64, _: &str) -> Result<(), DatabaseError> {
        self.rows().await?.insert(id.to_owned(), (session.to_owned(), expires));
        Ok(())
    }

    async fn load(&self, id: &str, _: &str) -> Result<Option<String>, DatabaseError> {
        let rows = self.rows().await?;
        let row = rows.get(id).filter(|(_, expires)| *expires > now());
        Ok(row.map(|(session, _)| session.clone()))
    }

    async fn delete_one_by_id(&self, id: &str, _: &str) -> Result<(), DatabaseError> {
        self.rows().await?.remove(id);
        Ok(())
    }

    async fn exists(&self, id: &str, _: &str) -> Result<bool, DatabaseError> {
        Ok(self.rows().await?.get(id).is_some_and(|(_, expires)| *expires > now()))
    }

    async fn delete_by_expiry(&self, _: &str) -> Result<Vec<String>, DatabaseError> {
        let now = now();
        let mut expired = Vec::new();
        self.rows().await?.retain(|id, (_, expires)| {
            let is_live = *expires > now;
            if !is_live {
                expired.push(id.clone());
            }
            is_live
        });
        Ok(expired)
    }

    async fn delete_all(&self, _: &str) -> Result<(), DatabaseError> {
        self.rows().await?.clear();
        Ok(())
    }

    async fn get_ids(&self, _: &str) -> Result<Vec<String>, DatabaseError> {
        Ok(self.rows().await?.keys().cloned().collect())
    }

    fn auto_handles_expiry(&self) -> bool {
        false
    }
}

fn now() -> i64 {
    time::UtcDateTime::now().unix_timestamp()
}
