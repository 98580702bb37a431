//! Events, to `tracing`, metrics and observers.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Engine;
use crate::{
    SessionId, Timestamp,
    events::{self, Event, EventKind, metrics},
    record::{EndOutcome, EndReason, Record},
};

impl Engine {
    pub(super) fn report(&self, sid: SessionId, at: Timestamp, outcome: &EndOutcome) {
        if let EndOutcome::Ended(session) = outcome {
            self.ended(sid, session.reason, at, &session.realm, session.subject.as_deref());
        }
    }

    pub(crate) fn created(&self, record: &Record) {
        let (at, sid, subject) = (record.timing.created_at, Some(record.sid), record.subject.as_deref());
        self.emit(at, &record.realm, sid, subject, EventKind::Created);
        if subject.is_some() {
            self.emit(at, &record.realm, sid, subject, EventKind::Authenticated);
        }
    }

    pub(super) fn ended(
        &self,
        sid: SessionId,
        reason: EndReason,
        at: Timestamp,
        realm: &str,
        subject: Option<&str>,
    ) {
        self.emit(at, realm, Some(sid), subject, EventKind::Ended(reason));
        self.shared.watches.wake(sid, reason);
    }

    /// Emits an event to `tracing`, the metrics and all observers.
    pub(crate) fn emit(
        &self,
        at: Timestamp,
        realm: &str,
        sid: Option<SessionId>,
        subject: Option<&str>,
        kind: EventKind<'_>,
    ) {
        self.emit_event(&Event { at, realm, sid, subject, by: None, kind });
    }

    /// As [`Engine::emit`], for an event that says who did it.
    pub(crate) fn emit_event(&self, event: &Event<'_>) {
        let kind = event.kind;
        event.trace();
        metrics::event(&kind);
        for observer in &self.observers {
            // A panic of an observer ends here: a logout must not fail because an audit log panics.
            let observe = AssertUnwindSafe(|| observer.observe(event));
            if catch_unwind(observe).is_err() {
                events::observer_panicked(kind.as_str());
            }
        }
    }
}
