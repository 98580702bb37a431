//! What may end a session, and that an end is final: inputs that were once handled wrongly (second
//! edition of the contract).

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, extract::Path, http::StatusCode, routing::post};
use tower_tenure::{
    EndReason, Error, Lifetimes, LivePolicy, MemoryStore, Policy, Session, SessionLayer, SessionStore,
    events::{Event, EventKind, Operation},
    policy::{Cap, Overflow},
    store::AnyStore,
    testing::{Gate, Probe},
};

use crate::common::{Door, SECOND, Site, policy_of, stores, usual_routes};

const IDLE: Duration = Duration::from_secs(100);
const ABSOLUTE: Duration = Duration::from_secs(100_000);

/// A site, its administration, and the ends that an observer received.
struct Place {
    site: Site,
    policy: LivePolicy,
    ended: Arc<Mutex<Vec<(String, EndReason)>>>,
}

fn policy() -> Policy {
    policy_of(IDLE, ABSOLUTE)
}

fn capped(most: u32, overflow: Overflow) -> Policy {
    policy().with_cap(Some(cap(most, overflow)))
}

fn cap(most: u32, overflow: Overflow) -> Cap {
    Cap::new(most.try_into().unwrap(), overflow)
}

impl Place {
    fn new(store: impl Into<AnyStore>, policy: Policy) -> Self {
        Self::with(store, policy, Router::new())
    }

    fn with(store: impl Into<AnyStore>, policy: Policy, routes: Router) -> Self {
        let policy = LivePolicy::new(policy);
        let ended = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&ended);
        let layer = SessionLayer::new(store).with_policy(policy.clone()).with_observer_fn(
            move |event: &Event<'_>| {
                if let EventKind::Ended(reason) = event.kind {
                    log.lock().unwrap().push((event.subject.unwrap_or_default().to_owned(), reason));
                }
            },
        );
        let site = Site::over(layer, usual_routes().merge(routes), |layer| layer);
        Self { site, policy, ended }
    }

    fn take_ended(&self) -> Vec<(String, EndReason)> {
        std::mem::take(&mut self.ended.lock().unwrap())
    }
}

/// A handler that waits at a door, so that other calls can happen while its request is in flight.
fn slow_route() -> (Router, Door) {
    let door = Door::new();
    let at = door.clone();
    let handler = post(async move |session: Session| {
        drop(session.subject());
        at.pass().await;
    });
    (Router::new().route("/slow", handler), door)
}

/// FINDINGS A1: `revoke` took "over by time" for "ended", and a slow request then recorded its
/// interaction.
#[tokio::test]
async fn a1_a_revocation_ends_a_session_that_a_slow_request_keeps_in_use() {
    for store in stores() {
        let (routes, door) = slow_route();
        let place = Place::with(store, policy(), routes);
        let browser = place.site.log_in("alice").await;
        let sid = place.site.sessions.list(Some("alice"), None, 1).await.unwrap().sessions[0].sid;
        place.site.clock.advance(30 * SECOND);
        let tab = browser.copy();
        let slow = tokio::spawn(async move { tab.post("/slow").await });
        door.arrived().await;
        place.site.clock.advance(75 * SECOND); // 105 s after the login, 75 s after the interaction
        assert!(
            place.site.sessions.revoke(sid).await.unwrap(),
            "it is live: its interaction was recorded on arrival"
        );
        door.open();
        assert!(slow.await.unwrap().set_cookies().is_empty());
        place.site.clock.advance(SECOND);
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("revoked"));
        assert_eq!(place.take_ended(), [("alice".to_owned(), EndReason::Revoked)]);
    }
}

/// FINDINGS A1, in general: revoking a session past its deadline ends it for good.
#[tokio::test]
async fn a1_a_revocation_past_the_deadline_is_an_end_that_no_late_interaction_undoes() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::new(store.clone(), policy());
    let browser = place.site.log_in("alice").await;
    let sid = place.site.sessions.list(Some("alice"), None, 1).await.unwrap().sessions[0].sid;
    place.site.clock.advance(90 * SECOND);
    let touch: Gate = store.hold(Operation::Update);
    let tab = browser.copy();
    let slow = tokio::spawn(async move { tab.get("/me").await });
    touch.arrived().await;
    place.site.clock.advance(15 * SECOND);
    assert!(!place.site.sessions.revoke(sid).await.unwrap(), "by what is recorded it was over");
    touch.open();
    assert_eq!(slow.await.unwrap().status, StatusCode::OK, "it was live on arrival");
    let reply = browser.get("/me").await;
    assert_eq!((reply.status, reply.reason().as_deref()), (StatusCode::UNAUTHORIZED, Some("idle")));
}

/// FINDINGS A2: admission skipped sessions past their deadline without ending them.
#[tokio::test]
async fn a2_a_login_under_a_cap_ends_what_it_does_not_count() {
    for overflow in [Overflow::Evict, Overflow::Refuse] {
        let store = Probe::remote(MemoryStore::new());
        let place = Place::new(store.clone(), capped(1, overflow));
        let browser = place.site.log_in("alice").await;
        place.site.clock.advance(90 * SECOND);
        let touch = store.hold(Operation::Update);
        let tab = browser.copy();
        let slow = tokio::spawn(async move { tab.get("/me").await });
        touch.arrived().await;
        place.site.clock.advance(15 * SECOND);
        let second = place.site.log_in("alice").await;
        touch.open();
        drop(slow.await.unwrap());
        assert_eq!(place.site.live(Some("alice")).await, 1, "{overflow:?}");
        assert_eq!(second.get("/me").await.status, StatusCode::OK, "{overflow:?}");
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"), "{overflow:?}");
        assert_eq!(place.take_ended(), [("alice".to_owned(), EndReason::Idle)], "emitted once, {overflow:?}");
    }
}

/// FINDINGS A7: there was no "not before", so a login in flight outlived a revocation of
/// everything.
#[tokio::test]
async fn a7_a_login_that_arrived_before_sign_out_everywhere_is_not_stored_after_it() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::new(store.clone(), policy());
    let gate = store.hold(Operation::Create);
    let browser = place.site.browser();
    let tab = browser.copy();
    let login = tokio::spawn(async move { tab.post("/login/alice").await });
    gate.arrived().await;
    place.site.clock.advance(SECOND);
    place.site.sessions.revoke_all("alice", None).await.unwrap();
    gate.open();
    let reply = login.await.unwrap();
    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", reply.body);
    assert!(reply.set_cookies().is_empty());
    assert_eq!(place.site.live(Some("alice")).await, 0);
    // The next login is new, and its session is live.
    place.site.clock.advance(SECOND);
    assert_eq!(place.site.log_in("alice").await.get("/me").await.status, StatusCode::OK);
}

/// L14: all users are signed out at once, anonymous sessions stay, and later logins are live.
#[tokio::test]
async fn l14_everybody_is_signed_out_and_visitors_without_a_user_stay() {
    for store in stores() {
        let place = Place::new(store, policy());
        let (alice, bob) = (place.site.log_in("alice").await, place.site.log_in("bob").await);
        let visitor = place.site.browser();
        assert_eq!(visitor.post("/add/count").await.body, "1");
        place.site.sessions.revoke_everybody().await.unwrap();
        for browser in [&alice, &bob] {
            assert_eq!(browser.copy().get("/me").await.reason().as_deref(), Some("revoked"));
        }
        assert_eq!((place.site.live(Some("alice")).await, place.site.live(Some("bob")).await), (0, 0));
        assert_eq!(visitor.post("/add/count").await.body, "2");
        place.site.clock.advance(SECOND);
        assert_eq!(place.site.log_in("alice").await.get("/me").await.status, StatusCode::OK);
        let ended = place.take_ended();
        assert_eq!(ended.len(), 2, "each end is emitted once: {ended:?}");
    }
}

/// L14: another node sees it within two seconds.
#[tokio::test]
async fn l14_everybody_is_signed_out_on_another_node_within_two_seconds() {
    let store = Probe::remote(MemoryStore::new());
    let here = Place::new(store.clone(), policy());
    let there = Place::new(store, policy());
    let browser = there.site.log_in("alice").await;
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    here.site.sessions.revoke_everybody().await.unwrap();
    there.site.clock.advance(2 * SECOND);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("revoked"));
}

/// FINDINGS A8: streams, lists and caps used the lifetimes stored in the session.
#[tokio::test]
async fn a8_a_lowered_policy_binds_lists_and_caps_without_a_request_of_the_session() {
    let place = Place::new(MemoryStore::new(), capped(1, Overflow::Refuse));
    let browser = place.site.log_in("alice").await;
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    place.site.clock.advance(85 * SECOND);
    let minute = Lifetimes::from_minutes(1, 1);
    place.policy.swap(Policy::both(minute).with_cap(Some(cap(1, Overflow::Refuse))));
    assert_eq!(place.site.live(Some("alice")).await, 0, "a list");

    let place = Place::new(MemoryStore::new(), capped(1, Overflow::Refuse));
    let browser = place.site.log_in("alice").await;
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    place.site.clock.advance(85 * SECOND);
    place.policy.swap(Policy::both(minute).with_cap(Some(cap(1, Overflow::Refuse))));
    let other = place.site.browser();
    assert_eq!(other.post("/login/alice").await.status, StatusCode::OK, "a cap");
    assert_eq!(other.get("/me").await.status, StatusCode::OK);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("absolute"));
}

/// FINDINGS A8, in general: the sweep applies the live policy, too.
#[tokio::test]
async fn a8_a_sweep_ends_what_a_lowered_policy_ends() {
    for store in stores() {
        let place = Place::new(store, policy());
        drop(place.site.log_in("alice").await);
        while !place.site.sessions.sweep(100).await.unwrap().finished {}
        place.site.clock.advance(85 * SECOND);
        let minute = Lifetimes::from_minutes(1, 1);
        place.policy.swap(Policy::both(minute));
        while !place.site.sessions.sweep(100).await.unwrap().finished {}
        assert_eq!(place.take_ended(), [("alice".to_owned(), EndReason::Absolute)]);
    }
}

/// FINDINGS A9: a session whose cookie never came back counted towards the cap for days.
#[tokio::test]
async fn a9_a_login_whose_answer_got_lost_locks_its_user_out_for_a_minute_at_the_most() {
    for store in stores() {
        let place = Place::new(store, capped(1, Overflow::Refuse));
        drop(place.site.log_in("alice").await); // the client disconnects before it reads the answer
        let again = place.site.browser();
        assert_eq!(again.post("/login/alice").await.status, StatusCode::FORBIDDEN);
        place.site.clock.advance(61 * SECOND);
        assert_eq!(again.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(again.get("/me").await.status, StatusCode::OK);
        assert_eq!(place.site.live(Some("alice")).await, 1);
        // A session whose cookie came back counts for as long as it is live.
        place.site.clock.advance(61 * SECOND);
        assert_eq!(place.site.browser().post("/login/alice").await.status, StatusCode::FORBIDDEN);
    }
}

/// FINDINGS A9: a login whose outcome is unknown is undone in the background.
#[tokio::test]
async fn a9_a_login_that_was_answered_with_an_error_is_undone() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::new(store.clone(), capped(1, Overflow::Refuse));
    store.lose_answers(Operation::Create, 1);
    let browser = place.site.browser();
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::SERVICE_UNAVAILABLE);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(place.site.live(Some("alice")).await, 0);
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
}

/// FINDINGS A10: a tombstone had no successor, so the second of two clicks lost the cart.
#[tokio::test]
async fn a10_of_a_double_click_on_log_in_the_answer_that_comes_last_has_the_cart() {
    for hold in [Operation::Create, Operation::End, Operation::Load] {
        let store = Probe::remote(MemoryStore::new());
        let place = Place::new(store.clone(), policy());
        let browser = place.site.browser();
        assert_eq!(browser.post("/add/cart").await.body, "1");
        let (first, second) = (browser.copy(), browser.copy());
        // Interleaving: the second click's call is held until the first login has committed.
        let gate = store.hold(hold);
        let late = tokio::spawn(async move {
            assert_eq!(second.post("/login/alice").await.status, StatusCode::OK);
            second
        });
        gate.arrived().await;
        assert_eq!(first.post("/login/alice").await.status, StatusCode::OK);
        assert_eq!(first.get("/data/cart").await.status, StatusCode::INTERNAL_SERVER_ERROR, "it is a number");
        gate.open();
        let last = late.await.unwrap();
        assert_eq!(last.post("/add/cart").await.body, "2", "held at {hold}");
        assert_eq!(place.site.live(Some("alice")).await, 1, "held at {hold}");
        assert_eq!(first.get("/me").await.reason().as_deref(), Some("superseded"), "held at {hold}");
    }
}

/// FINDINGS A13: a session that expired without another request never became an event.
#[tokio::test]
async fn a13_an_expiry_whose_holder_never_returns_is_emitted_once_by_the_sweep() {
    for store in stores() {
        let place = Place::new(store, policy());
        drop(place.site.log_in("alice").await);
        place.site.clock.advance(IDLE - SECOND);
        while !place.site.sessions.sweep(100).await.unwrap().finished {}
        assert_eq!(place.take_ended(), []);
        place.site.clock.advance(SECOND);
        for _ in 0..3 {
            while !place.site.sessions.sweep(100).await.unwrap().finished {}
        }
        assert_eq!(place.take_ended(), [("alice".to_owned(), EndReason::Idle)]);
    }
}

/// FINDINGS A15: a logout ended only the first of two live sessions.
#[tokio::test]
async fn a15_a_logout_ends_every_session_that_the_cookies_of_its_request_prove() {
    for act in ["/logout", "/login/alice"] {
        for store in stores() {
            let place = Place::new(store, policy());
            let (one, other) = (place.site.log_in("alice").await, place.site.log_in("bob").await);
            let both = format!("{}; {}", one.cookie_header().unwrap(), other.cookie_header().unwrap());
            let browser = place.site.browser();
            let request = axum::http::Request::post(act).header("cookie", both);
            drop(browser.request(request.body(axum::body::Body::empty()).unwrap()).await);
            for old in [one, other] {
                let reply = old.get("/me").await;
                assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{act}");
                let reason = if act == "/logout" { "signed_out" } else { "superseded" };
                assert_eq!(reply.reason().as_deref(), Some(reason), "{act}");
            }
        }
    }
}

/// FINDINGS A15, in general: a token with a wrong secret ends nothing.
#[tokio::test]
async fn a15_a_forged_secret_beside_a_good_cookie_ends_nothing() {
    let place = Place::new(MemoryStore::new(), policy());
    let (alice, bob) = (place.site.log_in("alice").await, place.site.log_in("bob").await);
    let theirs = bob.cookie_header().unwrap();
    let forged = format!("{}{}", &theirs[..theirs.len() - 4], "AAAA");
    let browser = place.site.browser();
    let both = format!("{}; {forged}", alice.cookie_header().unwrap());
    let request = axum::http::Request::post("/logout").header("cookie", both);
    drop(browser.request(request.body(axum::body::Body::empty()).unwrap()).await);
    assert_eq!(bob.get("/me").await.status, StatusCode::OK);
}

/// FINDINGS A17: an override survived when the policy was raised and then lowered to its old value.
#[tokio::test]
async fn a17_an_override_gives_way_to_a_policy_that_was_raised_and_then_lowered_again() {
    let log_in = post(async |session: Session, Path(seconds): Path<u64>| {
        let login = session.login("alice").with_idle_lifetime(Duration::from_secs(seconds));
        login.await.map(|_| StatusCode::OK).map_err(|error: Error| error.to_string())
    });
    let place = Place::with(MemoryStore::new(), policy(), Router::new().route("/log-in/{seconds}", log_in));
    let idle = |seconds: u64| policy_of(Duration::from_secs(seconds), ABSOLUTE);
    // Without a lowering since the login the override stays, even if the policy is raised.
    let browser = place.site.browser();
    assert_eq!(browser.post("/log-in/300").await.status, StatusCode::OK);
    place.policy.swap(idle(200));
    place.site.clock.advance(290 * SECOND);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    // The policy was raised and is now lowered to its value at the login, so the override ends.
    place.policy.swap(idle(100));
    place.site.clock.advance(100 * SECOND);
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
    // A login after the lowering keeps its own.
    assert_eq!(browser.post("/log-in/300").await.status, StatusCode::OK);
    place.site.clock.advance(290 * SECOND);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

/// S10 and S14: one write for any number of sessions.
#[tokio::test]
async fn s10_sign_out_everywhere_is_one_write_and_leaves_none() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::new(store.clone(), policy());
    let first = place.site.log_in("alice").await;
    place.site.clock.advance(SECOND); // the list is by age
    let browsers = [first, place.site.log_in("alice").await, place.site.log_in("alice").await];
    let kept = browsers[0].copy();
    let sid = place.site.sessions.list(Some("alice"), None, 1).await.unwrap().sessions[0].sid;
    store.take_calls();
    place.site.sessions.revoke_all("alice", Some(sid)).await.unwrap();
    assert_eq!(store.take_calls()[0], Operation::Revoke);
    assert_eq!(kept.get("/me").await.status, StatusCode::OK);
    for browser in &browsers[1..] {
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("revoked"));
    }
    // A session of another user protects nothing.
    let bob = place.site.log_in("bob").await;
    let bobs = place.site.sessions.list(Some("bob"), None, 1).await.unwrap().sessions[0].sid;
    place.site.clock.advance(SECOND);
    place.site.sessions.revoke_all("alice", Some(bobs)).await.unwrap();
    assert_eq!(kept.get("/me").await.reason().as_deref(), Some("revoked"));
    assert_eq!(bob.get("/me").await.status, StatusCode::OK);
}

/// S14: a list that meets many expired sessions ends some of them per call, returns a cursor, and
/// finishes.
#[tokio::test]
async fn s14_a_list_ends_a_bounded_number_of_sessions() {
    let place = Place::new(MemoryStore::new(), policy());
    for _ in 0..400 {
        drop(place.site.log_in("alice").await);
    }
    place.site.clock.advance(Duration::from_secs(30 * 24 * 3600));
    let last = place.site.log_in("alice").await;
    // The login has swept some.
    let (mut after, mut listed, mut ended) = (None, 0, place.take_ended().len());
    for _ in 0..10 {
        let page = place.site.sessions.list(Some("alice"), after, 50).await.unwrap();
        let events = place.take_ended();
        assert!(events.len() < 2 * 128, "{} at once", events.len());
        assert!(events.iter().all(|(user, reason)| user == "alice" && *reason != EndReason::Revoked));
        ended += events.len();
        listed += page.sessions.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((listed, after), (1, None));
    assert_eq!(ended, 400, "each end is emitted once, by the list or by the login's sweep");
    assert_eq!(last.get("/me").await.status, StatusCode::OK);
}

/// O2: the answer to an end is lost, and the end is still emitted exactly once.
#[tokio::test(start_paused = true)]
async fn o2_an_end_whose_answer_was_lost_is_emitted_once() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::new(store.clone(), policy());
    let browser = place.site.log_in("alice").await;
    store.lose_answers(Operation::End, 1);
    assert_eq!(browser.post("/logout").await.status, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(place.take_ended(), [("alice".to_owned(), EndReason::SignedOut)]);
    // A call that never reached the store ends nothing, and the user may retry.
    let browser = place.site.log_in("bob").await;
    store.fail(Operation::End, 1);
    assert_eq!(browser.post("/logout").await.status, StatusCode::SERVICE_UNAVAILABLE);
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(place.take_ended(), []);
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    let sid = place.site.sessions.list(Some("bob"), None, 1).await.unwrap().sessions[0].sid;
    assert!(store.load(sid).await.unwrap().unwrap().ended.is_none());
}

/// S9: a lowered cap for a user with more sessions than one answer of the store can list.
#[tokio::test]
async fn s9_a_cap_that_was_lowered_far_makes_room_in_steps() {
    let place = Place::new(MemoryStore::new(), policy().with_cap(None));
    for _ in 0..4100 {
        drop(place.site.log_in("alice").await);
    }
    place.policy.swap(capped(1, Overflow::Evict));
    let last = place.site.log_in("alice").await;
    assert_eq!(place.site.live(Some("alice")).await, 1);
    assert_eq!(last.get("/me").await.status, StatusCode::OK);
    assert_eq!(place.take_ended().len(), 4100, "each is emitted");
}
