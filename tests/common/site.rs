//! A small site behind a session layer, a browser that talks to it, and a manual clock.

use std::sync::Mutex;

use axum::{
    BoxError, Router,
    body::{Body, to_bytes},
    extract::Path,
    http::{HeaderMap, Method, Request, Response, StatusCode, header},
    routing::{get, post, put},
};
use bytes::Bytes;
use tokio::task::JoinHandle;
use tower::{Layer, ServiceExt, util::BoxCloneSyncService};
use tower_tenure::{
    Error, Key, MemoryStore, Outcome, RequireSession, Session, SessionLayer, Sessions,
    middleware::ResponseBody, testing::ManualClock,
};

/// A site behind a session layer, with the layer's clock.
#[derive(Clone)]
pub struct Site {
    service: BoxCloneSyncService<Request<Body>, Response<ResponseBody<Body>>, std::convert::Infallible>,
    pub clock: ManualClock,
    /// The administration of its sessions.
    pub sessions: Sessions,
}

impl Site {
    /// The usual routes behind the default layer and a memory store.
    pub fn new() -> Self {
        Self::with(|layer| layer)
    }

    /// The usual routes behind a layer with these settings.
    pub fn with(set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        Self::over(SessionLayer::new(MemoryStore::new()), usual_routes(), set)
    }

    /// These routes behind this layer, with a manual clock.
    pub fn over(layer: SessionLayer, routes: Router, set: impl FnOnce(SessionLayer) -> SessionLayer) -> Self {
        let clock = ManualClock::default();
        let layer = set(layer.with_clock(clock.clone()));
        let sessions = layer.sessions();
        Self { service: BoxCloneSyncService::new(layer.layer(routes)), clock, sessions }
    }

    /// A browser without cookies.
    pub fn browser(&self) -> Browser {
        Browser { site: self.clone(), cookies: Mutex::default() }
    }

    /// A browser in which this user is logged in.
    pub async fn log_in(&self, user: &str) -> Browser {
        let browser = self.browser();
        assert_eq!(browser.post(&format!("/login/{user}")).await.status, StatusCode::OK);
        browser
    }

    /// The number of live sessions of a user, or of all users and visitors together.
    pub async fn live(&self, user: Option<&str>) -> usize {
        self.sessions.list(user, None, 1000).await.unwrap().sessions.len()
    }

    /// Sends one request unchanged.
    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.service.clone().oneshot(request).await.unwrap();
        Reply::read(response).await
    }
}

/// A response with its whole body.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Reply {
    pub async fn read<B>(response: Response<B>) -> Self
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = response.into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        Self {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    /// All `Set-Cookie` lines.
    pub fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    /// Whether the response removes a cookie.
    pub fn removes_cookie(&self) -> bool {
        self.set_cookies().iter().any(|line| line.contains("Max-Age=0"))
    }

    /// The `reason` of a problem (E1).
    pub fn reason(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        Some(problem.get("reason")?.as_str()?.to_owned())
    }
}

/// Stores cookies by name, as a browser does, and drops those that a response removes.
pub struct Browser {
    site: Site,
    cookies: Mutex<Vec<(String, String)>>,
}

impl Browser {
    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path).await
    }

    pub async fn post(&self, path: &str) -> Reply {
        self.send(Method::POST, path).await
    }

    pub async fn send(&self, method: Method, path: &str) -> Reply {
        self.request(Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await
    }

    pub async fn put(&self, path: &str, body: impl Into<Body>) -> Reply {
        self.request(Request::put(path).body(body.into()).unwrap()).await
    }

    /// `GET` with one more header.
    pub async fn get_with(&self, path: &str, name: &str, value: &str) -> Reply {
        self.request(Request::get(path).header(name, value).body(Body::empty()).unwrap()).await
    }

    /// Sends a request from another tab, and continues while it is in flight.
    pub fn spawn(&self, method: Method, path: &str) -> JoinHandle<Reply> {
        let (tab, path) = (self.copy(), path.to_owned());
        tokio::spawn(async move { tab.send(method, &path).await })
    }

    /// Sends a request with the browser's cookies, and stores those of the response.
    pub async fn request(&self, mut request: Request<Body>) -> Reply {
        if let Some(cookies) = self.cookie_header() {
            request.headers_mut().insert(header::COOKIE, cookies.parse().unwrap());
        }
        let reply = self.site.send(request).await;
        for line in reply.set_cookies() {
            let pair = line.split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            let mut cookies = self.cookies.lock().unwrap();
            cookies.retain(|(known, _)| known != name);
            if !line.contains("Max-Age=0") {
                cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        reply
    }

    /// The `Cookie` header that it would send.
    pub fn cookie_header(&self) -> Option<String> {
        let cookies = self.cookies.lock().unwrap();
        let pairs: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// Replaces its cookies by those of a `Cookie` header.
    pub fn set_cookies(&self, header: Option<&str>) {
        let pairs =
            header.into_iter().flat_map(|header| header.split("; ")).filter_map(|pair| pair.split_once('='));
        *self.cookies.lock().unwrap() =
            pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    }

    /// The same browser at another site, which may be another node of this site.
    pub fn at(&self, site: &Site) -> Self {
        Self { site: site.clone(), ..self.copy() }
    }

    /// A copy with the same cookies, for instance a tab with a request in flight.
    pub fn copy(&self) -> Self {
        Self { site: self.site.clone(), cookies: Mutex::new(self.cookies.lock().unwrap().clone()) }
    }
}

/// `GET /` does not use the session. `/me` is protected. `/login/{user}`, `/logout` and `/rotate`
/// do what they say. `/data/{key}` reads, writes and removes text. `/add/{key}` counts atomically.
/// `/fail` writes and answers 500.
pub fn usual_routes() -> Router {
    let me = get(async |session: Session| session.subject().unwrap_or_default().to_string());
    Router::new()
        .route("/me", me)
        .layer(RequireSession::new())
        .route("/", get(async || "hello"))
        .route("/login/{user}", post(log_in))
        .route("/logout", post(async |session: Session| session.logout()))
        .route("/rotate", post(async |session: Session| session.rotate()))
        .route("/data/{key}", get(read).merge(put(write)).delete(remove))
        .route("/add/{key}", post(add))
        .route("/fail", post(fail))
}

async fn log_in(session: Session, Path(user): Path<String>) -> Result<StatusCode, Error> {
    Ok(match session.login(user).await? {
        Outcome::Done => StatusCode::OK,
        Outcome::Refused(_) => StatusCode::FORBIDDEN,
    })
}

async fn read(session: Session, Path(key): Path<String>) -> Result<(StatusCode, String), Error> {
    let value = session.get(&Key::<String>::named(key))?;
    Ok(value.map_or((StatusCode::NOT_FOUND, String::new()), |value| (StatusCode::OK, value)))
}

async fn write(session: Session, Path(key): Path<String>, value: String) -> Result<(), Error> {
    session.insert(&Key::named(key), &value)
}

async fn remove(session: Session, Path(key): Path<String>) -> Result<(), Error> {
    session.remove(&Key::<String>::named(key)).map(drop)
}

async fn add(session: Session, Path(key): Path<String>) -> Result<String, Error> {
    let sum = session.update(&Key::<u64>::named(key), |sum| sum.unwrap_or(0) + 1).await?;
    Ok(sum.to_string())
}

async fn fail(session: Session) -> Result<StatusCode, Error> {
    session.insert(&Key::new("fail"), &"x".to_owned())?;
    Ok(StatusCode::INTERNAL_SERVER_ERROR)
}
