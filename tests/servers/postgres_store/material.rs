//! Servers and sessions for the tests of the PostgreSQL store.

use std::{sync::Arc, time::Duration};

use tower_tenure::{
    SessionId, SessionStore, Timestamp,
    record::Tag,
    store::{Creation, Page, PostgresOptions, PostgresStore, Revocation},
};

use crate::common::{
    servers::{Kind, Server},
    store::{REALM, login_of, sid_at},
};

/// Long after all deadlines of these sessions.
pub(crate) const DAY: u32 = 24 * 3600;

pub(crate) fn start(test: &str) -> Option<Server> {
    Server::start(Kind::Postgres, test)
}

pub(crate) async fn node(server: &Server) -> PostgresStore {
    PostgresStore::connect(&server.url()).await.unwrap()
}

pub(crate) async fn small_pool(url: &str, size: usize) -> PostgresStore {
    PostgresOptions::new(url).unwrap().with_pool_size(size).connect().await.unwrap()
}

/// The application's own pool.
pub(crate) fn own_pool(server: &Server) -> deadpool_postgres::Pool {
    let manager = deadpool_postgres::Manager::new(server.url().parse().unwrap(), tokio_postgres::NoTls);
    deadpool_postgres::Pool::builder(manager).max_size(8).build().unwrap()
}

/// A connection outside the stores' pools.
pub(crate) async fn admin(server: &Server) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A user whose sessions have an idle lifetime of one day and an absolute lifetime of three days.
#[derive(Clone)]
pub(crate) struct User {
    pub(crate) name: Arc<str>,
    pub(crate) tag: Tag,
}

impl User {
    pub(crate) fn of(store: &impl SessionStore, name: &str) -> Self {
        Self { name: name.into(), tag: store.place_key().tag(REALM, name) }
    }

    pub(crate) fn sid(&self, number: u32) -> SessionId {
        sid_at(self.tag, number)
    }

    pub(crate) fn login(&self, number: u32, at: Timestamp) -> Creation {
        login_of(&self.name, self.tag, number, at)
    }

    pub(crate) fn revocation(&self, at: Timestamp) -> Revocation {
        Revocation {
            realm: REALM.into(),
            subject: Some((self.tag, Arc::clone(&self.name))),
            at,
            except: None,
            keep_until: at + Duration::from_secs(4 * 24 * 3600),
        }
    }

    pub(crate) fn page(&self, limit: usize) -> Page {
        Page { realm: REALM.into(), subject: Some((self.tag, Arc::clone(&self.name))), after: None, limit }
    }
}

pub(crate) fn everybody(limit: usize) -> Page {
    Page { realm: REALM.into(), subject: None, after: None, limit }
}

pub(crate) fn capped(creation: Creation, cap: u32) -> Creation {
    Creation { cap: cap.try_into().ok(), ..creation }
}
