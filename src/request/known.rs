//! The session that a request is about.

use std::net::IpAddr;

use super::judge::Live;
use crate::{
    SessionId, Timestamp,
    binding::DeviceCheck,
    cookie::Token,
    record::{
        Applied, Change, DeviceProof, Edits, LastSeen, Millis, Mode, PastSession, Proof, Record, SecretHash,
        Successor, Timing, TimingChange, Tombstone,
    },
};

/// A live session in the store, as far as the request knows it.
#[derive(Debug)]
pub(crate) struct KnownSession {
    /// As it was loaded, with what this request has stored since.
    pub(crate) record: Box<Record>,
    /// Edits that are stored, and not yet in the data of `record`. Most requests write as their
    /// last act, and never read it again: then 1,100 instructions and two allocations are saved.
    unapplied: Edits,
    pub(crate) token: Token,
    /// Whether the token is the session's latest one.
    pub(crate) proof: Proof,
    /// What is to be recorded of the request itself; empty when that is done.
    due: Due,
    /// `None` when the browser has to be sent a new token.
    browser_has: Option<Kept>,
    timing_on_arrival: Timing,
    /// What the request proves of the device that the session is bound to.
    pub(crate) device: DeviceProof,
    /// Whether this request has created it.
    is_new: bool,
}

/// What is to be recorded of the request itself, whatever the handler does.
#[derive(Clone, Debug, Default)]
pub(super) struct Due {
    timing: TimingChange,
    /// Whether to record that the cookie came back.
    confirms: bool,
    /// Where the request came from, when the record says otherwise.
    last_seen: Option<Box<LastSeen>>,
    is_in_flight: bool,
}

impl Due {
    #[inline]
    pub(super) fn of(record: &Record, timing: TimingChange, confirms: bool, visit: &Visit<'_>) -> Self {
        // Without an interaction, where the session was last seen stays as it is.
        let interacted = timing.interaction_at.is_some();
        let last_seen = if interacted { visit.unless_known(&record.facts.device.last) } else { None };
        Self { timing, confirms, last_seen, is_in_flight: false }
    }
}

/// What the browser does with the cookie that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Keeps it until this second.
    Until(i64),
    /// Keeps it until it closes.
    SessionOnly,
}

impl Kept {
    /// What it should do with the cookie of this session.
    fn of(record: &Record, keep_longer: Millis) -> Self {
        match record.timing.mode {
            // `Expires` has whole seconds, rounded up.
            Mode::Persistent => Self::Until(expires_at(record, keep_longer).unix_seconds_ceil()),
            Mode::NonPersistent => Self::SessionOnly,
        }
    }
}

/// When a persistent cookie expires. Where work is kept for a user, their cookie outlives the
/// session. So a login can prove which session it resumes.
fn expires_at(record: &Record, keep_longer: Millis) -> Timestamp {
    let longer = if record.subject.is_some() { keep_longer } else { Millis::ZERO };
    record.timing.deadline() + longer
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit<'a> {
    pub(crate) ip: Option<IpAddr>,
    /// Empty when there is none.
    pub(crate) user_agent: &'a [u8],
    /// What it shows of its device, if that counts.
    pub(crate) device: Option<&'a DeviceCheck>,
}

impl<'a> Visit<'a> {
    /// The user agent as text, if there is one that a record can keep.
    pub(crate) fn user_agent_text(&self) -> Option<&'a str> {
        let text = Some(self.user_agent).filter(|text| !text.is_empty() && text.is_ascii())?;
        std::str::from_utf8(text).ok()
    }

    /// Where the request came from, when the record says otherwise.
    fn unless_known(&self, known: &LastSeen) -> Option<Box<LastSeen>> {
        let known_agent = known.user_agent.as_deref().unwrap_or_default();
        // Most requests end at the comparison, before the text is checked.
        let text = || self.user_agent_text();
        let is_same = known.ip == self.ip
            && (known_agent.as_bytes() == self.user_agent || (known_agent.is_empty() && text().is_none()));
        (!is_same).then(|| Box::new(LastSeen { ip: self.ip, user_agent: text().map(Into::into) }))
    }
}

impl KnownSession {
    /// A session that a cookie led to.
    #[inline]
    pub(super) fn loaded(live: Live, token: Token, keep_longer: Millis) -> Self {
        let Live { record, proof, device, due } = live;
        let browser_has = Some(Kept::of(&record, keep_longer));
        let timing_on_arrival = record.timing;
        let unapplied = Edits::default();
        Self { record, unapplied, token, proof, due, browser_has, timing_on_arrival, device, is_new: false }
    }

    /// A session that this request has created.
    pub(super) fn created(record: Box<Record>, token: Token) -> Self {
        let timing_on_arrival = record.timing;
        let (proof, due) = (Proof::Current, Due::default());
        let (device, unapplied) = (DeviceProof::NotBound, Edits::default());
        let browser_has = None;
        Self { record, unapplied, token, proof, due, browser_has, timing_on_arrival, device, is_new: true }
    }

    /// The record with its data as it is stored.
    pub(super) fn record_with_data(&mut self) -> &Record {
        self.record.data.edit(&std::mem::take(&mut self.unapplied));
        &self.record
    }

    /// The edits are stored.
    pub(super) fn edited(&mut self, edits: Edits) {
        // Applies the edits of an earlier save first.
        self.record_with_data();
        self.unapplied = edits;
    }

    /// The session was loaded again.
    pub(super) fn reloaded(&mut self, record: Box<Record>) {
        self.see_secret(&record.secret);
        self.unapplied = Edits::default();
        self.record = record;
    }

    /// Whether this request has created it by a login.
    pub(crate) const fn is_new_login(&self) -> bool {
        self.is_new && self.record.subject.is_some()
    }

    pub(super) const fn timing_on_arrival(&self) -> Timing {
        self.timing_on_arrival
    }

    /// The timing once what is due is recorded.
    pub(crate) fn next_timing(&self) -> Timing {
        let mut timing = self.record.timing;
        timing.apply(&self.due.timing);
        timing
    }

    /// What is to be recorded of the request itself, once.
    pub(super) fn take_touch(&mut self, now: Timestamp) -> Option<Change> {
        let is_empty = self.due.timing.is_empty() && !self.due.confirms && self.due.last_seen.is_none();
        if is_empty || self.due.is_in_flight {
            return None;
        }
        self.due.is_in_flight = true;
        let Due { timing, confirms, .. } = self.due;
        Some(Change { timing, confirms, last_seen: self.due.last_seen.take(), ..Change::at(now) })
    }

    /// The touch did not reach the store, or the store did not answer.
    pub(super) fn touch_failed(&mut self) {
        self.due = Due::default();
    }

    /// The touch is recorded. `secret` is the session's at the time when the touch was sent.
    pub(super) fn touched(&mut self, secret: &SecretHash, applied: &Applied) {
        self.due = Due::default();
        self.see_timing(applied);
        // A save that rotated the secret may have been answered before: then the touch knows the
        // older one.
        if applied.secret != *secret && self.record.secret == *secret {
            self.see_secret(&applied.secret);
        }
    }

    /// A change of the handler is stored, with what others stored meanwhile.
    pub(super) fn updated(&mut self, applied: &Applied) {
        self.see_timing(applied);
        self.see_secret(&applied.secret);
    }

    /// Of a touch and a save in flight, either may be answered first: the later timing counts.
    fn see_timing(&mut self, applied: &Applied) {
        if applied.timing.last_interaction_at >= self.record.timing.last_interaction_at {
            self.record.timing = applied.timing;
        }
    }

    /// The request has replaced the secret.
    pub(super) fn rotated(&mut self, secret: SecretHash, token: Token) {
        self.record.secret = secret;
        self.token = token;
        self.proof = Proof::Current;
        self.browser_has = None;
    }

    /// Another request may have rotated since this one was loaded: then ours is the old secret, and
    /// the other request brings the browser the new token.
    pub(super) fn see_secret(&mut self, current: &SecretHash) {
        if self.record.secret != *current {
            self.proof = Proof::Grace;
        }
    }

    pub(super) const fn has_new_token(&self) -> bool {
        self.browser_has.is_none()
    }

    /// Whether the browser has to be sent a cookie: a new token, or another expiry to the second.
    pub(super) fn cookie_changed(&self, keep_longer: Millis) -> bool {
        self.proof == Proof::Current && self.browser_has != Some(Kept::of(&self.record, keep_longer))
    }

    /// Leaves a moved expiry to a later response. A new token has to be sent all the same.
    pub(super) fn postpone_refresh(&mut self, keep_longer: Millis) {
        self.browser_has = self.browser_has.map(|_| Kept::of(&self.record, keep_longer));
    }

    /// When a persistent cookie expires.
    pub(crate) fn cookie_expires_at(&self, keep_longer: Millis) -> Timestamp {
        expires_at(&self.record, keep_longer)
    }
}

/// A session that is over, whose secret the request holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    pub(crate) sid: SessionId,
    pub(crate) session: PastSession,
    /// The session that a login put in its place.
    pub(crate) successor: Option<Successor>,
    /// Until when its data waits for its user.
    pub(crate) work_until: Option<Timestamp>,
    /// Whether the end is certain. It is not while this node's clock disagrees with the store's.
    pub(crate) is_certain: bool,
}

impl Past {
    pub(crate) const fn new(sid: SessionId, session: PastSession) -> Self {
        Self { sid, session, successor: None, work_until: None, is_certain: true }
    }

    /// With what a tombstone says.
    pub(crate) const fn with(self, tombstone: &Tombstone) -> Self {
        let Tombstone { successor, work_until, .. } = *tombstone;
        Self { successor, work_until, ..self }
    }

    /// Whether its data still waits for its user.
    pub(crate) fn work_waits(&self, now: Timestamp) -> bool {
        self.work_until.is_some_and(|until| now < until)
    }
}
