//! Nodes whose clocks differ, over a store that has its own clock (S12).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::http::StatusCode;
use tower_tenure::{
    Clock, EndReason, MemoryStore, SessionLayer, Sessions, Timestamp,
    events::{Event, EventKind},
    testing::{ManualClock, Probe},
};

use crate::common::{Browser, DAY, SECOND, Site, policy_of, usual_routes};

const IDLE: Duration = Duration::from_secs(3600);

/// A node's clock: the true time plus an offset. It advances like a server's wall clock.
#[derive(Clone, Debug)]
struct Skewed {
    truth: ManualClock,
    ahead_by_millis: Arc<std::sync::atomic::AtomicI64>,
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_by_millis.load(std::sync::atomic::Ordering::Relaxed);
        Timestamp::from_unix_millis(self.truth.now().as_unix_millis() + ahead)
    }
}

/// Several nodes over one store, which knows the true time.
struct World {
    truth: ManualClock,
    store: Probe<MemoryStore>,
}

struct Node {
    site: Site,
    sessions: Sessions,
    ahead_by_millis: Arc<std::sync::atomic::AtomicI64>,
    events: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn new() -> Self {
        let truth = ManualClock::default();
        let store = Probe::remote(MemoryStore::new());
        store.keep_time(truth.clone());
        Self { truth, store }
    }

    fn node(&self, ahead_by_millis: i64, idle: Duration) -> Node {
        let events = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&events);
        let ahead_by_millis = Arc::new(std::sync::atomic::AtomicI64::new(ahead_by_millis));
        let clock = Skewed { truth: self.truth.clone(), ahead_by_millis: Arc::clone(&ahead_by_millis) };
        let layer = SessionLayer::new(self.store.clone())
            .with_policy(policy_of(idle, 30 * DAY))
            .with_clock(clock.clone())
            .with_observer_fn(move |event: &Event<'_>| {
                let line = match event.kind {
                    EventKind::Ended(reason) => format!("ended {reason}"),
                    EventKind::ClocksApart { ahead_by_millis, .. } => format!("apart {ahead_by_millis}"),
                    EventKind::ClocksAgree => "agree".to_owned(),
                    _ => return,
                };
                log.lock().unwrap().push(line);
            });
        let sessions = layer.sessions();
        let site = Site::over(layer, usual_routes(), |layer| layer.with_clock(clock));
        Node { site, sessions, ahead_by_millis, events }
    }
}

impl Node {
    /// The same browser, connected to this node.
    fn visit(&self, browser: &Browser) -> Browser {
        let here = self.site.browser();
        here.set_cookies(browser.cookie_header().as_deref());
        here
    }

    async fn sweep(&self) {
        for _ in 0..10 {
            self.sessions.sweep(100).await.unwrap();
        }
    }

    fn take_events(&self) -> Vec<String> {
        std::mem::take(&mut self.events.lock().unwrap())
    }
}

/// FINDINGS A4: a second node, whose clock was eight days ahead, swept all users' sessions.
#[tokio::test]
async fn a4_a_node_with_a_wrong_clock_ends_no_session_of_others() {
    for ahead in [8 * 24 * 3_600_000, -8 * 24 * 3_600_000, 31_000 + 3_600_000] {
        let world = World::new();
        let right = world.node(0, IDLE);
        let browser = right.site.log_in("alice").await;
        let wrong = world.node(ahead, IDLE);
        wrong.sweep().await;
        assert_eq!(wrong.take_events(), [format!("apart {ahead}")], "loud, and once");
        // That node denies the visit by its own clock, but it ends no session and removes no
        // cookie.
        let reply = wrong.visit(&browser).get("/me").await;
        assert!(!reply.removes_cookie());
        assert_eq!(wrong.sessions.list(None, None, 10).await.unwrap().sessions.len(), usize::from(ahead < 0));
        assert_eq!(right.visit(&browser).get("/me").await.status, StatusCode::OK);
        assert_eq!(right.take_events(), [""; 0]);

        // Once its clock is right, it notices within a minute and takes part again.
        wrong.ahead_by_millis.store(0, std::sync::atomic::Ordering::Relaxed);
        world.truth.advance(61 * SECOND);
        wrong.sweep().await;
        assert_eq!(wrong.take_events(), ["agree"]);
        world.truth.advance(IDLE);
        wrong.sweep().await;
        assert_eq!(wrong.take_events(), ["ended idle"]);
    }
}

/// FINDINGS A3: the session looked idle on the node that was ahead, so a revocation there ended
/// nothing.
#[tokio::test]
async fn a3_a_revocation_on_a_node_whose_clock_is_ahead_binds_everywhere() {
    for ahead in [2_000, 12_000, 8 * 24 * 3_600_000] {
        let world = World::new();
        let (right, wrong) = (world.node(0, 3 * SECOND), world.node(ahead, 3 * SECOND));
        let browser = right.site.log_in("alice").await;
        world.truth.advance(2 * SECOND);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        let sid = right.sessions.list(None, None, 1).await.unwrap().sessions[0].sid;
        wrong.sessions.revoke(sid).await.unwrap();
        assert_eq!(browser.copy().get("/me").await.status, StatusCode::UNAUTHORIZED, "ahead by {ahead} ms");

        // The same holds for all sessions of a user. A later login stays live.
        world.truth.advance(SECOND);
        let browser = right.site.log_in("bob").await;
        world.truth.advance(SECOND);
        wrong.sessions.revoke_all("bob", None).await.unwrap();
        let reply = browser.copy().get("/me").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "ahead by {ahead} ms");
        world.truth.advance(SECOND);
        let again = right.site.log_in("bob").await;
        assert_eq!(again.get("/me").await.status, StatusCode::OK, "ahead by {ahead} ms");
    }
}

/// L14 with differing clocks: the shared clock decides whether a login came before or after the
/// sign-out.
#[tokio::test]
async fn l14_sign_everybody_out_on_a_node_whose_clock_is_wrong_ends_earlier_logins_only() {
    for ahead in [-12_000, -2_000, 2_000, 12_000] {
        let world = World::new();
        let (right, wrong) = (world.node(0, IDLE), world.node(ahead, IDLE));
        let browser = right.site.log_in("alice").await;
        world.truth.advance(SECOND);
        wrong.sessions.revoke_everybody().await.unwrap();
        world.truth.advance(2 * SECOND);
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("revoked"), "ahead by {ahead} ms");
        let later = right.site.log_in("alice").await;
        world.truth.advance(2 * SECOND);
        assert_eq!(later.get("/me").await.status, StatusCode::OK, "ahead by {ahead} ms");
        let there = wrong.site.log_in("bob").await;
        world.truth.advance(2 * SECOND);
        assert_eq!(right.visit(&there).get("/me").await.status, StatusCode::OK, "ahead by {ahead} ms");
    }
}

/// FINDINGS A16: each node judged the grace of a rotation by its own clock.
#[tokio::test]
async fn a16_the_old_secret_is_honoured_for_its_grace_whatever_the_nodes_clocks() {
    for ahead in [2_000, 10_000, 29_000] {
        let world = World::new();
        let (slow, fast) = (world.node(0, IDLE), world.node(ahead, IDLE));
        let browser = slow.site.log_in("alice").await;
        let tab = browser.copy();
        drop(fast.visit(&browser).get("/").await); // the clocks are known from the first request on
        assert_eq!(browser.post("/rotate").await.status, StatusCode::OK);
        world.truth.advance(9 * SECOND);
        let reply = fast.visit(&tab).get("/me").await;
        assert_eq!((reply.status, reply.removes_cookie()), (StatusCode::OK, false), "ahead by {ahead} ms");
        world.truth.advance(SECOND);
        let reply = fast.visit(&tab).get("/me").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "ahead by {ahead} ms");
        assert!(!reply.removes_cookie(), "the browser may have the new cookie under the same name");
    }
}

/// S9 with differing clocks: the store counts for the cap.
#[tokio::test]
async fn s9_a_cap_holds_whatever_the_nodes_clocks() {
    let world = World::new();
    let (right, wrong) = (world.node(0, IDLE), world.node(8 * 24 * 3_600_000, IDLE));
    let browsers = [right.site.log_in("alice").await, right.site.log_in("alice").await];
    assert!(wrong.sessions.list(Some("alice"), None, 10).await.unwrap().sessions.is_empty());
    for browser in &browsers {
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    }
    assert!(!right.take_events().contains(&format!("ended {}", EndReason::Idle)));
}
