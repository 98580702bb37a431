//! The session cookie as a browser and a store see it (SPEC C1 to C8). For two layers in one stack
//! (C9) see `realms.rs` and `stack.rs`.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header},
    routing::{get, post},
};
use base64ct::{Base64Unpadded, Base64UrlUnpadded, Encoding};
use cookie::Cookie;
use sha2::{Digest, Sha256};
use tower_tenure::{
    Clock, EndReason, Error, ErrorKind, Key, MemoryStore, Mode, Policy, SessionId, SessionLayer,
    SessionStore, Timestamp,
    cookie::{CookieBuilder, SameSite, SessionCookie},
    events::Operation,
    policy::Limits,
    record::Record,
    testing::Probe,
};

use crate::common::{Browser, DAY, Reply, SECOND, Site, TICK, policy_of, usual_routes};

const NAME: &str = "__Host-id";
const EPOCH: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

fn policy(mode: Mode, idle: Duration, absolute: Duration) -> Policy {
    policy_of(idle, absolute).with_default_mode(mode).with_limits(Limits::NONE)
}

fn site(mode: Mode, idle: Duration, absolute: Duration) -> Site {
    Site::with(|layer| layer.with_policy(policy(mode, idle, absolute)))
}

/// A site whose sessions live in this store.
fn site_over(store: impl SessionStore) -> Site {
    Site::over(SessionLayer::new(store), usual_routes(), |layer| layer)
}

/// The one `Set-Cookie` line with our name.
fn ours<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
    let lines = reply.set_cookies();
    let mut ours = lines.into_iter().filter(|line| line.split('=').next().unwrap().trim() == name);
    let line = ours.next();
    assert_eq!(ours.next(), None, "more than one of ours: {reply:?}");
    line
}

fn value_of(line: &str) -> String {
    Cookie::parse(line).unwrap().value().to_owned()
}

/// A line's attributes without its dates, in any order.
fn lasting_attributes(line: &str) -> Vec<&str> {
    let attributes = line.split("; ").skip(1);
    let mut lasting: Vec<_> =
        attributes.filter(|a| !a.starts_with("Expires=") && !a.starts_with("Max-Age=")).collect();
    lasting.sort_unstable();
    lasting
}

fn token_of(browser: &Browser) -> String {
    browser.cookie_header().unwrap().strip_prefix("__Host-id=").unwrap().to_owned()
}

/// The bytes of a token: the sid, then the secret.
fn bytes_of(token: &str) -> [u8; 48] {
    let mut bytes = [0; 48];
    Base64UrlUnpadded::decode(token, &mut bytes).unwrap();
    bytes
}

fn sid_of(token: &str) -> SessionId {
    SessionId::from_bytes(bytes_of(token)[..16].try_into().unwrap())
}

fn encode<E: Encoding>(bytes: &[u8]) -> String {
    let mut text = [0; 64];
    E::encode(bytes, &mut text).unwrap().to_owned()
}

/// A well-formed token that was never issued.
fn made_up(letter: char) -> String {
    letter.to_string().repeat(64)
}

async fn get_with(site: &Site, path: &str, lines: &[&[u8]]) -> Reply {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    for line in lines {
        request.headers_mut().append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
    }
    site.send(request).await
}

// C1

#[tokio::test]
async fn c1_the_default_line_is_exactly_this() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    let reply = browser.post("/login/alice").await;
    let token = token_of(&browser);
    assert_eq!(reply.set_cookies(), [format!("__Host-id={token}; HttpOnly; SameSite=Lax; Secure; Path=/")]);
}

#[tokio::test]
async fn c1_the_default_line_of_a_persistent_session_adds_its_dates_and_nothing_else() {
    let site = site(Mode::Persistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    let reply = browser.post("/login/alice").await;
    let token = token_of(&browser);
    let line = format!(
        "__Host-id={token}; HttpOnly; SameSite=Lax; Secure; Path=/; \
         Expires=Thu, 01 Jan 2026 00:15:00 GMT; Max-Age=900"
    );
    assert_eq!(reply.set_cookies(), [line]);
}

#[test]
fn c1_what_a_browser_would_refuse_is_refused_at_construction() {
    let cookie = |name: &str| SessionCookie::builder(name);
    let long = |length: usize| "x".repeat(length);
    let refused: Vec<(&str, CookieBuilder)> = vec![
        // The prefixes, which browsers match without regard to case.
        ("host with a domain", cookie("__Host-id").with_domain("app.example")),
        ("host with a path", cookie("__Host-id").with_path("/app")),
        ("host without secure", cookie("__Host-id").with_insecure_http_development()),
        ("lower-case host with a domain", cookie("__host-id").with_domain("app.example")),
        ("upper-case host with a path", cookie("__HOST-ID").with_path("/app")),
        ("mixed-case host without secure", cookie("__hOsT-id").with_insecure_http_development()),
        ("secure without secure", cookie("__Secure-id").with_insecure_http_development()),
        ("upper-case secure without secure", cookie("__SECURE-id").with_insecure_http_development()),
        ("lower-case secure without secure", cookie("__secure-id").with_insecure_http_development()),
        ("http without secure", cookie("__Http-id").with_insecure_http_development()),
        ("host-http with a domain", cookie("__Host-Http-id").with_domain("app.example")),
        // Attributes that need Secure.
        ("none", cookie("id").with_same_site(SameSite::None).with_insecure_http_development()),
        ("partitioned", cookie("id").with_partitioned(true).with_insecure_http_development()),
        // Names that are not tokens, or too long.
        ("empty name", cookie("")),
        ("name with a space", cookie("session id")),
        ("name with a semicolon", cookie("a;b")),
        ("name with an equals sign", cookie("a=b")),
        ("name with a comma", cookie("a,b")),
        ("name with a quote", cookie("\"id\"")),
        ("name with a control character", cookie("id\r\nset-cookie: x")),
        ("name with a tab", cookie("id\t")),
        ("name beyond ASCII", cookie("sïd")),
        ("name and value over 4096 bytes", cookie(&long(4097 - 64))),
        // Attributes that are invalid in the line, or that a browser would drop.
        ("path over 1024 bytes", cookie("id").with_path(format!("/{}", long(1024)))),
        ("domain over 1024 bytes", cookie("id").with_domain(long(1025))),
        ("relative path", cookie("id").with_path("app")),
        ("empty path", cookie("id").with_path("")),
        ("path with another attribute", cookie("id").with_path("/; Domain=evil.example")),
        ("path with a line end", cookie("id").with_path("/\r\nx: y")),
        ("path with a control character", cookie("id").with_path("/\x7f")),
        ("path beyond ASCII", cookie("id").with_path("/ä")),
        ("empty domain", cookie("id").with_domain("")),
        ("domain of a dot", cookie("id").with_domain(".")),
        ("domain with another attribute", cookie("id").with_domain("app.example; Path=/x")),
        ("domain with a space", cookie("id").with_domain("app example")),
        ("domain beyond ASCII", cookie("id").with_domain("bücher.example")),
        ("domain with a port", cookie("id").with_domain("app.example:8080")),
    ];
    for (what, builder) in refused {
        let error = builder.build().map(|cookie| cookie.name().to_owned()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{what}");
    }
}

#[test]
fn c1_what_a_browser_accepts_is_not_refused() {
    let cookie = |name: &str| SessionCookie::builder(name);
    let accepted: Vec<(&str, CookieBuilder)> = vec![
        ("host", cookie("__Host-id")),
        ("host in another case", cookie("__HOST-id")),
        ("secure with domain and path", cookie("__Secure-id").with_domain("app.example").with_path("/app")),
        ("a leading dot", cookie("id").with_domain(".app.example")),
        ("none", cookie("id").with_same_site(SameSite::None)),
        ("partitioned", cookie("__Host-id").with_same_site(SameSite::None).with_partitioned(true)),
        ("plain http", cookie("id").with_insecure_http_development()),
        ("all of a token", cookie("!#$%&'*+-.^_`|~09azAZ")),
        ("the longest name", cookie(&"x".repeat(4096 - 64))),
        ("the longest path", cookie("id").with_path(format!("/{}", "x".repeat(1023)))),
        ("a path with a space", cookie("id").with_path("/a b~")),
        ("something like a prefix", cookie("__Hostid").with_path("/app")),
    ];
    for (what, builder) in accepted {
        assert!(builder.build().is_ok(), "{what}");
    }
}

#[tokio::test]
async fn c1_the_method_for_plain_http_development_drops_the_prefix_and_secure_and_nothing_else() {
    let cookie = SessionCookie::insecure_for_http_development();
    assert!(!cookie.is_secure());
    assert!(SessionCookie::default().is_secure());
    let site = Site::with(|layer| {
        layer.with_cookie(cookie).with_policy(policy(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND))
    });
    let browser = site.browser();
    let reply = browser.post("/login/alice").await;
    let line = ours(&reply, "id").unwrap();
    assert_eq!(lasting_attributes(line), ["HttpOnly", "Path=/", "SameSite=Lax"]);
    assert_eq!(browser.get("/me").await.body, "alice");
}

// C2

/// Checks `Expires` and `Max-Age` of a line that was issued at `now` against a deadline.
fn assert_dates(line: &str, deadline: Timestamp, now: Timestamp) {
    let cookie = Cookie::parse(line.to_owned()).unwrap();
    let expires = line.split("; ").find_map(|a| a.strip_prefix("Expires=")).expect("an Expires");
    let date = httpdate::parse_http_date(expires).unwrap();
    assert_eq!(httpdate::fmt_http_date(date), expires, "not an IMF-fixdate");
    let expires = i64::try_from(date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    assert_eq!(cookie.expires_datetime().unwrap().unix_timestamp(), expires);
    let max_age = cookie.max_age().expect("a Max-Age").whole_seconds();

    let (deadline, now) = (deadline.as_unix_millis(), now.as_unix_millis());
    assert_eq!(expires, deadline.div_euclid(1000) + i64::from(deadline.rem_euclid(1000) > 0), "rounded up");
    assert_eq!(now.div_euclid(1000) + max_age, expires, "the two agree");
    assert!(expires * 1000 >= deadline && expires * 1000 < deadline + 1000);
    assert!(now + max_age * 1000 >= deadline, "a browser that counts Max-Age keeps it long enough too");
}

#[tokio::test]
async fn c2_both_dates_of_a_persistent_cookie_are_the_nearer_deadline_rounded_up() {
    let millis = Duration::from_millis;
    for (idle, absolute) in [(900_000, 3_600_000), (1, 5000), (1500, 1501), (5000, 1001), (7001, 60_000)] {
        for offset in [0, 1, 500, 999] {
            let (idle, absolute) = (millis(idle), millis(absolute));
            let site = site(Mode::Persistent, idle, absolute);
            site.clock.advance(millis(offset));
            let login = site.clock.now();
            let browser = site.browser();
            let reply = browser.post("/login/alice").await;
            assert_dates(ours(&reply, NAME).unwrap(), login + idle.min(absolute), login);

            site.clock.advance(idle.min(absolute) - TICK);
            let now = site.clock.now();
            let reply = browser.get("/me").await;
            assert_eq!(reply.status, StatusCode::OK);
            if let Some(line) = ours(&reply, NAME) {
                assert_dates(line, (now + idle).min(login + absolute), now);
            }
        }
    }
}

#[tokio::test]
async fn c2_a_persistent_cookie_lasts_400_days_at_the_most() {
    let site = site(Mode::Persistent, 3650 * DAY, 3650 * DAY);
    site.clock.advance(TICK);
    let reply = site.browser().post("/login/alice").await;
    let line = ours(&reply, NAME).unwrap();
    assert!(line.ends_with("; Expires=Fri, 05 Feb 2027 00:00:00 GMT; Max-Age=34560000"), "{line}");
}

#[tokio::test]
async fn c2_a_cookie_that_is_not_persistent_has_no_dates_at_all() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    for path in ["/login/alice", "/rotate", "/login/alice"] {
        site.clock.advance(SECOND);
        let reply = browser.post(path).await;
        let line = ours(&reply, NAME).unwrap().to_ascii_lowercase();
        let (_, line) = line.split_once(';').unwrap(); // the token may contain any text
        for never in ["expires", "max-age", "1970", "=0"] {
            assert!(!line.contains(never), "{path}: {line}");
        }
    }
}

#[tokio::test]
async fn c2_the_mode_of_a_login_decides_over_the_dates_also_of_later_lines() {
    let routes = Router::new()
        .route(
            "/login",
            post(async |session: tower_tenure::Session| {
                let outcome = session.login("alice").with_mode(Mode::Persistent).await?;
                assert_eq!(outcome, tower_tenure::Outcome::Done);
                Ok::<_, Error>(())
            }),
        )
        .merge(usual_routes());
    let policy = policy(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer.with_policy(policy));
    let browser = site.browser();
    let anonymous = browser.put("/data/x", "x").await;
    assert!(!ours(&anonymous, NAME).unwrap().contains("Max-Age"));
    assert!(ours(&browser.post("/login").await, NAME).unwrap().contains("; Max-Age=900"));
    assert!(ours(&browser.post("/rotate").await, NAME).unwrap().contains("; Max-Age=900"));
    let other_mode = browser.post("/login/alice").await;
    assert!(!ours(&other_mode, NAME).unwrap().contains("Max-Age"));
}

// C3

#[tokio::test]
async fn c3_a_persistent_cookie_is_set_again_only_when_the_second_of_its_deadline_moved() {
    let site = site(Mode::Persistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    browser.post("/login/alice").await;
    // The clock starts at a full second, so the deadline is a full second. One millisecond later it
    // rounds up to the next second.
    for (advance, is_set) in [(0, false), (1, true), (998, false), (1, false), (1, true), (5000, true)] {
        site.clock.advance(Duration::from_millis(advance));
        let reply = browser.get("/").await;
        assert_eq!(ours(&reply, NAME).is_some(), is_set, "after {advance} ms more");
        assert_eq!(reply.headers.contains_key(header::CACHE_CONTROL), is_set);
    }
}

#[tokio::test]
async fn c3_nothing_is_set_while_the_absolute_deadline_is_the_nearer_one() {
    let site = site(Mode::Persistent, 900 * SECOND, 600 * SECOND);
    let browser = site.browser();
    browser.post("/login/alice").await;
    for path in ["/", "/me", "/data/x"] {
        site.clock.advance(60 * SECOND);
        assert_eq!(browser.get(path).await.set_cookies(), [""; 0], "{path}");
    }
    assert_eq!(browser.put("/data/x", "x").await.set_cookies(), [""; 0], "a write moves no deadline");
}

#[tokio::test]
async fn c3_a_cookie_that_is_not_persistent_is_set_when_created_and_rotated_only() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    assert_eq!(browser.get("/").await.set_cookies(), [""; 0], "nothing happened yet");
    assert!(ours(&browser.put("/data/x", "x").await, NAME).is_some(), "an anonymous session was created");
    site.clock.advance(60 * SECOND);
    assert_eq!(browser.put("/data/x", "x").await.set_cookies(), [""; 0]);
    assert!(ours(&browser.post("/login/alice").await, NAME).is_some());
    for path in ["/", "/me", "/data/x"] {
        site.clock.advance(60 * SECOND);
        assert_eq!(browser.get(path).await.set_cookies(), [""; 0], "{path}");
    }
    assert!(ours(&browser.post("/rotate").await, NAME).is_some());
    assert!(browser.post("/logout").await.removes_cookie());
    assert_eq!(browser.get("/").await.set_cookies(), [""; 0], "it was removed once");
}

#[tokio::test]
async fn c3_passive_and_coalesced_requests_set_nothing() {
    let store = Probe::remote(MemoryStore::new());
    let policy = policy(Mode::Persistent, 6400 * SECOND, 64_000 * SECOND).with_granularity(60 * SECOND);
    let site = Site::over(SessionLayer::new(store), usual_routes(), |layer| layer.with_policy(policy));
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(60 * SECOND);
    assert_eq!(browser.get("/").await.set_cookies(), [""; 0], "not recorded, so the deadline did not move");
    site.clock.advance(TICK);
    let passive = Request::get("/").header("sec-purpose", "prefetch").body(Body::empty()).unwrap();
    assert_eq!(browser.request(passive).await.set_cookies(), [""; 0]);
    assert!(ours(&browser.get("/").await, NAME).is_some());
}

fn with_lines(lines: &[&'static str]) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    for line in lines {
        response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(line));
    }
    response
}

const THEIRS: [&str; 6] = [
    "theme=dark; Path=/",
    "__Host-id2=longer; Secure; Path=/",
    "theme=light; Path=/x",
    "my__Host-id=x",
    "__host-id=other-case; Secure; Path=/",
    "x=__Host-id=y",
];

#[tokio::test]
async fn c3_other_lines_of_the_handler_survive_and_its_own_under_our_name_goes() {
    const FORGED: [&str; 4] =
        ["__Host-id=forged; Path=/", "__Host-id =forged", "  __Host-id=forged", "__Host-id="];
    let routes = Router::new()
        .route(
            "/login",
            post(async |session: tower_tenure::Session| {
                let _ = session.login("alice").await.unwrap();
                with_lines(&[&THEIRS[..3], &FORGED, &THEIRS[3..]].concat())
            }),
        )
        .route(
            "/logout",
            post(async |session: tower_tenure::Session| {
                session.logout().unwrap();
                with_lines(&[&FORGED[..], &THEIRS].concat())
            }),
        )
        .merge(Router::new().route("/", get(async || with_lines(&THEIRS))));
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| layer);
    let browser = site.browser();
    let reply = browser.post("/login").await;
    let (last, others) = reply.set_cookies().split_last().map(|(l, o)| (l.to_string(), o.to_vec())).unwrap();
    assert_eq!(others, THEIRS, "in their order");
    assert_eq!(value_of(&last).len(), 64);

    assert_eq!(browser.get("/").await.set_cookies(), THEIRS, "nothing of ours, so nothing is touched");

    // The test browser stored every line. Only ours is checked here.
    browser.set_cookies(last.split(';').next());
    let reply = browser.post("/logout").await;
    assert_eq!(reply.set_cookies().len(), THEIRS.len() + 1);
    assert!(ours(&reply, NAME).unwrap().contains("Max-Age=0"));
}

#[tokio::test]
async fn c3_a_removal_beats_a_refresh() {
    let site = site(Mode::Persistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(60 * SECOND); // a refresh is due
    let reply = browser.post("/logout").await;
    assert!(ours(&reply, NAME).unwrap().contains("; Max-Age=0"));
}

#[tokio::test]
async fn c3_a_removal_beats_a_rotation() {
    let routes = Router::new().route(
        "/both",
        post(async |session: tower_tenure::Session| {
            session.rotate()?;
            session.logout()
        }),
    );
    let site = Site::over(SessionLayer::new(MemoryStore::new()), routes.merge(usual_routes()), |l| l);
    let browser = site.browser();
    browser.post("/login/alice").await;
    assert!(ours(&browser.post("/both").await, NAME).unwrap().contains("; Max-Age=0"));
}

#[tokio::test]
async fn c3_logout_and_then_an_insert_give_exactly_one_live_cookie_of_a_new_session() {
    let routes = Router::new().route(
        "/leave",
        post(async |session: tower_tenure::Session| {
            session.logout()?;
            session.insert(&Key::new("flash"), &"bye")
        }),
    );
    let store = MemoryStore::new();
    let site = Site::over(SessionLayer::new(store.clone()), routes.merge(usual_routes()), |layer| layer);
    let browser = site.browser();
    browser.put("/data/cart", "x").await;
    browser.post("/login/alice").await;
    let old = browser.copy();
    let before = sid_of(&token_of(&browser));

    let reply = browser.post("/leave").await;
    let token = value_of(ours(&reply, NAME).unwrap());
    assert_ne!(sid_of(&token), before);
    assert!(!reply.removes_cookie());
    assert_eq!(browser.get("/data/flash").await.body, "bye");
    assert_eq!(browser.get("/data/cart").await.status, StatusCode::NOT_FOUND, "nothing was carried over");
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some("none"));
    assert_eq!(old.get("/me").await.reason().as_deref(), Some("signed_out"));
}

// C4

#[tokio::test]
async fn c4_a_removal_repeats_every_attribute_that_set_the_cookie() {
    let cookie = SessionCookie::builder;
    let variants: Vec<CookieBuilder> = vec![
        cookie(NAME),
        cookie(NAME).with_same_site(SameSite::Strict),
        cookie(NAME).with_same_site(SameSite::None),
        cookie(NAME).with_same_site(SameSite::None).with_partitioned(true),
        cookie("__Secure-id").with_domain("app.example").with_path("/app"),
        cookie("id").with_domain(".app.example"),
        cookie("id").with_insecure_http_development().with_path("/deep/er"),
        cookie("id").with_partitioned(true).with_domain("app.example"),
    ];
    for builder in variants {
        for mode in [Mode::Persistent, Mode::NonPersistent] {
            let cookie = builder.clone().build().unwrap();
            let name = cookie.name().to_owned();
            let site = Site::with(|layer| {
                let layer = layer.with_cookie(cookie);
                layer.with_policy(policy(mode, 900 * SECOND, 3600 * SECOND))
            });
            let browser = site.browser();
            let set = browser.post("/login/alice").await;
            let removed = browser.post("/logout").await;
            let (set, removal) = (ours(&set, &name).unwrap(), ours(&removed, &name).unwrap());
            assert_eq!(lasting_attributes(set), lasting_attributes(removal), "{builder:?}");
            assert!(removal.starts_with(&format!("{name}=; ")), "{removal}");
            assert!(removal.contains(&format!("; Expires={EPOCH}")), "{removal}");
            assert!(removal.contains("; Max-Age=0"), "{removal}");
        }
    }
}

#[tokio::test]
async fn c4_attributes_that_were_configured_are_on_the_line() {
    let cookie = SessionCookie::builder("__Secure-id")
        .with_domain("app.example")
        .with_path("/app")
        .with_same_site(SameSite::None)
        .with_partitioned(true)
        .build()
        .unwrap();
    let site = Site::with(|layer| layer.with_cookie(cookie));
    let reply = site.browser().post("/login/alice").await;
    let expected = ["Domain=app.example", "HttpOnly", "Partitioned", "Path=/app", "SameSite=None", "Secure"];
    assert_eq!(lasting_attributes(ours(&reply, "__Secure-id").unwrap()), expected);
}

#[tokio::test]
async fn c4_a_dead_cookie_is_removed_once_malformed_or_not() {
    let site = Site::new();
    let unknown = format!("{NAME}={}", made_up('A'));
    let long = format!("{NAME}={}", "A".repeat(5000));
    for lines in [
        vec![unknown.as_bytes()],
        vec![unknown.as_bytes(), unknown.as_bytes()],
        vec![b"__Host-id="],
        vec![b"__Host-id=junk; __Host-id=more; a=b"],
        vec![b"__Host-id=\xff\xfe\x80"],
        vec![long.as_bytes()],
        vec![b"__Host-id=\"quoted\"", b"other=1"],
    ] {
        let reply = get_with(&site, "/", &lines).await;
        assert_eq!(reply.status, StatusCode::OK);
        let removal = format!("{NAME}=; HttpOnly; SameSite=Lax; Secure; Path=/; Expires={EPOCH}; Max-Age=0");
        assert_eq!(reply.set_cookies(), [removal]);
    }
    for theirs in [&b"other=1"[..], b"x__Host-id=1", b"__Host-idx=1", b""] {
        assert_eq!(get_with(&site, "/", &[theirs]).await.set_cookies(), [""; 0]);
    }
}

#[tokio::test]
async fn c4_an_expired_session_loses_its_cookie_once() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    browser.post("/login/alice").await;
    site.clock.advance(900 * SECOND);
    assert!(ours(&browser.get("/").await, NAME).unwrap().contains("; Max-Age=0"));
    assert_eq!(browser.cookie_header(), None);
    assert_eq!(browser.get("/").await.set_cookies(), [""; 0]);
}

#[tokio::test]
async fn c4_a_failing_store_removes_no_cookie() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store.clone());
    let browser = site.browser();
    browser.post("/login/alice").await;
    for (operation, path) in [(Operation::Load, "/"), (Operation::End, "/logout")] {
        store.fail(operation, 1);
        let reply = if path == "/" { browser.get(path).await } else { browser.post(path).await };
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{operation}");
        assert_eq!(reply.set_cookies(), [""; 0], "{operation}");
    }
    assert_eq!(browser.get("/me").await.body, "alice");
    store.fail(Operation::Load, 1);
    let unknown = format!("{NAME}={}", made_up('A'));
    let reply = get_with(&site, "/", &[unknown.as_bytes()]).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reply.set_cookies(), [""; 0]);
}

// C5

#[tokio::test]
async fn c5_junk_beside_a_good_cookie_logs_no_user_out_whatever_the_order() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let good = browser.cookie_header().unwrap().into_bytes();
    let (a, b) = (format!("{NAME}={}", made_up('A')), format!("{NAME}={}", made_up('B')));
    let huge = [&b"__Host-id="[..], &b"x".repeat(1 << 20)].concat();
    let many = b"__Host-id=x; ".repeat(1000);
    let junk: [&[u8]; 8] = [
        a.as_bytes(),
        b.as_bytes(),
        b"__Host-id=",
        b"__Host-id=\xff",
        b"=;;;=",
        &huge,
        &many,
        b"x=__Host-id",
    ];
    for junk in junk {
        let one_line = |first: &[u8], second: &[u8]| [first, b"; ", second].concat();
        for lines in [
            vec![junk, &good],
            vec![&good, junk],
            vec![junk, &good, junk],
            vec![&one_line(junk, &good)],
            vec![&one_line(&good, junk)],
        ] {
            let reply = get_with(&site, "/me", &lines).await;
            assert_eq!(reply.body, "alice", "{}", String::from_utf8_lossy(&junk[..junk.len().min(80)]));
            assert_eq!(reply.set_cookies(), [""; 0]);
        }
    }
    let reply = get_with(&site, "/me", &[a.as_bytes(), b.as_bytes(), &good]).await;
    assert_eq!(reply.body, "alice", "the third candidate");
}

#[tokio::test]
async fn c5_an_ended_session_beside_a_live_one_does_not_log_out() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let (old, browser) = (site.browser(), site.browser());
    old.post("/login/alice").await;
    let ended = old.cookie_header().unwrap();
    old.post("/logout").await;
    browser.post("/login/bob").await;
    let live = browser.cookie_header().unwrap();
    for header in [format!("{ended}; {live}"), format!("{live}; {ended}")] {
        let reply = get_with(&site, "/me", &[header.as_bytes()]).await;
        assert_eq!(reply.body, "bob");
        assert_eq!(reply.set_cookies(), [""; 0]);
    }
}

#[tokio::test]
async fn c5_at_most_three_candidates_reach_the_store_and_copies_count_once() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store.clone());
    let cookie = |letter: char| format!("{NAME}={}", made_up(letter));
    let different: Vec<_> = ('A'..='Z').map(cookie).collect();
    let reply = get_with(&site, "/", &[different.join("; ").as_bytes()]).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(store.take_calls(), [Operation::Load; 3]);

    let lines: Vec<_> = different.iter().map(String::as_bytes).collect();
    get_with(&site, "/", &lines).await;
    assert_eq!(store.take_calls(), [Operation::Load; 3]);

    get_with(&site, "/", &[vec![cookie('A'); 100].join("; ").as_bytes()]).await;
    assert_eq!(store.take_calls(), [Operation::Load]);

    let browser = site.browser();
    browser.post("/login/alice").await;
    store.take_calls();
    let header = format!("{}; {}; {}", browser.cookie_header().unwrap(), cookie('A'), cookie('B'));
    get_with(&site, "/", &[header.as_bytes()]).await;
    assert_eq!(store.take_calls(), [Operation::Load], "the first live one wins");
}

#[tokio::test]
async fn c5_what_is_no_token_never_reaches_the_store_and_is_never_reflected() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store.clone());
    let mark = "rEfLeCtEd";
    let huge = format!("{NAME}={}", mark.repeat((1 << 20) / mark.len()));
    let separators = format!("{NAME}={mark}; {}", "=;".repeat(1 << 19));
    let script = format!("{NAME}=<script>{mark}</script>");
    let line_end = format!("{NAME}={mark}%0d%0aSet-Cookie:%20{mark}=1");
    let bytes = [b"__Host-id=\xff\xfe".as_slice(), mark.as_bytes(), b"\x80"].concat();
    let almost = format!("{NAME}={mark}{}", "A".repeat(63 - mark.len()));
    for line in [
        huge.as_bytes(),
        separators.as_bytes(),
        script.as_bytes(),
        line_end.as_bytes(),
        &bytes,
        almost.as_bytes(),
    ] {
        for path in ["/", "/me", "/data/x"] {
            let reply = get_with(&site, path, &[line]).await;
            assert!(!reply.status.is_server_error(), "{path}");
            assert!(!format!("{:?}{}", reply.headers, reply.body).contains(mark), "{path}: {reply:?}");
        }
    }
    assert_eq!(store.take_calls(), []);
    // A value that looks like a token is not reflected either.
    let token = format!("{mark}{}", "A".repeat(64 - mark.len()));
    let reply = get_with(&site, "/me", &[format!("{NAME}={token}").as_bytes()]).await;
    assert!(!format!("{:?}{}", reply.headers, reply.body).contains(mark));
}

// C6

#[tokio::test]
async fn c6_a_token_is_64_url_safe_characters_and_no_two_are_alike() {
    let site = Site::new();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let browser = site.browser();
        browser.post("/login/alice").await;
        let token = token_of(&browser);
        assert_eq!(token.len(), 64);
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{token}");
        assert!(seen.insert(sid_of(&token).to_string()), "a sid came twice");
        assert!(seen.insert(token[22..].to_owned()), "a secret came twice");
    }
}

#[tokio::test]
async fn c6_the_store_keeps_a_sha256_of_the_secret_and_nothing_that_would_do_as_a_cookie() {
    let store = MemoryStore::new();
    let site = site_over(store.clone());
    let browser = site.browser();
    browser.post("/login/alice").await;
    let first = token_of(&browser);
    browser.post("/rotate").await; // now there is a previous secret too
    let second = token_of(&browser);
    assert_eq!(sid_of(&first), sid_of(&second), "a rotation keeps the sid");
    assert_ne!(first[22..], second[22..]);

    let record = store.load(sid_of(&first)).await.unwrap().unwrap();
    assert!(record.previous_secret.is_some());
    let json = serde_json::to_string(&record).unwrap();
    for token in [&first, &second] {
        let bytes = bytes_of(token);
        let secret = &bytes[16..];
        let hex: String = secret.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let spellings = [
            token.clone(),
            token[22..].to_owned(), // the first character that holds only secret bits
            encode::<Base64UrlUnpadded>(secret),
            encode::<Base64Unpadded>(secret),
            hex,
            serde_json::to_string(secret).unwrap(),
        ];
        for spelling in spellings {
            assert!(!json.contains(&spelling), "{spelling} is in {json}");
        }
    }
    let secret = &bytes_of(&second)[16..];
    // The hash includes the realm, which defaults to the cookie's name (C10).
    let digest = Sha256::new().chain_update(secret).chain_update(NAME).finalize();
    assert_eq!(record.secret.as_bytes()[..], digest[..]);
    // Nothing in the store works as a cookie: not the sid, not the hash, and not both together.
    let stolen = [record.sid.as_bytes().as_slice(), record.secret.as_bytes()].concat();
    for value in [record.sid.to_string(), encode::<Base64UrlUnpadded>(&stolen)] {
        let reply = get_with(&site, "/me", &[format!("{NAME}={value}").as_bytes()]).await;
        assert_eq!(reply.reason().as_deref(), Some("none"));
    }
}

#[tokio::test]
async fn c6_every_change_of_one_character_makes_it_invalid() {
    let site = site(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND);
    let browser = site.browser();
    browser.post("/login/alice").await;
    let token = token_of(&browser);
    for at in 0..64 {
        let mut forged = token.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let cookie = [b"__Host-id=".as_slice(), &forged].concat();
        let reply = get_with(&site, "/me", &[&cookie]).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "character {at}");
        assert_eq!(reply.reason().as_deref(), Some("none"), "character {at}");
    }
    assert_eq!(browser.get("/me").await.body, "alice", "none of them ended it");
}

#[tokio::test]
async fn c6_a_wrong_secret_does_not_learn_why_the_session_ended() {
    let store = Probe::remote(MemoryStore::new());
    let site = site_over(store.clone());
    let browser = site.browser();
    browser.post("/login/alice").await;
    let token = token_of(&browser);
    let forged = format!("{NAME}={}{}", &token[..22], "A".repeat(42));
    let holder = browser.copy();
    browser.post("/logout").await;
    store.take_calls();
    let reply = get_with(&site, "/me", &[forged.as_bytes()]).await;
    assert_eq!(reply.reason().as_deref(), Some("none"));
    assert_eq!(store.take_calls(), [Operation::Load], "and it changes nothing");
    assert_eq!(holder.get("/me").await.reason().as_deref(), Some("signed_out"));
}

#[tokio::test]
async fn c6_a_wrong_secret_neither_extends_nor_ends_a_session() {
    let store = MemoryStore::new();
    let site = Site::over(SessionLayer::new(store.clone()), usual_routes(), |layer| {
        layer.with_policy(policy(Mode::NonPersistent, 900 * SECOND, 3600 * SECOND))
    });
    let browser = site.browser();
    browser.post("/login/alice").await;
    let token = token_of(&browser);
    let forged = format!("{NAME}={}{}", &token[..22], "A".repeat(42));
    let record = async || store.load(sid_of(&token)).await.unwrap().unwrap();
    let before: Box<Record> = record().await;
    for advance in [60, 900] {
        site.clock.advance(advance * SECOND);
        for path in ["/", "/me", "/data/x"] {
            get_with(&site, path, &[forged.as_bytes()]).await;
        }
        let logout = Request::post("/logout").header(header::COOKIE, &forged).body(Body::empty()).unwrap();
        site.send(logout).await;
        assert_eq!(record().await, before);
    }
    assert_eq!(browser.get("/me").await.reason().as_deref(), Some(EndReason::Idle.as_str()));
}

// C7

#[tokio::test]
async fn c7_an_id_that_we_did_not_issue_is_never_adopted_and_makes_no_row() {
    let store = MemoryStore::new();
    let site = site_over(store.clone());
    let foreign = made_up('F');
    let cookie = format!("{NAME}={foreign}");
    let send = async |request: axum::http::request::Builder| {
        site.send(request.header(header::COOKIE, &cookie).body(Body::from("x")).unwrap()).await
    };
    for request in [
        Request::get("/"),
        Request::get("/me"),
        Request::get("/data/x"),
        Request::post("/rotate"),
        Request::post("/logout"),
        Request::delete("/data/x"),
        Request::post("/fail"),
    ] {
        send(request).await;
        assert!(store.is_empty());
    }
    for request in [Request::put("/data/x"), Request::post("/login/alice"), Request::post("/add/n")] {
        let before = store.len();
        let reply = send(request).await;
        let token = value_of(ours(&reply, NAME).unwrap());
        assert_ne!(sid_of(&token), sid_of(&foreign));
        assert_ne!(token[22..], foreign[22..]);
        assert_eq!(store.len(), before + 1);
        assert_eq!(store.load(sid_of(&foreign)).await.unwrap(), None);
    }
}

// C8

fn cached() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers
}

fn caching_site() -> Site {
    let routes = Router::new()
        .route("/public", get(async || cached()))
        .route(
            "/looks",
            get(async |session: tower_tenure::Session| (cached(), format!("{:?}", session.sid()))),
        )
        .route(
            "/login",
            post(async |session: tower_tenure::Session| {
                let _ = session.login("alice").await.unwrap();
                cached()
            }),
        )
        .route(
            "/logout",
            post(async |session: tower_tenure::Session| {
                session.logout().unwrap();
                cached()
            }),
        );
    Site::over(SessionLayer::new(MemoryStore::new()), routes, |layer| {
        layer.with_policy(policy(Mode::Persistent, 900 * SECOND, 3600 * SECOND))
    })
}

fn lines<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
    reply.headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn c8_a_response_that_sets_or_removes_the_cookie_is_never_stored() {
    let site = caching_site();
    let browser = site.browser();
    let login = browser.post("/login").await;
    assert_eq!(lines(&login, "cache-control"), ["no-store"]);
    site.clock.advance(SECOND);
    let refresh = browser.get("/public").await;
    assert_eq!(refresh.set_cookies().len(), 1);
    assert_eq!(lines(&refresh, "cache-control"), ["no-store"]);
    let logout = browser.post("/logout").await;
    assert_eq!(lines(&logout, "cache-control"), ["no-store"]);
    let junk = get_with(&site, "/public", &[b"__Host-id=junk"]).await;
    assert_eq!(lines(&junk, "cache-control"), ["no-store"]);
}

#[tokio::test]
async fn c8_a_page_that_did_not_look_stays_cacheable_and_one_that_did_varies_by_cookie() {
    let site = caching_site();
    let browser = site.browser();
    browser.post("/login").await;
    for browser in [browser, site.browser()] {
        let public = browser.get("/public").await;
        assert_eq!(lines(&public, "cache-control"), ["public, max-age=3600"]);
        assert_eq!(lines(&public, "vary"), ["Accept-Encoding"]);
        let looks = browser.get("/looks").await;
        assert_eq!(lines(&looks, "cache-control"), ["public, max-age=3600"]);
        assert_eq!(lines(&looks, "vary"), ["Accept-Encoding, cookie"], "merged");
    }
}

#[tokio::test]
async fn c8_what_a_guard_lets_through_or_not_varies_by_cookie() {
    let site = Site::new();
    let browser = site.browser();
    let denied = browser.get("/me").await;
    assert_eq!(lines(&denied, "vary"), ["cookie"]);
    browser.post("/login/alice").await;
    assert_eq!(lines(&browser.get("/me").await, "vary"), ["cookie"]);
    assert_eq!(lines(&browser.get("/").await, "vary"), [""; 0]);
}
