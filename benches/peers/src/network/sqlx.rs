//! tower-sessions and axum_session over PostgreSQL, and bare statements by tower-sessions' client.

use std::sync::{Arc, atomic::AtomicU64};

use axum_session_sqlx::SessionPgPool;
use tower_sessions_sqlx_store::{
    PostgresStore,
    sqlx::{self, PgPool, postgres::PgPoolOptions},
};
use tower_tenure_peers::{
    application::benchmarked,
    libraries::{axum_session, tower_sessions_0_14},
};

use crate::{
    peers::{IDLE, Named, Side, key, routed},
    sides::{Ask, Request, value},
};

/// The same number as in our store and on the bare side.
const CONNECTIONS: u32 = 16;

/// Statements that sqlx prepares, over a pool as large as our store's.
#[derive(Clone)]
pub(crate) struct Bare(PgPool, Arc<AtomicU64>);

/// The bare side, which has the number `bare`, and the sides of the other libraries.
pub(crate) async fn sides(url: &str, bare: usize) -> [Named; 4] {
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await.expect("it connects");
    let table =
        "CREATE TABLE bare_sqlx (key bytea PRIMARY KEY, record bytea NOT NULL) WITH (fillfactor = 85)";
    sqlx::query(table).execute(&pool).await.expect("a table");
    let store = PostgresStore::new(pool.clone());
    store.migrate().await.expect("a table");
    let of_tower_sessions = |always| {
        let routes = benchmarked::<tower_sessions_0_14::Session>();
        routed(tower_sessions_0_14::layered(store.clone(), IDLE, always, routes))
    };
    // Another version of sqlx with the same settings.
    let pool_0_9 = sqlx_0_9::postgres::PgPoolOptions::new().max_connections(CONNECTIONS);
    let pool_0_9 = SessionPgPool::from(pool_0_9.connect(url).await.expect("it connects"));
    let routes = benchmarked::<axum_session::Session<SessionPgPool>>();
    let uncached = axum_session::layered(Some(pool_0_9), IDLE, false, routes).await;
    [
        Named { name: "bare, sqlx", side: Side::Sqlx(Bare(pool, Arc::default())), bare: None },
        Named { name: "tower-sessions 0.14", side: of_tower_sessions(false), bare: Some(bare) },
        Named { name: "tower-sessions 0.14, always_save", side: of_tower_sessions(true), bare: Some(bare) },
        Named { name: "axum_session 0.22, without its cache", side: routed(uncached), bare: Some(bare) },
    ]
}

impl Ask for Bare {
    async fn ask(self, request: Request, number: u64) {
        let Self(pool, next) = &self;
        let number = key(next, request, number);
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let key = [mixed.to_be_bytes(), number.to_be_bytes()].concat();
        if request == Request::Login {
            let insert = sqlx::query("INSERT INTO bare_sqlx (key, record) VALUES ($1, $2)");
            insert.bind(key).bind(value(number)).execute(pool).await.expect("it inserts");
            return;
        }
        let select = sqlx::query_scalar::<_, Vec<u8>>("SELECT record FROM bare_sqlx WHERE key = $1");
        let stored = select.bind(&key).fetch_one(pool).await.expect("it selects");
        assert_eq!(stored.len(), 250);
        if request == Request::Write {
            let update = sqlx::query("UPDATE bare_sqlx SET record = $2 WHERE key = $1");
            update.bind(key).bind(value(number)).execute(pool).await.expect("it updates");
        }
    }
}
