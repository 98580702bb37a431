//! Cached sessions in front of a real server: how late a node sees another node's change, and what
//! happens when the server stops answering.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tower_tenure::{
    SessionLayer, SessionStore, SystemClock,
    store::{NearCache, PostgresStore, RedisStore},
};

use crate::common::{
    Browser, Site,
    servers::{Kind, Server},
    usual_routes,
};

/// A request that begins this long after a change, or later, is not served from a copy of before
/// the change.
const SEEN_WITHIN: Duration = Duration::from_secs(1);

const BUDGET: Duration = Duration::from_millis(300);

fn node(store: impl SessionStore) -> Site {
    let layer = SessionLayer::new(NearCache::new(store)).with_store_budget(BUDGET);
    Site::over(layer, usual_routes(), |layer| layer.with_clock(SystemClock))
}

/// Polls the node. Returns when the last served request began, and the status of the next one.
async fn last_served(browser: &Browser, node: &Site) -> (Duration, StatusCode) {
    #[expect(clippy::disallowed_methods, reason = "the promise is one of real time")]
    let start = Instant::now();
    let mut last = Duration::ZERO;
    loop {
        #[expect(clippy::disallowed_methods, reason = "as above")]
        let began = start.elapsed();
        let status = browser.copy().at(node).get("/me").await.status;
        if status != StatusCode::OK {
            return (last, status);
        }
        last = began;
        assert!(last < SEEN_WITHIN, "still served: {last:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn holds<S: SessionStore + Clone>(store: S, server: &Server) {
    let nodes = [node(store.clone()), node(store)];
    for user in ["alice", "bob", "carol"] {
        let browser = nodes[0].log_in(user).await;
        assert_eq!(browser.at(&nodes[1]).get("/me").await.status, StatusCode::OK);
        match user {
            "alice" => assert_eq!(browser.copy().post("/logout").await.status, StatusCode::OK),
            "bob" => nodes[0].sessions.revoke_all("bob", None).await.unwrap(),
            _ => nodes[0].sessions.revoke_everybody().await.unwrap(),
        }
        assert_eq!(browser.copy().get("/me").await.status, StatusCode::UNAUTHORIZED, "at once here");
        let (_, then) = last_served(&browser, &nodes[1]).await;
        assert_eq!(then, StatusCode::UNAUTHORIZED, "{user}");
    }

    let browser = nodes[0].log_in("dave").await;
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    server.freeze();
    let (last, then) = last_served(&browser, &nodes[0]).await;
    server.thaw();
    assert_eq!(then, StatusCode::SERVICE_UNAVAILABLE, "unknown is neither live nor over");
    assert!(last > Duration::ZERO, "it was served by its copy for a while");
}

#[tokio::test(flavor = "multi_thread")]
async fn l14_copies_in_front_of_redis_are_a_second_old_at_most() {
    let Some(server) = Server::start(Kind::Redis, "a near cache of Redis") else { return };
    holds(RedisStore::connect(&server.url()).await.unwrap(), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn l14_copies_in_front_of_postgres_are_a_second_old_at_most() {
    let Some(server) = Server::start(Kind::Postgres, "a near cache of PostgreSQL") else { return };
    holds(PostgresStore::connect(&server.url()).await.unwrap(), &server).await;
}
