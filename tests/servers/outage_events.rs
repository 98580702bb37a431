//! The events of a server that was killed (SPEC O3): one when it is gone, with its address but
//! without its password, and one when it is back.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tower_tenure::{
    SessionLayer,
    events::{AuditLine, Event, Observer},
    store::{AnyStore, PostgresStore, RedisStore},
};

use crate::common::servers::{Kind, Server};

#[derive(Clone, Default)]
struct Audited(Arc<Mutex<Vec<AuditLine>>>);

impl Observer for Audited {
    fn observe(&self, event: &Event<'_>) {
        self.0.lock().unwrap().push(event.into());
    }
}

impl Audited {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let lines = self.0.lock().unwrap();
        let about_store = lines.iter().filter(|line| line.event.starts_with("store_"));
        about_store.map(|line| (line.event, line.reason.clone().unwrap_or_default())).collect()
    }
}

async fn is_emitted_once(mut server: Server, store: AnyStore, address: &str) {
    let audited = Audited::default();
    let layer = SessionLayer::new(store).with_observer(audited.clone());
    let sessions = layer.sessions();
    sessions.ready().await.unwrap();
    for round in 1..=2 {
        server.kill();
        for _ in 0..4 {
            assert!(sessions.ready().await.is_err());
            assert!(sessions.list(None, None, 1).await.is_err());
        }
        let lines = audited.lines();
        assert_eq!(lines.len(), round * 2 - 1, "{lines:?}");
        let (event, reason) = lines.last().unwrap();
        assert_eq!(*event, "store_failed");
        assert!(reason.contains(address) && !reason.contains("hunter2"), "{reason}");
        server.restart();
        // At first the server may still be starting. Then recovery takes a second without a
        // failure, or two seconds the second time.
        for _ in 0..200 {
            if audited.lines().len() == round * 2 {
                break;
            }
            let _ = sessions.ready().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let lines = audited.lines();
        assert_eq!(lines.len(), round * 2, "{lines:?}");
        let (event, reason) = lines.last().unwrap();
        assert_eq!(*event, "store_recovered");
        assert!(reason.contains(address), "{reason}");
        sessions.list(None, None, 1).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn o3_a_killed_redis_is_emitted_once_and_its_return_once() {
    let Some(server) = Server::start(Kind::Redis, "outage events on Redis") else { return };
    let address = format!("127.0.0.1:{}", server.port());
    // That user has no password there, so the server accepts any.
    let store = RedisStore::connect(&format!("redis://default:hunter2@{address}")).await.unwrap();
    is_emitted_once(server, store.into(), &format!("(redis at {address})")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn o3_a_killed_postgres_is_emitted_once_and_its_return_once() {
    let Some(server) = Server::start(Kind::Postgres, "outage events on PostgreSQL") else { return };
    let address = format!("127.0.0.1:{}", server.port());
    let url = format!("postgres://postgres:hunter2@{address}/postgres");
    let store = PostgresStore::connect(&url).await.unwrap();
    is_emitted_once(server, store.into(), &format!("(postgres at {address}/postgres)")).await;
}
