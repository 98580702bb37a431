//! From the state of a request to the headers of its response.

use std::sync::atomic::Ordering;

use http::HeaderMap;

use super::Session;
use crate::{cookie::varies_by_cookie, events, request::CookieVerdict};

impl Session {
    /// Sets or removes our cookie where something changed, and says what the response depends on.
    /// `store_failed`: the response says so, in place of the handler's.
    pub(crate) fn respond(&self, headers: &mut HeaderMap, store_failed: bool) {
        let inner = self.inner();
        let cookie = &inner.config.cookie;
        let state = self.state();
        let request = &state.request;
        let verdict = if request.is_of_stranger() {
            CookieVerdict::Keep
        } else {
            request.cookie_verdict(store_failed, &inner.context())
        };
        match verdict {
            CookieVerdict::Set => {
                if let Some((known, expires_at)) = request.cookie_to_set() {
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
                if let Some(device) = inner.config.device.as_ref().filter(|_| state.has_bound_cookie) {
                    device.remove(headers);
                }
            }
            // The store could not be asked, or need not be.
            CookieVerdict::Keep | CookieVerdict::Recheck => {}
        }
        drop(state);
        if inner.looked.load(Ordering::Relaxed) {
            varies_by_cookie(headers);
        }
    }
}
