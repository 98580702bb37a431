//! Sessions bound to their device (SPEC B), in Chromium, which supports the protocol, over TLS.
//!
//! These tests use the wall clock, because the browser has no other and the demo is another
//! process.

#![expect(clippy::disallowed_methods, reason = "these tests look at the clock")]

use std::{
    collections::BTreeSet,
    io::{BufRead, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use fantoccini::{Client, Locator};
use serde_json::{Value, json};
use tokio_rustls::rustls::ClientConfig;

use crate::common::{
    SoftwareDevice,
    authority::{Authority, HOST},
    chrome::Chrome,
    client::{Answer, send_over_tls},
    demo::{Demo, built},
    servers::{Kind, Server},
    turns::Turns,
};

const BOUND_COOKIE: &str = "__Host-id-bound";
const BOUND_COOKIE_LIFETIME: Duration = Duration::from_secs(5);
/// How long after the binding a request needs no bound cookie.
const GRACE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(1500);
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser that binds sessions with a software key, and logs its network events.
struct Bound {
    chrome: Chrome,
    client: Client,
    site: String,
    log: PathBuf,
}

impl Bound {
    async fn open(chrome: Chrome, log: PathBuf, port: u16) -> Self {
        let client = open(&chrome, &log).await;
        let bound = Self { chrome, client, site: format!("https://{HOST}:{port}"), log };
        bound.goto("/").await;
        bound
    }

    /// Quits cleanly, and starts again with the same profile and a new log.
    async fn restart(&mut self, log: PathBuf) {
        self.client.clone().close().await.unwrap();
        self.client = open(&self.chrome, &log).await;
        self.log = log;
    }

    async fn goto(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.site)).await.unwrap();
    }

    async fn click(&self, selector: &str) {
        self.client.find(Locator::Css(selector)).await.unwrap().click().await.unwrap();
    }

    async fn log_in(&self, remember: bool) {
        self.client.find(Locator::Id("user")).await.unwrap().send_keys("Ada").await.unwrap();
        if remember {
            self.click("#remember").await;
        }
        self.click("#signed-out button.primary").await;
        self.client.wait().at_most(PATIENCE).for_element(Locator::Id("user-name")).await.unwrap();
        self.bound_cookie_other_than(None).await;
    }

    async fn cookie(&self, name: &str) -> Option<String> {
        self.client.get_named_cookie(name).await.ok().map(|cookie| cookie.value().to_owned())
    }

    /// Waits for a bound cookie that is not this one.
    async fn bound_cookie_other_than(&self, old: Option<&str>) -> String {
        let changed = async {
            loop {
                match self.cookie(BOUND_COOKIE).await {
                    Some(value) if Some(&*value) != old => return value,
                    _ => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.unwrap_or_else(|_| self.fail("no new bound cookie"))
    }

    /// Fetches from the page. Returns the status and the text.
    async fn fetch(&self, path: &str) -> (u64, String) {
        let script = "const [path, done] = arguments;
            fetch(path).then(async (r) => done([r.status, await r.text()]), (e) => done([0, String(e)]));";
        let answer = self.client.execute_async(script, vec![path.into()]).await.unwrap();
        (answer[0].as_u64().unwrap(), answer[1].as_str().unwrap().to_owned())
    }

    async fn is_signed_in(&self) {
        let (status, text) = self.fetch("/me").await;
        if status != 200 || !text.contains("\"Ada\"") {
            self.fail(&format!("{status} {text}"));
        }
    }

    fn fail(&self, what: &str) -> ! {
        let events: Vec<_> = events(&self.log).iter().map(|event| format!("{event}\n")).collect();
        panic!("{what}\nwhat the browser logged:\n{}", events.concat());
    }

    /// Quits the browser and returns its logged events about bindings.
    async fn close(self) -> Vec<Value> {
        self.client.clone().close().await.unwrap();
        events(&self.log)
    }
}

const SOFTWARE_KEYS: &str = "--enable-features=DeviceBoundSessions:RequireOriginTrialTokens/false/RefreshQuota/false,\
     EnableBoundSessionCredentialsSoftwareKeysForManualTesting";

async fn open(chrome: &Chrome, log: &Path) -> Client {
    chrome
        .open_with(&[
            SOFTWARE_KEYS,
            "--host-resolver-rules=MAP *.example.com 127.0.0.1",
            &format!("--log-net-log={}", log.display()),
            "--net-log-capture-mode=Everything",
        ])
        .await
}

/// The events about bindings in a browser's log, and the requests to the endpoints. Each event is
/// one line. The last ones may be missing while the browser runs.
fn events(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut lines = text.lines();
    let constants = lines.next().unwrap_or_default().trim_end_matches(',');
    let constants: Value = serde_json::from_str(&format!("{constants}}}")).unwrap_or_default();
    let Some(types) = constants["constants"]["logEventTypes"].as_object() else { return Vec::new() };
    let name =
        |number: &Value| types.iter().find(|(_, known)| *known == number).map(|(name, _)| name.clone());
    let mut found = Vec::new();
    for event in lines.filter_map(|line| serde_json::from_str::<Value>(line.trim_end_matches(',')).ok()) {
        let Some(name) = name(&event["type"]) else { continue };
        let url = event["params"]["url"].as_str().unwrap_or_default();
        let is_request = name == "URL_REQUEST_START_JOB" && url.contains("/session/");
        if name.starts_with("DBSC") || is_request {
            found.push(json!({ "name": name, "params": event["params"] }));
        }
    }
    found
}

/// The result of each attempt, in order.
fn results<'a>(events: &'a [Value], name: &str) -> Vec<&'a str> {
    let of_name = events.iter().filter(|event| event["name"] == name);
    of_name.filter_map(|event| event["params"]["status"].as_str()).collect()
}

/// A client with the cookies but without the key.
struct Thief<'a> {
    address: SocketAddr,
    tls: &'a Arc<ClientConfig>,
    cookies: String,
}

impl Thief<'_> {
    fn send(&self, line: &str, headers: &[&str]) -> Answer {
        let cookies = format!("Cookie: {}", self.cookies);
        let headers = [&[&*cookies], headers].concat();
        send_over_tls(self.address, self.tls, line, &headers, b"").expect("an answer")
    }
}

#[tokio::test]
async fn b4_b5_b6_chromium_proves_itself_on_two_nodes_until_the_session_ends() {
    const TEST: &str = "device binding in a real browser";
    let authority = Authority::new();
    let Some(chrome) = Chrome::trusting(&authority, TEST) else { return };
    let Some(redis) = Server::start(Kind::Redis, TEST) else { return };
    let store = format!("--store={}", redis.url());
    let flags = [&*authority.flag(), &store, "--bind=enforce", "--bound-cookie=5s"];
    let nodes = [Demo::start(&flags), Demo::start(&flags)];
    let turns = Turns::before(nodes.iter().map(|node| node.address).collect());
    let log = authority.file("net-log.json").into();
    let browser = Bound::open(chrome, log, turns.port).await;
    browser.log_in(false).await;

    // It refreshes ten times, and no request is refused.
    let mut seen = BTreeSet::new();
    let bound = Instant::now();
    while seen.len() <= 10 || bound.elapsed() < GRACE {
        browser.is_signed_in().await;
        seen.extend(browser.cookie(BOUND_COOKIE).await);
        tokio::time::sleep(PAUSE).await;
    }
    let connections = turns.connections();
    assert!(connections.iter().all(|node| *node >= 5), "{connections:?}");

    // The page says so.
    browser.goto("/").await;
    let device = browser.client.find(Locator::Id("device")).await.unwrap().text().await.unwrap();
    assert!(device.contains("Bound") && device.contains("proved itself"), "{device}");

    // A copy of the cookies works until the bound cookie expires.
    browser.is_signed_in().await;
    let tls = authority.client_config();
    let sid = browser.fetch("/me").await.1;
    let sid: Value = serde_json::from_str(&sid).unwrap();
    let sid = format!("Sec-Secure-Session-Id: {}", sid["sid"].as_str().unwrap());
    let bound = browser.bound_cookie_other_than(None).await;
    let session = browser.cookie("__Host-id").await.unwrap();
    let cookies = format!("__Host-id={session}; {BOUND_COOKIE}={bound}");
    let thief = Thief { address: nodes[0].address, tls: &tls, cookies };
    let me = thief.send("GET /me", &[]);
    assert_eq!((me.status, me.json()["user"].as_str()), (200, Some("Ada")), "{}", me.body);
    // Without the key it cannot get a new one.
    let refused = thief.send("POST /session/refresh", &[&sid]);
    let challenge = refused.header("secure-session-challenge").unwrap().split('"').nth(1).unwrap();
    let proof = SoftwareDevice::es256().refresh(challenge);
    let proof = format!("Secure-Session-Response: {proof}");
    let forged = thief.send("POST /session/refresh", &[&sid, &proof]);
    assert_eq!((refused.status, forged.status), (403, 403));
    assert_eq!(forged.header("set-cookie"), None);
    tokio::time::sleep(BOUND_COOKIE_LIFETIME).await;
    assert_eq!(thief.send("GET /me", &[]).reason(), (401, "unproven".to_owned()));
    browser.is_signed_in().await;

    // The binding ends with the session.
    browser.goto("/").await;
    browser.click("#logout button").await;
    browser.client.wait().at_most(PATIENCE).for_element(Locator::Css("#signed-out")).await.unwrap();
    assert_eq!(browser.cookie(BOUND_COOKIE).await, None);
    assert_eq!(browser.cookie("__Host-id").await, None);
    for _ in 0..4 {
        tokio::time::sleep(PAUSE).await;
        assert_eq!(browser.fetch("/me").await.0, 401);
    }
    assert_eq!(browser.cookie(BOUND_COOKIE).await, None);
    let events = browser.close().await;
    assert_eq!(results(&events, "DBSC_REGISTRATION_RESULT"), ["registered"]);
    let refreshes = results(&events, "DBSC_REFRESH_RESULT");
    let (last, others) = refreshes.split_last().unwrap();
    assert!(*last == "session_ended" && others.len() >= 10, "{refreshes:?}");
    assert!(others.iter().all(|status| *status == "refreshed"), "{refreshes:?}");
}

#[tokio::test]
async fn b7_a_bound_session_survives_a_restart_of_chromium() {
    let authority = Authority::new();
    let Some(chrome) = Chrome::trusting(&authority, "a bound session across a restart") else { return };
    let demo = Demo::start(&[&authority.flag(), "--bind=enforce", "--bound-cookie=5s"]);
    let [before, after] = ["before.json", "after.json"].map(|log| PathBuf::from(authority.file(log)));
    let mut browser = Bound::open(chrome, before, demo.address.port()).await;
    browser.log_in(true).await;
    let old = browser.cookie(BOUND_COOKIE).await;
    browser.restart(after).await;
    browser.goto("/").await;
    browser.client.wait().at_most(PATIENCE).for_element(Locator::Id("user-name")).await.unwrap();
    let restarted = Instant::now();
    while restarted.elapsed() < GRACE + BOUND_COOKIE_LIFETIME {
        browser.is_signed_in().await;
        tokio::time::sleep(PAUSE).await;
    }
    assert_ne!(browser.cookie(BOUND_COOKIE).await, old);
    let events = browser.close().await;
    assert_eq!(results(&events, "DBSC_REGISTRATION_RESULT"), [""; 0]);
    let refreshes = results(&events, "DBSC_REFRESH_RESULT");
    assert!(!refreshes.is_empty(), "it refreshes what it bound before");
    assert!(refreshes.iter().all(|status| *status == "refreshed"), "{refreshes:?}");
}

/// The example, as a reader follows it: with the browser flags that it prints, and the command to
/// copy.
#[tokio::test]
async fn b6_the_cookies_that_the_example_copies_stop_working() {
    const TEST: &str = "the example device_bound";
    let has_curl = Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_ok();
    if !has_curl {
        assert!(std::env::var_os("TENURE_ALL").is_none(), "curl is missing, and nothing may be left out");
        let _ = writeln!(std::io::stderr(), "left out: {TEST} (needs curl; see tests/all.sh)");
        return;
    }
    let Some(chrome) = Chrome::start(TEST) else { return };
    let mut example =
        Demo::spawn(Command::new(built("device_bound")).arg("127.0.0.1:0").stderr(Stdio::null()));
    let mut line = String::new();
    example.out.read_line(&mut line).unwrap();
    let words: Vec<_> = line.split_whitespace().collect();
    let flags: Vec<_> = words.iter().copied().filter(|word| word.starts_with("--")).skip(1).collect();
    let client = chrome.open_with(&flags).await;
    let find = async |selector| client.wait().at_most(PATIENCE).for_element(Locator::Css(selector)).await;
    client.goto(words.last().unwrap()).await.unwrap();
    find("form[action='/login'] button").await.unwrap().click().await.unwrap();
    let is_bound = async || client.source().await.unwrap().contains("last proved itself");
    let started = Instant::now();
    while !is_bound().await {
        assert!(started.elapsed() < PATIENCE, "not bound:\n{}", client.source().await.unwrap());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The grace after the binding.
    tokio::time::sleep(GRACE).await;
    assert!(is_bound().await, "it still proves itself");
    // The page reloads itself from time to time.
    let button = "document.querySelector(\"form[action='/curl'] button\").click();";
    client.execute(button, vec![]).await.unwrap();
    let command = find("#curl").await.unwrap().text().await.unwrap();
    let run = || {
        let output = Command::new("sh").args(["-c", &command]).stderr(Stdio::null()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(), "ada\n", "{command}");
    let copied = Instant::now();
    while !run().contains("unproven") {
        assert!(copied.elapsed() < PATIENCE, "the copied cookies never stop working");
        tokio::time::sleep(PAUSE).await;
    }
    client.goto(words.last().unwrap()).await.unwrap();
    assert!(is_bound().await, "the browser's own cookies work");
    client.close().await.unwrap();
}
