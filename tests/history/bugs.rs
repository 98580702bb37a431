//! A store with one bug at a time, each visible to clients.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tower_tenure::{
    EndReason, Error, Lifetimes, MemoryStore, SessionId, SessionStore, Timestamp,
    record::{Applied, CallId, Change, Edits, EndOutcome, EndRequest, EndedSession, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, Sweep, Swept},
};

/// What is wrong with the store. Some bugs occur only in a part of the calls, because a bug that
/// always occurs does not test the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// One in ten writes is acknowledged but not applied.
    LosesAWrite,
    /// A write is applied but answered with a conflict, so it is applied again.
    WritesTwice,
    /// One in ten reads returns the result of the previous read.
    ReadsStale,
    /// A logout is acknowledged but has no effect.
    LogoutWithoutEffect,
    RevokeOneIgnored,
    RevokeSubjectMissesOne,
    RevokeSubjectMissesLoginsInFlight,
    RevokeSubjectTakesAnothers,
    RevokeEverybodyIgnored,
    /// An absolute lifetime is stored twice as long.
    DeadlineTooLate,
    AbsoluteDeadlineMoves,
    IdleDeadlineTooLate,
    /// Interactions are not recorded.
    IdleDeadlineStays,
    DiesEarly,
    CapByOne,
    EndEmittedTwice,
    EndNotEmitted,
    EndEmittedOtherwise,
    /// The old secret proves the session after its grace.
    RotationKeepsTheOld,
    /// The new secret is not stored.
    RotationLosesTheNew,
    /// One in twenty reads returns the record of another session.
    SessionOfAnother,
    TouchRevives,
    SweepRemovesLive,
    LoweringIgnored,
    ListMissesOne,
    /// One in ten logins is acknowledged but not stored.
    LoginNotStored,
}

pub(crate) struct Planted {
    store: MemoryStore,
    bug: Bug,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    count: u32,
    /// Earlier states of records.
    known: HashMap<SessionId, Record>,
    /// The last session that was read.
    last: Option<Record>,
    /// Sessions that are no longer in the store.
    gone: Vec<SessionId>,
    /// Sessions that the store revived.
    revived: HashMap<SessionId, Record>,
}

impl Planted {
    pub(crate) fn new(bug: Bug) -> Self {
        Self { store: MemoryStore::new(), bug, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    /// Whether the planted bug is this one, and occurs now: once in `times` calls.
    fn now_and_then(&self, bug: Bug, times: u32) -> bool {
        if self.bug != bug {
            return false;
        }
        let mut state = self.state();
        state.count += 1;
        state.count.is_multiple_of(times)
    }
}

impl SessionStore for Planted {
    async fn create(&self, mut creation: Creation) -> Result<CreateOutcome, Error> {
        if self.is(Bug::CapByOne) {
            creation.cap = creation.cap.map(|cap| cap.saturating_add(1));
        }
        let timing = &mut creation.record.timing;
        let lifetimes = |idle, absolute| Lifetimes::new(idle, absolute).expect("more than nothing");
        match self.bug {
            Bug::DeadlineTooLate => {
                timing.lifetimes = lifetimes(timing.lifetimes.idle(), timing.lifetimes.absolute() * 2);
            }
            Bug::IdleDeadlineTooLate => {
                timing.lifetimes = lifetimes(timing.lifetimes.idle() * 2, timing.lifetimes.absolute());
            }
            Bug::DiesEarly => {
                timing.lifetimes = lifetimes(timing.lifetimes.idle() / 2, timing.lifetimes.absolute());
            }
            Bug::RevokeSubjectMissesLoginsInFlight => {
                creation.record.admitted_at = creation.record.admitted_at + Duration::from_secs(3600);
            }
            _ => {}
        }
        let sid = creation.record.sid;
        if self.is(Bug::EndNotEmitted) {
            let outcome = self.store.create(creation).await?;
            return Ok(match outcome {
                CreateOutcome::Created { record, ended } => {
                    let ended = ended.into_iter().map(|_| EndOutcome::Unknown).collect();
                    CreateOutcome::Created { record, ended }
                }
                other => other,
            });
        }
        let outcome = self.store.create(creation).await?;
        if self.now_and_then(Bug::LoginNotStored, 10) {
            self.state().gone.push(sid);
        }
        Ok(outcome)
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        let found = self.store.load(sid).await?;
        if self.now_and_then(Bug::ReadsStale, 10)
            && let Some(known) = self.state().known.get(&sid)
        {
            return Ok(Some(Box::new(known.clone())));
        }
        let mixed = self.now_and_then(Bug::SessionOfAnother, 20);
        let mut state = self.state();
        if state.gone.contains(&sid) {
            return Ok(None);
        }
        if let Some(revived) = state.revived.get(&sid) {
            return Ok(Some(Box::new(revived.clone())));
        }
        let Some(mut record) = found else { return Ok(None) };
        if record.ended.is_none() {
            state.known.insert(sid, Record::clone(&record));
        }
        if mixed && let Some(other) = &state.last {
            return Ok(Some(Box::new(Record { secret: record.secret, ..other.clone() })));
        }
        if record.ended.is_none() {
            state.last = Some(Record::clone(&record));
        }
        match self.bug {
            Bug::LoweringIgnored => record.timing.policy_stamp = u64::MAX,
            Bug::AbsoluteDeadlineMoves => record.timing.created_at = record.timing.last_interaction_at,
            _ => {}
        }
        if self.is(Bug::LoweringIgnored) {
            let least = Lifetimes::new(Duration::from_millis(1), Duration::from_millis(1));
            record.timing.policy_at_creation = least.expect("more than nothing");
        }
        Ok(Some(record))
    }

    async fn update(
        &self,
        sid: SessionId,
        mut change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        let is_write = !change.edits.is_empty();
        if is_write && self.now_and_then(Bug::LosesAWrite, 10) {
            change.edits = Edits::default();
        }
        match self.bug {
            Bug::IdleDeadlineStays => change.timing.interaction_at = None,
            Bug::LoweringIgnored => change.timing.lowering = None,
            Bug::RotationKeepsTheOld => {
                if let Some(rotation) = &mut change.rotation {
                    rotation.until = rotation.until + Duration::from_secs(3600);
                }
            }
            _ => {}
        }
        let lost = change.rotation.take_if(|_| self.is(Bug::RotationLosesTheNew));
        let revives = self.is(Bug::TouchRevives) && change.timing.interaction_at.is_some();
        let is_conditional = change.if_revision.is_some();
        let outcome = self.store.update(sid, change, seen).await?;
        if let (UpdateOutcome::Gone(_), true) = (&outcome, revives) {
            let mut state = self.state();
            if let Some(known) = state.known.get(&sid).cloned() {
                state.revived.insert(sid, known);
            }
        }
        Ok(match outcome {
            UpdateOutcome::Applied(_) if is_conditional && self.now_and_then(Bug::WritesTwice, 10) => {
                UpdateOutcome::Conflict
            }
            UpdateOutcome::Applied(applied) if lost.is_some() => {
                let secret = lost.map_or(applied.secret, |rotation| rotation.to);
                UpdateOutcome::Applied(Applied { rotated: true, secret, ..applied })
            }
            other => other,
        })
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        let ignored = match request.reason {
            EndReason::SignedOut => self.is(Bug::LogoutWithoutEffect),
            EndReason::Revoked => self.is(Bug::RevokeOneIgnored),
            _ => false,
        };
        if ignored && let Some(record) = self.store.load(sid).await? {
            let Record { subject, realm, .. } = *record;
            return Ok(EndOutcome::Ended(EndedSession {
                reason: request.reason,
                subject,
                realm,
                data: None,
            }));
        }
        let reason = request.reason;
        let outcome = self.store.end(sid, request, seen).await?;
        Ok(match outcome {
            EndOutcome::AlreadyEnded { .. } if self.is(Bug::EndEmittedTwice) => {
                let record = self.store.load(sid).await?.expect("its tombstone");
                let Record { subject, realm, .. } = *record;
                EndOutcome::Ended(EndedSession { reason, subject, realm, data: None })
            }
            EndOutcome::Ended(_) if self.is(Bug::EndNotEmitted) => EndOutcome::Unknown,
            EndOutcome::Ended(session) if self.is(Bug::EndEmittedOtherwise) => {
                EndOutcome::Ended(EndedSession { reason: EndReason::SignedOut, ..session })
            }
            other => other,
        })
    }

    async fn revoke(&self, mut revocation: Revocation) -> Result<(), Error> {
        let everybody = revocation.subject.is_none();
        if everybody && self.is(Bug::RevokeEverybodyIgnored) {
            return Ok(());
        }
        if let Some(subject) = &revocation.subject {
            let realm = Arc::clone(&revocation.realm);
            if self.is(Bug::RevokeSubjectMissesOne) {
                let page = Page { realm, subject: Some(subject.clone()), after: None, limit: 9 };
                revocation.except = self.store.list(page).await?.last().map(|record| record.sid);
            } else if self.is(Bug::RevokeSubjectTakesAnothers) {
                let page = Page { realm, subject: None, after: None, limit: 1 };
                if let Some(other) = self.store.list(page).await?.pop() {
                    let call = CallId::new(u64::MAX);
                    let request = EndRequest::new(EndReason::Revoked, revocation.at, call);
                    self.store.end(other.sid, request, None).await?;
                }
            }
        }
        self.store.revoke(revocation).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        self.store.not_before(realm).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        let mut found = self.store.list(page).await?;
        if self.is(Bug::ListMissesOne) {
            found.pop();
        }
        Ok(found)
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        if self.is(Bug::SweepRemovesLive) {
            let realm = sweep.realm.clone().expect("sweeps of one realm");
            let page = Page { realm, subject: None, after: None, limit: 1 };
            let found = self.store.list(page).await?;
            self.state().gone.extend(found.iter().map(|record| record.sid));
        }
        self.store.sweep(sweep).await
    }

    fn place_key(&self) -> PlaceKey {
        self.store.place_key()
    }
}
