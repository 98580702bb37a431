//! The minimal cost of a session layer, as handwritten code. It finds one cookie, hashes its secret
//! with SHA-256, looks it up once in a sharded map, compares two deadlines, stores the interaction,
//! and passes the session to the handler.
//!
//! It has no persistent cookies, no data, no revocation, no replaceable policy and no second store.

use std::{
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Extension, Router,
    body::Body,
    response::AppendHeaders,
    routing::{get, post},
};
use base64ct::{Base64UrlUnpadded, Encoding};
use http::{HeaderMap, Request, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower::{Layer, Service};
use tower_tenure::Clock;

use super::{clockwork::Clockwork, serve::plain};

const IDLE: i64 = 24 * 3600 * 1000;
const ABSOLUTE: i64 = 3650 * 24 * 3600 * 1000;

type Sid = [u8; 16];
type Shards = Arc<[RwLock<HashMap<Sid, Arc<Held>>>]>;

struct Held {
    secret: [u8; 32],
    subject: Arc<str>,
    created_at: i64,
    last_interaction_at: AtomicI64,
}

/// The session that the handler gets.
#[derive(Clone)]
struct Handle(Arc<Held>);

#[derive(Clone)]
pub(super) struct FloorLayer {
    shards: Shards,
    clock: Clockwork,
}

#[derive(Clone)]
pub(super) struct Floor<S> {
    inner: S,
    layer: FloorLayer,
}

impl FloorLayer {
    pub(super) fn new(clock: Clockwork) -> Self {
        Self { shards: (0..256).map(|_| RwLock::default()).collect(), clock }
    }

    fn arrive(&self, headers: &HeaderMap) -> Option<Handle> {
        let now = self.clock.now().as_unix_millis();
        let line = headers.get(header::COOKIE)?.as_bytes();
        let at = memchr::memmem::find(line, b"__Host-id=")? + b"__Host-id=".len();
        let mut token = [0; 48];
        Base64UrlUnpadded::decode(line.get(at..at + 64)?, &mut token).ok()?;
        let (sid, secret) = token.split_first_chunk::<16>()?;
        let secret = Sha256::digest(secret);
        let shard = self.shards[usize::from(sid[0])].read().unwrap_or_else(PoisonError::into_inner);
        let held = shard.get(sid)?;
        let last = held.last_interaction_at.load(Ordering::Relaxed);
        let holds =
            bool::from(held.secret.ct_eq(&secret)) && now < last + IDLE && now < held.created_at + ABSOLUTE;
        holds.then(|| {
            held.last_interaction_at.store(now, Ordering::Relaxed);
            Handle(Arc::clone(held))
        })
    }

    /// Creates a session for the benchmark. Returns its token.
    fn open(&self) -> String {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = COUNT.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let token: Vec<u8> =
            Sha256::digest(seed).into_iter().chain(Sha256::digest([1; 8]).into_iter().take(16)).collect();
        let (sid, secret) = token.split_first_chunk::<16>().expect("48 bytes");
        let now = self.clock.now().as_unix_millis();
        let held = Held {
            secret: Sha256::digest(secret).into(),
            subject: "alice".into(),
            created_at: now,
            last_interaction_at: AtomicI64::new(now),
        };
        let mut shard = self.shards[usize::from(sid[0])].write().unwrap_or_else(PoisonError::into_inner);
        shard.insert(*sid, Arc::new(held));
        let mut text = [0; 64];
        Base64UrlUnpadded::encode(&token, &mut text).expect("48 bytes are 64 characters").to_owned()
    }
}

/// The same routes. Only `/read` uses the session, and `/login` opens one.
pub(super) fn routes() -> Router {
    Router::new()
        .route("/plain", get(plain))
        .route("/read", get(read))
        .route("/write", post(plain))
        .route("/login", post(login))
        .route("/remember", post(login))
}

async fn read(Extension(Handle(held)): Extension<Handle>) -> &'static str {
    black_box(Arc::clone(&held.subject));
    "hello"
}

async fn login(Extension(layer): Extension<FloorLayer>) -> AppendHeaders<[(header::HeaderName, String); 1]> {
    AppendHeaders([(header::SET_COOKIE, format!("__Host-id={}; Path=/; Secure", layer.open()))])
}

impl<S> Layer<S> for FloorLayer {
    type Service = Floor<S>;

    fn layer(&self, inner: S) -> Floor<S> {
        Floor { inner, layer: self.clone() }
    }
}

impl<S: Service<Request<Body>>> Service<Request<Body>> for Floor<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        if let Some(handle) = self.layer.arrive(request.headers()) {
            request.extensions_mut().insert(handle);
        } else if matches!(request.uri().path(), "/login" | "/remember") {
            let layer = self.layer.clone();
            request.extensions_mut().insert(layer);
        }
        self.inner.call(request)
    }
}
