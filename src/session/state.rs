//! What a request knows of its session, and what it plans for it.

use std::sync::Arc;

use super::SessionInfo;
use crate::{
    Error, ErrorKind, SessionId, Timestamp, cookie,
    engine::{Arrival, Live, Past, Unexamined, UnsettledLogin},
    policy::Cap,
    record::{
        Applied, Data, Edits, EndReason, Json, LastSeen, Millis, Mode, PastSession, Proof, Record, Timing,
        TimingChange, Tombstone,
    },
    token::Token,
};

/// The state of one request.
#[derive(Debug)]
pub(super) struct State {
    /// Whether the response head is sent (H4).
    closed: bool,
    pub(super) cookie: Cookie,
    /// The session in the store, as far as this request knows it.
    pub(super) stored: Option<Stored>,
    /// The one that a cookie led to and that is over.
    pub(super) past: Option<Past>,
    /// Other cookies of the request, whose sessions end with this one.
    pub(super) unexamined: Unexamined,
    /// Whether the handler waited for something since the store last said that the session is live.
    pub(super) may_be_stale: bool,
    /// Whether an interaction that cannot be recorded fails the request, as it does one that is there for nothing else.
    pub(super) touch_must_succeed: bool,
    pub(super) plan: Plan,
    /// A login that was sent to the store, and may or may not have taken place.
    pub(super) unsettled: Option<UnsettledLogin>,
}

/// What the browser sent under our cookie's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Nothing.
    None,
    /// Something, perhaps malformed.
    Brought,
    /// Something that this request must not remove: the session ended while the request was in flight, and the call that
    /// ended it answered the browser; or its token was replaced a moment ago, and the browser has the new one; or it is not
    /// certain that the session is over.
    Displaced,
}

/// What the browser does with the cookie that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// Keeps it until this second.
    Until(i64),
    /// Keeps it until it closes.
    SessionOnly,
}

/// A session that is in the store.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) live: Live,
    /// `None` when it has to be sent a new token.
    pub(super) browser_has: Option<Kept>,
    /// How much longer than the session a persistent cookie lives, so that a login can prove what it resumes (L13).
    keep_longer: Millis,
    /// The timing before this request.
    on_arrival: Timing,
}

/// What is to be stored.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// End the stored session, for this reason.
    pub(super) end: Option<EndReason>,
    /// Put a new one in its place.
    pub(super) new: Option<Draft>,
    /// Change the data: of the new session if there is one, else of the stored one.
    pub(super) edits: Edits,
    /// Replace the secret of the stored session.
    pub(super) rotation: Option<Token>,
}

/// A session that is to be created.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) record: Record,
    pub(super) token: Token,
    /// Whether it takes over the data of the stored one.
    pub(super) keep_data: bool,
    /// How many sessions its subject may have.
    pub(super) cap: Option<Cap>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.end.is_none() && self.new.is_none() && self.edits.is_empty() && self.rotation.is_none()
    }
}

impl Draft {
    fn is_login(&self) -> bool {
        self.record.subject.is_some()
    }
}

impl Stored {
    fn created(record: Record, token: Token, keep_longer: Millis) -> Self {
        let timing = record.timing;
        let live = Live {
            record,
            token,
            proof: Proof::Current,
            due: TimingChange::default(),
            confirms: false,
            last_seen: None,
            next: timing,
        };
        Self { live, browser_has: None, keep_longer, on_arrival: timing }
    }

    /// Whether the browser has to be sent a cookie: a new token, or because the second moved at which a persistent one goes.
    pub(super) fn cookie_changed(&self) -> bool {
        self.live.proof == Proof::Current && self.browser_has != Some(self.should_have())
    }

    /// When a persistent cookie goes.
    pub(super) fn cookie_expires_at(&self) -> Timestamp {
        let record = &self.live.record;
        let longer = if record.subject.is_some() { self.keep_longer } else { Millis::ZERO };
        record.timing.deadline() + longer
    }

    /// Sends a moved expiry another time, but not a new token.
    pub(super) fn postpone_refresh(&mut self) {
        self.browser_has = self.browser_has.map(|_| self.should_have());
    }

    fn should_have(&self) -> Kept {
        match self.live.record.timing.mode {
            Mode::Persistent => Kept::Until(cookie::expires(self.cookie_expires_at())),
            Mode::NonPersistent => Kept::SessionOnly,
        }
    }
}

impl Cookie {
    pub(super) const fn new(brought: bool) -> Self {
        if brought { Self::Brought } else { Self::None }
    }
}

impl State {
    pub(super) fn new(brought: bool) -> Self {
        Self {
            closed: false,
            cookie: Cookie::new(brought),
            stored: None,
            past: None,
            unexamined: Unexamined::new(),
            may_be_stale: false,
            touch_must_succeed: false,
            plan: Plan::default(),
            unsettled: None,
        }
    }

    /// Back to [`State::new`], in place; nothing of a session outlives its request.
    pub(super) fn reset(&mut self) {
        let Self {
            closed,
            cookie,
            stored,
            past,
            unexamined,
            may_be_stale,
            touch_must_succeed,
            plan,
            unsettled,
        } = self;
        let Plan { end, new, edits, rotation } = plan;
        *closed = false;
        *cookie = Cookie::None;
        *may_be_stale = false;
        *touch_must_succeed = false;
        *stored = None;
        *past = None;
        unexamined.clear();
        *end = None;
        *new = None;
        *edits = Edits::default();
        *rotation = None;
        *unsettled = None;
    }

    pub(super) fn arrive(
        &mut self,
        arrival: Arrival,
        keep_longer: Millis,
        last_seen: impl FnOnce(&LastSeen) -> Option<LastSeen>,
    ) {
        self.past = arrival.past;
        self.unexamined = arrival.unexamined;
        let uncertain = self.past.is_some_and(|past| !past.is_certain);
        if (arrival.secret_just_replaced || uncertain) && arrival.live.is_none() {
            self.cookie = Cookie::Displaced;
        }
        self.stored = arrival.live.map(|mut live| {
            live.last_seen = last_seen(&live.record.facts.device.last);
            let on_arrival = live.record.timing;
            let mut stored = Stored { live, browser_has: None, keep_longer, on_arrival };
            stored.browser_has = Some(stored.should_have());
            stored
        });
    }

    /// What was due of the request is recorded.
    pub(super) fn touched(&mut self, seen: &Record, applied: &Applied) {
        self.may_be_stale = false;
        let Some(stored) = self.stored.as_mut().filter(|stored| stored.live.record.sid == seen.sid) else {
            return;
        };
        let live = &mut stored.live;
        // A save of the handler may have been quicker, and have rotated the secret since.
        if applied.timing.last_interaction_at >= live.record.timing.last_interaction_at {
            live.record.timing = applied.timing;
            live.next = applied.timing;
        }
        if live.record.secret.matches(&seen.secret) {
            live.see_secret(&applied.secret);
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closed {
            let message = "the response head is already sent, so the session can not be changed any more";
            return Err(Error::new(ErrorKind::Closed, message));
        }
        Ok(())
    }

    /// The session that is in the store, unless this request is about to end it.
    pub(super) fn lasting(&self) -> Option<&Stored> {
        self.stored.as_ref().filter(|_| self.plan.end.is_none())
    }

    pub(super) fn info(&self) -> Option<SessionInfo> {
        if let Some(draft) = self.plan.new.as_ref().filter(|draft| draft.is_login()) {
            let record = &draft.record;
            return Some(SessionInfo::new(
                record.sid,
                record.subject.clone(),
                &record.timing,
                Arc::clone(&record.facts),
            ));
        }
        let live = &self.lasting()?.live;
        let facts = Arc::clone(&live.record.facts);
        Some(SessionInfo::new(live.record.sid, live.record.subject.clone(), &live.next, facts))
    }

    /// The session that is over, by this request or before it; `None` while there is one that lasts.
    pub(super) fn past(&self, now: Timestamp) -> Option<PastSession> {
        if self.info().is_some() {
            return None;
        }
        self.ending(now).or(self.past).map(|past| past.session)
    }

    /// The stored session, as it will be once the planned end is stored.
    pub(super) fn ending(&self, now: Timestamp) -> Option<Past> {
        let (live, reason) = (&self.stored.as_ref()?.live, self.plan.end?);
        let session = live.next.past(reason, now);
        Some(Past { sid: live.record.sid, session, successor: None, work_until: None, is_certain: true })
    }

    pub(super) fn timing_on_arrival(&self) -> Option<Timing> {
        match &self.plan.new {
            Some(draft) if draft.is_login() => Some(draft.record.timing),
            _ => self.lasting().map(|stored| stored.on_arrival),
        }
    }

    /// The value under a key, as this request sees it.
    pub(super) fn value(&self, key: &str) -> Option<Json> {
        match self.plan.edits.get(key) {
            Some(edited) => edited.cloned(),
            None => self.data().and_then(|data| data.get(key)),
        }
    }

    /// The stored data, as far as the session of this request has it.
    pub(super) fn data(&self) -> Option<&Data> {
        let keeps = self.plan.new.as_ref().is_none_or(|draft| draft.keep_data);
        self.lasting().filter(|_| keeps).map(|stored| &stored.live.record.data)
    }

    /// Ends what there is: what was planned for it is void.
    pub(super) fn plan_end(&mut self, reason: EndReason) {
        // Also a session that a save is creating right now.
        let any = self.stored.is_some() || self.plan.new.is_some();
        let end = self.plan.end.or(any.then_some(reason));
        self.plan = Plan { end, ..Plan::default() };
    }

    /// The session whose secret can be replaced by the holder of this one. A new session has a new one anyway, but a
    /// failed request drops the login and still rotates (H3).
    pub(super) fn rotatable(&self) -> Option<SessionId> {
        let stored = self.lasting().filter(|_| self.plan.rotation.is_none())?;
        (stored.live.proof == Proof::Current).then_some(stored.live.record.sid)
    }

    pub(super) fn plan_rotation(&mut self, token: Token) {
        self.plan.rotation = Some(token);
    }

    /// Whether a new session of this subject takes over the data: of its own, or of an anonymous visitor (SPEC L3).
    pub(super) fn keeps_data_for(&self, subject: &str) -> bool {
        let owner = match &self.plan.new {
            Some(draft) => draft.record.subject.as_deref(),
            None => self.lasting().and_then(|stored| stored.live.record.subject.as_deref()),
        };
        owner.is_none_or(|owner| owner == subject)
    }

    pub(super) fn plan_login(&mut self, record: Record, token: Token, cap: Option<Cap>) {
        let subject = record.subject.clone().unwrap_or_default();
        let keeps = self.keeps_data_for(&subject);
        // A second login in the same request replaces the first one's plan, which never was a session.
        let keep_data =
            keeps && self.plan.end.is_none() && self.plan.new.as_ref().is_none_or(|draft| draft.keep_data);
        if !keeps {
            self.plan.edits = Edits::default();
        }
        self.plan.new = Some(Draft { record, token, keep_data, cap });
    }

    /// The session whose cookie is about to be set, when what is known of it may be stale.
    pub(super) fn needs_recheck(&self) -> Option<SessionId> {
        let stored = self.stored.as_ref().filter(|stored| self.may_be_stale && stored.cookie_changed())?;
        Some(stored.live.record.sid)
    }

    /// What was planned to be new is stored.
    pub(super) fn created(&mut self, created: Record, token: Token, keep_longer: Millis) {
        self.may_be_stale = false;
        self.past = None;
        // What was planned while the store was asked is for this session: a logout, another login.
        if self.plan.new.take_if(|draft| draft.record.sid == created.sid).is_some() {
            self.plan.end = None;
            self.plan.rotation = None;
        }
        self.stored = Some(Stored::created(created, token, keep_longer));
    }

    /// The session ended while this request was in flight.
    pub(super) fn ended_elsewhere(&mut self, tombstone: Option<Tombstone>, now: Timestamp) {
        let stored = self.stored.take();
        self.cookie = Cookie::Displaced;
        self.past = stored.zip(tombstone).map(|(stored, tombstone)| {
            let live = &stored.live;
            Past::of(live.record.sid, live.next.past(tombstone.reason, now), &tombstone)
        });
        self.plan = Plan::default();
    }

    /// How many bytes the data of the session takes with what this request changed.
    pub(super) fn data_bytes(&self) -> usize {
        let mut data = self.data().cloned().unwrap_or_default();
        data.edit(&self.plan.edits);
        data.bytes()
    }
}
