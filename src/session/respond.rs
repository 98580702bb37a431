//! From the state of a request to the headers of its response.

use std::{sync::atomic::Ordering, time::Duration};

use http::HeaderMap;

use super::{
    Session,
    state::{Cookie, State},
};
use crate::{EndReason, Timestamp, cookie::varies_by_cookie, engine::Past};

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
        let cookie = &inner.config.cookie;
        let window = inner.config.in_flight_window();
        let state = self.state();
        match &state.stored {
            // Also beside a failure: what was saved before it is stored, and nobody else knows the token.
            Some(stored)
                if stored.cookie_changed()
                    && (answered == Answered::Sound || stored.browser_has.is_none()) =>
            {
                let (mode, token) = (stored.live.record.timing.mode, &stored.live.token);
                cookie.issue(headers, token, mode, stored.cookie_expires_at(), inner.now);
            }
            None if answered == Answered::Sound && state.cookie_is_dead(inner.now, window) => {
                cookie.remove(headers);
            }
            _ => {}
        }
        drop(state);
        if inner.looked.load(Ordering::Relaxed) {
            varies_by_cookie(headers);
        }
    }
}

impl State {
    /// Whether the browser holds a cookie that leads to nothing. Not while work waits for a login that proves it (L13), and not
    /// when a login has just replaced its session: requests that the browser sent before it had the new cookie come back after
    /// it, and a removal, which has the same name, would sign the user out.
    fn cookie_is_dead(&self, now: Timestamp, window: Duration) -> bool {
        let waits = self.past.is_some_and(|past| past.work_waits(now));
        self.cookie == Cookie::Brought && !waits && !self.newer_cookie_exists(now, window)
    }

    /// Whether the browser has, or will have, a newer cookie than this request knows of: its session ended while the request was
    /// in flight. Then no cookie may go back, neither a removal nor an anonymous session's for what it wrote (S4).
    pub(super) fn newer_cookie_exists(&self, now: Timestamp, window: Duration) -> bool {
        let superseded = |past: Past| {
            past.session.reason == EndReason::Superseded && now.since(past.session.ended_at) < window
        };
        self.cookie == Cookie::Displaced || self.past.is_some_and(superseded)
    }
}
