//! A site over the store: the middleware around a handler, and browsers, with a manual clock.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service};

use super::{
    bench::Bench,
    material::{MINUTE, policy},
};
use crate::{
    Error, Key, Outcome, Policy, Session, SessionLayer, SessionService, SessionStore, Sessions,
    testing::ManualClock,
};

const VALUE: Key<String> = Key::new("value");

/// A site over the store, for one user.
pub(super) struct Site {
    service: SessionService<Handler>,
    pub(super) sessions: Sessions,
    pub(super) clock: ManualClock,
    pub(super) user: Arc<str>,
}

impl Site {
    /// Every interaction is recorded, so that the deadlines are exact over any store.
    pub(super) fn new<S: SessionStore>(bench: &Bench<S>, set: impl FnOnce(Policy) -> Policy) -> Self {
        let clock = ManualClock::new(bench.start);
        Self::node(bench, &clock, &bench.realm, set(policy().with_granularity(Duration::ZERO)))
    }

    /// Another node of the same site.
    pub(super) fn another_node<S: SessionStore>(&self, bench: &Bench<S>) -> Self {
        self.in_realm(bench, &bench.realm)
    }

    /// The same site with the same user names, for another tenant.
    pub(super) fn in_realm<S: SessionStore>(&self, bench: &Bench<S>, realm: &Arc<str>) -> Self {
        Self::node(bench, &self.clock, realm, policy().with_granularity(Duration::ZERO))
    }

    fn node<S: SessionStore>(
        bench: &Bench<S>,
        clock: &ManualClock,
        realm: &Arc<str>,
        policy: Policy,
    ) -> Self {
        let layer = SessionLayer::new(Arc::clone(&bench.store))
            .with_realm(Arc::clone(realm))
            .with_policy(policy)
            .with_clock(clock.clone())
            .with_store_budget(MINUTE);
        // The same name on every node, and different from other checks.
        let user: Arc<str> = format!("the user of {}", bench.realm).into();
        let service = layer.layer(Handler { user: Arc::clone(&user) });
        Self { service, sessions: layer.sessions(), clock: clock.clone(), user }
    }

    pub(super) const fn browser(&self) -> Browser<'_> {
        Browser { site: self, cookie: None }
    }
}

/// A browser, which sends the last cookie that it got.
#[derive(Clone)]
pub(super) struct Browser<'a> {
    site: &'a Site,
    pub(super) cookie: Option<String>,
}

impl<'a> Browser<'a> {
    /// The same cookies at another node, or another site.
    pub(super) fn at(&self, site: &'a Site) -> Self {
        Self { site, ..self.clone() }
    }

    pub(super) async fn visit(&mut self, path: &'static str) -> Reply {
        let mut request = Request::new(());
        *request.uri_mut() = http::Uri::from_static(path);
        let cookie = self.cookie.as_deref().and_then(|cookie| HeaderValue::from_str(cookie).ok());
        request.headers_mut().extend(cookie.map(|cookie| (header::COOKIE, cookie)));

        let mut service = self.site.service.clone();
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let Ok(response) = service.call(request).await;
        let text =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let set_cookie = text("set-cookie");
        if let Some(line) = &set_cookie {
            self.cookie = line.split(';').next().filter(|_| !line.contains("Max-Age=0")).map(str::to_owned);
        }
        Reply {
            status: response.status(),
            is_user: text("is-user").is_some(),
            value: text("value"),
            reason: text("reason"),
            set_cookie,
        }
    }
}

pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Whether the user was logged in when the handler was done.
    pub(super) is_user: bool,
    pub(super) value: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) set_cookie: Option<String>,
}

impl Reply {
    pub(super) fn removes_cookie(&self) -> bool {
        self.set_cookie.as_ref().is_some_and(|line| line.contains("Max-Age=0"))
    }
}

impl<S: SessionStore> Bench<S> {
    pub(super) fn welcome(&self, what: &str, reply: &Reply) {
        self.same(&format!("the status {what}"), reply.status, StatusCode::OK);
        self.expect(reply.is_user, &format!("the user is logged out {what}"));
    }

    pub(super) fn turned_away(&self, what: &str, reply: &Reply, reason: &str) {
        self.same(&format!("the status {what}"), reply.status, StatusCode::OK);
        self.expect(!reply.is_user, &format!("the user is still logged in {what}"));
        self.same(&format!("the reason given {what}"), reply.reason.as_deref(), Some(reason));
        self.expect(reply.removes_cookie(), &format!("the cookie is not removed {what}"));
    }
}

/// `/login`, `/login-other`, `/logout`, `/rotate`, `/write`; says in headers what it sees.
#[derive(Clone)]
struct Handler {
    user: Arc<str>,
}

impl Service<Request<()>> for Handler {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let user = Arc::clone(&self.user);
        Box::pin(async move {
            let mut response = Response::new(String::new());
            let session = request.extensions().get::<Session>();
            let served = match session {
                Some(session) => serve(session, request.uri().path(), user, response.headers_mut()).await,
                None => unreachable!("the layer puts a session into every request"),
            };
            if served.is_err() {
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok(response)
        })
    }
}

async fn serve(session: &Session, path: &str, user: Arc<str>, headers: &mut HeaderMap) -> Result<(), Error> {
    match path {
        "/login" | "/login-other" => {
            let name = if path == "/login" { Arc::clone(&user) } else { format!("not {user}").into() };
            match session.login(name).await? {
                Outcome::Done => {}
                Outcome::Refused(_) => unreachable!("nothing here refuses a login before it is stored"),
            }
        }
        "/logout" => session.logout()?,
        "/rotate" => session.rotate()?,
        "/write" => session.insert(&VALUE, &"written".to_owned())?,
        _ => {}
    }
    if session.subject().as_ref() == Some(&user) {
        headers.insert("is-user", HeaderValue::from_static("yes"));
    }
    let value = session.get(&VALUE)?.and_then(|value| HeaderValue::try_from(value).ok());
    headers.extend(value.map(|value| (header::HeaderName::from_static("value"), value)));
    let reason = session.end_reason().map(|reason| HeaderValue::from_static(reason.as_str()));
    headers.extend(reason.map(|reason| (header::HeaderName::from_static("reason"), reason)));
    Ok(())
}
