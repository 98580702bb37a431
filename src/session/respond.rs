//! From the state of a request to the headers of its response.

use std::sync::atomic::Ordering;

use http::HeaderMap;

use super::{
    Session,
    state::{Cookie, State},
};
use crate::{
    EndReason, Timestamp,
    cookie::varies_by_cookie,
    record::{CROSSING, PastSession},
};

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    /// As the session's state says.
    Sound,
    /// In place of the handler's response, because the store failed: no cookie is removed for it (SPEC S6).
    StoreFailed,
}

impl Session {
    /// Sets or removes our cookie where something changed, and says what the response depends on (SPEC C3, C4, C8).
    pub(crate) fn respond(&self, headers: &mut HeaderMap, answered: Answered) {
        let inner = self.inner();
        let cookie = &inner.settings.cookie;
        let state = self.state();
        match &state.stored {
            // Also beside a failure: what was saved before it is stored, and nobody else knows the token.
            Some(stored) if stored.is_news() && (answered == Answered::Sound || stored.told.is_none()) => {
                let (timing, token) = (&stored.live.record.timing, &stored.live.token);
                cookie.issue(headers, token, timing.mode, timing.deadline(), inner.now);
            }
            None if answered == Answered::Sound && state.leads_nowhere(inner.now) => cookie.remove(headers),
            _ => {}
        }
        drop(state);
        if inner.looked.load(Ordering::Relaxed) {
            varies_by_cookie(headers);
        }
    }
}

impl State {
    /// Whether the browser holds a cookie of ours for nothing. Not when a login has just replaced its session: requests that
    /// it sent before it had the new cookie come back after it, and a removal, which has the same name, would sign it out.
    fn leads_nowhere(&self, now: Timestamp) -> bool {
        self.cookie == Cookie::Brought && !self.is_overtaken(now)
    }

    /// Whether the browser knows better than this request: its session ended while it was in flight, here or on the way.
    /// Then no cookie of ours may go back, neither a removal nor an anonymous session's for what it wrote (SPEC S4).
    pub(super) fn is_overtaken(&self, now: Timestamp) -> bool {
        let superseded =
            |past: PastSession| past.reason == EndReason::Superseded && now.since(past.ended_at) < CROSSING;
        self.cookie == Cookie::NotOurs || self.past.is_some_and(superseded)
    }
}
