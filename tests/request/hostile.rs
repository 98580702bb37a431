//! Whatever a client sends causes no panic, no 5xx, no reflection, no login, and no row in the
//! store (SPEC C5, C7, E1, T1).
//!
//! `TENURE_SEARCH=100 cargo test --release --all-features --test request hostile` searches a
//! hundred times longer.

use axum::{
    Router,
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header},
    routing,
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};
use tower_tenure::{
    LoginPage, MemoryStore, RequireSession, Session, SessionLayer, SessionStore,
    browser::{Endpoints, LogoutUrls},
    record::Record,
    store::Page,
};
use url::Url;

use crate::{
    common::{Reply, Site, search},
    fuzz::cookies::says_what_is_set,
};

/// Part of every value that must not be reflected.
const MARK: &str = "rEfLeCtEd";

/// The number of cases. Failures are printed, not stored in files.
fn cases(base: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(search::cases(base)) }
}

/// The whole stack around an application that only reads, with one user logged in.
struct Stack {
    runtime: tokio::runtime::Runtime,
    site: Site,
    store: MemoryStore,
    /// The user's `Cookie`.
    good: String,
}

impl Stack {
    fn new() -> Self {
        Self::with_guard_around(false)
    }

    /// With the guard around some routes, or around all of them except the login.
    fn with_guard_around(everything: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let store = MemoryStore::new();
        let guard = RequireSession::new().with_login_page(LoginPage::from_static("/login"));
        let read = async |session: Option<Session>| {
            let Some(session) = session else { return "preflight".to_owned() };
            session.rotate().unwrap();
            format!("{:?} {:?} {:?}", session.subject().is_some(), session.end_reason(), session)
        };
        let me = async |session: Session| session.subject().unwrap_or_default().to_string();
        let login = async |session: Session| assert!(session.login("alice").await.is_ok());
        let routes = Router::new()
            .route("/me", routing::get(me))
            .route("/guarded/{*rest}", routing::any(async || "let through"))
            .layer(guard.clone())
            .fallback(read);
        let routes = if everything { routes.layer(guard) } else { routes };
        let routes = routes.route("/log-in-for-the-test", routing::any(login));
        let urls = LogoutUrls::new().allow("https://*.example.com/bye").unwrap();
        let urls = urls.allow_for_client("shop", "https://shop.example/").unwrap();
        let endpoints = Endpoints::at("/session").unwrap().with_logout_urls(urls);
        let site =
            Site::over(SessionLayer::new(store.clone()), routes, |layer| layer.with_endpoints(endpoints));
        let browser = site.browser();
        runtime.block_on(browser.post("/log-in-for-the-test"));
        let good = browser.cookie_header().unwrap();
        Self { runtime, site, store, good }
    }

    fn send(&self, request: Request<Body>) -> Reply {
        self.runtime.block_on(self.site.send(request))
    }

    /// All records in the store.
    fn records(&self) -> (usize, Vec<Record>) {
        let page = Page { realm: "__Host-id".into(), subject: None, after: None, limit: 10 };
        (self.store.len(), self.runtime.block_on(self.store.list(page)).unwrap())
    }
}

/// Bytes that a client may send in a header: all except line ends.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(vec![
            "__Host-id=", "__Host-id", "=", ";", "; ", ",", "\"", "\\", " ", "\t", "%00", "%0d%0a", "=;=;", "$Version=1",
            "Path=/", "__host-id=", "AAAAAAAAAAAAAAAA", "<script>", "same-origin", "none", "null", "https://", "@", "/",
            "//", "..", "prefetch", "text/html", "navigate", "🦀", "*", "?", "#", "returnTo=", "client_id=", "&", "example.com",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        2 => vec(any::<u8>(), 0..8),
        1 => Just(MARK.as_bytes().to_vec()),
        1 => token().prop_map(|token| format!("__Host-id={token}").into_bytes()),
        1 => (any::<u8>(), 0_usize..3000).prop_map(|(byte, times)| vec![byte; times]),
    ];
    vec(piece, 0..10).prop_map(|pieces| {
        let mut bytes = pieces.concat();
        bytes.retain(|byte| HeaderValue::from_bytes(&[*byte]).is_ok());
        bytes
    })
}

/// A well-formed token that was never issued.
fn token() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-]{64}"
}

fn method() -> impl Strategy<Value = Method> {
    let known =
        select(vec!["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "PATCH", "get"]);
    // RFC 9110, section 5.6.2: a server rejects all other characters.
    let any_token = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}";
    let any_token = any_token.prop_map(|name| Method::from_bytes(name.as_bytes()).unwrap());
    prop_oneof![4 => known.prop_map(|name| name.parse().unwrap()), 1 => any_token]
}

/// A target that an HTTP server accepts.
fn target() -> impl Strategy<Value = Uri> {
    let start = select(vec![
        "/",
        "/me",
        "/guarded/",
        "/session/status",
        "/session/extend",
        "/session/logout",
        "/session/",
        "//",
        "/\\",
        "*",
        "http://evil.example/",
        "https://evil.example//",
        "/guarded//evil.example",
        "/guarded/\\evil.example",
        "//me",
    ]);
    (start, prop_oneof![Just(Vec::new()), bytes()]).prop_filter_map("no target", |(start, rest)| {
        let mut target = [start.as_bytes(), &rest].concat();
        target.retain(|byte| *byte > b' ');
        target.truncate(4000);
        Uri::try_from(target).ok()
    })
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, Vec<u8>)>> {
    let name = select(vec![
        "cookie",
        "cookie",
        "cookie",
        "cookie",
        "host",
        "origin",
        "sec-fetch-site",
        "sec-fetch-mode",
        "sec-purpose",
        "accept",
        "access-control-request-method",
        "session-activity",
        "user-agent",
        "referer",
        "authorization",
        "x-forwarded-for",
    ]);
    (vec((name, bytes()), 0..8), any::<bool>()).prop_map(|(mut headers, navigates)| {
        if navigates {
            headers.retain(|(name, _)| *name != "sec-fetch-mode");
            headers.push(("sec-fetch-mode", b"navigate".to_vec()));
        }
        headers
    })
}

fn request(method: Method, target: Uri, headers: Vec<(&'static str, Vec<u8>)>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(target).body(Body::empty()).unwrap();
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(&value).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    request
}

/// Everything in the response except `Location`, which may contain the requested path.
fn seen(reply: &Reply) -> String {
    let lines = reply.headers.iter().filter(|(name, _)| *name != header::LOCATION);
    let lines: Vec<_> = lines.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    format!("{}\n{}", lines.join("\n"), reply.body)
}

#[test]
fn whatever_is_sent_logs_no_user_in_and_breaks_reflects_and_grows_nothing() {
    let stacks = [false, true].map(Stack::with_guard_around);
    let before = stacks.each_ref().map(Stack::records);
    let here = Url::parse("https://app.example/").unwrap();
    proptest!(cases(2000), |(
        method in method(), target in target(), headers in headers(), which in 0_usize..2
    )| {
        let path = target.path().to_owned();
        // The response must not reflect the mark from a header. No body contains the path either.
        let reply = stacks[which].send(request(method.clone(), target, headers));
        prop_assert!(!reply.status.is_server_error(), "{} {reply:?}", method);
        prop_assert!(!seen(&reply).contains(MARK), "reflected: {reply:?}");
        prop_assert!(path != "/me" || reply.status != StatusCode::OK, "logged in: {reply:?}");
        prop_assert!(!reply.body.starts_with("true"), "logged in: {reply:?}");
        for line in reply.set_cookies() {
            prop_assert!(line.contains("; Max-Age=0"), "a cookie was issued: {line}");
        }
        prop_assert!(reply.set_cookies().len() <= 1);
        if let Some(location) = reply.headers.get(header::LOCATION) {
            let location = location.to_str().unwrap();
            let url = here.join(location).unwrap();
            let allowed = url.origin() == here.origin()
                || location.starts_with("https://shop.example/")
                || (url.path() == "/bye" && url.host_str().unwrap().ends_with(".example.com"));
            prop_assert!(allowed, "sent to {location}");
            for (name, value) in url.query_pairs().filter(|_| url.path() == "/login") {
                if name == "reason" {
                    prop_assert_eq!(value, "none");
                    continue;
                }
                prop_assert_eq!(name, "return_to");
                prop_assert_eq!(url.join(&value).unwrap().origin(), here.origin());
            }
        }
        prop_assert_eq!(&stacks[which].records(), &before[which]);
    });
}

#[test]
fn a_good_cookie_among_junk_works_while_it_is_among_the_first_three_candidates() {
    let stack = Stack::new();
    let good = stack.good.clone().into_bytes();
    let malformed = prop_oneof![
        bytes().prop_map(|mut bytes| {
            // Without a well-formed token, since those are tested separately.
            while let Some(at) = bytes.windows(10).position(|window| window == b"__Host-id=") {
                bytes[at] = b'x';
            }
            bytes
        }),
        "[ -~]{0,200}".prop_map(|text| format!("__Host-id={}!", text.replace("__Host-id=", "")).into_bytes()),
        Just(b"__Host-id=".to_vec()),
        Just(b"__Host-id=\xff\xfe".to_vec()),
    ];
    let junk = (vec(malformed, 0..10), vec(token(), 0..3)).prop_flat_map(|(mut junk, tokens)| {
        junk.extend(tokens.into_iter().map(|token| format!("__Host-id={token}").into_bytes()));
        let good_at = 0..=junk.len();
        (Just(junk).prop_shuffle(), good_at, any::<u64>())
    });
    proptest!(cases(1000), |((junk, good_at, lines) in junk)| {
        let mut cookies = junk;
        cookies.insert(good_at, good.clone());
        // Each bit decides whether a new `Cookie` line begins.
        let mut headers: Vec<(&'static str, Vec<u8>)> = Vec::new();
        for (at, cookie) in cookies.into_iter().enumerate() {
            match headers.last_mut() {
                Some((_, line)) if lines >> at & 1 == 0 => line.extend([b"; ", &*cookie].concat()),
                _ => headers.push(("cookie", cookie)),
            }
        }
        let reply = stack.send(request(Method::GET, Uri::from_static("/me"), headers));
        prop_assert_eq!(reply.status, StatusCode::OK);
        prop_assert_eq!(&reply.body, "alice");
        prop_assert!(!reply.removes_cookie(), "logged out");
    });
}

#[test]
fn a_forged_logout_needs_an_origin_that_is_ours() {
    let stack = Stack::new();
    let before = stack.records();
    let site = select(vec![
        "same-origin",
        "none",
        "same-site",
        "cross-site",
        "Same-Origin",
        "same-origin ",
        "",
        "x",
    ]);
    let origin = select(vec![
        "https://app.example",
        "http://app.example",
        "https://app.example:443",
        "https://app.example:8443",
        "null",
        "https://evil.example",
        "https://app.example.evil.example",
        "https://app.example@evil.example",
        "",
        "https://x.app.example",
        "HTTPS://APP.EXAMPLE",
        "https://app.example/",
        "app.example",
        "//app.example",
    ]);
    let host = select(vec![
        "app.example",
        "app.example:443",
        "APP.EXAMPLE",
        "app.example:8443",
        "evil.example",
        "",
        "null",
        "x.app.example",
        "evil.example@app.example",
        "app.example@evil.example",
        "app.example/",
        "app.example#",
        "app.example:",
    ]);
    let strategy = (vec(site, 0..3), vec(origin, 0..3), vec(host, 0..3));
    proptest!(cases(2000), |((sites, origins, hosts) in strategy)| {
        let headers = |name, values: &[&'static str]| {
            values.iter().map(|value| (name, value.as_bytes().to_vec())).collect::<Vec<_>>()
        };
        let mut all = vec![("cookie", stack.good.clone().into_bytes())];
        all.extend(headers("sec-fetch-site", &sites));
        all.extend(headers("origin", &origins));
        all.extend(headers("host", &hosts));
        // `extend` is refused by the same rule as `logout`, but leaves the user logged in for the
        // next case.
        let reply = stack.send(request(Method::POST, Uri::from_static("/session/extend"), all));
        let plainly_ours = |origin: &str, host: &str| {
            let (origin, host) = (origin.to_ascii_lowercase(), host.to_ascii_lowercase());
            let port = |text: &str| text.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443_u16);
            let name = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
            let ours = origin.strip_prefix("https://").map(|rest| rest.trim_end_matches('/'));
            let is_plain = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:".contains(&b));
            is_plain && ours.is_some_and(|ours| name(ours) == name(&host) && port(ours) == port(&host))
        };
        let expected = match (&*sites, &*origins, &*hosts) {
            ([site], ..) => matches!(*site, "same-origin" | "none"),
            ([], [origin], [host]) => plainly_ours(origin, host),
            _ => false,
        };
        let status = if expected { StatusCode::OK } else { StatusCode::FORBIDDEN };
        prop_assert_eq!(reply.status, status, "{:?} {:?} {:?}", sites, origins, hosts);
        prop_assert_eq!(&stack.records(), &before);
    });
}

#[test]
fn a_megabyte_of_cookies_is_read_without_a_stumble() {
    let stack = Stack::new();
    let before = stack.records();
    for piece in [
        "=;",
        ";",
        "; ",
        "__Host-id=",
        "__Host-id=;",
        "__Host-id; ",
        "a=b; ",
        " ",
        "\t",
        "__Host-i",
        "\u{ff}",
        "__",
    ] {
        let junk = piece.repeat((1 << 20) / piece.len());
        for path in ["/", "/me", "/session/status"] {
            let headers = vec![("cookie", junk.clone().into_bytes())];
            let reply = stack.send(request(Method::GET, Uri::from_static(path), headers));
            assert!(!reply.status.is_server_error());
            assert_eq!(stack.records(), before);
        }
        let headers = vec![("cookie", format!("{junk}; {}; {junk}", stack.good).into_bytes())];
        assert_eq!(
            stack.send(request(Method::GET, Uri::from_static("/me"), headers)).body,
            "alice",
            "{piece:?}"
        );
    }
}

/// Any configuration is either refused or gives a line with exactly these attributes.
#[test]
fn c1_no_setting_of_a_cookie_says_something_else_in_its_line() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let text = || {
        let odd = select(vec![
            "; Domain=evil.example",
            ";",
            "=",
            "/",
            "/a b",
            "__Host-",
            "__Secure-",
            "\r\n",
            "\u{e9}",
            "\"",
            ",",
            "%3b",
            "Path=/",
            ".example.com",
            "example.com",
            "id",
            "é",
            "",
            " ",
        ]);
        let piece =
            prop_oneof![3 => odd.prop_map(str::to_owned), 2 => "[a-zA-Z0-9./-]{1,8}", 1 => "\\PC{0,3}"];
        vec(piece, 0..3).prop_map(|pieces| pieces.concat())
    };
    let path = prop_oneof![Just("/".to_owned()), text().prop_map(|rest| format!("/{rest}")), text()];
    let strategy = (text(), proptest::option::of(text()), path, any::<(bool, bool, bool)>());
    let built = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(cases(3000));
    let result = runner.run(&strategy, |(name, domain, path, (partitioned, insecure, persistent))| {
        let flags = [partitioned, insecure, persistent];
        if says_what_is_set(&runtime, &name, domain.as_deref(), &path, flags) {
            built.set(built.get() + 1);
        }
        Ok(())
    });
    result.unwrap();
    assert!(built.get() > 100, "only {} of the settings were good", built.get());
}
