//! A browser that stores cookies, or sends given ones.

use axum::body::{Body, to_bytes};
use http::{Request, Response, StatusCode, header};
use tower::ServiceExt;

use crate::subjects::Subject;

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
    /// The browser's cookies afterwards.
    pub(crate) cookies: String,
    /// Whether the response set the session's cookie.
    pub(crate) sets_cookie: bool,
}

impl Answer {
    pub(crate) fn is_alice(&self) -> bool {
        self.status == StatusCode::OK && self.text == "alice"
    }

    /// The user, or the status of a failure.
    pub(crate) fn who(&self) -> String {
        if self.status == StatusCode::OK { self.text.clone() } else { self.status.as_u16().to_string() }
    }
}

impl Subject {
    /// Sends a request with these cookies.
    pub(crate) async fn ask(&self, method: &str, path: &str, cookies: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "www.example.com");
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies);
        }
        let Ok(response) = self.router.clone().oneshot(request.body(Body::empty()).expect("a request")).await;
        answer(response, cookies).await
    }

    pub(crate) async fn get(&self, path: &str, cookies: &str) -> Answer {
        self.ask("GET", path, cookies).await
    }

    pub(crate) async fn post(&self, path: &str, cookies: &str) -> Answer {
        self.ask("POST", path, cookies).await
    }

    /// Logs alice in. Returns the cookies.
    pub(crate) async fn login(&self) -> String {
        self.post("/login", "").await.cookies
    }

    /// The user of these cookies.
    pub(crate) async fn who(&self, cookies: &str) -> Answer {
        self.get("/who", cookies).await
    }
}

async fn answer(response: Response<Body>, cookies: &str) -> Answer {
    let mut jar: Vec<(String, String)> = pairs(cookies);
    let mut sets_cookie = false;
    for value in response.headers().get_all(header::SET_COOKIE) {
        let text = value.to_str().expect("text");
        let Some((name, value)) = text.split(';').next().and_then(|pair| pair.split_once('=')) else {
            continue;
        };
        sets_cookie |= name == "__Host-id";
        jar.retain(|(held, _)| held != name);
        let is_removal = value.is_empty() || text.to_ascii_lowercase().contains("max-age=0");
        if !is_removal {
            jar.push((name.to_owned(), value.to_owned()));
        }
    }
    let status = response.status();
    let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
    let cookies: Vec<_> = jar.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    Answer {
        status,
        text: String::from_utf8_lossy(&body).into_owned(),
        cookies: cookies.join("; "),
        sets_cookie,
    }
}

fn pairs(cookies: &str) -> Vec<(String, String)> {
    let pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The value of the session's cookie.
pub(crate) fn id(cookies: &str) -> Option<String> {
    pairs(cookies).into_iter().find(|(name, _)| name == "__Host-id").map(|(_, value)| value)
}
