//! The same routes bare, and inside each of the layers that are compared.

use std::{
    convert::Infallible,
    hint::black_box,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use futures_util::FutureExt;
use http::{Request, Response, response::Parts};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt};
use tower_tenure::{
    Clock, DeviceBinding, Error, Key, Lifetimes, MemoryStore, Mode, Policy, Session, SessionLayer,
    SystemClock, Timestamp, browser::Endpoints, policy::Limits,
};

use super::{
    counted::Counted,
    floor::{self, FloorLayer},
};

/// A stack with its type forgotten; the call through the box is the same for all.
pub(crate) type Serve = Box<dyn FnMut(Request<Body>) -> Parts>;

/// What is around the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Nothing: what all are compared with.
    Bare,
    /// A layer that does nothing, around the router.
    Noop,
    /// The same by `Router::layer`, which boxes.
    NoopInside,
    /// The least that a session layer can cost, around the router.
    Floor,
    /// Ours, around the router.
    Tenure,
    /// Ours by `Router::layer`.
    TenureInside,
    /// Ours around the router, which binds sessions to devices.
    Binding,
    /// Ours around the router, over a store that counts its look-ups.
    Counted,
}

impl Stack {
    pub(crate) const ALL: [Self; 8] = [
        Self::Bare,
        Self::Noop,
        Self::NoopInside,
        Self::Floor,
        Self::Tenure,
        Self::TenureInside,
        Self::Binding,
        Self::Counted,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare axum",
            Self::Noop => "no-op, around",
            Self::NoopInside => "no-op, Router::layer",
            Self::Floor => "floor, around",
            Self::Tenure => "tenure, around",
            Self::TenureInside => "tenure, Router::layer",
            Self::Binding => "tenure, binding",
            Self::Counted => "tenure, counted",
        }
    }

    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::Tenure | Self::TenureInside | Self::Binding | Self::Counted)
    }

    pub(crate) fn service(self, clockwork: &Clockwork, store: &Counted) -> Serve {
        let layer = || SessionLayer::new(MemoryStore::new());
        let configured = |layer: SessionLayer| layer.with_policy(policy()).with_clock(clockwork.clone());
        match self {
            Self::Bare => erased(plain_routes()),
            Self::Noop => erased(Noop(plain_routes())),
            Self::NoopInside => erased(plain_routes().layer(tower::layer::layer_fn(Noop))),
            Self::Floor => erased(FloorLayer::new(clockwork.clone()).layer(floor::routes())),
            Self::Tenure => erased(configured(layer()).layer(session_routes())),
            Self::TenureInside => erased(session_routes().layer(configured(layer()))),
            Self::Binding => erased(configured(layer()).with_endpoints(endpoints()).layer(session_routes())),
            Self::Counted => erased(configured(SessionLayer::new(store.clone())).layer(session_routes())),
        }
    }
}

/// A bound cookie as long as it can be, so that none expires before the bench ends.
fn endpoints() -> Endpoints {
    let day = Duration::from_secs(24 * 3600);
    let binding = DeviceBinding::enforce().with_cookie_lifetime(day).expect("a day is not too long");
    Endpoints::at("/session").expect("a path").with_device_binding(binding)
}

/// So long that no session is over before the bench is, and a persistent cookie moves each second.
fn policy() -> Policy {
    let lifetimes = Lifetimes::from_minutes(24 * 60, 3650 * 24 * 60);
    Policy::new(lifetimes, lifetimes).with_limits(Limits::NONE)
}

fn plain_routes() -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(plain))
        .route("/write", post(plain))
        .route("/login", post(plain))
        .route("/remember", post(plain))
}

fn session_routes() -> Router {
    const VISITS: Key<u64> = Key::new("visits");
    let visits = AtomicU64::new(0);
    let write = Arc::new(move |session: Session| {
        session.insert(&VISITS, &visits.fetch_add(1, Ordering::Relaxed)).map(|()| "hello")
    });
    let subjects: Arc<[Arc<str>]> = (0..10_000).map(|n| format!("user-{n}").into()).collect();
    let logins = Arc::new(AtomicU64::new(0));
    let login = move |mode| {
        let (subjects, logins) = (Arc::clone(&subjects), Arc::clone(&logins));
        async move |session: Session| -> Result<&'static str, Error> {
            let n = usize::try_from(logins.fetch_add(1, Ordering::Relaxed)).unwrap_or(0) % subjects.len();
            let _ = session.login(Arc::clone(&subjects[n])).with_mode(mode).await?;
            Ok("hello")
        }
    };
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read))
        .route("/write", post(move |session: Session| std::future::ready(write(session))))
        .route("/login", post(login(Mode::NonPersistent)))
        .route("/remember", post(login(Mode::Persistent)))
}

pub(super) async fn plain() -> &'static str {
    "hello"
}

async fn read(session: Session) -> &'static str {
    black_box(session.subject());
    "hello"
}

fn erased<S, B>(mut service: S) -> Serve
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    const AT_ONCE: &str = "nothing here waits";
    Box::new(move |request| {
        let ready = service.ready().now_or_never().expect(AT_ONCE);
        let Ok(response) = ready.map(|service| service.call(request).now_or_never().expect(AT_ONCE));
        let Ok(response) = response;
        let (parts, body) = response.into_parts();
        let mut body = pin!(body);
        while let Some(frame) = body.frame().now_or_never().expect(AT_ONCE) {
            drop(black_box(frame));
        }
        parts
    })
}

/// A layer that does nothing.
#[derive(Clone)]
struct Noop<S>(S);

impl<S: Service<R>, R> Service<R> for Noop<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// Costs what the system's clock costs, but moves by the same step with every request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clockwork(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    now: AtomicI64,
    step: AtomicI64,
}

impl Default for Hands {
    fn default() -> Self {
        Self { now: AtomicI64::new(1_767_225_600_000), step: AtomicI64::new(0) }
    }
}

impl Clockwork {
    pub(super) fn step_by(&self, millis: i64) {
        self.0.step.store(millis, Ordering::Relaxed);
    }

    pub(super) fn to_next_second(&self) {
        let now = self.0.now.load(Ordering::Relaxed);
        self.0.now.store((now / 1000 + 1) * 1000, Ordering::Relaxed);
    }
}

impl Clock for Clockwork {
    fn now(&self) -> Timestamp {
        black_box(SystemClock.now());
        let step = self.0.step.load(Ordering::Relaxed);
        Timestamp::from_unix_millis(self.0.now.fetch_add(step, Ordering::Relaxed) + step)
    }
}
