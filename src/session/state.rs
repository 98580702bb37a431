//! What a request knows of its session, and what it plans for it.

use std::sync::Arc;

use super::SessionInfo;
use crate::{
    Error, ErrorKind, SessionId, Timestamp, cookie,
    engine::{Arrival, Live},
    record::{
        Applied, Change, Data, Edits, EndReason, Json, LastSeen, Mode, PastSession, Proof, Record, Timing,
        TimingChange,
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
    /// Why there is none, where that is known.
    pub(super) past: Option<PastSession>,
    /// Whether the handler waited for something since the store last said that the session is live.
    pub(super) waited: bool,
    /// Whether an interaction that can not be recorded fails the request, as it does one that is there for nothing else.
    pub(super) insists: bool,
    pub(super) plan: Plan,
}

/// What the browser sent under our cookie's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cookie {
    /// Nothing.
    None,
    /// Something, perhaps malformed.
    Brought,
    /// Something that is not for this request to remove: the session ended while it was in flight, and whoever ended it
    /// told the browser; or its token was replaced a moment ago, and the browser has the new one.
    NotOurs,
}

/// What the browser was told to do with the cookie that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To keep it until this second.
    Until(i64),
    /// To keep it until it closes.
    SessionOnly,
}

/// A session that is in the store.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) live: Live,
    /// Where the request came from, when the record says otherwise.
    pub(super) last_seen: Option<LastSeen>,
    /// `None` when it has to be told of a new token.
    pub(super) told: Option<Told>,
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
    pub(super) fn created(record: Record, token: Token) -> Self {
        let timing = record.timing;
        let live = Live { record, token, proof: Proof::Current, due: TimingChange::default(), next: timing };
        Self { live, last_seen: None, told: None, on_arrival: timing }
    }

    /// What is to be recorded of the request itself: its interaction, and where it came from.
    pub(super) fn interaction(&self, now: Timestamp) -> Change {
        // Also when the interaction itself was recorded ahead.
        let interacted = self.live.next.last_interaction_at == now;
        let last_seen = self.last_seen.clone().filter(|_| interacted);
        Change { timing: self.live.due, last_seen, ..Change::at(now) }
    }

    /// Takes what the store says after a change: the interaction is recorded, with what others recorded meanwhile.
    pub(super) fn recorded(&mut self, applied: &Applied) {
        self.last_seen = None;
        self.live.record.timing = applied.timing;
        self.live.recorded(applied);
    }

    /// Whether the browser has to be told: of a new token, or that the second moved at which a persistent cookie goes.
    pub(super) fn is_news(&self) -> bool {
        self.live.proof == Proof::Current && self.told != Some(self.news())
    }

    /// Tells the browser of a moved expiry another time, but not of a new token.
    pub(super) fn postpone_refresh(&mut self) {
        self.told = self.told.map(|_| self.news());
    }

    fn news(&self) -> Told {
        let timing = &self.live.record.timing;
        match timing.mode {
            Mode::Persistent => Told::Until(cookie::expires(timing.deadline())),
            Mode::NonPersistent => Told::SessionOnly,
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
            waited: false,
            insists: false,
            plan: Plan::default(),
        }
    }

    /// Back to [`State::new`], in place; nothing of a session outlives its request.
    pub(super) fn reset(&mut self) {
        let Self { closed, cookie, stored, past, waited, insists, plan } = self;
        let Plan { end, new, edits, rotation } = plan;
        *closed = false;
        *cookie = Cookie::None;
        *waited = false;
        *insists = false;
        *stored = None;
        *past = None;
        *end = None;
        *new = None;
        *edits = Edits::default();
        *rotation = None;
    }

    pub(super) fn arrive(&mut self, arrival: Arrival, last_seen: impl FnOnce(&LastSeen) -> Option<LastSeen>) {
        self.past = arrival.past;
        if arrival.crossed_rotation && arrival.live.is_none() {
            self.cookie = Cookie::NotOurs;
        }
        self.stored = arrival.live.map(|live| {
            let last_seen = last_seen(&live.record.facts.device.last);
            let on_arrival = live.record.timing;
            let mut stored = Stored { live, last_seen, told: None, on_arrival };
            stored.told = Some(stored.news());
            if stored.live.due.is_empty() {
                // Recorded ahead already, or nothing was due.
                stored.live.record.timing = stored.live.next;
            }
            stored
        });
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
        self.ending(now).or(self.past)
    }

    /// The stored session, as it will be once the planned end is stored.
    pub(super) fn ending(&self, now: Timestamp) -> Option<PastSession> {
        Some(self.stored.as_ref()?.live.next.past(self.plan.end?, now))
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
            None => self.data().and_then(|data| data.get(key)).cloned(),
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

    pub(super) fn plan_login(&mut self, record: Record, token: Token) {
        let subject = record.subject.clone().unwrap_or_default();
        let keeps = self.keeps_data_for(&subject);
        // A second login in the same request replaces the first one's plan, which never was a session.
        let keep_data =
            keeps && self.plan.end.is_none() && self.plan.new.as_ref().is_none_or(|draft| draft.keep_data);
        if !keeps {
            self.plan.edits = Edits::default();
        }
        self.plan.new = Some(Draft { record, token, keep_data });
    }

    /// The session that the browser has to be told of, when that may be out of date.
    pub(super) fn old_news(&self) -> Option<SessionId> {
        let news = self.stored.as_ref().filter(|stored| self.waited && stored.is_news())?;
        Some(news.live.record.sid)
    }

    /// What was planned to be new is stored.
    pub(super) fn settle(&mut self, created: Record, token: Token) {
        self.waited = false;
        self.past = None;
        // What was planned while the store was asked is for this session: a logout, another login.
        if self.plan.new.take_if(|draft| draft.record.sid == created.sid).is_some() {
            self.plan.end = None;
            self.plan.rotation = None;
        }
        self.stored = Some(Stored::created(created, token));
    }

    /// The session ended while this request was in flight.
    pub(super) fn vanish(&mut self, reason: Option<EndReason>, now: Timestamp) {
        let stored = self.stored.take();
        self.cookie = Cookie::NotOurs;
        self.past = stored.zip(reason).map(|(stored, reason)| stored.live.next.past(reason, now));
        self.plan = Plan::default();
    }
}
