//! With a million sessions: the cost of a call does not grow with their number.

#![expect(clippy::disallowed_methods, reason = "these tests look at the clock")]

use std::time::{Duration, Instant};

use tower_tenure::{
    EndReason, SessionStore,
    record::Json,
    store::{PostgresStore, Sweep},
};

use super::material::{DAY, User, everybody, node, start};
use crate::common::{
    servers::Server,
    store::{REALM, end, second, touch},
};
use crate::heavy::HEAVY;

/// The number of sessions, from `TENURE_MANY`. The default is smaller than a million to save time.
fn many() -> u32 {
    std::env::var("TENURE_MANY").map_or(100_000, |text| text.parse().expect("a number"))
}

/// The longest time that a call may take.
const SOON: Duration = Duration::from_millis(10);

/// The longest time of the smallest write on an idle machine.
const QUIET: Duration = Duration::from_millis(1);

/// Makes copies of the session `user.sid(0)`, a second apart.
fn multiply(server: &Server, user: &User, copies: u32) {
    let tag = user.tag.as_u64();
    server.ask(&[&format!(
        "INSERT INTO tower_tenure.sessions (tag, version, created_at, due_at, realm, owner, sid, state, record)
        SELECT tag, i, created_at + i, due_at + i, realm, owner,
            (lpad(to_hex(tag), 12, '0') || lpad(to_hex(i), 20, '0'))::uuid, state, record
        FROM tower_tenure.sessions, generate_series(1, {copies}) AS i WHERE tag = {tag} AND state = 0"
    )]);
}

async fn crowd(server: &Server, store: &PostgresStore, name: &str, copies: u32) -> User {
    let user = User::of(store, name);
    store.create(user.login(0, second(0))).await.unwrap();
    multiply(server, &user, copies);
    user
}

/// The best time of several calls. Between them the smallest write shows how busy the machine is:
/// if it takes ten times as long as on an idle machine, this call may, too.
async fn time<T>(store: &PostgresStore, call: impl AsyncFn() -> T) -> (Duration, T) {
    let nobody = User::of(store, "nobody");
    let (mut best, mut smallest) = (None, Duration::MAX);
    for _ in 0..20 {
        let start = Instant::now();
        let answer = call().await;
        let took = start.elapsed();
        if best.as_ref().is_none_or(|(least, _)| took < *least) {
            best = Some((took, answer));
        }
        let start = Instant::now();
        store.revoke(nobody.revocation(second(0))).await.unwrap();
        smallest = smallest.min(start.elapsed());
    }
    let (took, answer) = best.expect("it was called");
    (took.div_f64(smallest.div_duration_f64(QUIET).max(1.0)), answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_calls_cost_the_same_for_a_user_with_a_million_sessions_as_for_one_with_a_few() {
    let Some(server) = start("a million sessions in PostgreSQL") else { return };
    let _alone = HEAVY.lock().await;
    let store = node(&server).await;
    let user = crowd(&server, &store, "alice", many()).await;
    let few = crowd(&server, &store, "bob", 100).await;

    let (took, page) = time(&store, async || store.list(user.page(50)).await.unwrap()).await;
    assert!(took <= SOON && page.len() == 50, "a page of a user: {took:?}");
    let mut later = user.page(50);
    later.after = page.last().map(|record| (record.timing.created_at, record.sid));
    let (took, _) = time(&store, async || store.list(later.clone()).await.unwrap()).await;
    assert!(took <= SOON, "a later page: {took:?}");
    let (took, page) = time(&store, async || store.list(everybody(50)).await.unwrap()).await;
    assert!(took <= SOON && page.len() == 50, "a page of all: {took:?}");
    let (took, page) = time(&store, async || store.list(few.page(200)).await.unwrap()).await;
    assert!(took <= SOON && page.len() == 101, "a page of another user: {took:?}");

    // A5.
    let (took, ()) = time(&store, async || store.revoke(user.revocation(second(DAY))).await.unwrap()).await;
    assert!(took <= SOON, "sign out everywhere: {took:?}");
    let last = store.load(user.sid(many())).await.unwrap().unwrap();
    assert_eq!(last.end_reason_at(second(1)), Some(EndReason::Revoked));
    let sweep = Sweep { realm: Some(REALM.into()), now: second(1), limit: 100 };
    let (took, swept) = time(&store, async || store.sweep(sweep.clone()).await.unwrap()).await;
    assert!(swept.found.len() == 100 && swept.found.iter().all(|record| record.revoked_at.is_some()));
    assert!(took <= 3 * SOON, "a batch of the sweep: {took:?}");
    println!("list, revoke and sweep beside {} sessions are in time", many());
}

/// Ends all sessions that a revocation covers, as the engine's sweep does, and then measures lists
/// and logins.
#[tokio::test(flavor = "multi_thread")]
async fn s14_tombstones_cost_the_user_nothing() {
    let Some(server) = start("tombstones in PostgreSQL") else { return };
    let _alone = HEAVY.lock().await;
    let store = node(&server).await;
    let copies = many() / 5;
    let user = crowd(&server, &store, "alice", copies).await;
    store.revoke(user.revocation(second(1))).await.unwrap();
    let mut ended = 0;
    loop {
        let sweep = Sweep { realm: Some(REALM.into()), now: second(2), limit: 1000 };
        let swept = store.sweep(sweep).await.unwrap();
        let found: Vec<_> = swept.found.iter().map(|record| record.sid).collect();
        ended += found.len();
        let requests = found.iter().map(|sid| (*sid, end(EndReason::Revoked, second(2)))).collect();
        store.end_many(requests).await.unwrap();
        if swept.finished {
            break;
        }
    }
    assert_eq!(ended, copies as usize + 1, "each is found once");
    let sweep = Sweep { realm: Some(REALM.into()), now: second(2), limit: 1000 };
    assert!(store.sweep(sweep).await.unwrap().finished);
    assert_eq!(
        server.ask(&["SELECT count(*) FROM tower_tenure.sessions WHERE state = 2"]),
        "0",
        "the queue is empty"
    );

    store.create(user.login(copies + 10, second(3))).await.unwrap();
    let (took, page) = time(&store, async || store.list(user.page(50)).await.unwrap()).await;
    assert!(took <= SOON && page.len() == 1, "a page of a user: {took:?}");
    let (took, page) = time(&store, async || store.list(everybody(50)).await.unwrap()).await;
    assert!(took <= SOON && page.len() == 1, "a page of all: {took:?}");
    let number = std::cell::Cell::new(copies + 100);
    let (took, _) = time(&store, async || {
        number.set(number.get() + 1);
        let creation = super::material::capped(user.login(number.get(), second(3)), 1000);
        store.create(creation).await.unwrap()
    })
    .await;
    assert!(took <= SOON, "a login: {took:?}");
    let sweep = Sweep { realm: Some(REALM.into()), now: second(4), limit: 1000 };
    let (took, swept) = time(&store, async || store.sweep(sweep.clone()).await.unwrap()).await;
    assert!(took <= SOON && swept.removed == 0 && swept.finished, "a sweep: {took:?}");
    // After the retention the sweep removes the tombstones in batches. It removes the mark only
    // after the mark's own retention.
    let later = Sweep { realm: None, now: second(4000), limit: 1000 };
    let swept = store.sweep(later).await.unwrap();
    assert_eq!((swept.removed, swept.finished), (1000, false));
    assert!(store.load(user.sid(copies + 10)).await.unwrap().unwrap().revoked_at.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_few_bytes() {
    let Some(server) = start("bytes in PostgreSQL") else { return };
    let store = node(&server).await;
    let count = 20_000;
    let logins = (0..20).map(|caller| {
        let store = store.clone();
        tokio::spawn(async move {
            for number in (caller..count).step_by(20) {
                let mut creation = User::of(&store, &format!("user {number}")).login(number, second(number));
                creation.record.data = [
                    ("cart", Json::from_text("[1,2,3]")),
                    ("theme", Json::from_text("\"dark\"")),
                ]
                .into_iter()
                .collect();
                let facts = std::sync::Arc::make_mut(&mut creation.record.facts);
                let agent: std::sync::Arc<str> = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36".into();
                facts.device.initial_user_agent = Some(agent.clone());
                facts.device.last.user_agent = Some(agent);
                store.create(creation).await.unwrap();
            }
        })
    });
    for login in futures_util::future::join_all(logins).await {
        login.unwrap();
    }
    let user = User::of(&store, "user 7");
    store.update(user.sid(7), touch(second(8)), None).await.unwrap();
    let size = server.ask(&["SELECT pg_total_relation_size('tower_tenure.sessions')"]);
    let bytes = size.parse::<u32>().unwrap() / count;
    println!("{bytes} bytes a session");
    assert!(bytes <= 800, "{bytes}");
}
