//! The application and the provider as processes, and a browser that follows their redirects.

#[path = "../src/http.rs"]
mod http;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use axum::http::{Request, Response, header};

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

/// Each knows the URL of the other, so the ports are chosen first.
fn site() -> (String, String, [Running; 2]) {
    let [application, provider] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [application, provider] = [application, provider].map(|free| free.local_addr().unwrap().to_string());
    let (here, issuer) = (format!("http://{application}"), format!("http://{provider}"));
    let running = [
        Running::start(env!("CARGO_BIN_EXE_provider"), &[&provider, &here]),
        Running::start(env!("CARGO_BIN_EXE_application"), &[&application, &issuer]),
    ];
    (here, issuer, running)
}

/// Keeps cookies by name, for both sites: as browsers do on one host.
#[derive(Clone, Default)]
struct Browser(HashMap<String, String>);

impl Browser {
    async fn send(&mut self, method: &str, url: &str, body: &str) -> Response<String> {
        let cookies: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(header::COOKIE, cookies.join("; "))
            .header("sec-fetch-mode", "navigate")
            .header(header::ACCEPT, "text/html")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = http::send(request.body(body.as_bytes().to_vec()).unwrap()).await.unwrap();
        for line in response.headers().get_all(header::SET_COOKIE) {
            let (name, value) = line.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            if value.is_empty() {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
        response.map(|body| String::from_utf8(body).unwrap())
    }

    /// Where a request is redirected to.
    async fn go(&mut self, method: &str, url: &str, body: &str) -> String {
        let response = self.send(method, url, body).await;
        assert_eq!(response.status(), 303, "{url}: {}", response.body());
        let location = response.headers()[header::LOCATION].to_str().unwrap();
        let (scheme, rest) = url.split_once("://").unwrap();
        match location.strip_prefix('/') {
            Some(path) => format!("{scheme}://{}/{path}", rest.split('/').next().unwrap()),
            None => location.to_owned(),
        }
    }

    /// From the first page until the browser is about to call the application back.
    async fn log_in_at_provider(&mut self, here: &str, issuer: &str) -> String {
        let login = self.go("GET", here, "").await;
        let authorize = self.go("GET", &login, "").await;
        let page = self.go("GET", &authorize, "").await;
        assert!(page.starts_with(&format!("{issuer}/login?return_to=")), "{page}");
        let return_to = page.split_once("return_to=").unwrap().1.split("&reason").next().unwrap();
        let body = format!("name=ada&return_to={return_to}");
        let authorize = self.go("POST", &format!("{issuer}/login"), &body).await;
        self.go("GET", &authorize, "").await
    }

    async fn log_in(&mut self, here: &str, issuer: &str) {
        let callback = self.log_in_at_provider(here, issuer).await;
        assert_eq!(self.go("GET", &callback, "").await, format!("{here}/"));
        assert!(self.send("GET", here, "").await.body().contains("Hello, ada, until "));
    }

    async fn is_logged_in(&mut self, here: &str) -> bool {
        self.send("GET", here, "").await.status() == 200
    }
}

#[tokio::test]
async fn a_login_is_answered_once_and_only_in_the_browser_that_started_it() {
    let (here, issuer, _running) = site();
    let (mut ada, mut eve) = (Browser::default(), Browser::default());
    let callback = ada.log_in_at_provider(&here, &issuer).await;
    assert_eq!(eve.send("GET", &callback, "").await.status(), 400, "another browser");
    eve.go("GET", &format!("{here}/login"), "").await;
    assert_eq!(eve.send("GET", &callback, "").await.status(), 400, "another state");
    ada.go("GET", &callback, "").await;
    assert!(ada.is_logged_in(&here).await);
    assert_eq!(ada.send("GET", &callback, "").await.status(), 400, "a second time");
    assert!(!eve.is_logged_in(&here).await);
}

#[tokio::test]
async fn a_code_of_another_login_is_refused_by_pkce() {
    let (here, issuer, _running) = site();
    let (mut ada, mut eve) = (Browser::default(), Browser::default());
    let [of_ada, of_eve] =
        [ada.log_in_at_provider(&here, &issuer).await, eve.log_in_at_provider(&here, &issuer).await];
    let code = of_ada.split_once("code=").unwrap().1.split('&').next().unwrap();
    let state = of_eve.split_once("state=").unwrap().1;
    let injected = format!("{here}/callback?code={code}&state={state}");
    assert_eq!(eve.send("GET", &injected, "").await.status(), 502);
    assert!(!eve.is_logged_in(&here).await);
}

#[tokio::test]
async fn a_logout_here_is_one_at_the_provider() {
    let (here, issuer, _running) = site();
    let mut ada = Browser::default();
    ada.log_in(&here, &issuer).await;
    let end = ada.go("POST", &format!("{here}/logout"), "").await;
    assert!(end.starts_with(&format!("{issuer}/logout?")), "{end}");
    assert_eq!(ada.go("GET", &end, "").await, format!("{here}/"));
    assert!(ada.0.is_empty(), "the cookies of both sites are removed");
}

#[tokio::test]
async fn a_logout_at_the_provider_ends_the_session_of_that_browser_here() {
    let (here, issuer, _running) = site();
    let (mut ada, mut phone) = (Browser::default(), Browser::default());
    ada.log_in(&here, &issuer).await;
    phone.log_in(&here, &issuer).await;
    assert_eq!(ada.send("POST", &format!("{issuer}/leave"), "").await.status(), 200);
    let mut tries = 0;
    while ada.is_logged_in(&here).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
        tries += 1;
        assert!(tries < 200, "the session outlived that of the provider");
    }
    assert!(phone.is_logged_in(&here).await, "the provider's session of the phone goes on");
}

#[tokio::test]
async fn what_is_no_logout_token_of_the_provider_ends_nothing() {
    let (here, issuer, _running) = site();
    let mut ada = Browser::default();
    ada.log_in(&here, &issuer).await;
    let end = ada.clone().go("POST", &format!("{here}/logout"), "").await;
    ada.log_in_again(&here).await;
    let id_token = end.split_once("id_token_hint=").unwrap().1.split('&').next().unwrap();
    let unsigned = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.";
    for token in [id_token, unsigned, "junk", ""] {
        let body = format!("logout_token={token}");
        let answer = Browser::default().send("POST", &format!("{here}/back_channel_logout"), &body).await;
        assert_eq!(answer.status(), 400, "{token}");
    }
    assert!(ada.is_logged_in(&here).await);
}

impl Browser {
    /// The provider's session goes on, so it asks for nothing.
    async fn log_in_again(&mut self, here: &str) {
        let authorize = self.go("GET", &format!("{here}/login"), "").await;
        let callback = self.go("GET", &authorize, "").await;
        self.go("GET", &callback, "").await;
    }
}
