//! The same routes bare, and inside each of the compared layers.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    routing::{get, post},
};
use tower::Layer;
use tower_tenure::{
    DeviceBinding, Error, Key, Lifetimes, MemoryStore, Mode, Policy, Session, SessionLayer,
    browser::Endpoints, policy::Limits,
};

use super::{
    clockwork::Clockwork,
    counted::Counted,
    floor::{self, FloorLayer},
    serve::{Noop, Serve, erased, plain},
};

/// The layer around the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// No layer, the baseline of all comparisons.
    Bare,
    /// A layer that does nothing, around the router.
    Noop,
    /// The same by `Router::layer`, which boxes.
    NoopInside,
    /// The minimal cost of a session layer, around the router.
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

/// The longest possible lifetime of bound cookies, so that none expires during the benchmark.
fn endpoints() -> Endpoints {
    let day = Duration::from_secs(24 * 3600);
    let binding = DeviceBinding::enforce().with_cookie_lifetime(day).expect("a day is not too long");
    Endpoints::at("/session").expect("a path").with_device_binding(binding)
}

/// So long that no session expires during the benchmark, and the expiry of a persistent cookie
/// moves each second.
fn policy() -> Policy {
    Policy::both(Lifetimes::from_minutes(24 * 60, 3650 * 24 * 60)).with_limits(Limits::NONE)
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

async fn read(session: Session) -> &'static str {
    black_box(session.subject());
    "hello"
}
