//! The exact store calls of a request (SPEC S5).

use std::time::Duration;

use axum::{
    body::Body,
    http::{Method, Request, StatusCode},
    routing::{get, post},
};
use tower_tenure::{
    Error, Key, MemoryStore, Mode, Session, SessionLayer,
    events::Operation::{self, Create, End, Load, Update},
    testing::Probe,
};

use crate::common::{Browser, Reply, Site, TOUCH_IS_DUE, policy_of, usual_routes};

const IDLE: Duration = Duration::from_secs(3600);

struct Place {
    site: Site,
    store: Probe<MemoryStore>,
}

impl Place {
    fn new(mode: Mode) -> Self {
        let policy = policy_of(IDLE, IDLE * 24).with_default_mode(mode);
        let store = Probe::remote(MemoryStore::new());
        let routes = usual_routes()
            .route("/look", post(look))
            .route("/wait", get(tokio::task::yield_now))
            .route("/save", post(save))
            .route("/save-twice", post(save_twice))
            .route("/save-rotation", post(save_rotation));
        let layer = SessionLayer::new(store.clone()).with_policy(policy);
        Self { site: Site::over(layer, routes, |layer| layer), store }
    }

    async fn alice(&self) -> Browser {
        let browser = self.site.log_in("alice").await;
        self.store.take_calls();
        browser
    }

    /// The store calls of one request, which must succeed.
    async fn calls(&self, browser: &Browser, method: Method, path: &str) -> Vec<Operation> {
        self.store.take_calls();
        let reply = browser.send(method, path).await;
        assert!(reply.status.is_success(), "{path} {}", reply.status);
        self.store.take_calls()
    }
}

const KEY: Key<u32> = Key::new("key");

async fn look(session: Session) -> Result<(), Error> {
    session.get(&KEY)?;
    let _ = (session.info(), session.subject(), session.end_reason(), session.clone());
    Ok(())
}

async fn save(session: Session) -> Result<(), Error> {
    session.insert(&KEY, &1)?;
    session.save().await.map(drop)
}

async fn save_twice(session: Session) -> Result<(), Error> {
    save(session.clone()).await?;
    session.save().await.map(drop)
}

async fn save_rotation(session: Session) -> Result<(), Error> {
    session.rotate()?;
    session.save().await.map(drop)
}

async fn with_cookie(place: &Place, cookies: &[&str]) -> (Reply, Vec<Operation>) {
    let mut request = Request::get("/data/x");
    for cookie in cookies {
        request = request.header("cookie", *cookie);
    }
    let reply = place.site.send(request.body(Body::empty()).unwrap()).await;
    (reply, place.store.take_calls())
}

fn forged(first: char) -> String {
    format!("__Host-id={first}{}", "A".repeat(63))
}

#[tokio::test]
async fn s5_without_a_cookie_nothing_is_asked_and_nothing_created_until_there_is_something_to_keep() {
    let place = Place::new(Mode::Persistent);
    for (method, path) in [
        (Method::GET, "/"),
        (Method::POST, "/look"),
        (Method::DELETE, "/data/x"),
        (Method::POST, "/rotate"),
        (Method::POST, "/logout"),
    ] {
        let browser = place.site.browser();
        assert_eq!(place.calls(&browser, method, path).await, [], "{path}");
        assert_eq!(browser.cookie_header(), None, "{path}");
    }
    assert!(place.store.inner().is_empty());
    assert_eq!(place.calls(&place.site.browser(), Method::PUT, "/data/x").await, [Create]);
    assert_eq!(place.calls(&place.site.browser(), Method::POST, "/add/x").await, [Create]);
    assert_eq!(place.calls(&place.site.browser(), Method::POST, "/login/alice").await, [Create]);
}

#[tokio::test]
async fn s5_c5_a_malformed_cookie_costs_nothing() {
    let place = Place::new(Mode::Persistent);
    for cookie in ["__Host-id=", "__Host-id=abc", "__Host-id=\"quoted\"", &format!("{}A", forged('A'))] {
        let (reply, calls) = with_cookie(&place, &[cookie]).await;
        assert_eq!((reply.status, calls), (StatusCode::NOT_FOUND, vec![]), "{cookie}");
    }
}

#[tokio::test]
async fn s5_c5_c7_a_forged_cookie_costs_one_load_and_many_cost_three() {
    let place = Place::new(Mode::Persistent);
    let all: Vec<_> = "BCDEFGHI".chars().map(forged).collect();
    for (sent, loads) in [(1, 1), (2, 2), (3, 3), (4, 3), (8, 3)] {
        let lines: Vec<_> = all[..sent].iter().map(|cookie| &**cookie).collect();
        assert_eq!(with_cookie(&place, &lines).await.1, vec![Load; loads]);
        assert_eq!(with_cookie(&place, &[&lines.join("; ")]).await.1, vec![Load; loads]);
    }
    assert!(place.store.inner().is_empty());
}

#[tokio::test]
async fn s5_what_a_request_with_a_live_session_costs() {
    // Method, path, calls, and calls when a touch is due. A touch is recorded on arrival,
    // concurrently with the handler.
    let cases = [
        (Method::GET, "/", [Load].as_slice(), [Load, Update].as_slice()),
        (Method::GET, "/me", &[Load], &[Load, Update]),
        (Method::POST, "/look", &[Load], &[Load, Update]),
        (Method::PUT, "/data/x", &[Load, Update], &[Load, Update, Update]),
        (Method::DELETE, "/data/x", &[Load, Update], &[Load, Update, Update]),
        (Method::POST, "/rotate", &[Load, Update], &[Load, Update, Update]),
        (Method::POST, "/save", &[Load, Update], &[Load, Update, Update]),
        (Method::POST, "/save-twice", &[Load, Update], &[Load, Update, Update]),
        (Method::POST, "/save-rotation", &[Load, Update], &[Load, Update, Update]),
        (Method::POST, "/logout", &[Load, End], &[Load, Update, End]),
        (Method::POST, "/login/alice", &[Load, Create], &[Load, Update, Create]),
        // Another user's sessions are stored elsewhere, so the earlier session needs its own call
        // to end.
        (Method::POST, "/login/bob", &[Load, Create, End], &[Load, Update, Create, End]),
    ];
    for (method, path, calls, calls_when_due) in cases {
        let place = Place::new(Mode::NonPersistent);
        let browser = place.alice().await;
        assert_eq!(place.calls(&browser.copy(), method.clone(), path).await, calls, "{path}");
        let browser = place.alice().await;
        place.site.clock.advance(TOUCH_IS_DUE);
        assert_eq!(place.calls(&browser, method, path).await, calls_when_due, "{path}, due");
        assert_eq!(
            place.calls(&browser, Method::GET, "/").await,
            if path == "/logout" { vec![] } else { vec![Load] }
        );
    }
}

#[tokio::test]
async fn s5_a_persistent_session_costs_no_more() {
    let place = Place::new(Mode::Persistent);
    let browser = place.alice().await;
    assert_eq!(place.calls(&browser, Method::GET, "/me").await, [Load]);
    place.site.clock.advance(TOUCH_IS_DUE);
    assert_eq!(place.calls(&browser, Method::GET, "/me").await, [Load, Update]);
    assert_eq!(place.calls(&browser, Method::PUT, "/data/x").await, [Load, Update]);
    assert_eq!(place.calls(&browser, Method::POST, "/save").await, [Load, Update]);
    assert_eq!(place.calls(&browser, Method::POST, "/rotate").await, [Load, Update]);
}

/// Near the deadline the touch is recorded before the handler runs. The session may end or rotate
/// while the handler waits (S4). So the layer re-reads it before it sets the cookie with the new
/// expiry. This is the only cost above the table, at most once per granularity.
#[tokio::test]
async fn s5_near_the_idle_deadline_a_read_costs_two_and_after_a_slow_handler_a_look_before_a_cookie_is_set() {
    for mode in [Mode::NonPersistent, Mode::Persistent] {
        for path in ["/me", "/wait"] {
            let place = Place::new(mode);
            let browser = place.alice().await;
            place.site.clock.advance(IDLE * 3 / 4);
            let looks = usize::from(mode == Mode::Persistent && path == "/wait");
            let calls = [vec![Load, Update], vec![Load; looks]].concat();
            assert_eq!(place.calls(&browser, Method::GET, path).await, calls, "{mode} {path}");
            assert_eq!(place.calls(&browser, Method::GET, path).await, [Load], "{mode} {path}");
        }
    }
}

#[tokio::test]
async fn s5_l3_a_login_of_an_anonymous_visitor_costs_at_most_three() {
    let place = Place::new(Mode::Persistent);
    let browser = place.site.browser();
    browser.send(Method::PUT, "/data/x").await;
    assert_eq!(place.calls(&browser, Method::POST, "/login/alice").await, [Load, Create, End]);
    assert_eq!(browser.get("/data/x").await.status, StatusCode::OK, "its data is kept");
}

#[tokio::test]
async fn s5_an_ended_session_costs_a_load_and_its_end_is_written_once() {
    let place = Place::new(Mode::NonPersistent);
    let browser = place.alice().await;
    place.site.clock.advance(IDLE);
    let stale = browser.copy();
    for calls in [[Load, End].as_slice(), &[Load]] {
        assert_eq!(stale.copy().get("/me").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(place.store.take_calls(), calls);
    }
}

#[tokio::test]
async fn s3_a_read_only_request_never_rewrites_data() {
    let place = Place::new(Mode::Persistent);
    let browser = place.alice().await;
    browser.post("/save").await;
    let before = tower_tenure::testing::records(&place.site.sessions, None, 1).await.unwrap().remove(0);
    for _ in 0..3 {
        place.site.clock.advance(TOUCH_IS_DUE);
        // Interleaving: another request's write commits between the read's load and its touch.
        let gate = place.store.hold(Update);
        let tab = browser.copy();
        let read = tokio::spawn(async move { tab.get("/me").await });
        gate.arrived().await;
        assert_eq!(browser.post("/add/count").await.status, StatusCode::OK);
        gate.open();
        assert_eq!(read.await.unwrap().status, StatusCode::OK);
    }
    let after = tower_tenure::testing::records(&place.site.sessions, None, 1).await.unwrap().remove(0);
    assert_eq!(after.revision, before.revision + 3, "only the writes counted");
    assert_eq!(after.data.get("count").unwrap().as_str(), "3");
    assert!(after.timing.last_interaction_at > before.timing.last_interaction_at);
}
