//! One request, as a pure state machine.
//!
//! ```text
//!             cookies                 handler                      response
//!                │                       │                            ▲
//!   Load ──► judge ──► arrived ──► reads and plans ──► next_call ──► cookie_verdict
//!                                                      ▲      │
//!                                               answered      ▼
//!                                                      └── `session` performs it
//! ```
//!
//! Nothing here waits, locks, reads a clock, draws random bytes or knows HTTP: what it needs is
//! handed in. So each order of events is a plain function call, and tests can go through all of
//! them. `session` holds the state behind its handle, and performs the calls through the engine.

// known.rs    the session that the request is about
// judge.rs    what a loaded record means for who holds a token
// plan.rs     what the handler wants
// call.rs     the next call to the store that this takes
// answer.rs   the one place where a store's answer is taken
// cookie.rs   whether the response sets, keeps or removes the cookie
// info.rs     what a page sees

mod answer;
mod call;
mod cookie;
mod info;
mod judge;
mod known;
mod plan;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

pub use self::{answer::Outcome, info::SessionInfo};
pub(crate) use self::{
    answer::{Progress, StoreAnswer, too_large},
    call::{CreateCall, EndPurpose, Established, LoadCall, StoreCall, TouchCall, UpdateCall, UpdatePurpose},
    cookie::{CookieSent, CookieVerdict},
    judge::{Judgement, Live, OldSecret, judge},
    known::{KnownSession, Past, Visit},
    plan::{Scope, new_record},
};
use self::{known::Due, plan::Plan};
use crate::{
    Error, ErrorKind, Policy, SessionId, Timestamp,
    cookie::Token,
    record::{Data, DeviceProof, Json, Millis, PastSession, SecretHash, Timing, Tombstone},
};

/// What a request is judged by. Handed in with each event, so that the state holds no clock and no
/// settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestContext<'a> {
    /// The arrival of the request.
    pub(crate) now: Timestamp,
    /// The same moment by the clock that all nodes share, as far as it is known.
    pub(crate) shared_now: Timestamp,
    pub(crate) policy: &'a Policy,
    pub(crate) realm: &'a Arc<str>,
    /// How many bytes of data a session may have.
    pub(crate) max_data: usize,
    /// How long a request may be in flight that the browser sent before it had a newer cookie.
    pub(crate) in_flight_window: Duration,
    /// Whether the store compares and sets, and so is faster when it gets the record as it was
    /// seen.
    pub(crate) wants_hints: bool,
}

/// What an anonymous session follows that this request created for what the handler wrote.
#[derive(Clone, Copy, Debug, Default)]
enum Follows {
    /// Nothing, or it is settled.
    #[default]
    Nothing,
    /// A session that was over. Its tombstone has to name the new one: then a login in flight takes
    /// that over, and a request in flight does not remove its cookie.
    Past(Past),
    /// A login was first, so the new session is in its way and has to be ended.
    Login,
}

/// What one request knows of its session, and what it plans for it.
#[derive(Debug, Default)]
pub(crate) struct RequestState {
    /// Whether the head of the response is sent.
    is_closed: bool,
    cookie: CookieSent,
    /// The session in the store, as far as this request knows it.
    known: Option<KnownSession>,
    /// The session that a cookie led to and that is over.
    past: Option<Past>,
    /// What is known of the device while there is no session: that it was not proven, perhaps.
    absent_device: DeviceProof,
    /// Tokens that were not examined, because one before them led to a live session. A logout or a
    /// login ends their sessions, too.
    other_tokens: Vec<(SessionId, SecretHash)>,
    /// Whether the handler waited since the store last answered. What is known of the session may
    /// be out of date then: another request may have ended it, or rotated its secret.
    may_be_stale: bool,
    /// Whether the request fails if its interaction cannot be recorded.
    touch_must_succeed: bool,
    follows: Follows,
    /// How much longer than its session a persistent cookie lives.
    keep_longer: Millis,
    plan: Plan,
}

impl RequestState {
    /// A request that has arrived, before the store is asked.
    pub(crate) fn start(&mut self, cookie: CookieSent, keep_longer: Millis) {
        self.cookie = cookie;
        self.keep_longer = keep_longer;
    }

    /// Back to the default, in place: nothing of a session outlives its request, and the room of
    /// the vector stays.
    pub(crate) fn reset(&mut self) {
        // Field by field: to write the whole default takes 400 instructions, and most fields have
        // it.
        let Self {
            is_closed,
            cookie,
            known,
            past,
            absent_device,
            other_tokens,
            may_be_stale,
            touch_must_succeed,
            follows,
            keep_longer,
            plan,
        } = self;
        (*is_closed, *may_be_stale, *touch_must_succeed) = (false, false, false);
        (*cookie, *absent_device) = (CookieSent::default(), DeviceProof::default());
        (*known, *past) = (None, None);
        other_tokens.clear();
        *follows = Follows::default();
        *keep_longer = Millis::ZERO;
        if !plan.is_empty() {
            *plan = Plan::default();
        }
    }

    /// A cookie led to this live session.
    #[inline]
    pub(crate) fn arrived(&mut self, live: Live, token: Token) {
        // Whatever came before it: an old copy of the cookie, say.
        self.cookie = CookieSent::Something;
        self.known = Some(KnownSession::loaded(live, token, self.keep_longer));
    }

    /// A cookie led to a session that is over. The first one counts.
    pub(crate) fn arrived_late(&mut self, past: Past) {
        if !past.is_certain {
            // An anonymous session's cookie must not overwrite that of a session which may be live.
            self.cookie.displaced();
        }
        self.past.get_or_insert(past);
    }

    /// The response removes no cookie.
    pub(crate) const fn keep_cookie(&mut self) {
        self.cookie.keep();
    }

    /// A cookie's secret was replaced a moment ago, so the browser has a newer one by now.
    pub(crate) const fn arrived_with_old_secret(&mut self) {
        self.cookie.displaced();
    }

    /// A cookie led to a live session whose device the request does not prove. The session counts
    /// as absent, and its cookie stays: the browser may prove the device in a moment.
    pub(crate) const fn arrived_unproven(&mut self) {
        self.absent_device = DeviceProof::Unproven;
        self.cookie.displaced();
    }

    /// A cookie that was not examined, because one before it led to a live session.
    pub(crate) fn arrived_beside(&mut self, sid: SessionId, secret: SecretHash) {
        self.other_tokens.push((sid, secret));
    }

    /// What the request proves of the device of its session: of one that counts as absent, too.
    pub(crate) fn device(&self) -> DeviceProof {
        self.lasting().map_or(self.absent_device, |known| known.device)
    }

    /// Whether there may be a live session though none was found: the cookie's secret was replaced
    /// a moment ago, or this node's clock cannot be trusted.
    #[cfg(feature = "device-binding")]
    pub(crate) fn may_be_live_elsewhere(&self) -> bool {
        let is_over = self.past.is_some_and(|past| past.is_certain);
        self.known.is_none() && !is_over && self.cookie == CookieSent::Displaced
    }

    pub(crate) const fn is_live(&self) -> bool {
        self.known.is_some()
    }

    /// The handler waits: other requests may change the session before it goes on.
    pub(crate) const fn handler_waits(&mut self) {
        self.may_be_stale = true;
    }

    /// From now on an interaction that cannot be recorded fails the request.
    pub(crate) const fn touch_must_succeed(&mut self) {
        self.touch_must_succeed = true;
    }

    /// The head of the response is about to be sent: no more changes. Says what becomes of the
    /// cookie, or `None` if the store has to be asked before.
    pub(crate) fn close<'a>(
        &mut self,
        may_be_stale: bool,
        ctx: impl FnOnce() -> RequestContext<'a>,
    ) -> Option<CookieVerdict> {
        self.is_closed = true;
        self.may_be_stale |= may_be_stale;
        if !self.plan.is_empty() || matches!(self.follows, Follows::Past(_)) {
            return None;
        }
        if self.is_of_stranger() {
            return Some(CookieVerdict::Keep);
        }
        Some(self.cookie_verdict(false, &ctx())).filter(|verdict| *verdict != CookieVerdict::Recheck)
    }

    /// Whether the browser sent no cookie and got no session: then the response says nothing of a
    /// cookie.
    pub(crate) const fn is_of_stranger(&self) -> bool {
        matches!(self.cookie, CookieSent::Nothing) && self.known.is_none()
    }

    pub(crate) fn check_open(&self) -> Result<(), Error> {
        if self.is_closed {
            let message = "the response head is already sent, so the session cannot be changed any more";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        Ok(())
    }

    pub(crate) const fn known(&self) -> Option<&KnownSession> {
        self.known.as_ref()
    }

    /// The session that is in the store, unless this request is about to end it.
    pub(crate) fn lasting(&self) -> Option<&KnownSession> {
        self.known.as_ref().filter(|_| self.plan.end.is_none())
    }

    /// The session that is over, by this request or before it; `None` while there is one that
    /// lasts.
    pub(crate) fn past(&self, now: Timestamp) -> Option<PastSession> {
        if self.info().is_some() {
            return None;
        }
        self.planned_past(now).or(self.past).map(|past| past.session)
    }

    /// The known session, as it will be once the planned end is stored.
    fn planned_past(&self, now: Timestamp) -> Option<Past> {
        let (known, reason) = (self.known.as_ref()?, self.plan.end?);
        Some(Past::new(known.record.sid, known.next_timing().past(reason, now)))
    }

    /// The timing before this request.
    pub(crate) fn timing_on_arrival(&self) -> Option<Timing> {
        match self.planned_login() {
            Some(draft) => Some(draft.record.timing),
            None => self.lasting().map(KnownSession::timing_on_arrival),
        }
    }

    /// The value under a key, as this request sees it.
    pub(crate) fn value(&mut self, key: &str) -> Option<Json> {
        match self.plan.edits.get(key) {
            Some(edited) => edited.cloned(),
            None => self.data().and_then(|data| data.get(key)),
        }
    }

    /// The stored data, as far as the session of this request has it.
    fn data(&mut self) -> Option<&Data> {
        let keeps = self.plan.new.as_ref().is_none_or(|draft| draft.keeps_data);
        let known = self.known.as_mut().filter(|_| keeps && self.plan.end.is_none())?;
        Some(&known.record_with_data().data)
    }

    /// The session ended while this request was in flight. The call that ended it answered the
    /// browser, so this request sets no cookie and removes none.
    fn ended_elsewhere(&mut self, tombstone: Option<Tombstone>, now: Timestamp) {
        self.cookie.displaced();
        let known = self.known.take();
        self.past = known.zip(tombstone).map(|(known, tombstone)| {
            let session = known.next_timing().past(tombstone.reason, now);
            Past::new(known.record.sid, session).with(&tombstone)
        });
        // A logout still ends the sessions of the other tokens.
        self.plan = Plan { end_others: self.plan.end_others, ..Plan::default() };
    }
}
