//! What is told to the outside: `tracing` events with stable names, and an observer for audit logs (SPEC O1).
//!
//! | name | level | fields | when |
//! |---|---|---|---|
//! | `session.created` | info | `sid` | a session was stored |
//! | `session.authenticated` | info | `sid` | it was created by a login |
//! | `session.rotated` | info | `sid` | its token was replaced |
//! | `session.extended` | debug | `sid` | an interaction was recorded; one in 64 of them |
//! | `session.ended` | info | `sid`, `reason` | it is over |
//! | `session.clamped` | warn | `sid`, `setting` | an override of a login was above a limit |
//! | `session.refused` | warn | `reason` | a login was refused |
//! | `session.denied` | debug | `sid`, `reason`, `detail` | a request was not let through; see below |
//! | `session.store_failed` | error | `sid`, `operation`, `error`, `cause` | a call to the store failed or took too long |
//! | `session.signed_out_everywhere` | info | `realm` | all sessions of a user were revoked |
//! | `session.everybody_signed_out` | warn | `realm` | all sessions of a realm were revoked |
//! | `session.clocks_apart` | error | `ahead_by_millis` | this node's clock is too far from the store's |
//! | `session.clocks_agree` | info | | it is not any more |
//! | `session.secret_reused` | warn | `sid` | a secret that was replaced came back after its grace |
//! | `session.value_unreadable` | error | `sid`, `key`, `expected`, `error` | a handler read a value that has another type |
//! | `session.observer_panicked` | error | `event` | an observer panicked; the request went on |
//! | `settings.changed` | info | `version` | settings that all nodes share came into force on this one |
//! | `settings.store_failed` | error | `error`, `cause` | they could not be looked at; the policy in force stays |
//!
//! The reason of `session.denied` is the one that the client got, or `cross_site` for an endpoint
//! that a page of another site asked for. Where [`RequireSession`](crate::RequireSession) answers
//! `none`, the log has more: `none` (there was no cookie), `malformed` (a cookie that is not a
//! token), `unknown` (a token that leads to no session), `anonymous` (a session without a user), or
//! `skipped` (the session layer skips the request). Observers do not get this event, because anybody
//! can send such requests.
//!
//! The target is `tower_tenure`. A session is named by its `sid` only; no token, no data, no user (SPEC H5).

mod audit;

use std::{error::Error as _, fmt};

pub use self::audit::{AuditLine, AuditLog, RecentEvents};

use crate::{
    Error, SessionId, Timestamp,
    policy::{Clamped, Refusal},
    record::EndReason,
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
    /// The arrival of the request in which it happened.
    pub at: Timestamp,
    /// The realm of the session; empty for what concerns the store as a whole.
    pub realm: &'a str,
    /// The session, if there is one.
    pub sid: Option<SessionId>,
    /// Its user, where known. In no `tracing` event.
    pub subject: Option<&'a str>,
    /// What happened.
    pub kind: EventKind<'a>,
}

/// The kinds of [`Event`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum EventKind<'a> {
    /// A session was stored.
    Created,
    /// It was created by a login. Follows `Created`.
    Authenticated,
    /// Its token was replaced.
    Rotated,
    /// An interaction was recorded. Sampled: one in 64 of them.
    Extended,
    /// It is over.
    Ended(EndReason),
    /// An override of a login was above a limit, which superseded it (L6).
    Clamped(Clamped),
    /// A login was refused.
    Refused(&'a Refusal),
    /// A call to the store failed or took longer than the time budget (S6).
    StoreFailed {
        /// Which call.
        operation: Operation,
        /// Why.
        error: &'a Error,
    },
    /// A subject was signed out everywhere (L14): all of its sessions but the one excepted are over from here on. The end of
    /// each follows as an event of its own, for many sessions some time later.
    SignedOutEverywhere {
        /// The session that was excepted.
        except: Option<SessionId>,
    },
    /// Everybody in the realm was signed out (L14). The end of each session follows as an event of its own.
    EverybodySignedOut,
    /// This node's clock is too far from the store's (S12). Until they agree, the node neither sweeps nor ends a session by
    /// time.
    ClocksApart {
        /// How far this node's clock is ahead of the store's; negative when it is behind.
        ahead_by_millis: i64,
    },
    /// The clocks agree again.
    ClocksAgree,
    /// A secret that was replaced came back after its grace: from a copy of an old cookie, or from a
    /// browser that never got the new one.
    SecretReused,
}

impl EventKind<'_> {
    /// The name, as in `tracing` after `session.`.
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
            Self::SignedOutEverywhere { .. } => "signed_out_everywhere",
            Self::EverybodySignedOut => "everybody_signed_out",
            Self::ClocksApart { .. } => "clocks_apart",
            Self::ClocksAgree => "clocks_agree",
            Self::SecretReused => "secret_reused",
        }
    }
}

/// The calls to a store, by the names of [`SessionStore`](crate::SessionStore)'s functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of the functions")]
#[non_exhaustive]
pub enum Operation {
    Create,
    Load,
    Update,
    End,
    EndMany,
    Revoke,
    NotBefore,
    List,
    Sweep,
    Reschedule,
    Time,
}

impl Operation {
    /// The function's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Update => "update",
            Self::End => "end",
            Self::EndMany => "end_many",
            Self::Revoke => "revoke",
            Self::NotBefore => "not_before",
            Self::List => "list",
            Self::Sweep => "sweep",
            Self::Reschedule => "reschedule",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is told of every event, for audit logs, back-channel logout and the like (SPEC O1, R2).
///
/// Called while a request is served, so it should hand slow work to a task of its own.
pub trait Observer: Send + Sync + 'static {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

impl<F: Fn(&Event<'_>) + Send + Sync + 'static> Observer for F {
    fn observe(&self, event: &Event<'_>) {
        self(event);
    }
}

/// One in 64 recorded interactions is told, chosen by arrival and session so that no counter is shared between threads.
pub(crate) fn is_sampled(at: Timestamp, sid: SessionId) -> bool {
    (at.as_unix_millis().to_le_bytes()[0] ^ sid.as_bytes()[0]).trailing_zeros() >= 6
}

macro_rules! event {
    ($level:ident, $name:literal, $($field:tt)*) => {
        tracing::event!(name: $name, target: "tower_tenure", tracing::Level::$level, $($field)*, $name)
    };
}

/// A request was not let through (O3). Not for observers: whoever sends junk would fill their logs.
pub(crate) fn denied(reason: &'static str, sid: Option<SessionId>, detail: &'static str) {
    let sid = sid.map(tracing::field::display);
    event!(DEBUG, "session.denied", sid, reason, detail);
}

/// Another node, or this one, changed the settings that all share.
pub(crate) fn settings_changed(version: u64) {
    event!(INFO, "settings.changed", version);
}

/// The settings could not be looked at, and stay as they are; told once until they can be again.
pub(crate) fn settings_failed(error: &Error) {
    let cause = error.source().map(tracing::field::display);
    event!(ERROR, "settings.store_failed", %error, cause);
}

/// A value of session data is not what its key says: the application changed the type.
pub(crate) fn value_unreadable(sid: Option<SessionId>, key: &str, expected: &str, error: &Error) {
    let sid = sid.map(tracing::field::display);
    event!(ERROR, "session.value_unreadable", sid, key, expected, %error);
}

/// An observer panicked. The request goes on.
pub(crate) fn observer_panicked(event: &str) {
    event!(ERROR, "session.observer_panicked", event);
}

impl Event<'_> {
    pub(crate) fn trace(&self) {
        let sid = self.sid.map(tracing::field::display);
        let realm = self.realm;
        match self.kind {
            EventKind::Created => event!(INFO, "session.created", sid),
            EventKind::Authenticated => event!(INFO, "session.authenticated", sid),
            EventKind::Rotated => event!(INFO, "session.rotated", sid),
            EventKind::Extended => event!(DEBUG, "session.extended", sid),
            EventKind::Ended(reason) => event!(INFO, "session.ended", sid, %reason),
            EventKind::Clamped(setting) => event!(WARN, "session.clamped", sid, setting = setting.as_str()),
            EventKind::Refused(reason) => event!(WARN, "session.refused", sid, %reason),
            EventKind::StoreFailed { operation, error } => {
                let cause = error.source().map(tracing::field::display);
                event!(ERROR, "session.store_failed", sid, %operation, %error, cause);
            }
            EventKind::SignedOutEverywhere { .. } => event!(INFO, "session.signed_out_everywhere", realm),
            EventKind::EverybodySignedOut => event!(WARN, "session.everybody_signed_out", realm),
            EventKind::ClocksApart { ahead_by_millis } => event!(
                ERROR,
                "session.clocks_apart",
                ahead_by_millis,
                advice = "set the clocks right; until then this node ends no session by time"
            ),
            EventKind::ClocksAgree => event!(INFO, "session.clocks_agree", sid),
            EventKind::SecretReused => event!(WARN, "session.secret_reused", sid),
        }
    }
}
