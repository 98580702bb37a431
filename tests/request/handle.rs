//! The handle that a handler gets (SPEC H1 to H5, E3): what it shows, when its changes take effect,
//! and what it never reveals.

use std::{
    error::Error as _,
    fmt::{Debug, Write as _},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Extension, Router,
    body::Body,
    http::{Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http_body_util::BodyExt;
use tokio::{sync::Notify, task::JoinHandle};
use tower::{Layer, Service};
use tower_tenure::{
    Clock, EndReason, Error, ErrorKind, Key, LoginContext, LoginHook, MemoryStore, Mode, Outcome,
    RequestHead, RequireSession, Session, SessionLayer, SessionStore,
    browser::{Endpoints, LogoutUrls},
    cookie::SessionCookie,
    events::{Event, Operation},
    policy::{Activity, Refusal},
    record::{CallId, Change, Data, Edits, EndRequest, Json, Rotation},
    store::{AnyStore, Creation},
    testing::{ManualClock, Probe},
};

use crate::common::{ABSOLUTE, Browser, IDLE, Reply, SECOND, Site, TICK, logs, policy, usual_routes};

const NOTE: Key<String> = Key::new("note");
const COUNT: Key<u32> = Key::new("count");

type Act = Arc<dyn Fn(Session) -> BoxFuture<'static, Response> + Send + Sync>;

/// The usual routes, and `POST /act`, which runs the closure in the request's extension.
fn acting_site(store: impl Into<AnyStore>) -> (Site, SessionLayer) {
    let act = post(async |session: Session, Extension(act): Extension<Act>| act(session).await);
    let routes = Router::new().route("/act", act).merge(usual_routes());
    let layer = SessionLayer::new(store).with_policy(policy());
    // The clone with the manual clock shares the registry of ended sessions.
    let clock = ManualClock::default();
    let layer = layer.with_clock(clock.clone());
    let mut site = Site::over(layer.clone(), routes, |site| site.with_clock(clock.clone()));
    site.clock = clock;
    (site, layer)
}

fn site() -> Site {
    acting_site(MemoryStore::new()).0
}

/// Runs the closure in a handler, and returns what it returned beside the status.
async fn act<T, F>(browser: &Browser, what: impl Fn(Session) -> F + Send + Sync + 'static) -> (Reply, T)
where
    T: Send + 'static,
    F: Future<Output = (StatusCode, T)> + Send + 'static,
{
    let result = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&result);
    let act: Act = Arc::new(move |session| {
        let (slot, running) = (Arc::clone(&slot), what(session));
        async move {
            let (status, value) = running.await;
            *slot.lock().unwrap() = Some(value);
            status.into_response()
        }
        .boxed()
    });
    let request = Request::post("/act").extension(act).body(Body::empty()).unwrap();
    let reply = browser.request(request).await;
    let value = result.lock().unwrap().take().expect("the handler ran to its end");
    (reply, value)
}

/// Like [`act`], with status 200 and a closure that does not await.
async fn look<T: Send + 'static>(
    browser: &Browser,
    what: impl Fn(&Session) -> T + Send + Sync + 'static,
) -> (Reply, T) {
    act(browser, move |session| {
        let value = what(&session);
        async move { (StatusCode::OK, value) }
    })
    .await
}

// H1, H2

#[tokio::test]
async fn h1_clones_of_the_handle_are_one_session_and_may_go_to_other_tasks() {
    fn may_travel<T: Clone + Send + Sync + 'static>() {}
    may_travel::<Session>();
    let site = site();
    let browser = site.browser();
    let (_, seen) = act(&browser, async |session: Session| {
        let clone = session.clone();
        tokio::spawn(async move { clone.insert(&NOTE, &"from a task".to_owned()) }).await.unwrap().unwrap();
        (StatusCode::OK, session.get(&NOTE).unwrap())
    })
    .await;
    assert_eq!(seen.as_deref(), Some("from a task"));
    assert_eq!(browser.get("/data/note").await.body, "from a task");
}

#[tokio::test]
async fn h1_the_extractor_says_what_is_missing_when_there_is_no_layer() {
    use tower::ServiceExt;
    let routes = Router::new()
        .route("/", get(async |_: Session| "never"))
        .route("/maybe", get(async |session: Option<Session>| session.is_some().to_string()));
    let get = async |path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = routes.clone().oneshot(request).await.unwrap();
        let status = response.status();
        (status, response.into_body().collect().await.unwrap().to_bytes())
    };
    let (status, body) = get("/").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(String::from_utf8_lossy(&body).contains("add a SessionLayer"));
    assert_eq!(get("/maybe").await.1, "false");
}

#[tokio::test]
async fn h2_typed_values_are_read_written_and_removed() {
    const CART: Key<Vec<(String, u32)>> = Key::new("cart");
    let site = site();
    let browser = site.browser();
    let cart = vec![("pears".to_owned(), 3), ("\"quoted\"\u{0}\n".to_owned(), u32::MAX)];
    let wanted = cart.clone();
    let (_, seen) = look(&browser, move |session| {
        let before = session.get(&CART).unwrap();
        session.insert(&CART, &cart).unwrap();
        session.insert(&COUNT, &1).unwrap();
        session.insert(&COUNT, &2).unwrap();
        (before, session.get(&CART).unwrap())
    })
    .await;
    assert_eq!(seen, (None, Some(wanted.clone())), "a request sees its own writes");
    let (_, seen) = look(&browser, |session| {
        let seen = (session.get(&CART).unwrap(), session.get(&COUNT).unwrap());
        session.remove(&CART).unwrap();
        (seen, session.get(&CART).unwrap())
    })
    .await;
    assert_eq!(seen, ((Some(wanted), Some(2)), None));
    let (_, seen) =
        look(&browser, |session| (session.get(&CART).unwrap(), session.get(&COUNT).unwrap())).await;
    assert_eq!(seen, (None, Some(2)));
}

#[tokio::test]
async fn h2_h5_a_value_of_another_type_is_an_error_without_its_content() {
    let site = site();
    let browser = site.browser();
    look(&browser, |session| session.insert(&NOTE, &"hunter2".to_owned()).unwrap()).await;
    let (_, error) = look(&browser, |session| session.get(&Key::<u32>::new("note")).unwrap_err()).await;
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(!format!("{error} {error:?} {:?}", error.source()).contains("hunter2"));
    assert_eq!(browser.get("/data/note").await.body, "hunter2", "it is still there");
    // A value that is not JSON cannot be written, and then nothing is planned.
    let (reply, error) = look(&browser, |session| {
        let key: Key<std::collections::BTreeMap<Vec<u8>, u8>> = Key::new("note");
        session.insert(&key, &[(vec![1, 2], 3)].into()).unwrap_err()
    })
    .await;
    assert_eq!((error.kind(), reply.status), (ErrorKind::Data, StatusCode::OK));
    assert_eq!(browser.get("/data/note").await.body, "hunter2");
}

#[tokio::test]
async fn h2_the_info_has_everything_a_page_needs_to_show() {
    let site = site();
    let browser = site.browser();
    let login = site.clock.now();
    let (_, anonymous) = look(&browser, |session| (session.info(), session.subject(), session.sid())).await;
    assert_eq!(anonymous, (None, None, None));

    let (_, at_login) = act(&browser, async |session: Session| {
        let login = session.login("alice").with_mode(Mode::Persistent).with_client("shop").with_method("pwd");
        assert_eq!(login.await.unwrap(), Outcome::Done);
        (StatusCode::OK, session.info().unwrap())
    })
    .await;
    site.clock.advance(60 * SECOND);
    let now = site.clock.now();
    let (_, info) = look(&browser, |session| session.info().unwrap()).await;
    assert_eq!(info.sid, at_login.sid);
    assert_eq!(info.subject.as_deref(), Some("alice"));
    assert_eq!(info.mode, Mode::Persistent);
    assert_eq!((info.created_at, info.authenticated_at), (login, Some(login)));
    assert_eq!(info.last_interaction_at, now);
    assert_eq!((info.idle_expires_at, info.expires_at), (now + IDLE, login + ABSOLUTE));
    assert_eq!(info.deadline(), now + IDLE);
    assert_eq!(info.facts.clients, ["shop"]);
    assert_eq!(info.facts.authentication[0].name, "pwd");
    let (_, seen) = look(&browser, |session| (session.subject(), session.sid(), session.now())).await;
    assert_eq!(seen, (Some("alice".into()), Some(info.sid), now));
}

#[tokio::test]
async fn h2_an_anonymous_session_has_an_info_without_a_user() {
    let site = site();
    let browser = site.browser();
    look(&browser, |session| session.insert(&COUNT, &1).unwrap()).await;
    let (_, info) = look(&browser, |session| session.info().unwrap()).await;
    assert_eq!((info.subject, info.authenticated_at, info.mode), (None, None, Mode::NonPersistent));
}

#[tokio::test]
async fn h2_a_passive_request_shows_the_recorded_interaction() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let login = site.clock.now();
    site.clock.advance(60 * SECOND);
    let seen = Arc::new(Mutex::new(None));
    let slot = Arc::clone(&seen);
    let act: Act = Arc::new(move |session| {
        *slot.lock().unwrap() = session.info();
        async { StatusCode::OK.into_response() }.boxed()
    });
    let request = Request::post("/act").header("session-activity", "passive").extension(act);
    browser.request(request.body(Body::empty()).unwrap()).await;
    let info = seen.lock().unwrap().take().unwrap();
    assert_eq!((info.last_interaction_at, info.idle_expires_at), (login, login + IDLE));
}

#[tokio::test]
async fn h2_within_a_request_the_handle_shows_what_the_request_did() {
    let site = site();
    let browser = site.browser();
    look(&browser, |session| session.insert(&NOTE, &"old".to_owned()).unwrap()).await;
    let (_, seen) = act(&browser, async |session: Session| {
        let mut seen = Vec::new();
        let mut see = |session: &Session| {
            seen.push((
                session.subject().map(|subject| subject.to_string()),
                session.get(&NOTE).unwrap(),
                session.end_reason(),
            ));
        };
        let _ = session.login("alice").await.unwrap();
        see(&session);
        session.logout().unwrap();
        see(&session);
        let _ = session.login("bob").await.unwrap();
        see(&session);
        (StatusCode::OK, seen)
    })
    .await;
    let expected = [
        (Some("alice".to_owned()), Some("old".to_owned()), None),
        (None, None, Some(EndReason::SignedOut)),
        (Some("bob".to_owned()), None, None),
    ];
    assert_eq!(seen, expected);
    assert_eq!(browser.get("/me").await.body, "bob");
}

// E3

#[tokio::test]
async fn e3_only_the_holder_of_the_token_learns_the_end_reason() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let holder = browser.copy();
    let token = browser.cookie_header().unwrap();
    let other = site.browser();
    other.set_cookies(Some(&format!("{}{}", &token[..token.len() - 42], "A".repeat(42))));
    browser.post("/logout").await;
    let ended = |session: &Session| (session.end_reason(), session.info());
    assert_eq!(look(&holder, ended).await.1, (Some(EndReason::SignedOut), None));
    assert_eq!(look(&other, ended).await.1, (None, None));
    assert_eq!(look(&site.browser(), ended).await.1, (None, None));
}

#[tokio::test]
async fn e3_after_a_rotation_only_the_last_token_learns_the_end_reason() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let before = browser.copy();
    browser.post("/rotate").await;
    let after = browser.copy();
    assert_eq!(before.copy().get("/me").await.body, "alice", "in grace");
    browser.post("/logout").await;
    assert_eq!(before.get("/me").await.reason().as_deref(), Some("none"), "dead at once");
    assert_eq!(after.get("/me").await.reason().as_deref(), Some("signed_out"));
}

// H3

#[tokio::test]
async fn h3_a_5xx_drops_data_and_login() {
    let store = MemoryStore::new();
    let (site, _) = acting_site(store.clone());
    for status in [500, 502, 503, 599] {
        let browser = site.browser();
        let (reply, ()) = act(&browser, move |session: Session| async move {
            session.insert(&NOTE, &"x".to_owned()).unwrap();
            let _ = session.login("alice").await.unwrap();
            session.insert(&COUNT, &1).unwrap();
            (StatusCode::from_u16(status).unwrap(), ())
        })
        .await;
        assert_eq!(reply.set_cookies(), [""; 0]);
        assert!(store.is_empty());
    }
    let browser = site.browser();
    browser.post("/login/alice").await;
    assert_eq!(browser.post("/fail").await.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(browser.get("/data/fail").await.status, StatusCode::NOT_FOUND);
    act(&browser, async |session: Session| {
        let _ = session.login("bob").await.unwrap();
        (StatusCode::INTERNAL_SERVER_ERROR, ())
    })
    .await;
    assert_eq!(browser.get("/me").await.body, "alice", "the session before the login stands");
}

#[tokio::test]
async fn h3_a_4xx_drops_nothing() {
    let site = site();
    let browser = site.browser();
    act(&browser, async |session: Session| {
        let _ = session.login("alice").await.unwrap();
        session.insert(&NOTE, &"kept".to_owned()).unwrap();
        (StatusCode::NOT_FOUND, ())
    })
    .await;
    assert_eq!(browser.get("/me").await.body, "alice");
    assert_eq!(browser.get("/data/note").await.body, "kept");
}

#[tokio::test]
async fn h3_a_logout_happens_also_with_a_5xx() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let witness = browser.copy();
    let (reply, ()) = act(&browser, async |session: Session| {
        session.logout().unwrap();
        session.insert(&NOTE, &"dropped".to_owned()).unwrap();
        (StatusCode::INTERNAL_SERVER_ERROR, ())
    })
    .await;
    assert!(reply.removes_cookie());
    assert_eq!(witness.get("/me").await.reason().as_deref(), Some("signed_out"));
    assert_eq!(browser.cookie_header(), None);
}

#[tokio::test]
async fn h3_a_rotation_happens_also_with_a_5xx_and_its_cookie_is_live() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let old = browser.copy();
    let (reply, ()) = act(&browser, async |session: Session| {
        session.rotate().unwrap();
        session.insert(&NOTE, &"dropped".to_owned()).unwrap();
        (StatusCode::INTERNAL_SERVER_ERROR, ())
    })
    .await;
    assert_eq!(reply.set_cookies().len(), 1);
    assert_ne!(browser.cookie_header(), old.cookie_header());
    assert_eq!(browser.get("/me").await.body, "alice");
    assert_eq!(browser.get("/data/note").await.status, StatusCode::NOT_FOUND);
    site.clock.advance(10 * SECOND);
    assert_eq!(old.get("/me").await.status, StatusCode::UNAUTHORIZED, "the grace is over");
    assert_eq!(browser.get("/me").await.body, "alice");
}

/// Guards: a login discarded a planned rotation of the earlier session, although that session stays
/// when the login is dropped.
#[tokio::test]
async fn h3_a_rotation_beside_a_login_happens_when_the_login_is_dropped() {
    for rotates_first in [true, false] {
        let site = site();
        let browser = site.browser();
        browser.post("/login/alice").await;
        let old = browser.copy();
        act(&browser, move |session: Session| async move {
            if rotates_first {
                session.rotate().unwrap();
            }
            let _ = session.login("bob").await.unwrap();
            if !rotates_first {
                session.rotate().unwrap();
            }
            (StatusCode::INTERNAL_SERVER_ERROR, ())
        })
        .await;
        assert_ne!(browser.cookie_header(), old.cookie_header(), "rotates first: {rotates_first}");
        site.clock.advance(10 * SECOND);
        assert_eq!(old.get("/me").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(browser.get("/me").await.body, "alice");
    }
}

#[tokio::test]
async fn h3_a_rotation_beside_a_login_that_succeeds_changes_nothing() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let (reply, outcome) = act(&browser, async |session: Session| {
        session.rotate().unwrap();
        let _ = session.login("bob").await.unwrap();
        session.rotate().unwrap();
        let outcome = session.save().await.unwrap();
        session.insert(&NOTE, &"later".to_owned()).unwrap();
        (StatusCode::OK, outcome)
    })
    .await;
    assert_eq!((outcome, reply.set_cookies().len()), (Outcome::Done, 1));
    assert_eq!(browser.get("/me").await.body, "bob");
    assert_eq!(browser.get("/data/note").await.body, "later");
    site.clock.advance(10 * SECOND);
    assert_eq!(browser.get("/me").await.body, "bob");
}

/// A login that is refused for a past deadline or by a hook's revocation ends the earlier session
/// (L6, A1), whatever the handler answers.
#[tokio::test]
async fn h3_the_revocation_of_a_refused_login_happens_also_with_a_5xx() {
    struct Revoke;
    impl LoginHook for Revoke {
        async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
            if login.subject() == "mallory" {
                login.revoke("stolen");
            }
            Ok(())
        }
    }
    let act_route = post(async |session: Session, Extension(act): Extension<Act>| act(session).await);
    let routes = Router::new().route("/act", act_route).merge(usual_routes());
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| {
        layer.with_policy(policy()).with_login_hook(Revoke)
    });
    for by_hook in [true, false] {
        let browser = site.browser();
        browser.post("/login/alice").await;
        let witness = browser.copy();
        let (reply, outcome) = act(&browser, move |session: Session| async move {
            let login = session.login(if by_hook { "mallory" } else { "alice" });
            let login = if by_hook { login } else { login.with_expires_at(session.now()) };
            (StatusCode::INTERNAL_SERVER_ERROR, login.await.unwrap())
        })
        .await;
        let refusal = if by_hook { Refusal::Revoked("stolen".into()) } else { Refusal::DeadlinePassed };
        assert_eq!(outcome, Outcome::Refused(refusal));
        assert!(reply.removes_cookie());
        assert_eq!(witness.get("/me").await.reason().as_deref(), Some("revoked"));
    }
}

#[tokio::test]
async fn h3_what_was_saved_stays_whatever_the_handler_answers() {
    let site = site();
    let browser = site.browser();
    let (reply, ()) = act(&browser, async |session: Session| {
        let _ = session.login("alice").await.unwrap();
        session.insert(&NOTE, &"saved".to_owned()).unwrap();
        assert_eq!(session.save().await.unwrap(), Outcome::Done);
        session.insert(&COUNT, &1).unwrap();
        (StatusCode::INTERNAL_SERVER_ERROR, ())
    })
    .await;
    assert_eq!(reply.set_cookies().len(), 1, "the saved session is of no use without its cookie");
    assert_eq!(browser.get("/me").await.body, "alice");
    assert_eq!(browser.get("/data/note").await.body, "saved");
    assert_eq!(browser.get("/data/count").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn h3_a_saved_logout_stays_too() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let witness = browser.copy();
    let (_, reason) = act(&browser, async |session: Session| {
        session.logout().unwrap();
        let _ = session.save().await.unwrap();
        (StatusCode::INTERNAL_SERVER_ERROR, session.end_reason())
    })
    .await;
    assert_eq!(reason, Some(EndReason::SignedOut));
    assert_eq!(witness.get("/me").await.reason().as_deref(), Some("signed_out"));
}

// H4

#[tokio::test]
async fn h4_after_the_head_is_sent_a_change_is_an_error() {
    let store = MemoryStore::new();
    let (site, _) = acting_site(store.clone());
    let browser = site.browser();
    browser.post("/login/alice").await;
    let sent = Arc::new(Notify::new());
    let head = Arc::clone(&sent);
    let (_, task): (_, JoinHandle<_>) = act(&browser, move |session: Session| {
        let head = Arc::clone(&head);
        async move {
            session.insert(&NOTE, &"in time".to_owned()).unwrap();
            let task = tokio::spawn(async move {
                head.notified().await;
                let errors: Vec<Error> = vec![
                    session.insert(&NOTE, &"late".to_owned()).unwrap_err(),
                    session.remove(&NOTE).unwrap_err(),
                    session.rotate().unwrap_err(),
                    session.logout().unwrap_err(),
                    session.login("bob").await.unwrap_err(),
                    session.save().await.unwrap_err(),
                    session.update(&COUNT, |count| count.unwrap_or(0) + 1).await.unwrap_err(),
                ];
                (errors, session.get(&NOTE).unwrap(), session.subject())
            });
            (StatusCode::OK, task)
        }
    })
    .await;
    let before = format!("{:?}", store.list(all()).await.unwrap());
    sent.notify_one();
    let (errors, note, subject) = task.await.unwrap();
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Closed), "{errors:?}");
    assert_eq!((note.as_deref(), subject.as_deref()), (Some("in time"), Some("alice")), "it can still look");
    assert_eq!(format!("{:?}", store.list(all()).await.unwrap()), before);
    assert_eq!(browser.get("/data/note").await.body, "in time");
}

fn all() -> tower_tenure::store::Page {
    tower_tenure::store::Page { realm: "__Host-id".into(), subject: None, after: None, limit: 100 }
}

fn revocation(at: tower_tenure::Timestamp) -> EndRequest {
    EndRequest::new(EndReason::Revoked, at, CallId::new(1))
}

/// Advances both clocks: the one for deadlines and the one for timers.
async fn pass(clock: &ManualClock, time: Duration) {
    const STEP: Duration = Duration::from_millis(50);
    let mut left = time;
    while !left.is_zero() {
        let step = left.min(STEP);
        clock.advance(step);
        tokio::time::advance(step).await;
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        left -= step;
    }
}

/// Logs in, and waits for the end of the session in a task.
async fn waiting(browser: &Browser) -> JoinHandle<Option<EndReason>> {
    browser.post("/login/alice").await;
    act(browser, async |session: Session| (StatusCode::OK, tokio::spawn(session.ended()))).await.1
}

async fn sid(browser: &Browser) -> tower_tenure::SessionId {
    look(browser, |session| session.sid().unwrap()).await.1
}

#[tokio::test(start_paused = true)]
async fn h4_the_end_is_known_within_a_second_after_a_logout_or_a_revocation_on_this_node() {
    for store in [AnyStore::from(MemoryStore::new()), Probe::remote(MemoryStore::new()).into()] {
        for by_logout in [true, false] {
            let (site, layer) = acting_site(store.clone());
            let browser = site.browser();
            let task = waiting(&browser).await;
            pass(&site.clock, 60 * SECOND).await;
            assert!(!task.is_finished(), "not before");
            if by_logout {
                browser.post("/logout").await;
            } else {
                assert!(layer.sessions().revoke(sid(&browser).await).await.unwrap());
            }
            pass(&site.clock, SECOND).await;
            assert!(task.is_finished(), "by logout: {by_logout}");
            let reason = if by_logout { EndReason::SignedOut } else { EndReason::Revoked };
            assert_eq!(task.await.unwrap(), Some(reason));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h4_signing_out_everywhere_a_newer_login_and_a_cap_end_the_wait() {
    let (site, layer) = acting_site(MemoryStore::new());
    let browser = site.browser();
    let task = waiting(&browser).await;
    layer.sessions().revoke_all("alice", None).await.unwrap();
    pass(&site.clock, SECOND).await;
    assert!(task.is_finished());
    assert_eq!(task.await.unwrap(), Some(EndReason::Revoked));

    let task = waiting(&browser).await;
    browser.post("/login/bob").await;
    pass(&site.clock, SECOND).await;
    assert!(task.is_finished());
    assert_eq!(task.await.unwrap(), Some(EndReason::Superseded));
}

#[tokio::test(start_paused = true)]
async fn h4_the_end_on_another_node_is_known_within_two_seconds() {
    let store = MemoryStore::new();
    for any in [AnyStore::from(store.clone()), Probe::remote(store.clone()).into()] {
        let (site, _) = acting_site(any);
        let browser = site.browser();
        let task = waiting(&browser).await;
        pass(&site.clock, 60 * SECOND + Duration::from_millis(350)).await;
        assert!(!task.is_finished());
        let end = revocation(site.clock.now());
        store.end(sid(&browser).await, end, None).await.unwrap();
        pass(&site.clock, 2 * SECOND).await;
        assert!(task.is_finished());
        assert_eq!(task.await.unwrap(), Some(EndReason::Revoked));
    }
}

#[tokio::test(start_paused = true)]
async fn h4_the_wait_ends_at_the_idle_deadline_and_not_before_and_keeps_nothing_alive() {
    let site = site();
    let browser = site.browser();
    let task = waiting(&browser).await;
    pass(&site.clock, IDLE - 100 * TICK).await;
    assert!(!task.is_finished());
    assert_eq!(browser.get("/me").await.body, "alice", "this moves the deadline");
    pass(&site.clock, IDLE - 100 * TICK).await;
    assert!(!task.is_finished());
    pass(&site.clock, 100 * TICK + SECOND).await;
    assert!(task.is_finished());
    assert_eq!(task.await.unwrap(), Some(EndReason::Idle));
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));
}

#[tokio::test(start_paused = true)]
async fn h4_the_wait_ends_at_the_absolute_deadline_whatever_the_activity() {
    let site = site();
    let browser = site.browser();
    let task = waiting(&browser).await;
    for _ in 0..5 {
        pass(&site.clock, ABSOLUTE / 5 - 20 * TICK).await;
        assert_eq!(browser.get("/me").await.body, "alice");
        assert!(!task.is_finished());
    }
    pass(&site.clock, 100 * TICK + SECOND).await;
    assert!(task.is_finished());
    assert_eq!(task.await.unwrap(), Some(EndReason::Absolute));
}

#[tokio::test(start_paused = true)]
async fn h4_while_the_store_fails_the_last_known_deadline_counts() {
    let store = Probe::remote(MemoryStore::new());
    let (site, _) = acting_site(store.clone());
    let browser = site.browser();
    let task = waiting(&browser).await;
    pass(&site.clock, 10 * SECOND).await;
    store.fail(Operation::Load, usize::MAX);
    pass(&site.clock, IDLE - 11 * SECOND).await;
    assert!(!task.is_finished(), "a failing store ends nothing");
    pass(&site.clock, 2 * SECOND).await;
    assert!(task.is_finished());
    assert_eq!(task.await.unwrap(), Some(EndReason::Idle));
}

#[tokio::test(start_paused = true)]
async fn h4_a_store_that_comes_back_ends_the_wait_for_what_happened_meanwhile() {
    let store = Probe::remote(MemoryStore::new());
    let (site, _) = acting_site(store.clone());
    let browser = site.browser();
    let task = waiting(&browser).await;
    let sid = sid(&browser).await;
    store.fail(Operation::Load, usize::MAX);
    pass(&site.clock, 10 * SECOND).await;
    store.inner().end(sid, revocation(site.clock.now()), None).await.unwrap();
    pass(&site.clock, 10 * SECOND).await;
    assert!(!task.is_finished());
    store.fail(Operation::Load, 0);
    pass(&site.clock, 2 * SECOND).await;
    assert!(task.is_finished());
    assert_eq!(task.await.unwrap(), Some(EndReason::Revoked));
}

#[tokio::test]
async fn h4_without_a_session_the_wait_is_over_at_once() {
    let site = site();
    let (_, reason) =
        act(&site.browser(), async |session: Session| (StatusCode::OK, session.ended().now_or_never())).await;
    assert_eq!(reason, Some(None));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(IDLE);
    let (_, reason) =
        act(&browser, async |session: Session| (StatusCode::OK, session.ended().now_or_never())).await;
    assert_eq!(reason, Some(Some(EndReason::Idle)));
}

#[tokio::test(start_paused = true)]
async fn h4_a_wait_that_begins_in_the_login_itself_is_for_the_new_session() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let (_, task) = act(&browser, async |session: Session| {
        let _ = session.login("bob").await.unwrap();
        (StatusCode::OK, tokio::spawn(session.ended()))
    })
    .await;
    pass(&site.clock, 10 * SECOND).await;
    assert!(!task.is_finished());
    browser.post("/logout").await;
    pass(&site.clock, SECOND).await;
    assert_eq!(task.now_or_never().unwrap().unwrap(), Some(EndReason::SignedOut));
}

/// A response that never ends by itself: one tick a second.
fn endless() -> impl stream::Stream<Item = Result<&'static str, std::convert::Infallible>> + Send {
    stream::unfold(tokio::time::interval(SECOND), async |mut interval| {
        interval.tick().await;
        Some((Ok("tick\n"), interval))
    })
}

#[tokio::test(start_paused = true)]
async fn h4_a_wrapped_stream_or_body_closes_when_the_session_is_over() {
    let routes = Router::new()
        .route("/stream", get(async |session: Session| Body::from_stream(session.until_ended(endless()))))
        .route(
            "/body",
            get(async |session: Session| Body::new(session.until_ended(Body::from_stream(endless())))),
        )
        .merge(usual_routes());
    for path in ["/stream", "/body"] {
        for by_logout in [true, false] {
            let layer = SessionLayer::new(MemoryStore::new());
            let clock = ManualClock::default();
            let layer = layer.with_policy(policy()).with_clock(clock.clone());
            let mut service = layer.layer(routes.clone());
            let site = Site::over(layer, routes.clone(), |layer| layer.with_clock(clock.clone()));
            let browser = site.browser();
            browser.post("/login/alice").await;
            let cookie = browser.cookie_header().unwrap();
            let request = Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
            let mut body = Body::new(service.call(request).await.unwrap().into_body());

            let read = Arc::new(Mutex::new(0));
            let count = Arc::clone(&read);
            let reader = tokio::spawn(async move {
                while let Some(frame) = body.frame().await {
                    *count.lock().unwrap() += frame.unwrap().data_ref().unwrap().len();
                }
            });
            pass(&clock, 10 * SECOND).await;
            assert!(!reader.is_finished());
            assert!(*read.lock().unwrap() >= 10 * "tick\n".len(), "{path}: what comes is passed on");
            if by_logout {
                browser.post("/logout").await;
                pass(&clock, SECOND).await;
            } else {
                pass(&clock, IDLE - 11 * SECOND).await;
                assert!(!reader.is_finished());
                pass(&clock, 2 * SECOND).await;
            }
            assert!(reader.is_finished(), "{path}, by logout: {by_logout}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn h4_a_wrapped_stream_that_ends_by_itself_ends() {
    let site = site();
    let browser = site.browser();
    browser.post("/login/alice").await;
    let (_, items) = act(&browser, async |session: Session| {
        let items: Vec<u8> = session.until_ended(stream::iter([1, 2, 3])).collect().await;
        (StatusCode::OK, items)
    })
    .await;
    assert_eq!(items, [1, 2, 3]);
    let (_, items) = act(&site.browser(), async |session: Session| {
        let items: Vec<u8> = session.until_ended(stream::iter([1, 2, 3])).collect().await;
        (StatusCode::OK, items)
    })
    .await;
    assert_eq!(items, [0; 0], "nothing is streamed without a session");
}

// H5

const DATA: &str = "dAtA-oF-tHe-SeSsIoN";

/// Collects what was printed, by tests and by `tracing`.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn debug(&self, value: &impl Debug) {
        let text = format!("{value:?}\n{value:#?}\n");
        self.0.lock().unwrap().extend_from_slice(text.as_bytes());
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Panics if a text contains a secret or session data.
fn assert_no_secrets(text: &str, tokens: &[String]) {
    assert!(!text.contains(DATA), "session data was printed: {}", around(text, DATA));
    for token in tokens {
        // From its 23rd character on a token is secret. Even eight of those characters must not
        // appear.
        for at in (22..56).step_by(2) {
            let part = &token[at..at + 8];
            assert!(!text.contains(part), "a secret was printed: {}", around(text, part));
        }
    }
}

fn around<'a>(text: &'a str, part: &str) -> &'a str {
    let at = text.find(part).unwrap();
    let line = text[..at].rfind('\n').map_or(0, |at| at + 1);
    text[line..].lines().next().unwrap()
}

fn token(browser: &Browser) -> String {
    browser.cookie_header().unwrap().split_once('=').unwrap().1.to_owned()
}

struct PrintingHook(Printed);

impl LoginHook for PrintingHook {
    async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
        self.0.debug(login);
        self.0.debug(&login.request());
        Ok(())
    }
}

#[tokio::test]
async fn h5_debug_of_everything_that_meets_a_token_or_data_shows_neither() {
    let printed = Printed::default();
    let (heads, events) = (printed.clone(), printed.clone());
    let act_route = post(async |session: Session, Extension(act): Extension<Act>| act(session).await);
    let routes = Router::new()
        .route("/act", act_route)
        .merge(usual_routes())
        .layer(RequireSession::new().with_anonymous());
    let routes = Router::new().route("/login/{user}", usual_login()).fallback_service(routes);
    let store = Probe::in_process(MemoryStore::new());
    let layer = SessionLayer::new(store.clone())
        .with_policy(policy())
        .with_login_hook(PrintingHook(printed.clone()))
        .with_observer_fn(move |event: &Event<'_>| events.debug(event))
        .with_activity(move |head: RequestHead<'_>| {
            heads.debug(&head);
            Activity::Interaction
        })
        .with_endpoints(Endpoints::at("/session").unwrap());
    let site = Site::over(layer.clone(), routes.clone(), |layer| layer);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let mut tokens = vec![token(&browser)];
    let log = printed.clone();
    act(&browser, move |session: Session| {
        let log = log.clone();
        async move {
            session.insert(&NOTE, &DATA.to_owned()).unwrap();
            session.rotate().unwrap();
            log.debug(&session);
            log.debug(&session.info());
            log.debug(&session.login("alice"));
            log.debug(&session.until_ended(stream::empty::<u8>()));
            log.debug(&session.get(&COUNT));
            log.debug(&session.get(&Key::<u32>::new("note")));
            log.debug(&NOTE);
            (StatusCode::OK, ())
        }
    })
    .await;
    tokens.push(token(&browser));
    let log = printed.clone();
    look(&browser, move |session| log.debug(session)).await;

    let record = store.inner().list(all()).await.unwrap().remove(0);
    assert!(record.previous_secret.is_some() && !record.data.is_empty(), "there is something to hide");
    let mut edits = Edits::default();
    edits.set("note", Json::encode(DATA).unwrap());
    let rotation = Rotation { from: record.secret, to: record.secret, until: site.clock.now() + SECOND };
    let change =
        Change { edits: edits.clone(), rotation: Some(Box::new(rotation)), ..Change::at(site.clock.now()) };
    let data: Data = [("note", Json::encode(DATA).unwrap())].into_iter().collect();
    let creation = Creation { edits: edits.clone(), ..Creation::new(record.clone()) };
    printed.debug(&(&record, &record.secret, &record.previous_secret, &record.data));
    printed.debug(&(edits, rotation, &change, data, Json::encode(DATA).unwrap(), &creation));
    printed.debug(&store.inner().create(creation).await);
    printed.debug(&store.inner().update(record.sid, change, None).await);
    printed.debug(&Json::from_text(DATA).decode::<u32>());
    printed.debug(&(&layer, layer.sessions(), &store, store.inner(), AnyStore::from(store.clone())));
    printed.debug(&(SessionCookie::default(), SessionCookie::builder("x"), LogoutUrls::new()));
    printed.debug(&RequireSession::new());
    printed.debug(&RequireSession::new().layer(()));
    printed.debug(&layer.layer(()));

    let mut service = layer.layer(routes.into_service::<Body>());
    let request = Request::get("/me").header(header::COOKIE, browser.cookie_header().unwrap());
    let request = request.body(Body::empty()).unwrap();
    printed.debug(&RequestHead::from(&request));
    let future = service.call(request);
    printed.debug(&future);
    printed.debug(&future.await.unwrap().into_body());

    let secret_hash = serde_json::to_value(record.secret).unwrap().as_str().unwrap().to_owned();
    let printed = printed.text();
    assert!(
        printed.contains(&record.sid.to_string()),
        "the sid may be shown, so this test printed something"
    );
    assert!(!printed.contains(&secret_hash));
    assert_no_secrets(&printed, &tokens);
}

fn usual_login() -> axum::routing::MethodRouter {
    post(async |session: Session| session.login("alice").await.map(|_| StatusCode::OK))
}

#[tokio::test]
async fn h5_the_set_cookie_value_is_marked_sensitive() {
    let site = site();
    let reply = site.browser().post("/login/alice").await;
    assert!(
        reply.headers[header::SET_COOKIE].is_sensitive(),
        "so that HPACK and Debug keep it to themselves"
    );
}

#[test]
fn h5_no_log_line_at_any_level_holds_a_token_or_data() {
    let printed = Printed::default();
    let writer = printed.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let tokens = logs::under(subscriber, async {
        tracing::trace!("listening");
        a_day_with_everything().await
    });
    let printed = printed.text();
    for name in ["created", "authenticated", "rotated", "ended", "refused", "store_failed", "clamped"] {
        assert!(printed.contains(&format!("session.{name}")), "{name} was not logged: {printed}");
    }
    assert!(printed.contains("listening") && tokens.len() >= 4);
    assert_no_secrets(&printed, &tokens);
    assert!(!printed.contains("alice"), "no user either (O1)");
}

/// Login, write, rotation, failures, errors and ends. Returns the tokens that were in use.
async fn a_day_with_everything() -> Vec<String> {
    let store = Probe::remote(MemoryStore::new());
    let (site, _) = acting_site(store.clone());
    let browser = site.browser();
    let mut tokens = Vec::new();
    look(&browser, |session| session.insert(&NOTE, &DATA.to_owned()).unwrap()).await;
    tokens.push(token(&browser));
    browser.post("/login/alice").await;
    tokens.push(token(&browser));
    browser.post("/rotate").await;
    tokens.push(token(&browser));
    act(&browser, async |session: Session| {
        let error = session.get(&Key::<u32>::new("note")).unwrap_err();
        let _ =
            session.login("alice").with_expires_at(session.now() + 3650 * 24 * 3600 * SECOND).await.unwrap();
        (error.into_response().status(), ())
    })
    .await;
    for (operation, path) in
        [(Operation::Load, "/rotate"), (Operation::Update, "/rotate"), (Operation::Create, "/login/alice")]
    {
        store.fail(operation, 1);
        assert_eq!(browser.post(path).await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    store.fail(Operation::End, 1);
    assert_eq!(browser.post("/logout").await.status, StatusCode::SERVICE_UNAVAILABLE);
    browser.post("/fail").await;
    act(&browser, async |session: Session| {
        let refused = session.login("alice").with_expires_at(session.now()).await.unwrap();
        (StatusCode::OK, assert_eq!(refused, Outcome::Refused(Refusal::DeadlinePassed)))
    })
    .await;
    browser.post("/login/alice").await;
    tokens.push(token(&browser));
    let late = browser.copy();
    browser.post("/logout").await;
    late.get("/me").await;
    let mut junk = String::new();
    write!(junk, "__Host-id={}; __Host-id={DATA}", tokens[0]).unwrap();
    late.set_cookies(Some(&junk));
    late.get("/me").await;
    tokens
}
