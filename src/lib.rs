//! Session lifetimes for tower services: idle and absolute timeouts, persistent and session-only cookies, over any store.
//!
//! [`SessionLayer`] reads the session cookie, finds the session in a [`SessionStore`], judges it by a [`Policy`], hands a
//! [`Session`] to the handler, and afterwards stores what changed and rewrites `Set-Cookie`.
//!
//! # Example
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use tower_tenure::{Error, MemoryStore, RequireSession, Session, SessionLayer};
//!
//! async fn login(session: Session) -> Result<&'static str, Error> {
//!     session.login("alice").await?.accepted()?; // after checking that it is her
//!     Ok("welcome")
//! }
//!
//! async fn account(session: Session) -> String {
//!     format!("hello {}", session.subject().unwrap_or_default())
//! }
//!
//! let app: Router = Router::new()
//!     .route("/account", get(account))
//!     .layer(RequireSession::new())
//!     .route("/login", post(login))
//!     .layer(SessionLayer::new(MemoryStore::new()));
//! ```
//!
//! # Where things are
//!
//! | module | what for |
//! |---|---|
//! | [`middleware`] | the layer around a service |
//! | [`policy`] | lifetimes, limits, presets, and the pure functions that judge by them |
//! | [`record`] | what a store keeps |
//! | [`store`] | the contract of stores, and the stores; its [`guide`](store::guide) tells which one when |
//! | [`cookie`] | the cookie's name and attributes |
//! | [`events`] | `tracing` names, and observers for audit logs |
//! | `browser` | status, extend and logout endpoints, and the warning before the end (feature `browser`) |
//! | `management` | the management API and its tokens (feature `management`, which also has the `Dashboard`) |
//! | `testing` | manual clock, probing store, conformance suite (feature `testing`) |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `axum` | `Session` as an extractor. A layer inside a nested router also needs [`with_original_uri`](SessionLayer::with_original_uri) |
//! | `browser` | for pages: status, extend, logout with an allow-list, and a script that warns in time |
//! | `management` | settings and sessions over HTTP, for administrators and their tools; a dashboard |
//! | `metrics` | counters `tower_tenure_events_total` (labels `event`, `reason`, `operation`) and the histogram `tower_tenure_store_seconds` (label `operation`), through the `metrics` facade |
//! | `sqlite`, `postgres`, `redis` | the stores of these names; `redis` also for Valkey and clusters. [Which one when](store::guide) |
//! | `rustls` | TLS for the last two |
//! | `tower-sessions` | [our stores beneath](store::guide#moving-over-from-tower-sessions) a `tower-sessions` application |
//! | `testing` | for tests of applications and of stores |

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "browser")]
mod asset;
mod body;
#[cfg(feature = "browser")]
pub mod browser;
#[cfg(not(feature = "browser"))]
#[path = "browser/absent.rs"]
mod browser;
mod clock;
pub mod cookie;
#[cfg(feature = "management")]
mod dashboard;
mod engine;
mod error;
pub mod events;
#[cfg(feature = "axum")]
mod extract;
mod head;
mod hook;
mod key;
mod live;
#[cfg(feature = "management")]
pub mod management;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics/absent.rs"]
mod metrics;
pub mod middleware;
pub mod policy;
mod problem;
pub mod record;
mod request;
mod require;
mod session;
mod sessions;
mod settings;
mod shared_policy;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod timestamp;
mod token;
#[cfg(feature = "tower-sessions")]
mod tower_sessions;

#[cfg(feature = "management")]
pub use crate::dashboard::Dashboard;
#[cfg(feature = "axum")]
pub use crate::extract::MissingSessionLayer;
#[cfg(feature = "tower-sessions")]
pub use crate::tower_sessions::TowerSessions;
pub use crate::{
    clock::{Clock, SystemClock},
    error::{Error, ErrorKind},
    head::RequestHead,
    hook::{LoginContext, LoginHook, LoginRequest},
    key::Key,
    live::LivePolicy,
    middleware::{SessionLayer, SessionService},
    policy::Policy,
    record::{EndReason, Lifetimes, Mode, PastSession, SessionId},
    require::{RequireSession, RequireSessionFuture, RequireSessionService, is_same_origin_path},
    session::{Login, Outcome, Session, SessionInfo, UntilEnded},
    sessions::{SessionPage, Sessions, SweepReport},
    shared_policy::SharedPolicy,
    store::{MemoryStore, SessionStore},
    timestamp::Timestamp,
};

/// The examples of the README, which have to compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
