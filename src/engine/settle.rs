//! Calls whose answer was lost.
//!
//! A call that fails, takes too long or is cancelled may have taken effect all the same. If it was
//! an end, it must still be reported, because every end is exactly one event. If it was a login
//! that was answered with an error, it must not stand. So a task in the background asks the store:
//! an end names the call that made it, and a login is undone.

use std::{iter, time::Duration};

use super::Engine;
use crate::{
    SessionId, Timestamp,
    events::Operation,
    record::{CallId, EndOutcome, EndReason, EndRequest},
    store::RETRY_DELAYS,
};

/// When the store is asked, one after another: at once, and again, since a server that hangs may
/// carry out a call long after it was sent.
fn delays() -> impl Iterator<Item = Duration> {
    iter::once(Duration::ZERO).chain(RETRY_DELAYS)
}

/// An end that was asked for, and not answered yet. Dropped in that state, it is looked into.
pub(super) struct PendingEnd<'a> {
    engine: &'a Engine,
    ends: Vec<(SessionId, CallId)>,
    at: Timestamp,
}

impl<'a> PendingEnd<'a> {
    pub(super) fn new(engine: &'a Engine, at: Timestamp, ends: Vec<(SessionId, CallId)>) -> Self {
        Self { engine, ends, at }
    }

    pub(super) fn answered(mut self) {
        self.ends.clear();
    }
}

impl Drop for PendingEnd<'_> {
    fn drop(&mut self) {
        let (ends, at) = (std::mem::take(&mut self.ends), self.at);
        if ends.is_empty() || self.engine.store.in_process() {
            return;
        }
        let engine = self.engine.clone();
        spawn(async move { engine.look_into(ends, at).await });
    }
}

/// A login that was sent to the store and has not come to a good end. Dropped in that state, it is
/// undone.
#[derive(Debug)]
pub(crate) struct UnsettledLogin {
    engine: Engine,
    session: Option<SessionId>,
    at: Timestamp,
}

impl UnsettledLogin {
    pub(crate) fn new(engine: &Engine, sid: SessionId, at: Timestamp) -> Self {
        Self { engine: engine.clone(), session: Some(sid), at }
    }

    pub(crate) fn settled(mut self) {
        self.session = None;
    }

    pub(crate) fn is_of(&self, sid: SessionId) -> bool {
        self.session == Some(sid)
    }
}

impl Drop for UnsettledLogin {
    fn drop(&mut self) {
        let Some(sid) = self.session.take() else { return };
        let (engine, at) = (self.engine.clone(), self.at);
        spawn(async move { engine.undo_login(sid, at).await });
    }
}

impl Engine {
    /// Reports the ends that took place.
    async fn look_into(&self, mut ends: Vec<(SessionId, CallId)>, at: Timestamp) {
        for delay in delays() {
            pause(delay).await;
            let mut open = Vec::new();
            for (sid, call) in ends {
                match self.load(sid, at).await {
                    Ok(Some(record)) if record.ended.is_some_and(|ended| ended.call == call) => {
                        let reason = record.ended.map_or(EndReason::Revoked, |ended| ended.reason);
                        self.ended(sid, reason, at, &record.realm, record.subject.as_deref());
                    }
                    // Another call ended it, or it is gone: there is nothing to report.
                    Ok(Some(record)) if record.ended.is_some() => {}
                    Ok(_) | Err(_) => open.push((sid, call)),
                }
            }
            ends = open;
            if ends.is_empty() {
                return;
            }
        }
    }

    /// Ends a session that a login may have created though it was answered with an error.
    async fn undo_login(&self, sid: SessionId, at: Timestamp) {
        for delay in delays() {
            pause(delay).await;
            let request = EndRequest::new(EndReason::Revoked, at, self.call_id());
            let (timer, answer) = (self.timer(Operation::End), self.store.calls().end(sid, request, None));
            match self.call(timer, Some(sid), at, answer).await {
                Ok(EndOutcome::Ended(_) | EndOutcome::AlreadyEnded { .. } | EndOutcome::Spared) => return,
                Ok(EndOutcome::Unknown) | Err(_) => {}
            }
        }
    }
}

async fn pause(delay: Duration) {
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
}

/// Outside a runtime there is nothing that could carry it out.
fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        drop(runtime.spawn(task));
    }
}
