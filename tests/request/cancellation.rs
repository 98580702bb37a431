//! Requests that are dropped halfway, and handlers that panic or fail (SPEC H3), at every point
//! where that can happen.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use axum::{
    body::Body,
    extract::Path,
    http::{Request, Response, StatusCode},
    routing::post,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_tenure::{Error, Key, MemoryStore, Session, SessionLayer, events::Operation, testing::Probe};

use crate::common::{Browser, Site, background_tasks, usual_routes};

const A: Key<String> = Key::new("a");
const B: Key<String> = Key::new("b");
const COUNT: Key<u64> = Key::new("count");

/// A site over a store and handlers that pend wherever they can.
struct Place {
    site: Site,
    store: Probe<MemoryStore>,
}

impl Place {
    fn new() -> Self {
        let store = Probe::remote(MemoryStore::new());
        let routes = usual_routes()
            .route("/slow/{act}", post(slow))
            .route("/drop-save/{act}/{polls}", post(drop_save))
            .route("/panic/{act}", post(panicking));
        let site = Site::over(SessionLayer::new(store.clone()), routes, |layer| layer);
        Self { site, store }
    }

    async fn alice(&self) -> Browser {
        let browser = self.site.log_in("alice").await;
        assert_eq!(browser.post("/add/old").await.status, StatusCode::OK);
        browser
    }

    /// The one live session has the earlier data, and either all of the late changes or none.
    async fn took_place(&self) -> bool {
        let records = tower_tenure::testing::records(&self.site.sessions, None, 2).await.unwrap();
        let data = &records[0].data;
        assert_eq!(data.get("a").is_some(), data.get("b").is_some(), "halfway");
        data.get("a").is_some()
    }
}

async fn pend(mut times: usize) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn write(session: &Session) -> Result<(), Error> {
    session.insert(&A, &"a".to_owned())?;
    session.insert(&B, &"b".to_owned())
}

async fn slow(session: Session, Path(act): Path<String>) -> Result<(), Error> {
    pend(2).await;
    match &*act {
        "read" => drop(session.get(&A)?),
        "insert" => write(&session)?,
        "rotate" => session.rotate()?,
        "logout" => session.logout()?,
        "login" => {
            drop(session.login("bob").await?);
            write(&session)?;
        }
        "save" => {
            write(&session)?;
            drop(session.save().await?);
        }
        "update" => drop(session.update(&COUNT, |count| count.unwrap_or(0) + 1).await?),
        other => unreachable!("{other}"),
    }
    pend(2).await;
    Ok(())
}

/// Polls `save` that many times, drops it, continues, and writes more data.
async fn drop_save(session: Session, Path((act, polls)): Path<(String, usize)>) -> Result<String, Error> {
    match &*act {
        "write" => session.insert(&A, &"a".to_owned())?,
        "rotate" => session.rotate()?,
        "login" => drop(session.login("bob").await?),
        other => unreachable!("{other}"),
    }
    let done = poll_times(pin!(session.save()), polls).await.is_some();
    pend(1).await;
    session.insert(&B, &"b".to_owned())?;
    Ok(if done { "done" } else { "dropped" }.to_owned())
}

async fn panicking(session: Session, Path(act): Path<String>) -> StatusCode {
    match &*act {
        "insert" => write(&session).unwrap(),
        "rotate" => session.rotate().unwrap(),
        "logout" => session.logout().unwrap(),
        "login" => drop(session.login("bob").await.unwrap()),
        other => unreachable!("{other}"),
    }
    pend(1).await;
    panic!("as a handler may");
}

/// Polls a future that many times, without yielding in between.
async fn poll_times<F: Future>(mut future: Pin<&mut F>, times: usize) -> Option<F::Output> {
    for _ in 0..times {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return Some(output);
        }
    }
    tokio::task::yield_now().await; // resets the runtime's cooperative budget
    None
}

/// The outcome of a request that was dropped after that many polls.
#[derive(Clone, Copy, Debug)]
struct Cut {
    #[expect(dead_code, reason = "shown when an assertion fails")]
    polls: usize,
    completed: bool,
    /// Whether the committing call was made. If so, it may or may not have taken effect.
    reached_the_store: bool,
}

/// Drops a request after one poll, after two, and so on until it completes. Each run has a new
/// [`Place`].
async fn cut_everywhere(
    path: &str,
    logged_in: bool,
    commits: Operation,
    check: impl AsyncFn(&Place, &Browser, &Browser, Cut),
) {
    for polls in 0.. {
        assert!(polls < 200, "it never completes");
        let place = Place::new();
        let browser = if logged_in { place.alice().await } else { place.site.browser() };
        let before = browser.copy();
        place.store.pause(2);
        place.store.take_calls();
        let completed = {
            let reply = poll_times(pin!(browser.post(path)), polls).await;
            if let Some(reply) = &reply {
                assert_eq!(reply.status, StatusCode::OK);
            }
            reply.is_some()
        };
        place.store.pause(0);
        background_tasks().await; // a dropped login is undone there
        let reached_the_store = place.store.take_calls().contains(&commits);
        let cut = Cut { polls, completed, reached_the_store };
        check(&place, &browser, &before, cut).await;

        // The browser can continue after each of these outcomes.
        assert_eq!(browser.get("/").await.status, StatusCode::OK, "{cut:?}");
        assert_eq!(browser.post("/login/carol").await.status, StatusCode::OK, "{cut:?}");
        assert_eq!(browser.get("/me").await.body, "carol", "{cut:?}");
        if completed {
            assert!(polls > 4, "nothing pended");
            return;
        }
    }
}

async fn is_alice(browser: &Browser) -> bool {
    let reply = browser.copy().get("/me").await;
    reply.status == StatusCode::OK && reply.body == "alice"
}

#[tokio::test]
async fn h3_a_dropped_read_leaves_everything_as_it_was() {
    cut_everywhere("/slow/read", true, Operation::Load, async |place, browser, _, cut| {
        assert!(is_alice(browser).await, "{cut:?}");
        assert_eq!(place.site.live(None).await, 1, "{cut:?}");
        assert!(!place.took_place().await, "{cut:?}");
    })
    .await;
}

#[tokio::test]
async fn h3_a_dropped_write_is_whole_or_not_there_and_never_before_its_commit() {
    for path in ["/slow/insert", "/slow/save"] {
        cut_everywhere(path, true, Operation::Update, async |place, browser, _, cut| {
            assert!(is_alice(browser).await, "{cut:?}");
            assert_eq!(place.site.live(None).await, 1, "{cut:?}");
            let took_place = place.took_place().await;
            assert!(!took_place || cut.reached_the_store, "{cut:?}");
            assert!(took_place || !cut.completed, "{cut:?}");
        })
        .await;
    }
}

#[tokio::test]
async fn h3_a_dropped_atomic_update_counts_once_or_not() {
    cut_everywhere("/slow/update", true, Operation::Update, async |place, browser, _, cut| {
        assert!(is_alice(browser).await, "{cut:?}");
        assert_eq!(place.site.live(None).await, 1, "{cut:?}");
        let count: u64 = browser.copy().post("/add/count").await.body.parse().unwrap();
        assert!(count == 1 || (count == 2 && cut.reached_the_store), "{cut:?}");
        assert!(count == 2 || !cut.completed, "{cut:?}");
    })
    .await;
}

#[tokio::test]
async fn h3_a_dropped_rotation_leaves_the_browser_a_token_that_works() {
    cut_everywhere("/slow/rotate", true, Operation::Update, async |place, browser, before, cut| {
        assert!(is_alice(browser).await, "{cut:?}");
        assert!(is_alice(before).await, "within the grace, {cut:?}");
        assert_eq!(place.site.live(None).await, 1, "{cut:?}");
        place.site.clock.advance(std::time::Duration::from_secs(10));
        if cut.completed {
            assert!(is_alice(browser).await && !is_alice(before).await, "{cut:?}");
        } else if !cut.reached_the_store {
            assert!(is_alice(before).await, "{cut:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn h3_a_dropped_logout_took_place_or_not() {
    cut_everywhere("/slow/logout", true, Operation::End, async |place, browser, before, cut| {
        let alive = is_alice(before).await;
        assert!(alive || cut.reached_the_store, "{cut:?}");
        assert!(!alive || !cut.completed, "{cut:?}");
        assert_eq!(place.site.live(None).await, usize::from(alive), "{cut:?}");
        assert_eq!(browser.cookie_header().is_none(), cut.completed, "{cut:?}");
        if !alive {
            assert_eq!(before.copy().get("/me").await.reason().as_deref(), Some("signed_out"), "{cut:?}");
            assert_eq!(before.copy().get("/data/old").await.status, StatusCode::NOT_FOUND, "{cut:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn h3_a_dropped_login_leaks_no_session_but_the_one_its_commit_made() {
    cut_everywhere("/slow/login", false, Operation::Create, async |place, browser, _, cut| {
        let live = place.site.live(Some("bob")).await;
        assert_eq!(place.site.live(None).await, live, "{cut:?}");
        assert!(live == 0 || (live == 1 && cut.reached_the_store), "{cut:?}");
        assert!(live == 0 || place.took_place().await, "{cut:?}");
        assert_eq!(browser.copy().get("/me").await.body == "bob", cut.completed, "{cut:?}");
    })
    .await;
}

#[tokio::test]
async fn h3_a_dropped_login_over_a_login_leaves_exactly_one_session() {
    cut_everywhere("/slow/login", true, Operation::Create, async |place, browser, before, cut| {
        let live = place.site.live(None).await;
        if live == 0 {
            // Dropped after alice's session had ended and before bob's token was sent, so his login
            // is undone.
            assert!(cut.reached_the_store && !cut.completed, "{cut:?}");
            assert_eq!(before.copy().get("/me").await.reason().as_deref(), Some("superseded"), "{cut:?}");
            return;
        }
        assert_eq!(live, 1, "{cut:?}");
        let bob = place.site.live(Some("bob")).await == 1;
        assert_eq!(is_alice(before).await, !bob, "{cut:?}");
        assert!(!bob || cut.reached_the_store, "{cut:?}");
        assert_eq!(place.took_place().await, bob, "{cut:?}");
        assert_eq!(browser.copy().get("/me").await.body == "bob", cut.completed, "{cut:?}");
    })
    .await;
}

#[tokio::test]
async fn h3_a_dropped_first_write_of_an_anonymous_visitor_leaks_no_session_but_the_one_its_commit_made() {
    for path in ["/slow/insert", "/slow/save", "/slow/update"] {
        cut_everywhere(path, false, Operation::Create, async |place, browser, _, cut| {
            let live = place.site.live(None).await;
            assert!(live == 0 || (live == 1 && cut.reached_the_store), "{cut:?}");
            assert_eq!(browser.cookie_header().is_some(), cut.completed, "{cut:?}");
            assert!(live == 1 || !cut.completed, "{cut:?}");
        })
        .await;
    }
}

/// Regression: a write after a dropped save, or after a save whose answer was lost, was discarded
/// although the response was 200.
#[tokio::test]
async fn h2_a_dropped_save_is_made_good_by_the_end_of_the_request_exactly_once() {
    for (act, logged_in) in
        [("write", true), ("write", false), ("rotate", true), ("login", true), ("login", false)]
    {
        for polls in 0..20 {
            let case = (act, logged_in, polls);
            let place = Place::new();
            let browser = if logged_in { place.alice().await } else { place.site.browser() };
            let before = browser.copy();
            place.store.pause(2);
            let reply = browser.post(&format!("/drop-save/{act}/{polls}")).await;
            place.store.pause(0);
            assert_eq!(reply.status, StatusCode::OK, "{case:?}");
            let cookies = usize::from(act != "write" || !logged_in);
            assert_eq!(reply.set_cookies().len(), cookies, "{case:?}");

            assert_eq!(place.site.live(None).await, 1, "{case:?}");
            assert_eq!(browser.get("/data/b").await.body, "b", "{case:?}");
            match act {
                "write" => assert_eq!(browser.get("/data/a").await.body, "a", "{case:?}"),
                "login" => assert_eq!(browser.get("/me").await.body, "bob", "{case:?}"),
                _ => {
                    place.site.clock.advance(std::time::Duration::from_secs(10));
                    assert!(is_alice(&browser).await && !is_alice(&before).await, "{case:?}");
                }
            }
        }
    }
}

#[tokio::test]
async fn h3_a_handler_that_panics_writes_nothing_and_the_cookie_stays_good() {
    for act in ["insert", "rotate", "logout", "login"] {
        let place = Place::new();
        let browser = place.alice().await;
        place.store.take_calls();
        for _ in 0..3 {
            let (tab, path) = (browser.copy(), format!("/panic/{act}"));
            let panicked = tokio::spawn(async move { tab.post(&path).await }).await.unwrap_err();
            assert!(panicked.is_panic());
        }
        assert_eq!(place.store.take_calls(), [Operation::Load; 3], "{act}");
        assert!(is_alice(&browser).await, "{act}");
        assert_eq!(place.site.live(None).await, 1, "{act}");
        assert!(!place.took_place().await, "{act}");
        assert_eq!(browser.post("/add/old").await.body, "2", "{act}");
    }
}

#[tokio::test]
async fn h3_an_inner_service_that_fails_writes_nothing() {
    let store = Probe::remote(MemoryStore::new());
    let layer = SessionLayer::new(store.clone());
    let login = layer.layer(service_fn(async |request: Request<Body>| {
        let session = request.extensions().get::<Session>().unwrap();
        drop(session.login("alice").await.unwrap());
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let response = login.oneshot(Request::new(Body::empty())).await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();

    for act in ["insert", "rotate", "logout", "login"] {
        let failing = layer.layer(service_fn(move |request: Request<Body>| async move {
            let session = request.extensions().get::<Session>().unwrap();
            match act {
                "insert" => write(session).unwrap(),
                "rotate" => session.rotate().unwrap(),
                "logout" => session.logout().unwrap(),
                _ => drop(session.login("bob").await.unwrap()),
            }
            Err::<Response<Body>, _>("broken")
        }));
        store.take_calls();
        let request = Request::builder().header("cookie", &cookie).body(Body::empty()).unwrap();
        assert_eq!(failing.oneshot(request).await.unwrap_err(), "broken");
        assert_eq!(store.take_calls(), [Operation::Load], "{act}");
    }
    let live = layer.sessions().list(None, None, 10).await.unwrap().sessions;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].subject.as_deref(), Some("alice"));
}
