//! The management API on the wire (SPEC M1–M3, MANAGEMENT-API): what existing clients send, and
//! what they receive.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{body::Body, http::Method};
use futures_util::future::pending;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_tenure::{
    Error, ErrorKind, MemoryStore, Mode, Policy, SessionLayer, SharedPolicy,
    events::{Operation, RecentEvents},
    management::{Caller, Management, Scopes, StaticTokens},
    policy::Limits,
    store::{SettingsStore, StoredSettings},
    testing::Probe,
};

use crate::common::{Browser, Site, search, usual_routes};

/// A site and the API over its sessions.
struct Place {
    site: Site,
    api: Management,
    store: Probe<MemoryStore>,
    settings: Settings,
    policy: SharedPolicy,
}

/// A settings store that can be made to fail.
#[derive(Clone, Default)]
struct Settings {
    store: MemoryStore,
    is_away: Arc<AtomicBool>,
}

impl Settings {
    fn check(&self) -> Result<(), Error> {
        if self.is_away.load(Ordering::Relaxed) { Err(Error::store("away")) } else { Ok(()) }
    }
}

impl SettingsStore for Settings {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        self.check()?;
        self.store.load_settings(realm).await
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        self.check()?;
        self.store.save_settings(realm, text, after).await
    }

    async fn settings_changed(&self) {
        pending::<()>().await;
    }
}

const TOKEN: &str = "root-token-of-the-tests";
const SCOPES: [&str; 5] =
    ["read:tenant_settings", "update:tenant_settings", "read:sessions", "update:sessions", "delete:sessions"];

struct Reply {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The status and `errorCode` of a refusal. Also checks the refusal's form.
    fn refusal(&self) -> (u16, String) {
        let said = self.json();
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(said["statusCode"], self.status, "{said}");
        assert!(said["error"].is_string() && !said["message"].as_str().unwrap().is_empty(), "{said}");
        (self.status, said["errorCode"].as_str().unwrap_or_default().to_owned())
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Place {
    async fn new() -> Self {
        Self::with(Policy::default()).await
    }

    async fn with(policy: Policy) -> Self {
        let (store, settings) = (Probe::remote(MemoryStore::new()), Settings::default());
        let shared = SharedPolicy::open(settings.clone(), policy).await.unwrap();
        let recent = RecentEvents::new(20);
        let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| {
            layer.with_policy(shared.live()).with_observer(recent.clone())
        });
        let mut tokens = StaticTokens::new();
        for (token, caller) in [
            (TOKEN, Caller::new(Scopes::all()).with_name("root")),
            ("token-for-nothing", Scopes::of([""; 0]).into()),
        ] {
            tokens = tokens.with(token, caller).unwrap();
        }
        for scope in SCOPES {
            tokens = tokens.with(&format!("token-for-{scope}"), Scopes::of([scope])).unwrap();
        }
        let api = Management::new(site.sessions.clone(), shared.clone(), tokens).with_recent_events(recent);
        Self { site, api, store, settings, policy: shared }
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.api.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        assert_eq!(parts.headers["cache-control"], "no-store");
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply { status: parts.status.as_u16(), headers: parts.headers, text }
    }

    async fn ask(&self, method: Method, path: &str, body: impl Into<Body>) -> Reply {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {TOKEN}"));
        self.send(request.header("content-type", "application/json").body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, "").await
    }

    async fn patch(&self, body: Value) -> Reply {
        self.ask(Method::PATCH, "/tenants/settings", body.to_string()).await
    }

    async fn log_in(&self, user: &str) -> (Browser, String) {
        let browser = self.site.log_in(user).await;
        let sessions = self.get(&format!("/users/{user}/sessions?take=100")).await.json();
        let newest =
            sessions["sessions"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
        self.site.clock.advance(Duration::from_secs(1));
        (browser, newest)
    }
}

fn defaults() -> Value {
    json!({
        "session_lifetime": 168,
        "idle_session_lifetime": 72,
        "ephemeral_session_lifetime": 72,
        "idle_ephemeral_session_lifetime": 24,
        "session_cookie": { "mode": "persistent" },
        "allowed_logout_urls": [],
    })
}

#[tokio::test]
async fn m2_settings_are_shown_whole_in_hours_and_filtered_by_fields() {
    let place = Place::new().await;
    let settings = place.get("/api/v2/tenants/settings").await;
    assert_eq!((settings.status, settings.json()), (200, defaults()));
    assert_eq!(place.get("/tenants/settings").await.json(), defaults(), "a router took the base away");
    let some = place.get("/tenants/settings?fields=session_lifetime,%20session_cookie").await.json();
    assert_eq!(some, json!({ "session_lifetime": 168, "session_cookie": { "mode": "persistent" } }));
    let others = place.get("/tenants/settings?fields=session_lifetime&include_fields=false").await.json();
    assert_eq!(others.as_object().unwrap().len(), 5);
    assert!(others.get("session_lifetime").is_none());
    assert_eq!(place.get("/tenants/settings?include_fields=true&friendly=1").await.json(), defaults());
    let refused = place.get("/tenants/settings?include_fields=maybe").await;
    assert_eq!(refused.refusal(), (400, "invalid_query_string".into()));
}

#[tokio::test]
async fn m2_a_patch_changes_what_it_names_and_answers_with_all() {
    let place = Place::new().await;
    for (body, changed) in [
        (json!({ "session_lifetime": 1 }), json!({ "session_lifetime": 1 })),
        (json!({ "session_lifetime_in_minutes": 90 }), json!({ "session_lifetime": 1.5 })),
        (json!({ "idle_session_lifetime_in_minutes": 5 }), json!({ "idle_session_lifetime": 5.0 / 60.0 })),
        (
            json!({ "ephemeral_session_lifetime": 2, "idle_ephemeral_session_lifetime_in_minutes": 60 }),
            json!({ "ephemeral_session_lifetime": 2, "idle_ephemeral_session_lifetime": 1 }),
        ),
        (
            json!({ "session_cookie": { "mode": "non-persistent" } }),
            json!({ "session_cookie": { "mode": "non-persistent" } }),
        ),
        (json!({ "session_cookie": null }), json!({ "session_cookie": { "mode": "persistent" } })),
        (
            json!({ "allowed_logout_urls": ["https://*.example.com/bye", "http://localhost:3000"] }),
            json!({ "allowed_logout_urls": ["https://*.example.com/bye", "http://localhost:3000"] }),
        ),
        (json!({ "allowed_logout_urls": [] }), json!({ "allowed_logout_urls": [] })),
        (json!({ "session_lifetime": 8760 }), json!({ "session_lifetime": 8760 })),
        (json!({ "session_lifetime_in_minutes": 525_600 }), json!({ "session_lifetime": 8760 })),
    ] {
        let mut wanted = place.get("/tenants/settings").await.json();
        wanted.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let answer = place.patch(body.clone()).await;
        assert_eq!((answer.status, answer.json()), (200, wanted.clone()), "{body}");
        assert_eq!(place.get("/tenants/settings").await.json(), wanted, "{body}");
    }
}

#[tokio::test]
async fn m2_what_is_wrong_is_refused_with_its_property_and_nothing_of_it_is_applied() {
    let place = Place::new().await;
    for (body, property) in [
        ("", ""),
        ("{", ""),
        ("[]", ""),
        ("7", ""),
        ("null", ""),
        ("{}", ""),
        (r#"{"session_lifetime": 5, "nonsense": 1}"#, "nonsense"),
        (r#"{"session_lifetime": 5, "idle_session_lifetime": 0}"#, "idle_session_lifetime"),
        (r#"{"session_lifetime": -1}"#, "session_lifetime"),
        (r#"{"session_lifetime": 1.0}"#, "session_lifetime"),
        (r#"{"session_lifetime": 1.5}"#, "session_lifetime"),
        (r#"{"session_lifetime": 1e3}"#, "session_lifetime"),
        (r#"{"session_lifetime": "5"}"#, "session_lifetime"),
        (r#"{"session_lifetime": null}"#, "session_lifetime"),
        (r#"{"session_lifetime": true}"#, "session_lifetime"),
        (r#"{"session_lifetime": [5]}"#, "session_lifetime"),
        (r#"{"session_lifetime": 8761}"#, "session_lifetime"),
        (r#"{"session_lifetime": 99999999999999999999999}"#, "session_lifetime"),
        (r#"{"session_lifetime_in_minutes": 525601}"#, "session_lifetime_in_minutes"),
        (r#"{"session_lifetime_in_minutes": 18446744073709551615}"#, "session_lifetime_in_minutes"),
        (r#"{"session_lifetime": 5, "session_lifetime_in_minutes": 300}"#, "session_lifetime"),
        (r#"{"idle_session_lifetime_in_minutes": 0}"#, "idle_session_lifetime_in_minutes"),
        (r#"{"session_cookie": {}}"#, "session_cookie.mode"),
        (r#"{"session_cookie": {"mode": "sometimes"}}"#, "session_cookie.mode"),
        (r#"{"session_cookie": {"mode": null}}"#, "session_cookie.mode"),
        (r#"{"session_cookie": {"mode": "persistent", "more": 1}}"#, "session_cookie"),
        (r#"{"session_cookie": "persistent"}"#, "session_cookie"),
        (r#"{"allowed_logout_urls": "https://a.example"}"#, "allowed_logout_urls"),
        (r#"{"allowed_logout_urls": ["https://a.example", 7]}"#, "allowed_logout_urls[1]"),
        (r#"{"allowed_logout_urls": ["javascript:alert(1)"]}"#, "allowed_logout_urls[0]"),
        (r#"{"allowed_logout_urls": ["https://*.com"], "session_lifetime": 5}"#, "allowed_logout_urls[0]"),
    ] {
        let refused = place.ask(Method::PATCH, "/tenants/settings", body).await;
        assert_eq!(refused.refusal(), (400, "invalid_body".into()), "{body}");
        let message = refused.json()["message"].as_str().unwrap().to_owned();
        let end = if property.is_empty() { "'".to_owned() } else { format!("' on property {property}") };
        assert!(
            message.starts_with("Payload validation error: '") && message.ends_with(&end),
            "{body}: {message}"
        );
        assert_eq!(place.get("/tenants/settings").await.json(), defaults(), "{body}");
    }
}

#[tokio::test]
async fn l4_a_value_above_the_limit_is_taken_and_superseded() {
    let place = Place::with(Policy::default().with_limits(Limits::SELF_SERVICE)).await;
    let shown = place.patch(json!({ "session_lifetime": 8760, "idle_session_lifetime": 73 })).await.json();
    assert_eq!((&shown["session_lifetime"], &shown["idle_session_lifetime"]), (&json!(720), &json!(72)));
    let limits = place.get("/tenants/session-limits").await.json();
    let days = 24 * 60;
    assert_eq!(
        limits,
        json!({
            "max_sessions": 1000, "overflow": "evict",
            "max_idle_lifetime_in_minutes": 3 * days, "max_lifetime_in_minutes": 30 * days,
        })
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(search::cases(50)))]

    /// Fractions of an hour have enough digits for whole minutes.
    #[test]
    fn m2_minutes_come_back_from_hours(minutes in 1..=525_600_u32) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hours = runtime.block_on(async {
            let place = Place::new().await;
            let answer = place.patch(json!({ "session_lifetime_in_minutes": minutes })).await;
            answer.json()["session_lifetime"].as_f64().unwrap()
        });
        prop_assert!((hours * 60.0 - f64::from(minutes)).abs() < 1e-6);
    }

    /// Any request gets an answer in JSON, and never a 5xx.
    #[test]
    fn m1_nothing_that_is_sent_is_the_servers_fault(
        method in prop::sample::select(vec!["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]),
        path in r"(/api/v2)?(/(tenants|settings|session-limits|sessions|users|revoke|session-events|[a-zA-Z0-9%~._-]{0,24})){0,4}/?",
        query in r"((take|from|q|user|except|fields|include_fields|[a-z]{1,4})=[a-zA-Z0-9%+.-]{0,12}&?){0,3}",
        kind in prop::sample::select(vec!["application/json", "application/x-www-form-urlencoded", "text/plain", "\u{e4}"]),
        body in prop_oneof![
            "[\\PC]{0,60}",
            r#"\{"(session_lifetime|session_cookie|session_metadata|max_sessions|overflow)": ?(-?[0-9.e]{1,9}|null|"[a-z]{0,5}"|\{"[a-z]{1,4}": ?"x"\}|\[\])\}"#,
            r"(session_lifetime|session_cookie|allowed_logout_urls)(\[[a-z0-9]{0,4}\]?)?=[a-z0-9%]{0,6}&?",
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let place = Place::new().await;
            let Ok(uri) = format!("{path}?{query}").parse::<http::Uri>() else { return };
            let request = Request::builder().method(method).uri(uri).header("authorization", format!("Bearer {TOKEN}"));
            let reply = place.send(request.header("content-type", kind).body(Body::from(body)).unwrap()).await;
            assert!(reply.status < 500, "{} {}", reply.status, reply.text);
            if reply.status >= 400 {
                reply.refusal();
            } else {
                reply.json();
            }
        });
    }
}

#[tokio::test]
async fn m2_forms_are_taken_too() {
    let place = Place::new().await;
    let form = async |body: &str| {
        let request = Request::patch("/tenants/settings").header("authorization", format!("bearer {TOKEN}"));
        let request = request.header("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        place.send(request.body(Body::from(body.to_owned())).unwrap()).await
    };
    let shown = form(
        "session_lifetime=5&idle_session_lifetime_in_minutes=30&session_cookie[mode]=non-persistent\
        &allowed_logout_urls[]=https%3A%2F%2Fa.example%2F&allowed_logout_urls[1]=https://b.example/",
    );
    let shown = shown.await.json();
    assert_eq!((&shown["session_lifetime"], &shown["idle_session_lifetime"]), (&json!(5), &json!(0.5)));
    assert_eq!(shown["session_cookie"], json!({ "mode": "non-persistent" }));
    assert_eq!(shown["allowed_logout_urls"], json!(["https://a.example/", "https://b.example/"]));
    for wrong in
        ["session_lifetime=1.0", "session_lifetime=", "session_lifetime=1&session_lifetime=2", "", "x=1"]
    {
        assert_eq!(form(wrong).await.refusal(), (400, "invalid_body".into()), "{wrong}");
    }
    assert_eq!(place.get("/tenants/settings").await.json(), shown);
}

/// Every call of the API with the scope that it needs.
const CALLS: [(&str, &str, &str); 13] = [
    ("GET", "/tenants/settings", "read:tenant_settings"),
    ("PATCH", "/tenants/settings", "update:tenant_settings"),
    ("GET", "/tenants/session-limits", "read:tenant_settings"),
    ("PUT", "/tenants/session-limits", "update:tenant_settings"),
    ("GET", "/sessions", "read:sessions"),
    ("DELETE", "/sessions", "delete:sessions"),
    ("GET", "/session-events", "read:sessions"),
    ("GET", "/sessions/AAECAwQFBgcICQoLDA0ODw", "read:sessions"),
    ("PATCH", "/sessions/AAECAwQFBgcICQoLDA0ODw", "update:sessions"),
    ("DELETE", "/sessions/AAECAwQFBgcICQoLDA0ODw", "delete:sessions"),
    ("POST", "/sessions/AAECAwQFBgcICQoLDA0ODw/revoke", "delete:sessions"),
    ("GET", "/users/ada/sessions", "read:sessions"),
    ("DELETE", "/users/ada/sessions", "delete:sessions"),
];

#[tokio::test]
async fn m1_a_token_is_needed_in_the_header_and_a_scope_with_it() {
    let place = Place::new().await;
    for (method, path, scope) in CALLS {
        let with = async |authorization: &[&str], query: &str| {
            let mut request = Request::builder().method(method).uri(format!("{path}{query}"));
            for line in authorization {
                request = request.header("authorization", *line);
            }
            place.send(request.body(Body::empty()).unwrap()).await
        };
        for nothing in [&[][..], &["Basic cm9vdDp0b2tlbg=="]] {
            let refused = with(nothing, "?access_token=root-token-of-the-tests").await;
            assert_eq!(refused.refusal(), (401, String::new()), "{path}");
            assert_eq!(
                refused.header("www-authenticate"),
                "Bearer realm=\"management\"",
                "no error code is due"
            );
        }
        for bad in [
            &["Bearer wrong"][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer root-token-of-the-tests2"],
            &["Bearer root-token-of-the-test"],
            &["Bearer root-token-of-the-tests", "Bearer root-token-of-the-tests"],
            &["Bearer root-token-of-the-tests, Bearer root-token-of-the-tests"],
        ] {
            let refused = with(bad, "").await;
            assert_eq!(refused.refusal(), (401, "invalid_token".into()), "{bad:?}");
            assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
        }
        for other in SCOPES.into_iter().filter(|&other| other != scope).chain(["nothing"]) {
            let refused = with(&[&format!("Bearer token-for-{other}")], "").await;
            assert_eq!(refused.refusal(), (403, "insufficient_scope".into()), "{method} {path} with {other}");
            let message = format!("Insufficient scope, expected any of: {scope}");
            assert_eq!(refused.json()["message"], message);
            let challenge = refused.header("www-authenticate");
            assert!(
                challenge.contains("error=\"insufficient_scope\"") && challenge.contains(&message),
                "{challenge}"
            );
        }
        for good in [&*format!("token-for-{scope}"), TOKEN] {
            let reply = with(&[&format!("BEARER {good}")], "").await;
            assert!(![401, 403].contains(&reply.status), "{method} {path}: {}", reply.status);
        }
    }
}

#[tokio::test]
async fn m1_what_is_not_there_is_404_and_another_method_405() {
    let place = Place::new().await;
    for path in [
        "/",
        "",
        "/api/v2",
        "/api/v2/",
        "/tenants",
        "/tenants/settings/",
        "/tenants/settings/x",
        "/sessions/",
        "/sessions//revoke",
        "/users//sessions",
        "/users/ada",
        "/users/ada/sessions/",
        "/users/%ff/sessions",
        "/sessions/x/y",
        "/v2/sessions",
        "/api/v1/sessions",
        // E10: whole segments only, and no NUL, which some stores cannot look up.
        "/api/v2foo/sessions",
        "/api/v2/api/v2foo/sessions",
        "/api/v2/api/v2/sessions",
        "/tenants%2Fsettings",
        "/sessions/%00",
        "/users/a%00b/sessions",
    ] {
        let path = if path.is_empty() { "/" } else { path };
        assert_eq!(place.get(path).await.refusal(), (404, "not_found".into()), "{path}");
    }
    for (method, path, allow) in [
        ("POST", "/tenants/settings", "GET, HEAD, PATCH"),
        ("PUT", "/tenants/settings", "GET, HEAD, PATCH"),
        ("OPTIONS", "/tenants/settings", "GET, HEAD, PATCH"),
        ("POST", "/tenants/session-limits", "GET, HEAD, PUT"),
        ("POST", "/sessions", "GET, HEAD, DELETE"),
        ("DELETE", "/session-events", "GET, HEAD"),
        ("POST", "/sessions/x", "GET, HEAD, PATCH, DELETE"),
        ("GET", "/sessions/x/revoke", "POST"),
        ("POST", "/users/x/sessions", "GET, HEAD, DELETE"),
    ] {
        let refused = place.ask(method.parse().unwrap(), path, "").await;
        assert_eq!(refused.refusal(), (405, "method_not_allowed".into()), "{method} {path}");
        assert_eq!(refused.header("allow"), allow);
    }
    assert_eq!(place.ask(Method::HEAD, "/tenants/settings", "").await.status, 200);
}

#[tokio::test]
async fn m1_a_body_has_a_kind_and_a_size() {
    let place = Place::new().await;
    let send = async |kind: Option<&str>, body: Body| {
        let mut request =
            Request::patch("/tenants/settings").header("authorization", format!("Bearer {TOKEN}"));
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        place.send(request.body(body).unwrap()).await
    };
    let good = || Body::from(r#"{"session_lifetime": 5}"#);
    for kind in ["text/plain", "application/jsonp", "multipart/form-data; boundary=x", ""] {
        assert_eq!(
            send(Some(kind), good()).await.refusal(),
            (415, "unsupported_media_type".into()),
            "{kind}"
        );
    }
    for kind in [None, Some("Application/JSON;charset=utf-8")] {
        assert_eq!(send(kind, good()).await.status, 200);
    }
    let padded = |length: usize| format!("{}{}", r#"{"session_lifetime": 5}"#, " ".repeat(length - 23));
    assert_eq!(send(None, padded(65_536).into()).await.status, 200);
    assert_eq!(send(None, padded(65_537).into()).await.refusal(), (413, "payload_too_large".into()));
    // Without a `Content-Length`.
    let chunks = (0..70).map(|_| Ok::<_, std::io::Error>(" ".repeat(1000)));
    let endless = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(send(None, endless).await.refusal(), (413, "payload_too_large".into()));
    let cut = futures_util::stream::iter([Ok("{"), Err(std::io::Error::other("gone"))]);
    assert_eq!(send(None, Body::from_stream(cut)).await.refusal(), (400, "invalid_body".into()));
}

#[tokio::test]
async fn m1_a_session_is_shown_with_all_fields_and_a_name_with_a_bar_is_found() {
    let place = Place::new().await;
    let user = "auth0%7C507f%2Fx";
    let (browser, id) = place.log_in(user).await;
    assert_eq!(browser.post("/add/count").await.body, "1");
    let session = place.get(&format!("/sessions/{id}")).await;
    assert_eq!(session.status, 200);
    let session = session.json();
    let mut names: Vec<_> = session.as_object().unwrap().keys().cloned().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "authenticated_at",
            "authentication",
            "clients",
            "cookie",
            "created_at",
            "device",
            "expires_at",
            "id",
            "idle_expires_at",
            "last_interacted_at",
            "session_metadata",
            "updated_at",
            "user_id"
        ]
    );
    assert_eq!((&session["id"], &session["user_id"]), (&json!(id), &json!("auth0|507f/x")));
    assert_eq!(session["cookie"], json!({ "mode": "persistent" }));
    assert_eq!(session["session_metadata"], Value::Null);
    let device: Vec<_> = session["device"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        device,
        [
            "bound",
            "description",
            "initial_asn",
            "initial_ip",
            "initial_user_agent",
            "last_asn",
            "last_ip",
            "last_user_agent"
        ]
    );
    for name in [
        "created_at",
        "updated_at",
        "authenticated_at",
        "idle_expires_at",
        "expires_at",
        "last_interacted_at",
    ] {
        let moment = session[name].as_str().unwrap();
        assert!(moment.len() == 24 && moment.ends_with('Z') && moment.as_bytes()[19] == b'.', "{moment}");
    }
    assert!(!session.to_string().contains("count"), "nothing of what handlers keep");
    assert_eq!(place.get(&format!("/users/{user}/sessions")).await.json(), json!({ "sessions": [session] }));
    assert_eq!(place.get("/users/nobody/sessions").await.json(), json!({ "sessions": [] }));
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
}

#[tokio::test]
async fn m1_what_is_no_live_session_is_404() {
    let place = Place::new().await;
    let (browser, ended) = place.log_in("ada").await;
    browser.post("/logout").await;
    let (_, expired) = place.log_in("ada").await;
    place.site.clock.advance(Duration::from_secs(72 * 3600));
    for id in ["AAECAwQFBgcICQoLDA0ODw", "nonsense", "..", &ended, &expired] {
        for (method, path, body) in [
            (Method::GET, format!("/sessions/{id}"), ""),
            (Method::PATCH, format!("/sessions/{id}"), r#"{"session_metadata": {}}"#),
            (Method::POST, format!("/sessions/{id}/revoke"), ""),
        ] {
            let refused = place.ask(method.clone(), &path, body).await;
            assert_eq!(refused.refusal(), (404, "inexistent_session".into()), "{method} {path}");
            assert_eq!(refused.json()["message"], "The session does not exist.");
        }
        let removed = place.ask(Method::DELETE, &format!("/sessions/{id}"), "").await;
        assert_eq!((removed.status, removed.json()), (202, json!({})), "gone already, or never there");
    }
    assert_eq!(place.get("/users/ada/sessions").await.json(), json!({ "sessions": [] }));
    assert_eq!(place.get("/sessions").await.json(), json!({ "sessions": [] }));
}

#[tokio::test]
async fn m1_metadata_replaces_the_whole_and_moves_no_deadline() {
    let place = Place::new().await;
    let (_, id) = place.log_in("ada").await;
    let path = format!("/sessions/{id}");
    let before = place.get(&path).await.json();
    place.site.clock.advance(Duration::from_secs(60));
    let set = async |metadata: Value| {
        place.ask(Method::PATCH, &path, json!({ "session_metadata": metadata }).to_string()).await
    };
    for (metadata, shown) in [
        (json!({ "risk": "low", "a-b_C9": "\u{fc}".repeat(255) }), None),
        (json!({ "other": "" }), None),
        ((0..25).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into(), None),
        (json!({ ("k".repeat(255)): "v" }), None),
        (json!(null), Some(Value::Null)),
        (json!({ "again": "x" }), None),
        (json!({}), Some(Value::Null)),
    ] {
        let changed = set(metadata.clone()).await;
        assert_eq!(
            (changed.status, &changed.json()["session_metadata"]),
            (200, shown.as_ref().unwrap_or(&metadata))
        );
        let after = place.get(&path).await.json();
        assert_eq!(changed.json(), after, "the whole session");
        for name in ["expires_at", "idle_expires_at", "last_interacted_at", "created_at"] {
            assert_eq!(after[name], before[name], "{name}");
        }
        assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    }
    set(json!({ "kept": "x" })).await;
    for wrong in [
        json!({ "no spaces": "x" }),
        json!({ "": "x" }),
        json!({ "\u{fc}": "x" }),
        json!({ "k": 7 }),
        json!({ "k": null }),
        json!({ "k": "x".repeat(256) }),
        json!({ ("k".repeat(256)): "x" }),
        (0..26).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into(),
        json!("text"),
        json!([]),
    ] {
        assert_eq!(set(wrong.clone()).await.refusal(), (400, "invalid_body".into()), "{wrong}");
    }
    for wrong in ["{}", r#"{"session_metadata": {}, "user_id": "eve"}"#, r#"{"user_id": "eve"}"#, "[]"] {
        let refused = place.ask(Method::PATCH, &path, wrong).await;
        assert_eq!(refused.refusal(), (400, "invalid_body".into()), "{wrong}");
    }
    assert_eq!(place.get(&path).await.json()["session_metadata"], json!({ "kept": "x" }));
}

#[tokio::test]
async fn m3_the_very_next_request_sees_a_revocation_and_its_reason() {
    let place = Place::new().await;
    let revoked = async |browser: &Browser| {
        let reply = browser.get("/me").await;
        (reply.status, reply.reason()) == (StatusCode::UNAUTHORIZED, Some("revoked".into()))
    };
    let (one, id) = place.log_in("ada").await;
    let accepted = place.ask(Method::POST, &format!("/sessions/{id}/revoke"), "").await;
    assert_eq!((accepted.status, accepted.json()), (202, json!({})));
    assert!(revoked(&one).await);
    let again = place.ask(Method::POST, &format!("/sessions/{id}/revoke"), "").await;
    assert_eq!(again.refusal(), (404, "inexistent_session".into()));

    let (two, id) = place.log_in("ada").await;
    assert_eq!(place.ask(Method::DELETE, &format!("/sessions/{id}"), "").await.status, 202);
    assert!(revoked(&two).await);

    let (three, id) = place.log_in("ada").await;
    let (four, _) = place.log_in("ada").await;
    let (bob, _) = place.log_in("bob").await;
    let all_others = format!("/users/ada/sessions?except={id}");
    assert_eq!(place.ask(Method::DELETE, &all_others, "").await.status, 202);
    assert!(revoked(&four).await);
    assert_eq!(
        (three.get("/me").await.status, bob.get("/me").await.status),
        (StatusCode::OK, StatusCode::OK)
    );
    let refused = place.ask(Method::DELETE, "/users/ada/sessions?except=nonsense", "").await;
    assert_eq!(refused.refusal(), (400, "invalid_query_string".into()));
    assert_eq!(three.get("/me").await.status, StatusCode::OK);
    assert_eq!(place.ask(Method::DELETE, "/users/ada/sessions", "").await.status, 202);
    assert!(revoked(&three).await);
    assert_eq!(bob.get("/me").await.status, StatusCode::OK);

    let events = place.get("/session-events?take=100").await.json();
    let ended: Vec<_> =
        events["events"].as_array().unwrap().iter().filter(|event| event["event"] == "ended").collect();
    assert_eq!(ended.len(), 4);
    assert!(ended.iter().all(|event| event["reason"] == "revoked" && event["user"] == "ada"), "{ended:?}");
}

#[tokio::test]
async fn m1_pages_are_stable_under_logins_ends_and_touches() {
    let place = Place::new().await;
    let mut known = Vec::new();
    for _ in 0..7 {
        known.push(place.log_in("ada").await);
    }
    let page =
        async |query: &str| place.get(&format!("/users/ada/sessions?include_totals=true&{query}")).await;
    let ids = |page: &Value| -> Vec<String> {
        page["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| session["id"].as_str().unwrap().into())
            .collect()
    };
    let first = page("take=3").await.json();
    let from = first["next"].as_str().unwrap();
    assert_eq!(ids(&first), known[..3].iter().map(|(_, id)| id.clone()).collect::<Vec<_>>());
    known[6].0.get("/me").await;
    known[2].0.post("/logout").await;
    known[4].0.post("/logout").await;
    let (_, late) = place.log_in("ada").await;
    let second = page(&format!("take=2&from={from}")).await.json();
    assert_eq!(ids(&second), [known[3].1.clone(), known[5].1.clone()]);
    let third = page(&format!("from={}", second["next"].as_str().unwrap())).await.json();
    assert_eq!(ids(&third), [known[6].1.clone(), late]);
    assert!(third.get("next").is_none(), "the last page");
    assert!(page("take=6").await.json().get("next").is_none(), "just as many as there are");
    for wrong in [
        "take=0",
        "take=101",
        "take=-1",
        "take=x",
        "take=",
        "take=1.0",
        "take=5&take=6",
        "from=x",
        "from=",
        "from=AAAA",
    ] {
        assert_eq!(page(wrong).await.refusal(), (400, "invalid_query_string".into()), "{wrong}");
    }
    assert_eq!(page("take=100").await.status, 200);
}

#[tokio::test]
async fn d1_all_sessions_are_searched_by_user() {
    let place = Place::new().await;
    for user in ["ada", "Adam", "bob", "ada", "carol"] {
        place.log_in(user).await;
    }
    let users = async |query: &str| -> Vec<String> {
        let mut found = Vec::new();
        let mut from = String::new();
        loop {
            let page = place.get(&format!("/sessions?take=2&{query}{from}")).await.json();
            found.extend(
                page["sessions"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|s| s["user_id"].as_str().unwrap().to_owned()),
            );
            let Some(next) = page["next"].as_str() else { return found };
            from = format!("&from={next}");
        }
    };
    assert_eq!(users("").await, ["ada", "Adam", "bob", "ada", "carol"]);
    assert_eq!(users("user=ada").await, ["ada", "ada"]);
    assert_eq!(users("q=AD").await, ["ada", "Adam", "ada"]);
    assert_eq!(users("q=zzz").await, [""; 0]);
    let visitor = place.site.browser();
    visitor.send(Method::PUT, "/data/x").await;
    let all = place.get("/sessions").await.json();
    assert_eq!(all["sessions"][5]["user_id"], Value::Null, "somebody who is not logged in");
}

#[tokio::test]
async fn l5_a_lowered_lifetime_binds_live_sessions_at_their_next_request_and_a_raised_one_does_not() {
    let place = Place::new().await;
    let (browser, id) = place.log_in("ada").await;
    let expires = async || place.get(&format!("/sessions/{id}")).await.json()["expires_at"].clone();
    let before = expires().await;
    place.patch(json!({ "session_lifetime": 8760, "idle_session_lifetime": 2400 })).await;
    browser.get("/me").await;
    assert_eq!(expires().await, before);
    place.patch(json!({ "session_lifetime_in_minutes": 10, "idle_session_lifetime_in_minutes": 5 })).await;
    browser.get("/me").await;
    assert!(expires().await.as_str() < before.as_str());
    place.site.clock.advance(Duration::from_secs(300));
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("idle"));

    place.patch(json!({ "session_cookie": { "mode": "non-persistent" } })).await;
    let (_, id) = place.log_in("ada").await;
    assert_eq!(
        place.get(&format!("/sessions/{id}")).await.json()["cookie"]["mode"],
        Mode::NonPersistent.as_str()
    );
}

#[tokio::test]
async fn s9_the_cap_is_set_while_the_server_runs() {
    let place = Place::new().await;
    let put = async |body: &str| place.ask(Method::PUT, "/tenants/session-limits", body.to_owned()).await;
    for _ in 0..3 {
        place.log_in("ada").await;
    }
    assert_eq!(put(r#"{"max_sessions": 2}"#).await.json()["max_sessions"], 2);
    place.log_in("ada").await;
    let live = async || place.get("/users/ada/sessions").await.json()["sessions"].as_array().unwrap().len();
    assert_eq!(live().await, 2, "the oldest went");
    assert_eq!(put(r#"{"max_sessions": 2, "overflow": "refuse"}"#).await.json()["overflow"], "refuse");
    assert_eq!(place.site.browser().post("/login/ada").await.status, StatusCode::FORBIDDEN);
    assert_eq!(put(r#"{"max_sessions": null}"#).await.json()["max_sessions"], Value::Null);
    place.log_in("ada").await;
    assert_eq!(live().await, 3);
    for wrong in [
        "{}",
        r#"{"overflow": "evict"}"#,
        r#"{"max_sessions": 0}"#,
        r#"{"max_sessions": "3"}"#,
        r#"{"max_sessions": 4294967296}"#,
        r#"{"max_sessions": 3, "overflow": "explode"}"#,
        r#"{"max_sessions": 3, "max_lifetime_in_minutes": 1}"#,
    ] {
        assert_eq!(put(wrong).await.refusal(), (400, "invalid_body".into()), "{wrong}");
    }
    assert_eq!(place.get("/tenants/session-limits").await.json()["max_sessions"], Value::Null);
}

#[tokio::test]
async fn m1_behind_a_router_that_removes_the_prefix_it_counts_no_second_time() {
    let place = Place::new().await;
    let nested = Place { api: place.api.clone().nested(), ..place };
    assert_eq!(nested.get("/sessions").await.status, 200);
    // Guards: the API saw `/api/v2/api/v2/sessions`.
    assert_eq!(nested.get("/api/v2/sessions").await.refusal(), (404, "not_found".into()));
}

#[tokio::test]
async fn m1_a_nul_in_a_query_is_400() {
    let place = Place::new().await;
    for query in ["user=%00", "q=a%00", "from=%00"] {
        let refused = place.get(&format!("/sessions?{query}")).await;
        assert_eq!(refused.refusal(), (400, "invalid_query_string".into()), "{query}");
    }
}

/// E11: the message names the fix.
#[test]
fn m1_a_token_that_can_be_guessed_or_that_no_header_can_carry_is_refused() {
    for wrong in ["", "x", "fifteen-letters", "sixteen letters!!", "sixteen\u{e4}\u{e4}\u{e4}letters"] {
        let refused = StaticTokens::new().with(wrong, Scopes::all()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration, "{wrong:?}");
        assert!(refused.to_string().contains("16 characters or more"), "{refused}");
        assert!(refused.to_string().contains("openssl rand"), "{refused}");
    }
    assert!(StaticTokens::new().with("sixteen-letters!", Scopes::all()).is_ok());
}

/// E12: what `auth0-deploy-cli` exports, including the settings of this API.
#[tokio::test]
async fn m2_the_official_settings_of_a_whole_tenant_come_back_unchanged() {
    let place = Place::new().await;
    let exported = json!({
        "allowed_logout_urls": ["https://a.example/"],
        "change_password": { "enabled": true, "html": "<html>" },
        "default_audience": "",
        "enabled_locales": ["en", "de"],
        "flags": { "enable_sso": true, "revoke_refresh_token_grant": false },
        "friendly_name": "My company",
        "idle_session_lifetime": 1,
        "oidc_logout": { "rp_logout_end_session_endpoint_discovery": true },
        "picture_url": "https://a.example/logo.png",
        "sandbox_version": "22",
        "session_cookie": { "mode": "non-persistent" },
        "session_lifetime": 3,
        "sessions": { "oidc_logout_prompt_enabled": false },
        "support_email": "help@a.example",
    });
    let answer = place.patch(exported.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let mut wanted = exported;
    wanted["ephemeral_session_lifetime"] = 72.into();
    wanted["idle_ephemeral_session_lifetime"] = 24.into();
    assert_eq!(answer.json(), wanted);
    assert_eq!(place.get("/tenants/settings").await.json(), wanted);
    let some = place.get("/tenants/settings?fields=friendly_name,session_lifetime").await.json();
    assert_eq!(some, json!({ "friendly_name": "My company", "session_lifetime": 3 }));

    // Objects merge and null removes (RFC 7396). Another node sees the same.
    place.patch(json!({ "flags": { "enable_sso": null, "mfa": { "x": 1 } }, "picture_url": null })).await;
    wanted["flags"] = json!({ "revoke_refresh_token_grant": false, "mfa": { "x": 1 } });
    wanted.as_object_mut().unwrap().remove("picture_url");
    assert_eq!(place.get("/tenants/settings").await.json(), wanted);
    let other = SharedPolicy::open(place.settings.clone(), Policy::default()).await.unwrap();
    assert_eq!(other.settings(), place.policy.settings());

    // The API's own settings stay strict, and a refused change applies nothing.
    for wrong in [
        json!({ "friendly_name": "Other", "session_lifetime": 0 }),
        json!({ "friendly_name": "Other", "nonsense": 1 }),
        json!({ "friendly_name": "Other", "sessions": { "anonymous": { "lifetime_in_minutes": 0 } } }),
        json!({ "sessions": { "anonymous": { "lifetime_in_minutes": 1.5 } } }),
        json!({ "sessions": { "anonymous": { "lifetime_in_minutes": "5" } } }),
        json!({ "sessions": { "anonymous": { "lifetime_in_minutes": 525_601 } } }),
    ] {
        assert_eq!(place.patch(wrong.clone()).await.refusal(), (400, "invalid_body".into()), "{wrong}");
    }
    assert_eq!(place.get("/tenants/settings").await.json(), wanted);
}

#[tokio::test]
async fn m2_what_is_kept_has_a_size() {
    let place = Place::new().await;
    let mut taken = 0;
    for number in 0..8 {
        let grown = place.patch(json!({ "flags": { format!("f{number}"): "x".repeat(60_000) } })).await;
        taken += u32::from(grown.status == 200);
    }
    assert_eq!(taken, 4);
}

#[tokio::test]
async fn m2_the_lifetime_of_anonymous_sessions_is_the_one_official_setting_that_is_used() {
    let place = Place::new().await;
    let expires = async || {
        let all = place.get("/sessions").await.json();
        let sessions = all["sessions"].as_array().unwrap().clone();
        let visitor = sessions.into_iter().find(|session| session["user_id"].is_null()).unwrap();
        [&visitor["idle_expires_at"], &visitor["expires_at"], &visitor["created_at"]].map(Value::clone)
    };
    let visitor = place.site.browser();
    visitor.send(Method::PUT, "/data/x").await;
    let minutes = |minutes: Value| json!({ "sessions": { "anonymous": { "lifetime_in_minutes": minutes } } });
    let shown = place.patch(minutes(10.into())).await;
    assert_eq!(shown.json()["sessions"]["anonymous"]["lifetime_in_minutes"], 10);
    let [idle, absolute, _] = expires().await;
    assert_eq!(idle, absolute, "it binds live ones, also before their next request");
    let (ada, _) = place.log_in("ada").await;
    place.site.clock.advance(Duration::from_secs(600));
    assert_eq!(ada.get("/me").await.status, StatusCode::OK, "it is for anonymous sessions only");
    assert_eq!(place.get("/sessions").await.json()["sessions"].as_array().unwrap().len(), 1);

    place.patch(minutes(Value::Null)).await;
    let later = place.site.browser();
    later.send(Method::PUT, "/data/x").await;
    let [idle, absolute, _] = expires().await;
    assert_ne!(idle, absolute, "as other non-persistent sessions again");
}

#[tokio::test]
async fn m1_any_caller_may_ask_what_its_token_allows() {
    let place = Place::new().await;
    assert_eq!(place.get("/caller").await.json(), json!({ "name": "root", "scopes": SCOPES }));
    let with = async |token: &str| {
        let request = Request::get("/caller").header("authorization", format!("Bearer {token}"));
        place.send(request.body(Body::empty()).unwrap()).await
    };
    let reader = with("token-for-read:sessions").await.json();
    assert_eq!(reader, json!({ "name": null, "scopes": ["read:sessions"] }));
    assert_eq!(with("token-for-nothing").await.json(), json!({ "name": null, "scopes": [] }));
    assert_eq!(with("wrong").await.refusal(), (401, "invalid_token".into()));
}

/// E12: a path with a missing id signs no user out.
#[tokio::test]
async fn l14_everybody_is_signed_out_by_a_body_that_says_so() {
    let place = Place::new().await;
    let (ada, _) = place.log_in("ada").await;
    let (bob, _) = place.log_in("bob").await;
    let visitor = place.site.browser();
    visitor.send(Method::PUT, "/data/x").await;
    for wrong in [
        "",
        "{}",
        "[]",
        "true",
        r#"{"everybody": false}"#,
        r#"{"everybody": "true"}"#,
        r#"{"everybody": true, "x": 1}"#,
    ] {
        let refused = place.ask(Method::DELETE, "/sessions", wrong).await;
        assert_eq!(refused.refusal(), (400, "invalid_body".into()), "{wrong}");
    }
    assert_eq!(ada.get("/me").await.status, StatusCode::OK);
    let accepted = place.ask(Method::DELETE, "/sessions", r#"{"everybody": true}"#).await;
    assert_eq!((accepted.status, accepted.json()), (202, json!({})));
    for browser in [&ada, &bob] {
        assert_eq!(browser.get("/me").await.reason().as_deref(), Some("revoked"));
    }
    let left = place.get("/sessions").await.json();
    assert_eq!(left["sessions"].as_array().unwrap().len(), 1, "anonymous sessions stay: {left}");
    let events = place.get("/session-events").await.json();
    let event =
        events["events"].as_array().unwrap().iter().find(|one| one["event"] == "everybody_signed_out");
    assert_eq!(event.unwrap()["by"], "root");
}

#[tokio::test]
async fn o1_a_changed_setting_is_an_event_with_who_what_from_and_to() {
    let place = Place::new().await;
    place.patch(json!({ "session_lifetime_in_minutes": 90, "idle_session_lifetime": 72 })).await;
    place.patch(json!({ "friendly_name": "A" })).await;
    let cap = Body::from(r#"{"max_sessions": 3}"#);
    let token = "Bearer token-for-update:tenant_settings";
    let request = Request::put("/tenants/session-limits").header("authorization", token).body(cap).unwrap();
    assert_eq!(place.send(request).await.status, 200);
    place.ask(Method::DELETE, "/users/ada/sessions", "").await;
    place.patch(json!({ "session_lifetime": 0 })).await;
    place.patch(json!({ "support_url": "x".repeat(1023) })).await;

    let events = place.get("/session-events").await.json();
    let mut events = events["events"].as_array().unwrap().clone();
    for event in &mut events {
        assert!(event.as_object_mut().unwrap().remove("at").is_some());
    }
    let changed = "setting_changed";
    assert_eq!(
        events,
        [
            json!({ "event": changed, "setting": "support_url", "from": null, "to": "1025 bytes of JSON", "by": "root" }),
            json!({ "event": "signed_out_everywhere", "user": "ada", "by": "root" }),
            json!({ "event": changed, "setting": "max_sessions", "from": 1000, "to": 3 }),
            json!({ "event": changed, "setting": "friendly_name", "from": null, "to": "A", "by": "root" }),
            json!({ "event": changed, "setting": "session_lifetime", "from": 168, "to": 1.5, "by": "root" }),
        ]
    );
}

/// E11: 210 anonymous writes.
#[tokio::test]
async fn d1_events_about_users_survive_a_flood_of_anonymous_ones() {
    let place = Place::new().await;
    place.log_in("ada").await;
    for _ in 0..210 {
        place.site.browser().send(Method::PUT, "/data/x").await;
    }
    let events = place.get("/session-events?take=20").await.json();
    let events = events["events"].as_array().unwrap();
    let users: Vec<_> = events.iter().filter_map(|event| event["user"].as_str()).collect();
    assert_eq!((users, events.len()), (vec!["ada", "ada"], 20));
    for user in 0..20 {
        place.log_in(&format!("u{user}")).await;
    }
    place.site.browser().send(Method::PUT, "/data/x").await;
    let events = place.get("/session-events?take=8").await.json();
    let events = events["events"].as_array().unwrap();
    let anonymous: Vec<_> = events.iter().map(|event| event.get("user").is_none()).collect();
    assert_eq!(
        anonymous,
        [true, false, false, false, false, false, false, false],
        "newest first: {events:?}"
    );
}

/// E7: the settings were saved, but the list still showed the previous expiry.
#[tokio::test]
async fn l5_a_lowered_lifetime_shows_at_once_also_for_a_session_that_made_no_request_since() {
    let place = Place::new().await;
    let (browser, id) = place.log_in("ada").await;
    place.patch(json!({ "session_lifetime_in_minutes": 60, "idle_session_lifetime_in_minutes": 15 })).await;
    let listed = place.get("/sessions").await.json()["sessions"][0].clone();
    assert_eq!(place.get(&format!("/sessions/{id}")).await.json(), listed);
    browser.get("/me").await;
    let after = place.get(&format!("/sessions/{id}")).await.json();
    for name in ["expires_at", "idle_expires_at"] {
        assert_eq!(listed[name], after[name]);
    }
    place.site.clock.advance(Duration::from_secs(15 * 60));
    assert_eq!(place.get("/sessions").await.json(), json!({ "sessions": [] }));
}

#[tokio::test]
async fn d1_the_device_is_readable() {
    let place = Place::new().await;
    for (agent, readable) in [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Safari/604",
            "Safari on iOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.5.0", "curl"),
        ("my own client with a name that is rather long", "my own client with a name that is rather"),
        ("", "Unknown device"),
    ] {
        let browser = place.site.browser();
        let login = Request::post("/login/ada").header("user-agent", agent).body(Body::empty()).unwrap();
        browser.request(login).await;
        let sessions = place.get("/users/ada/sessions").await.json();
        assert_eq!(sessions["sessions"][0]["device"]["description"], readable);
        browser.post("/logout").await;
        place.site.clock.advance(Duration::from_secs(1));
    }
}

#[tokio::test]
async fn m2_settings_are_kept_and_taken_over_by_another_node() {
    let place = Place::new().await;
    place.patch(json!({ "session_lifetime": 5, "allowed_logout_urls": ["https://a.example/"] })).await;
    let other = SharedPolicy::open(place.settings.clone(), Policy::default()).await.unwrap();
    assert_eq!(other.settings().allowed_logout_urls, ["https://a.example/"]);
    assert_eq!(other.live().load().effective(Mode::Persistent).absolute(), Duration::from_secs(5 * 3600));
}

#[tokio::test]
async fn s6_while_the_store_is_away_every_answer_is_503_and_nothing_is_changed() {
    let place = Place::new().await;
    let (browser, id) = place.log_in("ada").await;
    let session = format!("/sessions/{id}");
    let revoke = format!("{session}/revoke");
    for (method, path, body, operation) in [
        (Method::GET, "/sessions", "", Operation::List),
        (Method::GET, "/sessions?q=a", "", Operation::List),
        (Method::GET, "/users/ada/sessions", "", Operation::List),
        (Method::GET, &session, "", Operation::Load),
        (Method::PATCH, &session, r#"{"session_metadata": {}}"#, Operation::Update),
        (Method::DELETE, &session, "", Operation::End),
        (Method::POST, &revoke, "", Operation::End),
        (Method::DELETE, "/users/ada/sessions", "", Operation::Revoke),
        (Method::DELETE, "/sessions", r#"{"everybody": true}"#, Operation::Revoke),
    ] {
        place.store.fail(operation, 1);
        let refused = place.ask(method.clone(), path, body).await;
        assert_eq!(refused.refusal(), (503, "store_unavailable".into()), "{method} {path}");
        assert_eq!(refused.header(header::RETRY_AFTER.as_str()), "5");
    }
    assert_eq!(browser.get("/me").await.status, StatusCode::OK);
    place.settings.is_away.store(true, Ordering::Relaxed);
    assert_eq!(place.patch(json!({ "session_lifetime": 5 })).await.refusal().0, 503);
    let cap = place.ask(Method::PUT, "/tenants/session-limits", r#"{"max_sessions": 1}"#).await;
    assert_eq!(cap.refusal().0, 503);
    let shown = place.get("/tenants/settings").await;
    assert_eq!((shown.status, shown.json()), (200, defaults()), "reading takes no store");
}

#[tokio::test]
async fn reading_settings_asks_no_store_and_a_list_is_one_call() {
    let place = Place::new().await;
    place.log_in("ada").await;
    place.store.take_calls();
    place.settings.is_away.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        assert_eq!(place.get("/tenants/settings").await.status, 200);
    }
    assert_eq!(place.store.take_calls(), []);
    place.get("/users/ada/sessions").await;
    assert_eq!(place.store.take_calls(), [Operation::List]);
}
