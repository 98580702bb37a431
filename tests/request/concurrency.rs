//! Parallel requests, forced into the interleavings that matter (SPEC S3, S4, C4, C6, L9).

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Path, State},
    http::{Method, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use futures_util::future::join_all;
use tokio::{sync::Barrier, task::JoinHandle};
use tower_tenure::{
    EndReason, Error, Key, MemoryStore, Mode, Policy, Session, SessionLayer,
    events::Operation,
    store::AnyStore,
    testing::{Gate, Probe},
};

use crate::common::{Browser, Door, Reply, SECOND, Site, policy_of, soon, usual_routes};

const IDLE: Duration = Duration::from_secs(900);
const NEARLY_IDLE: Duration = Duration::from_secs(899);
const ABSOLUTE: Duration = Duration::from_secs(36_000);
const COUNT: Key<u64> = Key::new("count");
const LATE: Key<String> = Key::new("late");

/// A site with a door in some handlers.
struct Place {
    site: Site,
    door: Door,
}

impl Place {
    fn over(store: impl Into<AnyStore>) -> Self {
        Self::with(store, policy(IDLE))
    }

    fn with(store: impl Into<AnyStore>, policy: Policy) -> Self {
        let door = Door::new();
        let slow = Router::new().route("/slow/{act}", post(slow)).with_state(door.clone());
        let together = Router::new()
            .route("/slow-data/{key}", post(insert_together))
            .route("/slow-add", post(add_together))
            .with_state(Arc::new(Barrier::new(100)));
        let routes = usual_routes().merge(slow).merge(together);
        let layer = SessionLayer::new(store).with_policy(policy);
        Self { site: Site::over(layer, routes, |layer| layer), door }
    }

    /// A browser where alice is logged in and has stored something.
    async fn alice(&self) -> Browser {
        let browser = self.site.log_in("alice").await;
        assert_eq!(browser.put("/data/old", "old").await.status, StatusCode::OK);
        browser
    }

    /// Sends a request whose handler then waits at the door.
    async fn slow(&self, browser: &Browser, act: &str) -> JoinHandle<Reply> {
        let request = browser.spawn(Method::POST, &format!("/slow/{act}"));
        self.door.arrived().await;
        request
    }
}

fn policy(idle: Duration) -> Policy {
    policy_of(idle, ABSOLUTE)
}

async fn slow(
    State(door): State<Door>,
    session: Session,
    Path(act): Path<String>,
) -> Result<Response, Error> {
    let before = session.get(&Key::<String>::new("old"))?;
    door.pass().await;
    let late = "late".to_owned();
    match &*act {
        "read" => return Ok(before.unwrap_or_default().into_response()),
        "write" => session.insert(&LATE, &late)?,
        "update" => drop(session.update(&COUNT, |count| count.unwrap_or(0) + 1).await?),
        "save" => {
            session.insert(&LATE, &late)?;
            drop(session.save().await?);
        }
        // A handler that ignores the error of a save and writes again.
        "stubborn" => {
            session.insert(&LATE, &late)?;
            assert!(session.save().await.is_err());
            session.insert(&LATE, &late)?;
        }
        "save-logout" => {
            session.insert(&LATE, &late)?;
            assert!(session.save().await.is_err());
            session.logout()?;
        }
        "rotate" => session.rotate()?,
        "logout" => session.logout()?,
        "login" => drop(session.login("alice").await?),
        "login-bob" => drop(session.login("bob").await?),
        "rotate-save-wait" => {
            session.rotate()?;
            drop(session.save().await?);
            door.pass().await;
        }
        other => unreachable!("{other}"),
    }
    Ok(StatusCode::OK.into_response())
}

async fn insert_together(
    State(together): State<Arc<Barrier>>,
    session: Session,
    Path(key): Path<String>,
) -> Result<(), Error> {
    together.wait().await;
    session.insert(&Key::named(&key), &key)
}

async fn add_together(State(together): State<Arc<Barrier>>, session: Session) -> Result<(), Error> {
    together.wait().await;
    session.update(&COUNT, |count| count.unwrap_or(0) + 1).await.map(drop)
}

fn stores() -> [(&'static str, AnyStore); 2] {
    [("memory", MemoryStore::new().into()), ("remote", Probe::remote(MemoryStore::new()).into())]
}

/// What ends a session while another of its requests is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Logout,
    SameLogin,
    OtherLogin,
    Revoke,
    RevokeAll,
    Idle,
}

impl End {
    const ALL: [Self; 6] =
        [Self::Logout, Self::SameLogin, Self::OtherLogin, Self::Revoke, Self::RevokeAll, Self::Idle];

    async fn happen(self, place: &Place, browser: &Browser) {
        match self {
            Self::Logout => assert_eq!(browser.post("/logout").await.status, StatusCode::OK),
            Self::SameLogin => assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK),
            Self::OtherLogin => assert_eq!(browser.post("/login/bob").await.status, StatusCode::OK),
            Self::Revoke => {
                let sid = place.site.sessions.list(Some("alice"), None, 1).await.unwrap().sessions[0].sid;
                assert!(place.site.sessions.revoke(sid).await.unwrap());
            }
            Self::RevokeAll => {
                place.site.sessions.revoke_all("alice", None).await.unwrap();
            }
            Self::Idle => {
                place.site.clock.advance(IDLE);
                assert_eq!(browser.copy().get("/me").await.reason().as_deref(), Some("idle"));
            }
        }
    }

    const fn reason(self) -> EndReason {
        match self {
            Self::Logout => EndReason::SignedOut,
            Self::SameLogin | Self::OtherLogin => EndReason::Superseded,
            Self::Revoke | Self::RevokeAll => EndReason::Revoked,
            Self::Idle => EndReason::Idle,
        }
    }

    const fn is_login(self) -> bool {
        matches!(self, Self::SameLogin | Self::OtherLogin)
    }
}

/// What must hold after a session has ended while a request of any kind was in flight.
async fn nothing_came_back(place: &Place, browser: &Browser, old: &Browser, end: End, case: &dyn fmt::Debug) {
    let reply = old.get("/me").await;
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{case:?}");
    assert_eq!(reply.reason().as_deref(), Some(end.reason().as_str()), "{case:?}");
    for key in ["old", "late", "count"] {
        assert_eq!(old.get(&format!("/data/{key}")).await.status, StatusCode::NOT_FOUND, "{case:?} {key}");
    }
    assert_eq!(place.site.live(None).await, usize::from(end.is_login()), "{case:?}");
    if end.is_login() {
        assert_eq!(browser.get("/me").await.status, StatusCode::OK, "{case:?}");
        let kept = if end == End::SameLogin { StatusCode::OK } else { StatusCode::NOT_FOUND };
        assert_eq!(browser.get("/data/old").await.status, kept, "{case:?}");
        for key in ["late", "count"] {
            let late = browser.get(&format!("/data/{key}")).await;
            assert_eq!(late.status, StatusCode::NOT_FOUND, "{case:?} {key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_of_a_hundred_parallel_writes_to_their_own_keys_all_survive() {
    for (name, store) in stores() {
        let place = Place::over(store);
        let browser = place.alice().await;
        let tabs: Vec<_> =
            (0..100).map(|n| browser.spawn(Method::POST, &format!("/slow-data/{n}"))).collect();
        for reply in join_all(tabs).await {
            assert_eq!(reply.unwrap().status, StatusCode::OK, "{name}");
        }
        for n in 0..100 {
            assert_eq!(browser.get(&format!("/data/{n}")).await.body, n.to_string(), "{name}");
        }
        assert_eq!(browser.get("/data/old").await.body, "old", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s3_a_hundred_parallel_atomic_additions_make_a_hundred() {
    // With and without a due touch. A due touch is recorded first, which makes the loaded record
    // stale.
    for waited in [Duration::ZERO, IDLE / 4] {
        for (name, store) in stores() {
            let place = Place::over(store);
            let browser = place.alice().await;
            place.site.clock.advance(waited);
            let tabs: Vec<_> = (0..100).map(|_| browser.spawn(Method::POST, "/slow-add")).collect();
            for reply in join_all(tabs).await {
                assert_eq!(reply.unwrap().status, StatusCode::OK, "{name}");
            }
            assert_eq!(browser.post("/add/count").await.body, "101", "{name} {waited:?}");
        }
    }
}

#[tokio::test]
async fn s4_nothing_in_flight_in_the_handler_brings_back_what_ended_meanwhile() {
    for end in End::ALL {
        for act in ["read", "write", "update", "save", "stubborn", "rotate", "logout"] {
            // With and without a due touch, and near the idle deadline, where the touch is recorded
            // before the handler runs.
            for waited in [Duration::ZERO, IDLE / 4, NEARLY_IDLE] {
                for (store, any) in stores() {
                    let case = (store, end, act, waited);
                    let place = Place::over(any);
                    let browser = place.alice().await;
                    let old = browser.copy();
                    place.site.clock.advance(waited);
                    let in_flight = place.slow(&browser, act).await;
                    end.happen(&place, &browser).await;
                    place.door.open();

                    let reply = in_flight.await.unwrap();
                    // A logout may remove the cookie.
                    if act != "logout" {
                        assert!(reply.set_cookies().is_empty(), "{case:?} {:?}", reply.set_cookies());
                    }
                    match act {
                        "update" | "save" => assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{case:?}"),
                        "read" => {
                            assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "old"), "{case:?}");
                        }
                        _ => assert_eq!(reply.status, StatusCode::OK, "{case:?}"),
                    }
                    nothing_came_back(&place, &browser, &old, end, &case).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn s4_a_login_in_flight_brings_back_neither_the_session_that_ended_nor_its_data() {
    // `End::Idle` is left out: a login that waited that long would be idle as well.
    for end in End::ALL.into_iter().filter(|end| *end != End::Idle) {
        for act in ["login", "login-bob"] {
            for (store, any) in stores() {
                let case = (store, end, act);
                let place = Place::over(any);
                let browser = place.alice().await;
                let old = browser.copy();
                let tab = browser.copy();
                let in_flight = tokio::spawn({
                    let act = format!("/slow/{act}");
                    async move {
                        let reply = tab.post(&act).await;
                        (tab, reply)
                    }
                });
                place.door.arrived().await;
                end.happen(&place, &browser).await;
                place.door.open();

                let (tab, reply) = in_flight.await.unwrap();
                assert_eq!(old.get("/me").await.reason().as_deref(), Some(end.reason().as_str()), "{case:?}");
                if end == End::RevokeAll && act == "login" {
                    // Alice was signed out everywhere after this login had arrived (L14).
                    assert_eq!(reply.status, StatusCode::FORBIDDEN, "{case:?}");
                    assert_eq!(place.site.live(None).await, 0, "{case:?}");
                    continue;
                }
                assert_eq!(reply.status, StatusCode::OK, "{case:?}");
                assert_eq!(tab.get("/me").await.status, StatusCode::OK, "{case:?}");
                let data = tab.get("/data/old").await.status;
                if matches!((end, act), (End::SameLogin, "login") | (End::OtherLogin, "login-bob")) {
                    // A double click: the second login replaces the first and takes its data (S9).
                    let kept = if end == End::SameLogin { StatusCode::OK } else { StatusCode::NOT_FOUND };
                    assert_eq!(data, kept, "{case:?}");
                    assert_eq!(place.site.live(None).await, 1, "{case:?}");
                } else {
                    // The login has a new, empty session without the data of the ended one.
                    assert_eq!(data, StatusCode::NOT_FOUND, "{case:?}");
                    assert_eq!(place.site.live(None).await, 1 + usize::from(end.is_login()), "{case:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn s4_nothing_that_stands_before_the_store_brings_back_what_ended_meanwhile() {
    // A write, a rotation and a touch. Each is held before its update reaches the store, or before
    // its load does.
    let requests = [
        (Method::GET, "/me", Operation::Update),
        (Method::PUT, "/data/late", Operation::Update),
        (Method::POST, "/add/count", Operation::Update),
        (Method::POST, "/rotate", Operation::Update),
        (Method::GET, "/me", Operation::Load),
        (Method::GET, "/data/old", Operation::Load),
        (Method::POST, "/rotate", Operation::Load),
    ];
    for end in End::ALL {
        for (method, path, held) in &requests {
            let case = (end, method, path, held);
            let store = Probe::remote(MemoryStore::new());
            let place = Place::over(store.clone());
            let browser = place.alice().await;
            let old = browser.copy();
            // Only a read is held at its touch, so a touch is due only there. A write needs none.
            if method == Method::GET || *held == Operation::Load {
                place.site.clock.advance(IDLE / 4);
            }
            let gate = store.hold(*held);
            let in_flight = browser.spawn(method.clone(), path);
            soon(gate.arrived()).await;
            end.happen(&place, &browser).await;
            gate.open();

            let reply = in_flight.await.unwrap();
            assert!(
                reply.set_cookies().is_empty() || (reply.removes_cookie() && !end.is_login()),
                "{case:?} {:?}",
                reply.set_cookies()
            );
            assert_ne!(reply.body, "old", "{case:?}");
            nothing_came_back(&place, &browser, &old, end, &case).await;
        }
    }
}

/// Interleaving: the browser sends a request before it receives the new cookie. The response must
/// not replace that cookie by one of an anonymous session.
#[tokio::test]
async fn s4_a_write_that_comes_in_after_a_login_replaced_its_session_is_lost_and_sets_no_cookie() {
    for (name, store) in stores() {
        let place = Place::over(store);
        let browser = place.alice().await;
        let tab = browser.copy();
        browser.post("/login/alice").await;
        for seconds in [0, 9] {
            place.site.clock.advance(SECOND * seconds);
            let reply = tab.copy().put("/data/late", "late").await;
            assert!(reply.set_cookies().is_empty(), "{name} {:?}", reply.set_cookies());
            assert_eq!(tab.copy().post("/add/count").await.status, StatusCode::UNAUTHORIZED, "{name}");
        }
        assert_eq!(place.site.live(None).await, 1, "{name}");
        assert_eq!(browser.get("/data/late").await.status, StatusCode::NOT_FOUND, "{name}");

        // After ten more seconds the request cannot have been in flight. The dead cookie is the
        // browser's only one, so a new session begins.
        place.site.clock.advance(SECOND * 10);
        assert_eq!(tab.put("/data/late", "late").await.set_cookies().len(), 1, "{name}");
        assert_eq!(tab.get("/data/late").await.body, "late", "{name}");
    }
}

/// Interleaving: a handler saves a rotation early, and the session ends or a login replaces it
/// while the handler still runs. The cookie of the rotation must not overwrite that of the login.
#[tokio::test]
async fn s4_what_was_saved_before_the_session_ended_sets_no_cookie_after_it() {
    for end in End::ALL.into_iter().filter(|end| *end != End::Idle) {
        for (store, any) in stores() {
            let case = (store, end);
            let place = Place::over(any);
            let browser = place.alice().await;
            let in_flight = place.slow(&browser, "rotate-save-wait").await;
            place.door.open();
            place.door.arrived().await;
            end.happen(&place, &browser).await;
            place.door.open();
            let reply = in_flight.await.unwrap();
            assert!(reply.set_cookies().is_empty(), "{case:?} {:?}", reply.set_cookies());
        }
    }
}

#[tokio::test]
async fn l3_s4_a_write_acknowledged_before_a_login_commits_is_carried() {
    // First the write arrives while the login's handler runs, then while the login's commit is in
    // flight to the store.
    for (name, store) in stores() {
        let place = Place::over(store);
        let browser = place.alice().await;
        let tab = browser.copy();
        let login = tokio::spawn(async move {
            assert_eq!(tab.post("/slow/login").await.status, StatusCode::OK);
            tab
        });
        place.door.arrived().await;
        assert_eq!(browser.put("/data/late", "carried").await.status, StatusCode::OK);
        place.door.open();
        assert_eq!(login.await.unwrap().get("/data/late").await.body, "carried", "{name}");
    }
    let store = Probe::remote(MemoryStore::new());
    let place = Place::over(store.clone());
    let browser = place.alice().await;
    let (tab, gate) = (browser.copy(), store.hold(Operation::Create));
    let login = tokio::spawn(async move {
        assert_eq!(tab.post("/login/alice").await.status, StatusCode::OK);
        tab
    });
    soon(gate.arrived()).await;
    assert_eq!(browser.put("/data/late", "carried").await.status, StatusCode::OK);
    assert_eq!(browser.post("/add/count").await.body, "1");
    gate.open();
    let tab = login.await.unwrap();
    assert_eq!(tab.get("/data/late").await.body, "carried");
    assert_eq!(tab.post("/add/count").await.body, "2");
}

/// Found by `tests/history`. Interleaving: a login with an old cookie follows the chain of
/// successors and takes the data of the last session. Another login replaces the new session before
/// the data is written to it.
#[tokio::test]
async fn l3_s3_data_on_its_way_to_a_login_goes_on_to_the_login_that_takes_its_place() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::over(store.clone());
    let browser = place.site.log_in("bob").await;
    let slow = place.slow(&browser, "login").await;
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    for key in ["kept", "newer"] {
        assert_eq!(browser.put(&format!("/data/{key}"), "old").await.status, StatusCode::OK);
    }

    let gate = store.hold(Operation::Update);
    place.door.open();
    soon(gate.arrived()).await;
    assert_eq!(browser.post("/login/alice").await.status, StatusCode::OK);
    assert_eq!(browser.put("/data/newer", "new").await.status, StatusCode::OK);
    gate.open();
    assert_eq!(slow.await.unwrap().status, StatusCode::OK);
    assert_eq!(browser.get("/data/kept").await.body, "old");
    assert_eq!(browser.get("/data/newer").await.body, "new");
}

#[tokio::test]
async fn s4_a_logout_that_stands_before_the_store_wipes_what_is_written_meanwhile() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::over(store.clone());
    let browser = place.alice().await;
    let gate = store.hold(Operation::End);
    let logout = browser.spawn(Method::POST, "/logout");
    soon(gate.arrived()).await;
    assert_eq!(browser.put("/data/late", "late").await.status, StatusCode::OK);
    gate.open();
    assert!(logout.await.unwrap().removes_cookie());
    nothing_came_back(&place, &browser, &browser.copy(), End::Logout, &()).await;
}

#[tokio::test]
async fn c4_the_cookie_of_a_replaced_session_is_removed_only_after_ten_seconds() {
    for (name, store) in stores() {
        let place = Place::over(store);
        let browser = place.alice().await;
        let tab = browser.copy();
        browser.post("/login/alice").await;
        for (wait, removed) in
            [(Duration::ZERO, false), (Duration::from_millis(9_999), false), (SECOND / 1000, true)]
        {
            place.site.clock.advance(wait);
            let reply = tab.copy().get("/me").await;
            assert_eq!(reply.reason().as_deref(), Some("superseded"), "{name}");
            assert_eq!(reply.removes_cookie(), removed, "{name} {wait:?}");
        }
    }
}

#[tokio::test]
async fn c6_of_parallel_rotations_one_wins_and_the_others_succeed_without_a_cookie() {
    for (name, store) in stores() {
        let place = Place::over(store);
        let browser = place.alice().await;
        let mut tabs = Vec::new();
        for _ in 0..5 {
            tabs.push(place.slow(&browser, "rotate").await);
        }
        place.door.open_for(5);
        let replies: Vec<_> = join_all(tabs).await.into_iter().map(Result::unwrap).collect();
        assert!(replies.iter().all(|reply| reply.status == StatusCode::OK), "{name}");
        let set: Vec<_> = replies.iter().flat_map(Reply::set_cookies).collect();
        assert_eq!(set.len(), 1, "{name} {set:?}");
        let (old, new) = (browser.copy(), browser.copy());
        new.set_cookies(set[0].split(';').next());

        // Requests in flight with the old secret succeed, also when they write, but they get no
        // cookie.
        for _ in 0..2 {
            place.site.clock.advance(Duration::from_millis(4_999));
            for reply in [old.get("/me").await, old.post("/rotate").await, old.put("/data/x", "x").await] {
                assert_eq!(reply.status, StatusCode::OK, "{name}");
                assert!(reply.set_cookies().is_empty(), "{name} {:?}", reply.set_cookies());
            }
        }
        assert_eq!(new.get("/data/x").await.body, "x", "{name}");
        place.site.clock.advance(SECOND / 500);
        assert_eq!(old.get("/me").await.reason().as_deref(), Some("none"), "{name}");
        assert_eq!(new.get("/me").await.status, StatusCode::OK, "{name}");
        assert_eq!(place.site.live(None).await, 1, "{name}");
    }
}

#[tokio::test]
async fn c6_an_old_secret_gets_no_cookie_also_when_a_touch_moves_the_deadline() {
    for (name, store) in stores() {
        let grace = IDLE;
        let place = Place::with(store, policy(IDLE).with_rotation_grace(grace));
        let browser = place.alice().await;
        let old = browser.copy();
        browser.post("/rotate").await;
        for wait in [SECOND * 30, IDLE.saturating_sub(SECOND * 60)] {
            place.site.clock.advance(wait);
            let reply = old.get("/me").await;
            assert_eq!(reply.status, StatusCode::OK, "{name}");
            assert!(reply.set_cookies().is_empty(), "{name} {:?}", reply.set_cookies());
        }
        assert_eq!(browser.get("/me").await.status, StatusCode::OK, "{name}");
    }
}

/// Interleaving: a rotation commits while a request with the old secret is in its handler. Its
/// touch moves the expiry of a persistent cookie, but it must not set the old secret again.
#[tokio::test]
async fn c6_a_request_in_flight_during_a_rotation_does_not_issue_the_old_token_again() {
    for (name, store) in stores() {
        for waited in [IDLE / 4, NEARLY_IDLE] {
            for act in ["read", "write", "save", "update", "rotate"] {
                let case = (name, waited, act);
                let place = Place::over(store.clone());
                let browser = place.alice().await;
                place.site.clock.advance(waited);
                let slow = place.slow(&browser, act).await;
                assert_eq!(browser.post("/rotate").await.set_cookies().len(), 1, "{case:?}");
                place.door.open();
                let reply = slow.await.unwrap();
                assert_eq!(reply.status, StatusCode::OK, "{case:?}");
                assert!(reply.set_cookies().is_empty(), "{case:?} {:?}", reply.set_cookies());
                assert_eq!(browser.get("/me").await.status, StatusCode::OK, "{case:?}");
            }
        }
    }
}

#[tokio::test]
async fn c6_an_old_secret_is_dead_at_once_after_a_logout_or_a_login_and_without_a_grace() {
    for (name, store) in stores() {
        for end in ["/logout", "/login/alice", "/login/bob"] {
            let place = Place::over(store.clone());
            let browser = place.alice().await;
            let old = browser.copy();
            browser.post("/rotate").await;
            assert_eq!(old.get("/me").await.status, StatusCode::OK, "{name} {end}");
            browser.post(end).await;
            // The old secret does not learn the end reason either.
            assert_eq!(old.get("/me").await.reason().as_deref(), Some("none"), "{name} {end}");
            assert_eq!(old.get("/data/old").await.status, StatusCode::NOT_FOUND, "{name} {end}");
        }
        let place = Place::with(store, policy(IDLE).with_rotation_grace(Duration::ZERO));
        let browser = place.alice().await;
        let old = browser.copy();
        browser.post("/rotate").await;
        assert_eq!(old.get("/me").await.status, StatusCode::UNAUTHORIZED, "{name}");
    }
}

#[tokio::test]
async fn l9_a_slow_handler_near_the_idle_deadline_does_not_leave_others_idle() {
    for (name, store) in stores() {
        for mode in [Mode::Persistent, Mode::NonPersistent] {
            let place = Place::with(store.clone(), policy(SECOND * 2).with_default_mode(mode));
            let browser = place.alice().await;
            place.site.clock.advance(SECOND * 3 / 2);
            let slow = place.slow(&browser, "write").await;
            place.site.clock.advance(SECOND * 3 / 2);
            assert_eq!(browser.get("/me").await.status, StatusCode::OK, "{name} {mode}");
            place.site.clock.advance(SECOND * 3 / 2);
            place.door.open();
            assert_eq!(slow.await.unwrap().status, StatusCode::OK, "{name} {mode}");
            assert_eq!(browser.get("/data/late").await.body, "late", "{name} {mode}");
        }
    }
}

/// Interleaving: a late request reads the record, then an earlier request's touch commits, then the
/// late one tries to end the session as idle. The touch is older than the late request's arrival
/// but newer than what it read.
#[tokio::test]
async fn l2_a_session_found_idle_is_looked_at_again_when_a_touch_landed_first() {
    let store = Probe::remote(MemoryStore::new());
    let place = Place::over(store.clone());
    let browser = place.alice().await;

    place.site.clock.advance(NEARLY_IDLE);
    let touch = store.hold(Operation::Update);
    let in_time = browser.spawn(Method::GET, "/me");
    soon(touch.arrived()).await;

    place.site.clock.advance(SECOND);
    let end: Gate = store.hold(Operation::End);
    let late = browser.spawn(Method::GET, "/me");
    soon(end.arrived()).await;

    touch.open();
    assert_eq!(in_time.await.unwrap().status, StatusCode::OK);
    store.take_calls();
    end.open();
    let late = late.await.unwrap();
    assert_eq!(late.status, StatusCode::OK, "{}", late.body);
    assert!(!late.removes_cookie());
    assert_eq!(store.take_calls()[0], Operation::Load, "it looked again");
    assert_eq!(browser.get("/data/old").await.body, "old");

    // In the opposite order the end stands, and the touch cannot undo it.
    place.site.clock.advance(NEARLY_IDLE.saturating_sub(SECOND));
    let touch = store.hold(Operation::Update);
    let in_time = browser.spawn(Method::GET, "/me");
    soon(touch.arrived()).await;
    place.site.clock.advance(SECOND * 2);
    assert_eq!(browser.copy().get("/me").await.reason().as_deref(), Some("idle"));
    touch.open();
    // The session was live when the request arrived, so the request is served, but it revives
    // nothing.
    let in_time = in_time.await.unwrap();
    assert_eq!(in_time.status, StatusCode::OK);
    assert!(in_time.set_cookies().iter().all(|line| line.contains("Max-Age=0")));
    assert_eq!(place.site.live(None).await, 0);
}

#[tokio::test]
async fn l9_a_slow_old_request_never_moves_the_last_interaction_back() {
    for (name, store) in stores() {
        let place = Place::over(store);
        let browser = place.alice().await;
        place.site.clock.advance(IDLE / 4);
        let slow = place.slow(&browser, "write").await;
        place.site.clock.advance(IDLE / 2);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK);
        let newest = place.site.clock.clone();
        place.door.open();
        let reply = slow.await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        let record = &place.site.sessions.list(None, None, 1).await.unwrap().sessions[0];
        assert_eq!(record.last_interaction_at, tower_tenure::Clock::now(&newest), "{name}");
    }
}

/// C5: a logout ends every session that the request's cookies prove, even if a save has already
/// found the first one over.
#[tokio::test]
async fn c5_a_logout_ends_the_second_session_of_a_request_whose_first_one_ended_meanwhile() {
    for (name, store) in stores() {
        let place = Place::over(store);
        let (alice, bob) = (place.alice().await, place.site.log_in("bob").await);
        let both = place.site.browser();
        both.set_cookies(Some(&format!(
            "{}; {}",
            alice.cookie_header().unwrap(),
            bob.cookie_header().unwrap()
        )));
        let request = place.slow(&both, "save-logout").await;
        End::Revoke.happen(&place, &alice).await;
        place.door.open();
        assert_eq!(soon(request).await.unwrap().status, StatusCode::OK, "{name}");
        assert_eq!(alice.get("/me").await.reason().as_deref(), Some("revoked"), "{name}");
        assert_eq!(bob.get("/me").await.reason().as_deref(), Some("signed_out"), "{name}");
    }
}
