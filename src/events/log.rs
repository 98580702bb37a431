//! What goes to `tracing`: every event, and what is not for observers.

use super::{Event, EventKind, Operation, cause::Causes};
use crate::{Error, SessionId, store::StoreInfo};

macro_rules! event {
    ($level:ident, $name:literal, $($field:tt)*) => {
        tracing::event!(name: $name, target: "tower_tenure", tracing::Level::$level, $($field)*, $name)
    };
}

/// A request was not let through (O3). Not for observers: anybody could fill their logs.
pub(crate) fn denied(reason: &'static str, sid: Option<SessionId>, detail: &'static str) {
    let sid = sid.map(tracing::field::display);
    event!(DEBUG, "session.denied", sid, reason, detail);
}

/// The shared settings were changed, on this node or another.
pub(crate) fn settings_changed(version: u64) {
    event!(INFO, "settings.changed", version);
}

/// The settings could not be loaded, and stay as they are. Emitted once until loading succeeds
/// again.
pub(crate) fn settings_failed(store: &StoreInfo, error: &Error) {
    let (cause, address) = (Causes::of(error).map(tracing::field::display), store.address());
    event!(ERROR, "settings.store_failed", store = store.kind(), address, %error, cause);
}

/// The settings are loaded again.
pub(crate) fn settings_recovered(store: &StoreInfo) {
    event!(INFO, "settings.store_recovered", store = store.kind(), address = store.address());
}

/// A call failed during an outage, which is an event already. Explains each 503 (O3).
pub(crate) fn call_failed(store: &StoreInfo, sid: Option<SessionId>, operation: Operation, error: &Error) {
    let cause = Causes::of(error).map(tracing::field::display);
    let sid = sid.map(tracing::field::display);
    event!(DEBUG, "session.store_call_failed", store = store.kind(), sid, %operation, %error, cause);
}

/// A value of session data is not what its key says: the application changed the type.
pub(crate) fn value_unreadable(sid: Option<SessionId>, key: &str, expected: &str, error: &Error) {
    let sid = sid.map(tracing::field::display);
    event!(ERROR, "session.value_unreadable", sid, key, expected, %error);
}

/// A cookie was set that the browser drops. Emitted once by a layer.
pub(crate) fn cookie_lost(cookie: &str, host: &str) {
    event!(
        WARN,
        "session.cookie_lost",
        cookie,
        host,
        advice = "serve the site over https: browsers drop a Secure cookie over plain http, so users do not stay logged in"
    );
}

/// An observer panicked. The request goes on.
pub(crate) fn observer_panicked(event: &str) {
    event!(ERROR, "session.observer_panicked", event);
}

impl Event<'_> {
    pub(crate) fn trace(&self) {
        let sid = self.sid.map(tracing::field::display);
        let (realm, by) = (self.realm, self.by);
        match self.kind {
            EventKind::Created => event!(INFO, "session.created", sid),
            EventKind::Authenticated => event!(INFO, "session.authenticated", sid),
            EventKind::Rotated => event!(INFO, "session.rotated", sid),
            EventKind::Extended => event!(DEBUG, "session.extended", sid),
            EventKind::Ended(reason) => event!(INFO, "session.ended", sid, %reason),
            EventKind::Clamped(setting) => event!(WARN, "session.clamped", sid, setting = setting.as_str()),
            EventKind::Refused(reason) => event!(WARN, "session.refused", sid, %reason),
            EventKind::StoreFailed { store, operation, error } => {
                let (cause, address) = (Causes::of(error).map(tracing::field::display), store.address());
                let store = store.kind();
                event!(ERROR, "session.store_failed", store, address, sid, %operation, %error, cause);
            }
            EventKind::StoreRecovered { store, lasted, failures } => {
                let (store, address) = (store.kind(), store.address());
                let lasted_millis = u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX);
                event!(INFO, "session.store_recovered", store, address, lasted_millis, failures);
            }
            EventKind::SignedOutEverywhere { .. } => {
                event!(INFO, "session.signed_out_everywhere", realm, by);
            }
            EventKind::EverybodySignedOut => event!(WARN, "session.everybody_signed_out", realm, by),
            EventKind::SettingChanged { setting, from, to } => {
                event!(INFO, "session.setting_changed", realm, by, setting, %from, %to);
            }
            EventKind::ClocksApart { ahead_by_millis } => event!(
                ERROR,
                "session.clocks_apart",
                ahead_by_millis,
                advice = "correct the clocks; until they agree, this node ends no session by time"
            ),
            EventKind::ClocksAgree => event!(INFO, "session.clocks_agree", sid),
            EventKind::SecretReused => event!(WARN, "session.secret_reused", sid),
            EventKind::Bound => event!(INFO, "session.bound", sid),
            EventKind::Unproven { refused } => event!(WARN, "session.unproven", sid, refused),
            EventKind::ProofRefused { reason } => event!(WARN, "session.proof_refused", sid, reason),
            EventKind::RefreshSkipped { reason } => event!(INFO, "session.refresh_skipped", sid, reason),
        }
    }
}
