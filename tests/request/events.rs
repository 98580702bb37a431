//! What the layer emits (SPEC O1): `tracing` events under stable names, and events for observers.

use std::{
    fmt::{self, Write as _},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::{get, post},
};
use tower_tenure::{
    Error, LoginContext, LoginHook, LoginPage, MemoryStore, Outcome, Policy, RequireSession, Session,
    SessionLayer,
    browser::Endpoints,
    events::{Event, EventKind, Observer, Operation},
    policy::{Cap, Limits, Overflow},
    store::AnyStore,
    testing::{ManualClock, Probe},
};
use tracing::{
    Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::common::{self, ABSOLUTE, DAY, IDLE, SECOND, Site, logs, usual_routes};

fn policy() -> Policy {
    common::policy().with_granularity(Duration::ZERO)
}

/// The events that an observer received, as lines: `created alice`, `ended - idle`.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>);

impl Observer for Seen {
    fn observe(&self, event: &Event<'_>) {
        let subject = event.subject.unwrap_or("-");
        let line = match event.kind {
            EventKind::Created => format!("created {subject}"),
            EventKind::Authenticated => format!("authenticated {subject}"),
            EventKind::Rotated => format!("rotated {subject}"),
            EventKind::Extended => format!("extended {subject}"),
            EventKind::Ended(reason) => format!("ended {subject} {reason}"),
            EventKind::Clamped(setting) => format!("clamped {subject} {}", setting.as_str()),
            EventKind::Refused(refusal) => format!("refused {subject} {refusal}"),
            EventKind::StoreFailed { operation, error, .. } => format!("failed {operation} {error}"),
            EventKind::SignedOutEverywhere { .. } => format!("signed out everywhere {subject}"),
            _ => format!("something else: {event:?}"),
        };
        // A refused login and an operation on many sessions have no session to name.
        let nameless = matches!(
            event.kind,
            EventKind::Refused(_) | EventKind::StoreFailed { .. } | EventKind::SignedOutEverywhere { .. }
        );
        assert!(event.sid.is_some() || nameless, "{event:?}");
        self.0.lock().unwrap().push(line);
    }
}

impl Seen {
    /// The events since the last call, without the sampled ones.
    fn take(&self) -> Vec<String> {
        let mut lines = std::mem::take(&mut *self.0.lock().unwrap());
        lines.retain(|line| !line.starts_with("extended"));
        lines
    }
}

/// The usual routes, and logins with overrides. The site and its layer share the clock.
fn observed(store: impl Into<AnyStore>, policy: Policy) -> (Site, SessionLayer, Seen) {
    let seen = Seen::default();
    let clock = ManualClock::default();
    let routes = Router::new()
        .route(
            "/long",
            post(async |session: Session| {
                let login = session.login("alice").with_idle_lifetime(2000 * DAY);
                let login = login.with_expires_at(session.now() + 2000 * DAY);
                let outcome = login.with_idle_expires_at(session.now() + 2000 * DAY).await?;
                assert_eq!(outcome, Outcome::Done);
                Ok::<_, Error>(())
            }),
        )
        .route(
            "/past",
            post(async |session: Session| {
                let outcome = session.login("alice").with_expires_at(session.now()).await?;
                assert_ne!(outcome, Outcome::Done);
                Ok::<_, Error>(())
            }),
        )
        .merge(usual_routes());
    let layer = SessionLayer::new(store).with_policy(policy).with_clock(clock.clone());
    let layer = layer.with_observer(seen.clone());
    let mut site = Site::over(layer.clone(), routes, |layer| layer.with_clock(clock.clone()));
    site.clock = clock;
    (site, layer, seen)
}

// Observers

#[tokio::test]
async fn o1_an_observer_sees_every_step_of_a_sessions_life_with_its_user() {
    let (site, _, seen) = observed(MemoryStore::new(), policy());
    let browser = site.browser();
    browser.get("/").await;
    browser.get("/me").await;
    assert_eq!(seen.take(), [""; 0], "nothing happened to any session");
    browser.request(Request::put("/data/x").body(Body::from("x")).unwrap()).await;
    assert_eq!(seen.take(), ["created -"]);
    browser.post("/login/alice").await;
    assert_eq!(seen.take(), ["created alice", "authenticated alice", "ended - superseded"]);
    browser.post("/rotate").await;
    assert_eq!(seen.take().len(), 1);
    browser.post("/fail").await;
    assert_eq!(seen.take(), [""; 0]);
    browser.post("/logout").await;
    assert_eq!(seen.take(), ["ended alice signed_out"]);
    browser.post("/logout").await;
    assert_eq!(seen.take(), [""; 0], "once");
}

#[tokio::test]
async fn o1_each_way_to_end_is_emitted_once_with_its_reason() {
    let policy = policy().with_cap(Some(Cap::new(NonZeroU32::MIN, Overflow::Evict)));
    let (site, layer, seen) = observed(MemoryStore::new(), policy);
    let log_in = async |user: &str| {
        let browser = site.browser();
        browser.post(&format!("/login/{user}")).await;
        seen.take();
        browser
    };
    let browser = log_in("idle").await;
    site.clock.advance(IDLE);
    let witness = browser.copy();
    browser.get("/me").await;
    assert_eq!(seen.take(), ["ended idle idle"]);
    witness.get("/me").await;
    assert_eq!(seen.take(), [""; 0], "once");

    let browser = log_in("absolute").await;
    for _ in 0..4 {
        site.clock.advance(ABSOLUTE / 5);
        browser.get("/me").await;
    }
    site.clock.advance(ABSOLUTE / 5);
    browser.get("/me").await;
    assert_eq!(seen.take(), ["ended absolute absolute"]);

    log_in("suspect").await;
    layer.sessions().revoke_all("suspect", None).await.unwrap();
    assert_eq!(seen.take(), ["signed out everywhere suspect", "ended suspect revoked"]);
    layer.sessions().revoke_all("suspect", None).await.unwrap();
    assert_eq!(seen.take(), ["signed out everywhere suspect"], "its end once");

    log_in("wanderer").await;
    site.browser().post("/login/wanderer").await;
    assert_eq!(seen.take(), ["created wanderer", "authenticated wanderer", "ended wanderer evicted"]);

    let browser = log_in("first").await;
    browser.post("/login/second").await;
    assert_eq!(seen.take(), ["created second", "authenticated second", "ended first superseded"]);

    let browser = log_in("alice").await;
    browser.post("/past").await;
    let refused = "refused alice the requested deadline is not in the future";
    assert_eq!(seen.take(), [refused, "ended alice revoked"]);
}

#[tokio::test]
async fn o1_the_event_of_a_session_revoked_by_its_id_names_its_user() {
    let (site, layer, seen) = observed(MemoryStore::new(), policy());
    site.browser().post("/login/alice").await;
    let record = layer.sessions().list(Some("alice"), None, 1).await.unwrap().sessions.remove(0);
    seen.take();
    assert!(layer.sessions().revoke(record.sid).await.unwrap());
    assert!(!layer.sessions().revoke(record.sid).await.unwrap());
    assert_eq!(seen.take(), ["ended alice revoked"]);
}

#[tokio::test]
async fn o1_what_the_limits_cut_is_an_event_for_each_setting() {
    let limits = Limits::new(10 * DAY, 20 * DAY).unwrap();
    let (site, _, seen) = observed(MemoryStore::new(), policy().with_limits(limits));
    site.browser().post("/long").await;
    let mut lines = seen.take();
    lines.sort_unstable();
    let expected = [
        "authenticated alice",
        "clamped alice expires_at",
        "clamped alice idle_expires_at",
        "clamped alice idle_lifetime",
        "created alice",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn o1_every_refusal_is_an_event_whether_by_a_hook_or_the_cap() {
    struct Deny;
    impl LoginHook for Deny {
        async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
            if login.subject() == "mallory" {
                login.deny("not today");
            }
            Ok(())
        }
    }
    let policy = policy().with_cap(Some(Cap::new(NonZeroU32::MIN, Overflow::Refuse)));
    let seen = Seen::default();
    let site =
        Site::with(|layer| layer.with_policy(policy).with_observer(seen.clone()).with_login_hook(Deny));
    assert_eq!(site.browser().post("/login/mallory").await.status, StatusCode::FORBIDDEN);
    assert_eq!(seen.take(), ["refused mallory denied: not today"]);
    site.browser().post("/login/alice").await;
    seen.take();
    assert_eq!(site.browser().post("/login/alice").await.status, StatusCode::FORBIDDEN);
    assert_eq!(seen.take(), ["refused alice this user has too many live sessions"]);
}

/// The first failure is an event, because an outage begins with it. The others are logged at debug
/// level (O3).
#[test]
fn o1_every_failure_of_the_store_is_logged_even_if_no_client_notices() {
    let lines = logged(async {
        let store = Probe::remote(MemoryStore::new());
        let (site, layer, seen) = observed(store.clone(), policy());
        let browser = site.browser();
        browser.post("/login/alice").await;
        seen.take();
        let sessions = layer.sessions();
        store.fail(Operation::Load, 1);
        browser.get("/me").await;
        assert_eq!(seen.take(), ["failed load the session store failed"]);
        site.clock.advance(Duration::from_millis(900));
        store.fail(Operation::Update, 1);
        assert_eq!(browser.get("/me").await.status, StatusCode::OK, "a mere touch");
        store.fail(Operation::Create, 1);
        browser.post("/login/alice").await;
        store.fail(Operation::End, 1);
        browser.post("/logout").await;
        for operation in [Operation::List, Operation::Revoke, Operation::Sweep] {
            store.fail(operation, 1);
        }
        assert!(sessions.list(None, None, 1).await.is_err());
        assert!(sessions.revoke_all("alice", None).await.is_err());
        assert!(sessions.sweep(1).await.is_err());
        assert_eq!(seen.take(), Vec::<String>::new());
    });
    let failures: Vec<_> = lines.iter().filter(|line| line.contains("failed")).collect();
    let operations = ["load", "update", "create", "end", "list", "revoke", "sweep"];
    assert_eq!(failures.len(), operations.len(), "{failures:?}");
    for (line, operation) in failures.into_iter().zip(operations) {
        let event = if operation == "load" {
            "ERROR tower_tenure session.store_failed"
        } else {
            "DEBUG tower_tenure session.store_call_failed"
        };
        assert!(line.starts_with(event) && line.contains(&format!("operation={operation} ")), "{line}");
        assert!(line.ends_with("error=the session store failed cause=made to fail"), "{line}");
    }
}

#[tokio::test]
async fn o1_all_observers_are_called_in_the_order_they_were_added() {
    let seen = Arc::new(Mutex::new(String::new()));
    let (first, second) = (Arc::clone(&seen), Arc::clone(&seen));
    let site = Site::with(|layer| {
        layer
            .with_observer_fn(move |_: &Event<'_>| first.lock().unwrap().push('1'))
            .with_observer_fn(move |_: &Event<'_>| second.lock().unwrap().push('2'))
    });
    site.browser().post("/login/alice").await;
    assert_eq!(*seen.lock().unwrap(), "1212");
}

#[tokio::test]
async fn o1_about_one_in_64_recorded_interactions_is_emitted() {
    let (site, _, seen) = observed(MemoryStore::new(), policy());
    let mut requests = 0;
    for _ in 0..64 {
        let browser = site.browser();
        browser.post("/login/alice").await;
        for _ in 0..100 {
            site.clock.advance(Duration::from_millis(137));
            browser.get("/").await;
            requests += 1;
        }
    }
    let lines = std::mem::take(&mut *seen.0.lock().unwrap());
    let extended = lines.iter().filter(|line| line.starts_with("extended")).count();
    // The expected number is 100 of 6,400. The sids are random, and the standard deviation is four.
    assert!((60..150).contains(&extended), "{extended} of {requests}");
}

#[tokio::test]
async fn o1_a_passive_request_extends_nothing_and_emits_nothing() {
    let (site, _, seen) = observed(MemoryStore::new(), policy());
    let browser = site.browser();
    browser.post("/login/alice").await;
    for _ in 0..500 {
        site.clock.advance(Duration::from_millis(1));
        let poll = Request::get("/").header("session-activity", "passive").body(Body::empty()).unwrap();
        browser.request(poll).await;
    }
    assert!(seen.0.lock().unwrap().iter().all(|line| !line.starts_with("extended")));
}

// tracing

/// Records events as lines: `INFO tower_tenure session.ended sid reason=idle
/// message=session.ended`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>, Arc<AtomicU64>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            // The value is random, so only its presence and length are checked.
            "sid" => {
                assert_eq!(format!("{value:?}").len(), 22);
                self.0.push_str(" sid");
            }
            name => write!(self.0, " {name}={value:?}").unwrap(),
        }
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_tenure")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(self.1.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        let line = format!("{} {} {}{}", metadata.level(), metadata.target(), metadata.name(), fields.0);
        self.0.lock().unwrap().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Runs this with a log and returns its lines. The message repeats the name and is left out.
pub(crate) fn logged(what: impl Future<Output = ()>) -> Vec<String> {
    let log = Log::default();
    logs::under(log.clone(), what);
    let lines = std::mem::take(&mut *log.0.lock().unwrap());
    lines
        .into_iter()
        .map(|line| {
            let name = line.split(' ').nth(2).unwrap().to_owned();
            line.replace(&format!(" message={name}"), "")
        })
        .collect()
}

#[test]
fn o1_names_targets_levels_and_fields_are_what_the_documentation_says() {
    let lines = logged(async {
        let store = Probe::remote(MemoryStore::new());
        let limits = Limits::new(10 * DAY, 20 * DAY).unwrap();
        let (site, _, _) = observed(store.clone(), policy().with_limits(limits));
        let browser = site.browser();
        browser.post("/login/alice").await;
        browser.post("/rotate").await;
        let (late, witness) = (browser.copy(), browser.copy());
        store.fail(Operation::Load, 1);
        browser.get("/me").await;
        browser.post("/logout").await;
        witness.get("/me").await;
        late.post("/past").await;
        site.browser().post("/long").await;
    });
    let expected = [
        "INFO tower_tenure session.created sid",
        "INFO tower_tenure session.authenticated sid",
        "INFO tower_tenure session.rotated sid",
        "ERROR tower_tenure session.store_failed store=\"memory\" address=\"\" sid operation=load error=the session store failed cause=made to fail",
        "INFO tower_tenure session.ended sid reason=signed_out",
        "DEBUG tower_tenure session.denied reason=\"signed_out\" detail=\"You have signed out.\"",
        "WARN tower_tenure session.refused reason=the requested deadline is not in the future",
        "WARN tower_tenure session.clamped sid setting=\"expires_at\"",
        "WARN tower_tenure session.clamped sid setting=\"idle_lifetime\"",
        "WARN tower_tenure session.clamped sid setting=\"idle_expires_at\"",
        "INFO tower_tenure session.created sid",
        "INFO tower_tenure session.authenticated sid",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn o3_each_refusal_is_logged_with_more_of_its_reason_than_the_client_gets() {
    let lines = logged(async {
        let guarded = |path: &str, guard: RequireSession| {
            axum::Router::new().route(path, get(async || "let through")).layer(guard)
        };
        let routes = usual_routes()
            .merge(guarded("/recent", RequireSession::new().with_authentication_within(SECOND)))
            .merge(guarded("/mfa", RequireSession::new().with_method("mfa")))
            .merge(guarded("/page", RequireSession::new().with_login_page(LoginPage::from_static("/login"))));
        let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| {
            layer.with_policy(policy()).with_endpoints(Endpoints::at("/session").unwrap())
        });
        let browser = site.browser();
        browser.get("/me").await;
        browser
            .request(Request::get("/page").header("sec-fetch-mode", "navigate").body(Body::empty()).unwrap())
            .await;
        browser.set_cookies(Some("__Host-id=junk"));
        browser.get("/me").await;
        browser.set_cookies(Some(&format!("__Host-id={}", "A".repeat(64))));
        browser.get("/me").await;
        browser.request(Request::put("/data/x").body(Body::from("x")).unwrap()).await;
        browser.get("/me").await;
        browser.post("/login/alice").await;
        browser.get("/mfa").await;
        site.clock.advance(SECOND);
        browser.get("/recent").await;
        site.clock.advance(IDLE);
        let other_tab = browser.copy();
        browser.get("/me").await;
        let extend = Request::post("/session/extend").header("sec-fetch-site", "same-origin");
        other_tab.request(extend.body(Body::empty()).unwrap()).await;
        let extend = Request::post("/session/extend").header("sec-fetch-site", "cross-site");
        other_tab.request(extend.body(Body::empty()).unwrap()).await;
    });
    let denied: Vec<_> = lines.iter().filter_map(|line| line.split_once("session.denied ")).collect();
    assert!(denied.iter().all(|(before, _)| *before == "DEBUG tower_tenure "));
    let reasons: Vec<_> = denied.iter().map(|(_, fields)| fields.split(" detail").next().unwrap()).collect();
    let expected = [
        "reason=\"none\"",
        "reason=\"none\"",
        "reason=\"malformed\"",
        "reason=\"unknown\"",
        "sid reason=\"anonymous\"",
        "sid reason=\"step_up\"",
        "sid reason=\"step_up\"",
        "reason=\"idle\"",
        "reason=\"idle\"",
        "reason=\"cross_site\"",
    ];
    assert_eq!(reasons, expected);
    assert_ne!(denied[5], denied[6], "the detail says which rule");
}

#[test]
fn o1_an_extension_is_logged_at_debug() {
    let lines = logged(async {
        let (site, _, _) = observed(MemoryStore::new(), policy());
        let browser = site.browser();
        browser.post("/login/alice").await;
        for _ in 0..256 {
            site.clock.advance(Duration::from_millis(1));
            browser.get("/").await;
        }
    });
    let extended: Vec<_> = lines.iter().filter(|line| line.contains("extended")).collect();
    // Every low byte of the time occurs once, and four of them match a session's id.
    assert_eq!(extended, ["DEBUG tower_tenure session.extended sid"; 4]);
}

#[test]
fn o1_each_end_reason_has_its_stable_text() {
    let lines = logged(async {
        let policy = policy().with_cap(Some(Cap::new(NonZeroU32::MIN, Overflow::Evict)));
        let (site, layer, _) = observed(MemoryStore::new(), policy);
        let sessions = layer.sessions();
        let browser = site.browser();
        browser.post("/login/a").await;
        browser.post("/login/b").await;
        site.browser().post("/login/b").await;
        sessions.revoke_all("b", None).await.unwrap();
        let (idle, absolute) = (site.browser(), site.browser());
        idle.post("/login/c").await;
        absolute.post("/login/d").await;
        for _ in 0..5 {
            site.clock.advance(ABSOLUTE / 5);
            absolute.get("/").await;
        }
        idle.get("/").await;
    });
    let reasons: Vec<_> = lines.iter().filter_map(|line| line.split_once("ended sid reason=")).collect();
    let reasons: Vec<_> = reasons.into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["superseded", "evicted", "revoked", "absolute", "idle"]);
}

#[test]
fn o1_no_log_line_names_a_user() {
    let lines = logged(async {
        let (site, layer, _) = observed(MemoryStore::new(), policy());
        let browser = site.browser();
        browser.post("/login/uSeR-oF-oUrS").await;
        browser.post("/rotate").await;
        layer.sessions().revoke_all("uSeR-oF-oUrS", None).await.unwrap();
        browser.get("/me").await;
    });
    assert!(lines.len() >= 4);
    assert!(!lines.join("\n").contains("uSeR"));
}
