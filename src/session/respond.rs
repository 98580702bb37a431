//! From the state of a request to the headers of its response.

use std::sync::atomic::Ordering;

use http::HeaderMap;

use super::{Inner, Session, recycle::State};
use crate::{cookie::varies_by_cookie, events, request::CookieVerdict};

impl Session {
    /// Closes the session to changes, and completes the response; `false` if the store has to be
    /// asked before, which most requests need not.
    pub(crate) fn respond_at_once(&self, headers: &mut HeaderMap) -> bool {
        let mut state = self.state();
        let Some(verdict) = state.close(self.inner()) else { return false };
        state.respond(self.inner(), verdict, headers);
        true
    }

    /// Completes the response of a session that is closed. `store_failed`: the response says so, in
    /// place of the handler's.
    pub(crate) fn respond(&self, headers: &mut HeaderMap, store_failed: bool) {
        let (inner, state) = (self.inner(), self.state());
        let verdict = if state.request.is_of_stranger() {
            CookieVerdict::Keep
        } else {
            state.request.cookie_verdict(store_failed, &inner.context())
        };
        state.respond(inner, verdict, headers);
    }
}

impl State {
    /// Closes the session to changes. Says what becomes of the cookie, or `None` if the store has to
    /// be asked before.
    pub(super) fn close(&mut self, inner: &Inner) -> Option<CookieVerdict> {
        // Where the store is in this process it costs nothing to ask again, so there a handler that
        // was merely slow counts as one that waited.
        let in_process = inner.config.engine.store.in_process();
        let verdict = self.request.close(in_process, || inner.context());
        verdict.filter(|_| self.unsettled.is_none())
    }

    /// Sets or removes our cookie where something changed, and says what the response depends on.
    fn respond(&self, inner: &Inner, verdict: CookieVerdict, headers: &mut HeaderMap) {
        let cookie = &inner.config.cookie;
        match verdict {
            CookieVerdict::Set => {
                if let Some((known, expires_at)) = self.request.cookie_to_set() {
                    let mode = known.record.timing.mode;
                    cookie.issue(headers, &known.token, mode, expires_at, inner.now);
                    if let Some(host) = &inner.loses_cookie
                        && !inner.config.plain_http_logged.swap(true, Ordering::Relaxed)
                    {
                        events::cookie_lost(cookie.name(), host);
                    }
                    if let Some(device) = inner.config.device.as_ref().filter(|_| known.is_new_login()) {
                        device.offer(headers, &known.record, inner.shared_now());
                    }
                }
            }
            CookieVerdict::Remove => {
                cookie.remove(headers);
                if let Some(device) = inner.config.device.as_ref().filter(|_| self.has_bound_cookie) {
                    device.remove(headers);
                }
            }
            // The store could not be asked, or need not be.
            CookieVerdict::Keep | CookieVerdict::Recheck => {}
        }
        if self.looked {
            varies_by_cookie(headers);
        }
    }
}
