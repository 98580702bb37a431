//! Session lifetimes for tower services: idle and absolute timeouts, persistent and session-only
//! cookies, over any store.
//!
//! [`SessionLayer`] reads the session cookie, loads the session from a [`SessionStore`] and judges
//! it by a [`Policy`]. The handler gets a [`Session`]. After the handler, the layer stores what
//! changed and sets or removes the cookie.
//!
//! It does not check passwords and keeps no users: it begins where a login has succeeded. The
//! [comparison](book::comparison) says when another crate fits better.
//!
//! # Example
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use tower_tenure::{Error, MemoryStore, RequireSession, Session, SessionLayer};
//!
//! async fn login(session: Session) -> Result<&'static str, Error> {
//!     session.login("alice").await?.accepted()?; // after checking the password
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
//! # The types to know
//!
//! | type | what it is |
//! |---|---|
//! | [`SessionLayer`] | the middleware: goes around the routes |
//! | [`Policy`] | the lifetimes, and what else decides when a session ends |
//! | [`MemoryStore`] | the store to start with; [`store`] has the others |
//! | [`Session`] | what a handler gets: read, write, log in, log out |
//! | [`RequireSession`] | lets only requests with a live session through |
//!
//! # Where to find it
//!
//! | module | contents |
//! |---|---|
//! | [`middleware`] | the layer around a service |
//! | [`policy`] | lifetimes, limits, presets, and the pure functions that decide |
//! | [`record`] | what a store keeps of a session, for authors of stores |
//! | [`store`] | the contract of stores, and the stores; the [`guide`](store::guide) helps to choose |
//! | [`cookie`] | the cookie's name and attributes |
//! | [`events`] | `tracing` names, and observers for audit logs |
//! | [`book`] | concepts, recipes to copy, [operations](book::operations), [migrating](book::migrating), [writing a store](book::writing_a_store), design, questions, and a comparison with other crates |
//! | [`rules`] | the guarantees of this crate, numbered |
//! | [`security`] | the threat model, and the checklists of OWASP and NIST, each item with its test |
//! | `device_binding` | sessions bound to a device: what it protects against, and how to roll it out (feature `device-binding`) |
//! | `browser` | endpoints for pages, and the warning before the end (feature `browser`) |
//! | `management` | the management API and its tokens (feature `management`, with the `Dashboard`) |
//! | `testing` | manual clock, probing store, conformance suite (feature `testing`) |
//!
//! # Features
//!
//! | feature | what it adds |
//! |---|---|
//! | `axum` | `Session` and [`User`] as extractors. A layer inside a nested router also needs [`with_original_uri`](SessionLayer::with_original_uri) |
//! | `browser` | status, extend and logout endpoints, the user's own sessions, an allow-list for logouts, a warning script |
//! | `device-binding` | sessions [bound to the device](DeviceBinding) of their browser; adds `browser` |
//! | `management` | settings and sessions over HTTP, and a dashboard |
//! | `metrics` | event counters and a histogram of store latencies, through the `metrics` facade; [`events`](events#metrics) lists them |
//! | `sqlite`, `postgres`, `redis` | the stores of these names; `redis` also for Valkey and clusters |
//! | `rustls` | TLS for PostgreSQL and Redis |
//! | `tower-sessions` | [these stores](book::migrating) for a `tower-sessions` 0.15 application |
//! | `tower-sessions-0-14` | the same for 0.14, which `axum-login` 0.18 uses |
//! | `testing` | tools for tests of applications and of stores |

#![cfg_attr(docsrs, feature(doc_cfg))]

// From the inside out; tests/rules/architecture.rs keeps who may name whom.
//
// book                the chapters of the documentation
// error, time         the error, moments and the clock
// record, policy      pure: what is kept of a session, and what decides about it
// binding             pure: the protocol that binds a session to a device
// request             pure: one request as a state machine
// store               the contract of stores, and the stores
// cookie, web         the cookie and its token; the rest of HTTP
// events              `tracing`, observers and metrics
// engine              calls the store, with the clock, a timeout and observers
// settings            live and shared policy, login hooks, the configuration of a layer
// session             the handle that a handler gets
// require, browser    requests let through or denied; endpoints for pages
// admin               all sessions: in code, over HTTP, on a page
// middleware          the layer around a service
// integration         axum and tower-sessions
// testing             tools for tests

mod admin;
#[cfg(feature = "device-binding")]
mod binding;
#[cfg(not(feature = "device-binding"))]
#[path = "binding/absent.rs"]
mod binding;
pub mod book;
#[cfg(feature = "browser")]
pub mod browser;
#[cfg(not(feature = "browser"))]
#[path = "browser/absent.rs"]
mod browser;
pub mod cookie;
#[cfg(feature = "device-binding")]
#[doc = include_str!("binding/guide.md")]
pub mod device_binding {}
mod engine;
mod error;
pub mod events;
#[cfg(any(feature = "axum", feature = "tower-sessions", feature = "tower-sessions-0-14"))]
mod integration;
pub mod middleware;
pub mod policy;
pub mod record;
mod request;
mod require;
#[doc = include_str!("rules.md")]
pub mod rules {}
#[doc = include_str!("security.md")]
pub mod security {}
mod session;
mod settings;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod web;

#[cfg(feature = "management")]
pub use crate::admin::{Dashboard, management};
#[cfg(feature = "device-binding")]
pub use crate::binding::DeviceBinding;
#[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
pub use crate::integration::TowerSessions;
#[cfg(feature = "axum")]
pub use crate::integration::{MissingSessionLayer, User};
pub use crate::{
    admin::{SessionPage, Sessions, SweepReport},
    error::{Error, ErrorKind},
    middleware::{SessionLayer, SessionService},
    policy::Policy,
    record::{
        AuthenticationMethod, Device, EndReason, Facts, LastSeen, Lifetimes, Metadata, Mode, PastSession,
        SessionId,
    },
    require::{
        LoginPage, PublicUrl, RequireSession, RequireSessionFuture, RequireSessionService,
        is_same_origin_path,
    },
    session::{Key, Login, Outcome, Session, SessionInfo, SessionSummary, UntilEnded, ValueFor},
    settings::{LivePolicy, LoginContext, LoginHook, LoginHookFuture, LoginRequest, SharedPolicy},
    store::{MemoryStore, SessionStore},
    time::{Clock, SystemClock, Timestamp},
    web::RequestHead,
};

/// The target of `tests/fuzz/guided` that needs what is private.
#[cfg(all(fuzzing, any(feature = "sqlite", feature = "postgres", feature = "redis")))]
#[doc(hidden)]
pub fn fuzz_record(bytes: &[u8]) {
    store::fuzzing::record(bytes);
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
