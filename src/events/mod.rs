//! Events: through `tracing` under stable names, and through observers for audit logs.
//!
//! | name | level | fields | when |
//! |---|---|---|---|
//! | `session.created` | info | `sid` | a session was stored |
//! | `session.authenticated` | info | `sid` | a session was created by a login |
//! | `session.rotated` | info | `sid` | the token of a session was replaced |
//! | `session.extended` | debug | `sid` | an interaction was recorded; one in 64 of them |
//! | `session.ended` | info | `sid`, `reason` | a session has ended |
//! | `session.clamped` | warn | `sid`, `setting` | an override of a login was above a limit |
//! | `session.refused` | warn | `reason` | a login was refused |
//! | `session.denied` | debug | `sid`, `reason`, `detail` | a request was not let through; see below |
//! | `session.store_failed` | error | `store`, `address`, `sid`, `operation`, `error`, `cause` | an outage of the store began: a call failed or took too long |
//! | `session.store_recovered` | info | `store`, `address`, `lasted_millis`, `failures` | the outage is over |
//! | `session.store_call_failed` | debug | `store`, `sid`, `operation`, `error`, `cause` | one more call failed during the outage |
//! | `session.signed_out_everywhere` | info | `realm`, `by` | all sessions of a user were revoked |
//! | `session.everybody_signed_out` | warn | `realm`, `by` | all sessions of a realm were revoked |
//! | `session.setting_changed` | info | `realm`, `by`, `setting`, `from`, `to` | the management API changed a setting, on this node |
//! | `session.clocks_apart` | error | `ahead_by_millis` | this node's clock is too far from the store's |
//! | `session.clocks_agree` | info | | the clocks agree again |
//! | `session.secret_reused` | warn | `sid` | a replaced secret came back after its grace |
//! | `session.bound` | info | `sid` | the session was bound to the device of its browser |
//! | `session.unproven` | warn | `sid`, `refused` | a bound session's cookie came without a valid proof of the device |
//! | `session.proof_refused` | warn | `sid`, `reason` | a proof of a device was refused |
//! | `session.refresh_skipped` | info | `sid`, `reason` | the browser sent a request without refreshing the bound cookie |
//! | `session.value_unreadable` | error | `sid`, `key`, `expected`, `error` | a handler read a value of another type |
//! | `session.cookie_lost` | warn | `cookie`, `host`, `advice` | a `Secure` cookie was set over plain http, so the browser drops it; once for each layer |
//! | `session.observer_panicked` | error | `event` | an observer panicked; the request went on |
//! | `settings.changed` | info | `version` | changed settings are in force on this node |
//! | `settings.store_failed` | error | `store`, `address`, `error`, `cause` | the settings could not be loaded; the policy in force stays |
//! | `settings.store_recovered` | info | `store`, `address` | the settings are loaded again |
//!
//! An outage of the store is two events, whatever the number of requests that it fails: one when
//! the first call fails, and one when calls succeed again and none has failed for a second. A store
//! that fails every few seconds has to be without failure for longer. `cause` is the whole chain of
//! causes, and `address` contains no password. Each layer judges its own store; clones of a layer
//! judge together.
//!
//! The reason of `session.denied` is the one that the client got, or `cross_site` for an endpoint
//! that a page of another site called. Where [`RequireSession`](crate::RequireSession) answers
//! `none`, the log says more: `none` (there was no cookie), `malformed` (a cookie that is not a
//! token), `unknown` (a token that leads to no session), `anonymous` (a session without a user), or
//! `skipped` (the session layer skips the request). The refresh of a bound session adds
//! `proof_needed` (each one begins with this answer), `malformed_proof` (one that came without a
//! session), and `not_now` (the session cannot be judged, so the browser has to try again).
//! Observers do not get this event, because anybody can send such requests.
//!
//! The target is `tower_tenure`. Events name a session by its `sid` only; no token, data or user
//! appears.
//!
//! # Metrics
//!
//! With the feature `metrics`, through the facade of this name:
//!
//! | name | kind | label | values |
//! |---|---|---|---|
//! | `tower_tenure_events_total` | counter | `event` | the names above without `session.`: those of [`EventKind::as_str`], and `denied` |
//! | | | `reason` | of `ended`: an [`EndReason`]; of `denied`, `proof_refused` and `refresh_skipped`: as above |
//! | | | `operation` | of `store_failed`: an [`Operation`] |
//! | `tower_tenure_store_seconds` | histogram | `store` | [`StoreInfo::kind`](crate::store::StoreInfo::kind) |
//! | | | `operation` | an [`Operation`] |
//! | | | `outcome` | `ok`, `error`, `timeout`, or `cancelled`: the request went away first |
//!
//! The counter counts every recorded interaction, not only those whose event is emitted. The
//! histogram times the calls to every store. Two are left out: a `load` or an `update` that a store
//! in this process answers at once takes less time than reading the clock twice.
//! [`describe_metrics`] says when the descriptions of both reach the recorder.
//! `examples/grafana.json` in the repository is a dashboard of them for Grafana.

// operation.rs   the calls to a store, and how they end
// log.rs         what goes to `tracing`, also what is no event for observers
// cause.rs       the whole chain of causes of an error
// audit.rs       observers that write an audit log, or keep recent events
// metrics/       counters and the histogram

mod audit;
mod cause;
mod log;
#[cfg(feature = "metrics")]
pub(crate) mod metrics;
#[cfg(not(feature = "metrics"))]
#[path = "metrics/absent.rs"]
pub(crate) mod metrics;
mod operation;

use std::time::Duration;

#[cfg(feature = "metrics")]
pub use self::metrics::describe_metrics;
pub use self::{
    audit::{AuditLine, AuditLog, RecentEvents},
    operation::Operation,
};
pub(crate) use self::{
    log::{
        call_failed, cookie_lost, denied, observer_panicked, settings_changed, settings_failed,
        settings_recovered, value_unreadable,
    },
    operation::CallOutcome,
};
use crate::{
    Error, SessionId, Timestamp,
    policy::{Clamped, Refusal},
    record::EndReason,
    store::StoreInfo,
};

/// Something that happened to a session.
///
/// # Example
///
/// ```
/// use tower_tenure::events::{Event, EventKind, Observer};
///
/// /// Writes a line for every session that ends.
/// struct Audit;
///
/// impl Observer for Audit {
///     fn observe(&self, event: &Event<'_>) {
///         if let (EventKind::Ended(reason), Some(sid)) = (event.kind, event.sid) {
///             println!("{} {sid} ended: {reason}", event.at);
///         }
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The arrival of the request that caused the event.
    pub at: Timestamp,
    /// The realm of the session; empty for events about the whole store.
    pub realm: &'a str,
    /// The session, if there is one.
    pub sid: Option<SessionId>,
    /// Its user, if known. Not part of `tracing` events.
    pub subject: Option<&'a str>,
    /// Who did it: the name of the caller of the management API that changed a setting, or signed
    /// out a user or everybody.
    pub by: Option<&'a str>,
    /// What happened.
    pub kind: EventKind<'a>,
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A session was stored.
    Created,
    /// A login created the session. Follows `Created`.
    Authenticated,
    /// The session's token was replaced.
    Rotated,
    /// An interaction was recorded. Sampled: one in 64 of them.
    Extended,
    /// The session has ended.
    Ended(EndReason),
    /// An override of a login was above a limit, and was clamped to it.
    Clamped(Clamped),
    /// A login was refused.
    Refused(&'a Refusal),
    /// An outage of the store began: a call failed or timed out. Failures until it is over emit no
    /// further event.
    #[non_exhaustive]
    StoreFailed {
        /// The store.
        store: &'a StoreInfo,
        /// The call that failed.
        operation: Operation,
        /// The error of the call.
        error: &'a Error,
    },
    /// The outage is over.
    #[non_exhaustive]
    StoreRecovered {
        /// The store.
        store: &'a StoreInfo,
        /// The time from the first failure until now.
        lasted: Duration,
        /// How many calls failed.
        failures: u64,
    },
    /// A subject was signed out everywhere: all its sessions are over, except one if given. An
    /// event for the end of each follows; with many sessions, some time later.
    #[non_exhaustive]
    SignedOutEverywhere {
        /// The session that was excepted.
        except: Option<SessionId>,
    },
    /// Everybody in the realm was signed out. An event for the end of each session follows.
    EverybodySignedOut,
    /// The management API changed a setting. Emitted only on the node that served the call. A value
    /// of more than 1 KiB is replaced by a text that says its size.
    #[non_exhaustive]
    SettingChanged {
        /// Its name in the API.
        setting: &'a str,
        /// The value in force before; null if there was none.
        from: &'a serde_json::Value,
        /// The value in force now; null if there is none.
        to: &'a serde_json::Value,
    },
    /// This node's clock is too far from the store's. Until they agree, the node neither sweeps nor
    /// ends sessions by time; see [S12](crate::rules#s12).
    #[non_exhaustive]
    ClocksApart {
        /// How many milliseconds this node's clock is ahead of the store's; negative if it is
        /// behind.
        ahead_by_millis: i64,
    },
    /// The clocks agree again.
    ClocksAgree,
    /// A secret that was replaced came back after its grace: from a copy of an old cookie, or from
    /// a browser that never got the new one.
    SecretReused,
    /// The session was bound to the device of its browser.
    Bound,
    /// A bound session's cookie came without a valid proof of the device.
    Unproven {
        /// Whether the session counted as absent (*enforce*), or the request was served
        /// (*observe*).
        refused: bool,
    },
    /// A proof of a device was refused.
    ProofRefused {
        /// What was wrong with it.
        reason: &'static str,
    },
    /// The browser says that it sent a request without refreshing the bound cookie first.
    RefreshSkipped {
        /// `unreachable`, `server_error`, `quota_exceeded` or `other`.
        reason: &'static str,
    },
}

impl EventKind<'_> {
    /// The name: the part after `session.` in `tracing`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Authenticated => "authenticated",
            Self::Rotated => "rotated",
            Self::Extended => "extended",
            Self::Ended(_) => "ended",
            Self::Clamped(_) => "clamped",
            Self::Refused(_) => "refused",
            Self::StoreFailed { .. } => "store_failed",
            Self::StoreRecovered { .. } => "store_recovered",
            Self::SignedOutEverywhere { .. } => "signed_out_everywhere",
            Self::EverybodySignedOut => "everybody_signed_out",
            Self::SettingChanged { .. } => "setting_changed",
            Self::ClocksApart { .. } => "clocks_apart",
            Self::ClocksAgree => "clocks_agree",
            Self::SecretReused => "secret_reused",
            Self::Bound => "bound",
            Self::Unproven { .. } => "unproven",
            Self::ProofRefused { .. } => "proof_refused",
            Self::RefreshSkipped { .. } => "refresh_skipped",
        }
    }
}

/// Receives every event, for example for audit logs and back-channel logout.
///
/// It is called while a request is served, so it should move slow work to its own task. A closure
/// is added by [`with_observer_fn`](crate::SessionLayer::with_observer_fn).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not observe events",
    note = "for a closure, call `with_observer_fn(|event| …)`; else implement `Observer`"
)]
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// A closure as an observer.
pub(crate) struct ObserverFn<F>(pub(crate) F);

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for ObserverFn<F> {
    fn observe(&self, event: &Event<'_>) {
        self.0(event);
    }
}

/// Whether to emit this interaction: one in 64. Derived from arrival and session, so that threads
/// share no counter.
pub(crate) fn is_sampled(at: Timestamp, sid: SessionId) -> bool {
    (at.as_unix_millis().to_le_bytes()[0] ^ sid.as_bytes()[0]).trailing_zeros() >= 6
}
