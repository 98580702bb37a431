//! Cached copies of sessions in the middleware: which calls they save, and how old they may be.

use std::{pin::Pin, time::Duration};

use axum::http::{Method, StatusCode};
use tower_tenure::{
    EndReason, Error, ErrorKind, MemoryStore, SessionLayer, SessionStore, Sessions,
    events::Operation::{self, Load, NotBefore, Update},
    record::{Change, EndRequest},
    store::{Creation, NearCache, Revocation},
    testing::{Gate, ManualClock, Probe},
};

use crate::common::{
    ABSOLUTE, Browser, IDLE, MINUTE, SECOND, Site, TICK, policy, soon,
    store::{end, login, revocation, second, sid},
    usual_routes,
};

type Remote = Probe<MemoryStore>;

/// Two nodes over one store, each with a cache.
struct World {
    clock: ManualClock,
    here: Node,
    there: Node,
}

struct Node {
    site: Site,
    /// The store calls of this node.
    calls: Remote,
}

impl Node {
    fn new(store: &MemoryStore, clock: &ManualClock) -> Self {
        let calls = Probe::remote(store.clone());
        let layer = SessionLayer::new(NearCache::new(calls.clone())).with_policy(policy());
        let site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock.clone()));
        Self { site, calls }
    }

    fn sessions(&self) -> &Sessions {
        &self.site.sessions
    }
}

impl World {
    fn new() -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::default());
        let [here, there] = [Node::new(&store, &clock), Node::new(&store, &clock)];
        Self { clock, here, there }
    }

    /// A logged-in browser with a session that both nodes have cached.
    async fn alice(&self) -> Browser {
        let browser = self.here.site.log_in("alice").await;
        for node in [&self.here, &self.there] {
            assert_eq!(browser.at(&node.site).get("/me").await.status, StatusCode::OK);
            node.calls.take_calls();
        }
        browser
    }

    /// Sessions and copies age.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::advance(time).await;
    }

    /// Only copies age, so only their age can be the reason for a call to the store.
    async fn copies_age(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

/// The status of one request, and the store calls that its node makes.
async fn calls(node: &Node, browser: &Browser, path: &str) -> (StatusCode, Vec<Operation>) {
    node.calls.take_calls();
    let reply = browser.at(&node.site).get(path).await;
    (reply.status, node.calls.take_calls())
}

const JUST_BEFORE: Duration = Duration::from_millis(999);

#[tokio::test(start_paused = true)]
async fn s5_a_request_that_follows_within_a_second_asks_the_store_nothing() {
    let world = World::new();
    let alice = world.alice().await;
    assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![]));
    world.copies_age(JUST_BEFORE).await;
    assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![]));
    world.copies_age(TICK).await;
    assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![Load]));
    assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![]));
}

#[tokio::test(start_paused = true)]
async fn s5_an_interaction_is_recorded_as_without_copies() {
    let world = World::new();
    let alice = world.alice().await;
    for _ in 0..(2 * 20 * 60) {
        world.pass(SECOND / 2).await;
        assert_eq!(alice.get("/me").await.status, StatusCode::OK);
    }
    let touches = world.here.calls.take_calls().into_iter().filter(|call| *call == Update).count();
    // With an idle lifetime of 15 minutes a touch is due after 14 s.
    assert_eq!(touches, 82);
    world.pass(IDLE - 15 * SECOND).await;
    assert_eq!(alice.get("/me").await.status, StatusCode::OK);
    world.pass(IDLE).await;
    assert_eq!(alice.get("/me").await.reason().as_deref(), Some("idle"));
}

/// What ends alice's session on the other node, or elsewhere.
#[derive(Clone, Copy, Debug)]
enum End {
    Logout,
    RevokeOne,
    RevokeUser,
    RevokeEverybody,
}

async fn end_it(node: &Node, alice: &Browser, how: End) -> Result<(), Error> {
    let sessions = node.sessions();
    match how {
        End::Logout => {
            assert_eq!(alice.copy().at(&node.site).post("/logout").await.status, StatusCode::OK);
        }
        End::RevokeOne => {
            let page = sessions.list(Some("alice"), None, 1).await?;
            sessions.revoke(page.sessions[0].sid).await?;
        }
        End::RevokeUser => sessions.revoke_all("alice", None).await?,
        End::RevokeEverybody => sessions.revoke_everybody().await?,
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn l14_an_end_is_seen_at_once_here_and_within_a_second_elsewhere() {
    for how in [End::Logout, End::RevokeOne, End::RevokeUser, End::RevokeEverybody] {
        let world = World::new();
        let alice = world.alice().await;
        end_it(&world.here, &alice, how).await.unwrap();
        let reply = alice.copy().get("/me").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{how:?}, on the node that did it");
        world.copies_age(SECOND).await;
        let reply = alice.copy().at(&world.there.site).get("/me").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{how:?}, a second later on the other");
    }
}

/// The age of a copy counts from the request to the store, not from the answer.
#[tokio::test(start_paused = true)]
async fn l14_the_time_that_an_answer_takes_counts() {
    let world = World::new();
    let alice = world.alice().await;
    world.copies_age(SECOND).await;
    let slow = world.here.calls.hold(Load);
    let request = alice.spawn(Method::GET, "/me");
    slow.arrived().await;
    world.copies_age(JUST_BEFORE).await;
    slow.open();
    assert_eq!(soon(request).await.unwrap().status, StatusCode::OK);
    assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![]));
    world.copies_age(TICK).await;
    assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![Load]));
}

#[tokio::test(start_paused = true)]
async fn s3_a_node_reads_what_it_wrote() {
    let world = World::new();
    let alice = world.alice().await;
    for value in ["one", "two"] {
        assert_eq!(alice.put("/data/key", value).await.status, StatusCode::OK);
        assert_eq!(alice.get("/data/key").await.body, value);
        assert_eq!(alice.get("/data/key").await.body, value);
    }
}

/// Interleaving: a load is in flight while this node writes. It may have read the old state, so its
/// answer must not be cached.
#[tokio::test(start_paused = true)]
async fn s3_an_answer_from_before_a_write_is_not_kept() {
    let world = World::new();
    let alice = world.alice().await;
    world.copies_age(SECOND).await;
    world.here.calls.pause(300); // each call is pending this often before and after its work
    let early = alice.spawn(Method::GET, "/data/key");
    // The runtime polls the other task up to 61 times between two polls of this one.
    for _ in 0..6 {
        tokio::task::yield_now().await;
    }
    world.here.calls.pause(0);
    assert_eq!(alice.put("/data/key", "new").await.status, StatusCode::OK);
    assert!(!early.is_finished());
    assert_eq!(soon(early).await.unwrap().status, StatusCode::NOT_FOUND);
    assert_eq!(alice.get("/data/key").await.body, "new");
}

#[tokio::test(start_paused = true)]
async fn s3_writes_from_copies_of_two_nodes_are_all_kept_and_counted() {
    let world = World::new();
    let alice = world.alice().await;
    for round in 0..10 {
        for node in [&world.here, &world.there] {
            let browser = alice.at(&node.site);
            assert_eq!(browser.get("/me").await.status, StatusCode::OK);
            assert_eq!(browser.post("/add/count").await.status, StatusCode::OK);
            let key = format!("/data/{round}");
            assert_eq!(browser.put(&key, "x").await.status, StatusCode::OK);
        }
    }
    world.pass(SECOND).await;
    assert_eq!(alice.post("/add/count").await.body, "21");
}

/// A copy with the old secret does not sign the user out.
#[tokio::test(start_paused = true)]
async fn c6_a_cookie_that_another_node_replaced_is_good_at_once() {
    let world = World::new();
    let alice = world.alice().await;
    let old = alice.copy();
    let elsewhere = alice.at(&world.there.site);
    assert_eq!(elsewhere.post("/rotate").await.status, StatusCode::OK);
    let fresh = elsewhere.at(&world.here.site);
    let (status, asked) = calls(&world.here, &fresh, "/me").await;
    assert_eq!((status, asked), (StatusCode::OK, vec![Load]));
    // The old secret is in its grace and sets no cookie.
    world.pass(SECOND).await;
    let reply = old.get("/me").await;
    assert_eq!((reply.status, reply.set_cookies()), (StatusCode::OK, vec![]));
}

/// Interleaving: this node caches a copy just before the deadline, then the user is active on
/// another node.
#[tokio::test(start_paused = true)]
async fn l9_no_session_is_over_because_a_copy_is_old() {
    let world = World::new();
    let alice = world.alice().await;
    world.pass(IDLE - SECOND / 2).await;
    let passive = |node: &Node| {
        let request = axum::http::Request::get("/me")
            .header("session-activity", "passive")
            .header("cookie", alice.cookie_header().unwrap())
            .body(axum::body::Body::empty())
            .unwrap();
        let site = node.site.clone();
        async move { site.send(request).await.status }
    };
    assert_eq!(passive(&world.here).await, StatusCode::OK, "it has a copy now");
    assert_eq!(alice.at(&world.there.site).get("/me").await.status, StatusCode::OK);
    world.pass(SECOND * 3 / 4).await;
    assert_eq!(passive(&world.here).await, StatusCode::OK, "by the copy it would be over");
    world.pass(ABSOLUTE).await;
    assert_eq!(passive(&world.here).await, StatusCode::UNAUTHORIZED);
}

/// The store stops answering. A fresh copy is served until it is a second old, and then requests
/// get 503.
#[tokio::test(start_paused = true)]
async fn s6_a_store_that_stands_still_is_noticed_within_a_second() {
    let world = World::new();
    let alice = world.alice().await;
    for _ in 0..4 {
        let gates = [Load, NotBefore].map(|call| world.here.calls.hold(call));
        assert_eq!(calls(&world.here, &alice, "/me").await, (StatusCode::OK, vec![]));
        world.pass(SECOND).await;
        // Tokio's paused clock advances by itself until the timeout.
        let reply = alice.get("/me").await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!reply.removes_cookie());
        gates.iter().for_each(Gate::open);
        assert_eq!(alice.get("/me").await.status, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn s6_a_change_whose_answer_is_lost_is_looked_at_again() {
    let world = World::new();
    let alice = world.alice().await;
    world.here.calls.lose_answers(Update, 1);
    assert_eq!(alice.put("/data/key", "lost").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(alice.get("/data/key").await.body, "lost", "it took effect all the same");
}

#[tokio::test(start_paused = true)]
async fn s13_no_more_copies_are_kept_than_there_is_room_for() {
    let calls = Probe::remote(MemoryStore::new());
    let store = NearCache::with_limits(calls.clone(), SECOND, 64).unwrap();
    let clock = ManualClock::default();
    let layer = SessionLayer::new(store).with_policy(policy());
    let site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock));
    let mut browsers = Vec::new();
    for user in 0..1000 {
        browsers.push(site.log_in(&user.to_string()).await);
    }
    for browser in &browsers {
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    calls.take_calls();
    for browser in &browsers {
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    let asked = calls.take_calls().len();
    assert!((936..1000).contains(&asked), "{asked} of 1000 were asked for");
}

#[test]
fn a_near_cache_that_would_break_its_promise_is_refused() {
    for (age, capacity) in [(SECOND + TICK, 1), (Duration::ZERO, 1), (SECOND, 0), (MINUTE, 1)] {
        let error = NearCache::with_limits(MemoryStore::new(), age, capacity).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
    }
}

/// A call that may have changed a session removes its copy when it completes, even if its caller
/// dropped it.
#[tokio::test]
async fn s4_each_change_forgets_what_it_may_have_changed() {
    type Call = fn(&NearCache<Remote>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    let calls: [(&str, Call); 7] = [
        ("update", |store| Box::pin(async { drop(store.update(sid(1), Change::at(second(1)), None).await) })),
        ("end", |store| Box::pin(async { drop(store.end(sid(1), idle(), None).await) })),
        ("end_many", |store| Box::pin(async { drop(store.end_many(vec![(sid(1), idle())]).await) })),
        ("create in its place", |store| {
            let ends = vec![(sid(1), idle())];
            Box::pin(async { drop(store.create(Creation { ends, ..login(2, second(1)) }).await) })
        }),
        ("create again", |store| Box::pin(async { drop(store.create(login(1, second(1))).await) })),
        ("revoke the user", |store| {
            Box::pin(async { drop(store.revoke(revocation(second(1), None)).await) })
        }),
        ("revoke everybody", |store| {
            let everybody = Revocation { subject: None, ..revocation(second(1), None) };
            Box::pin(async { drop(store.revoke(everybody).await) })
        }),
    ];
    for (name, call) in calls {
        for outcome in ["answered", "failed", "lost", "dropped"] {
            let probe = Probe::remote(MemoryStore::new());
            let store = NearCache::new(probe.clone());
            store.create(login(1, second(0))).await.unwrap();
            assert_eq!(store.recent(sid(1)), None);
            store.load(sid(1)).await.unwrap();
            assert!(store.recent(sid(1)).is_some());
            match outcome {
                "failed" => ALL.iter().for_each(|operation| probe.fail(*operation, 1)),
                "lost" => ALL.iter().for_each(|operation| probe.lose_answers(*operation, 1)),
                "dropped" => probe.pause(1),
                _ => {}
            }
            if outcome == "dropped" {
                // Polled once before its work and once after it.
                let mut call = call(&store);
                for _ in 0..2 {
                    assert!(futures_util::poll!(call.as_mut()).is_pending());
                    assert!(store.recent(sid(1)).is_some());
                }
            } else {
                call(&store).await;
            }
            assert_eq!(store.recent(sid(1)), None, "{name}, {outcome}");
        }
    }
}

const ALL: [Operation; 5] =
    [Operation::Update, Operation::End, Operation::EndMany, Operation::Create, Operation::Revoke];

fn idle() -> EndRequest {
    end(EndReason::Idle, second(1))
}

/// An ended session is never cached, so the store decides about it.
#[tokio::test]
async fn s4_no_copy_of_what_is_over_is_kept() {
    let store = NearCache::new(Probe::remote(MemoryStore::new()));
    for number in [1, 2] {
        store.create(login(number, second(0))).await.unwrap();
    }
    store.end(sid(1), idle(), None).await.unwrap();
    assert!(store.load(sid(1)).await.unwrap().unwrap().ended.is_some());
    assert_eq!(store.recent(sid(1)), None);
    store.revoke(revocation(second(1), None)).await.unwrap();
    assert!(store.load(sid(2)).await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.recent(sid(2)), None);
}
