//! The whole layer around a small service.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use http::{HeaderValue, Method, Response, StatusCode, Uri, header};
use tower::{Layer, Service};
use tower_tenure::{Error, Key, Session, SessionLayer, middleware::SessionService, store::AnyStore};

use super::{Ask, Request};
use crate::load::sessions::user_agent;

const CART: Key<[u64; 3]> = Key::new("cart");
const THEME: Key<String> = Key::new("theme");
const VISITS: Key<u64> = Key::new("visits");

/// The layer and the logged-in browsers.
#[derive(Clone)]
pub(crate) struct Layered(Arc<Shared>);

struct Shared {
    service: SessionService<Handler>,
    /// Their cookies.
    browsers: RwLock<Vec<HeaderValue>>,
    next_user: AtomicU64,
    user_agents: Vec<HeaderValue>,
}

/// The handler's operation, as an extension of the request.
#[derive(Clone, Copy)]
struct Task(Request, u64);

#[derive(Clone)]
struct Handler;

type Empty = http_body_util::Empty<&'static [u8]>;

impl Layered {
    pub(crate) fn new(store: impl Into<AnyStore>) -> Self {
        let header = |number| HeaderValue::try_from(user_agent(number)).expect("a header");
        Self(Arc::new(Shared {
            service: SessionLayer::new(store).layer(Handler),
            browsers: RwLock::default(),
            next_user: AtomicU64::new(0),
            user_agents: (0..100).map(header).collect(),
        }))
    }
}

impl Ask for Layered {
    async fn ask(self, request: Request, number: u64) {
        let shared = &*self.0;
        let number = match request {
            Request::Login => shared.next_user.fetch_add(1, Ordering::Relaxed),
            // A stride that visits the sessions in a scattered order.
            _ => number.wrapping_mul(7919),
        };
        let (browser, cookie) = if request == Request::Login {
            (number, None)
        } else {
            let browsers = shared.browsers.read().unwrap_or_else(PoisonError::into_inner);
            let browser = number as usize % browsers.len();
            (browser as u64, Some(browsers[browser].clone()))
        };
        let user_agent = shared.user_agents[browser as usize % shared.user_agents.len()].clone();
        let asked = asked(Task(request, number), user_agent, cookie);
        let Ok(response) = shared.service.clone().call(asked).await;
        assert_eq!(response.status(), StatusCode::OK);
        let issued = response.headers().get(header::SET_COOKIE);
        assert!(issued.is_some() || request != Request::Login, "a login sets a cookie");
        if let Some(issued) = issued.filter(|_| request == Request::Login) {
            let text = issued.to_str().expect("text");
            let cookie = text.split(';').next().and_then(|pair| HeaderValue::from_str(pair).ok());
            let mut browsers = shared.browsers.write().unwrap_or_else(PoisonError::into_inner);
            browsers.push(cookie.expect("a cookie"));
        }
    }
}

/// A bare command in the same kind of service, without the layer around it.
#[derive(Clone)]
pub(crate) struct InService<A>(A, HeaderValue);

impl<A> InService<A> {
    pub(crate) fn new(bare: A) -> Self {
        Self(bare, HeaderValue::try_from(user_agent(0)).expect("a header"))
    }
}

impl<A: Ask> Ask for InService<A> {
    async fn ask(mut self, request: Request, number: u64) {
        let asked = asked(Task(request, number), self.1.clone(), Some(self.1.clone()));
        let Ok(response) = self.call(asked).await;
        assert_eq!(response.status(), StatusCode::OK);
    }
}

impl<A: Ask> Service<http::Request<()>> for InService<A> {
    type Response = Response<Empty>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<()>) -> Self::Future {
        let bare = self.0.clone();
        Box::pin(async move {
            let Task(asked, number) = *request.extensions().get().expect("it was put there");
            bare.ask(asked, number).await;
            Ok(Response::default())
        })
    }
}

/// A request as a browser sends it.
fn asked(task: Task, user_agent: HeaderValue, cookie: Option<HeaderValue>) -> http::Request<()> {
    let mut asked = http::Request::new(());
    let (method, path) = match task.0 {
        Request::Read => (Method::GET, "/read"),
        Request::Write => (Method::POST, "/write"),
        Request::Login => (Method::POST, "/login"),
    };
    *asked.method_mut() = method;
    *asked.uri_mut() = Uri::from_static(path);
    asked.headers_mut().insert(header::USER_AGENT, user_agent);
    if let Some(cookie) = cookie {
        asked.headers_mut().insert(header::COOKIE, cookie);
    }
    asked.extensions_mut().insert(task);
    asked
}

impl Service<http::Request<()>> for Handler {
    type Response = Response<Empty>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<()>) -> Self::Future {
        Box::pin(async move {
            let mut response = Response::default();
            if let Err(error) = handle(request).await {
                eprintln!("{error}");
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            }
            Ok(response)
        })
    }
}

async fn handle(request: http::Request<()>) -> Result<(), Error> {
    let session = request.extensions().get::<Session>().expect("the layer puts it there");
    let Task(asked, number) = *request.extensions().get().expect("it was put there");
    match asked {
        Request::Read => assert!(session.subject().is_some(), "it is live"),
        Request::Write => session.insert(&VISITS, &number)?,
        Request::Login => {
            session.insert(&CART, &[number, 2, 3])?;
            session.insert(&THEME, &"dark".to_owned())?;
            session.login(format!("user {number}")).await?.accepted()?;
        }
    }
    Ok(())
}
