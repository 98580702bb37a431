//! Servers and sessions for the tests of the PostgreSQL store.

use std::{sync::Arc, time::Duration};

use tower_tenure::{
    EndReason, Lifetimes, Policy, SessionId, SessionStore, Timestamp,
    record::{CallId, Change, Edits, EndRequest, Json, Record, Tag, TimingChange},
    store::{Creation, Page, PostgresOptions, PostgresStore, Revocation},
    testing,
};

use crate::common::servers::{Kind, Server};

pub(crate) const REALM: &str = "__Host-id";

/// Far after all deadlines of these sessions.
pub(crate) const DAY: u32 = 24 * 3600;

/// Seconds after the start of the test.
pub(crate) fn second(seconds: u32) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + i64::from(seconds) * 1000)
}

pub(crate) fn start(test: &str) -> Option<Server> {
    Server::start(Kind::Postgres, test)
}

pub(crate) async fn node(server: &Server) -> PostgresStore {
    PostgresStore::connect(&server.url()).await.unwrap()
}

pub(crate) async fn small_pool(url: &str, size: usize) -> PostgresStore {
    PostgresOptions::new(url).unwrap().with_pool_size(size).connect().await.unwrap()
}

/// A pool of the application's own.
pub(crate) fn own_pool(server: &Server) -> deadpool_postgres::Pool {
    let manager = deadpool_postgres::Manager::new(server.url().parse().unwrap(), tokio_postgres::NoTls);
    deadpool_postgres::Pool::builder(manager).max_size(8).build().unwrap()
}

/// A connection beside those of the stores.
pub(crate) async fn admin(server: &Server) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A user whose sessions have a day idle and three days absolute.
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
        sid(number).with_tag(self.tag)
    }

    pub(crate) fn login(&self, number: u32, at: Timestamp) -> Creation {
        let lifetimes = Lifetimes::from_minutes(24 * 60, 72 * 60);
        let timing = Policy::new(lifetimes, lifetimes).anonymous(at);
        Creation::new(Record {
            sid: self.sid(number),
            realm: REALM.into(),
            subject: Some(Arc::clone(&self.name)),
            ..testing::record(timing)
        })
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

pub(crate) fn sid(number: u32) -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes)
}

pub(crate) fn end(number: u64, reason: EndReason, at: Timestamp) -> EndRequest {
    EndRequest::new(reason, at, CallId::new(number))
}

/// An interaction and nothing else.
pub(crate) fn touch(at: Timestamp) -> Change {
    Change { timing: TimingChange { interaction_at: Some(at), lowering: None }, ..Change::at(at) }
}

/// A key set, without an interaction.
pub(crate) fn write(key: &str, at: Timestamp) -> Change {
    let mut edits = Edits::default();
    edits.set(key, Json::from_text("1"));
    Change { edits, ..Change::at(at) }
}

pub(crate) fn capped(creation: Creation, cap: u32) -> Creation {
    Creation { cap: cap.try_into().ok(), ..creation }
}

/// What a login that replaces another session asks for.
pub(crate) fn replacing(creation: Creation, old: SessionId) -> Creation {
    let at = creation.record.timing.created_at;
    let number = u64::from_be_bytes(std::array::from_fn(|at| creation.record.sid.as_bytes()[8 + at]));
    let ends = vec![(old, end(number, EndReason::Superseded, at))];
    Creation { ends, ..creation }
}
