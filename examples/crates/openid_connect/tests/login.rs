//! The application and the provider as processes, and a browser that follows their redirects.

#[path = "../src/provider/tokens.rs"]
#[expect(dead_code, reason = "the provider needs more of it")]
mod tokens;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openidconnect::reqwest::{Client, StatusCode, Url, header, redirect};
use serde_json::{Value, json};
use tower_tenure::{Clock, SystemClock, Timestamp};

use self::tokens::Tokens;

struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("listening on "), "{line}");
        Self(process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both sites. They run until this is dropped.
struct Sites {
    application: String,
    provider: String,
    _running: [Running; 2],
}

impl Sites {
    fn start() -> Self {
        // Each site needs the URL of the other, so the ports are chosen first.
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [here, there] = free.map(|listener| listener.local_addr().unwrap().to_string());
        let (application, provider) = (format!("http://{here}"), format!("http://{there}"));
        let running = [
            Running::start(env!("CARGO_BIN_EXE_provider"), &[&there, &application]),
            Running::start(env!("CARGO_BIN_EXE_application"), &[&here, &provider]),
        ];
        Self { application, provider, _running: running }
    }
}

/// Stores cookies by name for both sites, as a browser does for one host.
struct Browser<'a> {
    sites: &'a Sites,
    client: Client,
    cookies: HashMap<String, String>,
}

struct Page {
    status: StatusCode,
    /// Where it redirects to.
    location: Option<Url>,
    text: String,
}

impl<'a> Browser<'a> {
    fn new(sites: &'a Sites) -> Self {
        let client = Client::builder().redirect(redirect::Policy::none()).build().unwrap();
        Self { sites, client, cookies: HashMap::new() }
    }

    /// A `GET`, or a `POST` with a form.
    async fn ask(&mut self, url: &str, form: Option<&[(&str, &str)]>) -> Page {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = match form {
            None => self.client.get(url),
            Some(form) => self.client.post(url).form(form),
        };
        let request = request.header(header::COOKIE, cookies.join("; ")).header("sec-fetch-mode", "navigate");
        let response = request.send().await.unwrap();
        for line in response.headers().get_all(header::SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => self.cookies.remove(name),
                _ => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
        let location = response.headers().get(header::LOCATION).map(|to| to.to_str().unwrap());
        let location = location.map(|to| response.url().join(to).unwrap());
        Page { status: response.status(), location, text: response.text().await.unwrap() }
    }

    async fn get(&mut self, url: impl AsRef<str>) -> Page {
        self.ask(url.as_ref(), None).await
    }

    /// Where a page redirects to.
    async fn follow(&mut self, url: impl AsRef<str>) -> Url {
        let page = self.get(url).await;
        page.location.unwrap_or_else(|| panic!("{}: {}", page.status, page.text))
    }

    /// Begins a login, and signs in at the provider if it asks. Returns the URL of the callback.
    async fn to_callback(&mut self, user: &str) -> Url {
        let authorize = self.follow(format!("{}/login", self.sites.application)).await;
        let mut next = self.follow(authorize).await;
        if next.path() == "/login" {
            let return_to = next.query_pairs().find(|(name, _)| name == "return_to").unwrap().1.into_owned();
            let page = self.ask(next.as_str(), Some(&[("name", user), ("return_to", &return_to)])).await;
            next = self.follow(page.location.unwrap()).await;
        }
        assert!(next.as_str().starts_with(&format!("{}/callback?code=", self.sites.application)), "{next}");
        next
    }

    async fn log_in(&mut self, user: &str) {
        let callback = self.to_callback(user).await;
        assert_eq!(self.follow(callback).await.path(), "/");
    }

    /// Presses the application's logout button. Returns the URL of the redirect.
    async fn log_out(&mut self) -> Url {
        self.ask(&format!("{}/logout", self.sites.application), Some(&[])).await.location.unwrap()
    }

    /// The page that only a signed-in user sees.
    async fn home(&mut self) -> Option<String> {
        let page = self.get(&self.sites.application).await;
        (page.status == StatusCode::OK).then_some(page.text)
    }

    async fn is_signed_out_soon(&mut self) -> bool {
        for _ in 0..200 {
            if self.home().await.is_none() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

fn parameter(url: &Url, name: &str) -> String {
    url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned()
}

#[tokio::test]
async fn a_login_returns_to_the_page_that_was_asked_for_and_ends_with_the_providers_session() {
    let sites = Sites::start();
    let mut ada = Browser::new(&sites);
    let login = ada.follow(&sites.application).await;
    assert_eq!((login.path(), login.query()), ("/login", Some("return_to=/&reason=none")));
    ada.log_in("<ada>").await;
    let page = ada.home().await.unwrap();

    let id_token = parameter(&ada.log_out().await, "id_token_hint");
    let payload = BASE64_URL_SAFE_NO_PAD.decode(id_token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    let end = Timestamp::from_unix_millis(claims["session_expiry"].as_i64().unwrap() * 1000);
    assert!(page.contains(&format!("Hello, &lt;ada>, until {end}.")), "{page}");
}

#[tokio::test]
async fn a_login_is_finished_once_and_only_in_the_browser_that_began_it() {
    let sites = Sites::start();
    let (mut ada, mut eve) = (Browser::new(&sites), Browser::new(&sites));
    let callback = ada.to_callback("ada").await;
    assert_eq!(eve.get(&callback).await.status, 400, "another browser");
    eve.follow(format!("{}/login", sites.application)).await;
    assert_eq!(eve.get(&callback).await.status, 400, "another login");
    ada.follow(&callback).await;
    assert!(ada.home().await.is_some());
    assert_eq!(ada.get(&callback).await.status, 400, "a second time");
    assert!(eve.home().await.is_none());
}

#[tokio::test]
async fn logins_in_two_tabs_both_return() {
    let sites = Sites::start();
    let mut ada = Browser::new(&sites);
    let tabs = [ada.to_callback("ada").await, ada.to_callback("ada").await];
    for callback in tabs {
        assert_eq!(ada.follow(callback).await.path(), "/");
    }
    assert!(ada.home().await.is_some());
}

#[tokio::test]
async fn a_code_of_another_login_is_refused_by_pkce() {
    let sites = Sites::start();
    let (mut ada, mut eve) = (Browser::new(&sites), Browser::new(&sites));
    let (of_ada, of_eve) = (ada.to_callback("ada").await, eve.to_callback("eve").await);
    let mut injected = of_eve.clone();
    let pairs = [("code", parameter(&of_ada, "code")), ("state", parameter(&of_eve, "state"))];
    injected.query_pairs_mut().clear().extend_pairs(pairs);
    assert_eq!(eve.get(injected).await.status, 400);
    assert!(eve.home().await.is_none());
}

#[tokio::test]
async fn a_logout_at_the_application_is_one_at_the_provider() {
    let sites = Sites::start();
    let mut ada = Browser::new(&sites);
    ada.log_in("ada").await;
    let end_session = ada.log_out().await;
    assert!(end_session.as_str().starts_with(&format!("{}/logout?", sites.provider)), "{end_session}");
    assert!(ada.home().await.is_none());
    assert_eq!(ada.follow(end_session).await.as_str(), format!("{}/signed_out", sites.application));
    let authorize = ada.follow(format!("{}/login", sites.application)).await;
    assert_eq!(ada.follow(authorize).await.path(), "/login", "the provider asks who it is");
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_of_that_browser_only() {
    let sites = Sites::start();
    let (mut laptop, mut phone) = (Browser::new(&sites), Browser::new(&sites));
    laptop.log_in("ada").await;
    phone.log_in("ada").await;
    assert_eq!(laptop.ask(&format!("{}/leave", sites.provider), Some(&[])).await.status, 200);
    assert!(laptop.is_signed_out_soon().await);
    assert!(phone.home().await.is_some(), "the phone has another session at the provider");
}

#[tokio::test]
async fn a_logout_token_without_a_session_ends_all_of_the_user_and_what_is_not_one_ends_nothing() {
    let sites = Sites::start();
    let url = format!("{}/back_channel_logout", sites.application);
    let [mut laptop, mut phone, mut of_bob] = [(); 3].map(|()| Browser::new(&sites));
    laptop.log_in("ada").await;
    phone.log_in("ada").await;
    of_bob.log_in("bob").await;

    let (tokens, now) = (Tokens::new().unwrap(), SystemClock.now());
    let hour_ago = Timestamp::from_unix_millis(now.as_unix_millis() - 3_600_000);
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let right = json!({ "iss": sites.provider, "aud": "application", "sub": "ada", "events": event });
    let with = |key: &str, value: Value| {
        let mut claims = right.clone();
        claims[key] = value;
        tokens.sign("logout+jwt", claims, now)
    };
    let mut forged = tokens.sign("logout+jwt", right.clone(), now);
    forged.replace_range(forged.len() - 5.., "AAAAA");
    for (token, what) in [
        (with("iss", json!("https://another.example")), "of another provider"),
        (with("aud", json!("another")), "for another application"),
        (with("nonce", json!("n")), "an ID token"),
        (with("events", json!({})), "about no logout"),
        (tokens.sign("logout+jwt", right.clone(), hour_ago), "expired"),
        (forged, "signed by another key"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.".to_owned(), "not signed"),
        (String::new(), "empty"),
    ] {
        let answer = Browser::new(&sites).ask(&url, Some(&[("logout_token", &token)])).await;
        assert_eq!(answer.status, 400, "{what}");
    }
    assert!(laptop.home().await.is_some());

    let token = tokens.sign("logout+jwt", right, now);
    let answer = Browser::new(&sites).ask(&url, Some(&[("logout_token", &token)])).await;
    assert_eq!(answer.status, 200);
    assert!(laptop.home().await.is_none());
    assert!(phone.home().await.is_none());
    assert!(of_bob.home().await.is_some());
}
