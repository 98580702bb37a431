//! A new session takes its place: under its cap, with the data of the one before.

use std::sync::Arc;

use super::{Engine, PendingEnd, RealmState};
use crate::{
    Error, ErrorKind, Policy, SessionId, Timestamp,
    events::Operation,
    policy::{Admission, Departure, Refusal, admit},
    record::{
        Change, Data, Edits, EndOptions, EndOutcome, EndReason, EndRequest, Record, Replacement,
        UpdateOutcome,
    },
    request::{CreateCall, Established, too_large},
    store::{CreateOutcome, Creation, handed_over},
};

/// How often a login is retried because others changed the subject's sessions meanwhile. When
/// several logins find the cap full at once, one of them succeeds in each round. So this is also
/// how many of them may come at once.
const MAX_ATTEMPTS: usize = 256;

/// How many sessions that replaced one another are followed.
const MAX_SUCCESSORS: usize = 8;

impl Engine {
    /// Stores a new session, ends the one it replaces, and takes over its data.
    ///
    /// Where both live in one place it is one step. Otherwise the new one comes first, so that a
    /// refusal leaves the old one as it is; then the old one ends and hands over what was written
    /// to it since it was loaded.
    pub(crate) async fn establish(
        &self,
        new: &CreateCall,
        realm: &Arc<RealmState>,
        policy: &Policy,
    ) -> Result<Established, Error> {
        let Record { sid, ref subject, ref timing, .. } = *new.draft.record;
        let (tag, now) = (sid.tag(), timing.created_at);
        let admitted_at = self.shared_time(now).await;
        let mut attempt = Attempt { new, admitted_at, data: Data::default(), ends: Vec::new() };
        let judged_by = self.policy_of(realm, policy, now).await?;

        let replaces = |keeps_data, same_subject_only| Replacement {
            sid,
            subject: subject.clone().unwrap_or_default(),
            takes_data: keeps_data,
            same_subject_only,
        };
        // Those in the same place end in the same step; the others after it.
        let (mut elsewhere, mut past_elsewhere) = (None, None);
        if let Some((before, reason)) = &new.before {
            let keeps_data = new.draft.keeps_data;
            let request = self.replace(*reason, policy, now, replaces(keeps_data, false));
            if before.sid.tag() == tag && subject.is_some() {
                attempt.ends.push((before.sid, request));
            } else {
                if keeps_data {
                    attempt.data = before.data.clone();
                }
                elsewhere = Some((before, request));
            }
        } else if let Some(past) = new.past.as_deref().filter(|past| past.is_certain && subject.is_some()) {
            // The tombstone names its successor, so that a slow request with the dead cookie leaves
            // the new one alone. Work that waits goes to the new session.
            let successor = past.successor.map(|successor| successor.sid);
            for earlier in [Some(past.sid), successor].into_iter().flatten() {
                // Work that was revoked with everything else does not wait.
                let takes_data = earlier != past.sid || past.work_waits(now);
                let request = self.replace(EndReason::Superseded, policy, now, replaces(takes_data, true));
                if earlier.tag() == tag {
                    attempt.ends.push((earlier, request));
                } else if earlier == past.sid {
                    past_elsewhere = Some((earlier, request));
                }
            }
        }
        let (record, outcomes) = match self.create(&attempt, &judged_by, now).await? {
            Creating::Done(record, outcomes) => (record, outcomes),
            Creating::Refused(refusal) => return Ok(Established::Refused(refusal)),
            Creating::Gone => return Ok(Established::Gone),
        };
        let mut next = outcomes.iter().rev().find_map(successor_of).filter(|next| *next != sid);
        let mut took = outcomes.iter().find_map(handed_over).cloned();
        let mut may_be_stale = false;
        if let Some((earlier, request)) = past_elsewhere {
            // Without it, at worst a slow request removes the new cookie.
            let outcome = self.end(earlier, request, None).await;
            next = next.or(outcome.ok().as_ref().and_then(successor_of)).filter(|next| *next != sid);
        }
        if let Some((before, request)) = elsewhere {
            let outcome = self.end(before.sid, request, self.hint(before)).await?;
            next = successor_of(&outcome).filter(|next| *next != sid);
            took = handed_over(&outcome).cloned();
            if let Some(data) = &took {
                self.hand_over(&record, &attempt, data, now).await?;
            }
        }
        // A double click: the other login was first, so this one takes its place, and its data. The
        // same for an anonymous session that another request began meanwhile. A session of another
        // user is spared.
        for _ in 0..MAX_SUCCESSORS {
            let Some(other) = next.take().filter(|_| subject.is_some() && took.is_none()) else { break };
            may_be_stale = true;
            let request = self.replace(EndReason::Superseded, policy, now, replaces(true, true));
            let outcome = self.end(other, request, None).await?;
            next = successor_of(&outcome).filter(|next| *next != sid);
            if let Some(data) = handed_over(&outcome) {
                self.hand_over(&record, &attempt, data, now).await?;
                took = Some(data.clone());
            }
        }
        self.sweep_now_and_then(now, realm, policy).await;
        Ok(Established::Done { record, may_be_stale })
    }

    /// What waits for its user is kept in the same step, if it is the user's own login.
    fn replace(&self, reason: EndReason, policy: &Policy, now: Timestamp, new: Replacement) -> EndRequest {
        let resume_for = policy.resume_for().into();
        let options = EndOptions { replaced_by: Some(new), resume_for, ..EndOptions::default() };
        self.end_request(reason, now, options)
    }

    /// Stores the session, making room under the cap.
    async fn create(
        &self,
        attempt: &Attempt<'_>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Creating, Error> {
        let new = attempt.new;
        let mut departures = Vec::new();
        for _ in 0..MAX_ATTEMPTS {
            let creation = attempt.creation(&departures);
            let ends: Vec<_> = creation.ends.iter().map(|(sid, request)| (*sid, request.call)).collect();
            let pending = PendingEnd::new(self, now, ends.clone());
            let sid = creation.record.sid;
            let timer = self.timer(Operation::Create);
            let answer = self.store.calls().create(creation);
            let created = self.call(timer, Some(sid), now, answer).await?;
            pending.answered();
            let (count, sessions) = match created {
                CreateOutcome::Created { record, mut ended } => {
                    self.created(&record);
                    for ((sid, _), outcome) in ends.iter().zip(&ended) {
                        self.report(*sid, now, outcome);
                    }
                    ended.truncate(attempt.ends.len());
                    return Ok(Creating::Done(record, ended));
                }
                CreateOutcome::SignedOutEverywhere => {
                    return Ok(Creating::Refused(Refusal::SignedOutEverywhere));
                }
                CreateOutcome::Exists => return self.created_before(new, now).await,
                CreateOutcome::TooLarge => return Err(too_large(new.max_data)),
                CreateOutcome::Full { count, sessions } => (count, sessions),
            };
            let Some(cap) = new.draft.cap else {
                return Err(Error::new(ErrorKind::Store, "the store refused a login without a cap"));
            };
            let replaced = |record: &&Record| attempt.ends.iter().any(|(sid, _)| *sid == record.sid);
            let (theirs, others): (Vec<_>, Vec<_>) = sessions.iter().partition(|record| replaced(record));
            let others_count = count - theirs.len();
            let (gone, refused) = match admit(cap, others_count, others, policy, now) {
                Admission::Admit(departures) => (departures, false),
                Admission::Refuse(departures) => (departures, true),
            };
            let trusts_clock = gone.is_empty() || self.clock_agrees(now).await;
            let requests = gone.into_iter().filter(|gone| trusts_clock || !gone.reason.is_deadline());
            let requests: Vec<_> = requests.map(|gone| self.departure(gone, policy, now)).collect();
            if refused {
                if !requests.is_empty() {
                    self.end_many(requests, now).await?;
                }
                return Ok(Creating::Refused(Refusal::TooManySessions));
            }
            let left = others_count.saturating_sub(requests.len());
            departures = if left >= usize::try_from(cap.most().get()).unwrap_or(usize::MAX) {
                // The cap was lowered for a user with more sessions than an answer names: room is
                // made in steps.
                self.end_many(requests, now).await?;
                Vec::new()
            } else {
                requests
            };
        }
        Err(Error::new(
            ErrorKind::Store,
            "other logins of the user kept taking the place under the cap; try again",
        ))
    }

    /// The session is there: from an earlier try whose answer was lost, since ids are never used
    /// twice. It lacks what was written since that try, and may have ended since.
    async fn created_before(&self, new: &CreateCall, now: Timestamp) -> Result<Creating, Error> {
        let found = self.load(new.draft.record.sid, now).await?;
        let Some(mut record) = found.filter(|record| record.tombstone().is_none()) else {
            return Ok(Creating::Gone);
        };
        if !new.edits.is_empty() {
            let (edits, max_data) = (new.edits.clone(), new.max_data);
            let change = Change { edits, max_data, ..Change::at(now) };
            match self.update(record.sid, &record.realm, self.hint(&record), change.clone()).await? {
                UpdateOutcome::TooLarge => return Err(too_large(max_data)),
                UpdateOutcome::Gone(_) => return Ok(Creating::Gone),
                UpdateOutcome::Applied(_) | UpdateOutcome::Conflict => drop(change.apply(&mut record)),
            }
        }
        self.created(&record);
        Ok(Creating::Done(record, Vec::new()))
    }

    fn departure(&self, gone: Departure, policy: &Policy, now: Timestamp) -> (SessionId, EndRequest) {
        let options = EndOptions {
            if_idle_since: Some(gone.last_interaction_at),
            lowering: gone.lowering.filter(|_| gone.reason.is_deadline()),
            resume_for: policy.resume_for().into(),
            ..EndOptions::default()
        };
        (gone.sid, self.end_request(gone.reason, now, options))
    }

    /// Stores a session that nothing goes with.
    #[cfg(any(feature = "tower-sessions", feature = "tower-sessions-0-14"))]
    pub(crate) async fn insert(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        let (sid, at) = (creation.record.sid, creation.record.timing.created_at);
        let created = self
            .call(self.timer(Operation::Create), Some(sid), at, self.store.calls().create(creation))
            .await?;
        if let CreateOutcome::Created { record, .. } = &created {
            self.created(record);
        }
        Ok(created)
    }

    /// Writes to the new session what was written to the old one since it was loaded.
    ///
    /// Another login of the browser may take the new session's place before it has that data. Then
    /// the data goes on to the session of that login, as far as it has no newer values.
    async fn hand_over(
        &self,
        new: &Record,
        attempt: &Attempt<'_>,
        data: &Data,
        now: Timestamp,
    ) -> Result<(), Error> {
        let max_data = attempt.new.max_data;
        let mut edits = Edits::difference(&attempt.data, data, &attempt.new.edits);
        let mut later: Option<Box<Record>> = None;
        for _ in 0..MAX_ATTEMPTS {
            if edits.is_empty() {
                return Ok(());
            }
            let target = later.as_deref().unwrap_or(new);
            let if_revision = later.as_ref().map(|later| later.revision);
            let change = Change { edits: edits.clone(), max_data, if_revision, ..Change::at(now) };
            let next = match self.update(target.sid, &new.realm, self.hint(target), change).await? {
                UpdateOutcome::Applied(_) => return Ok(()),
                UpdateOutcome::TooLarge => return Err(too_large(max_data)),
                UpdateOutcome::Conflict => Some(target.sid),
                UpdateOutcome::Gone(tombstone) => {
                    tombstone.and_then(|tombstone| tombstone.successor).map(|successor| successor.sid)
                }
            };
            let Some(next) = next else { return Ok(()) };
            later = self.load(next, now).await?.filter(|record| record.subject == new.subject);
            let Some(later) = &later else { return Ok(()) };
            edits.retain(|key, value| value.is_some() && later.data.get(key).is_none());
        }
        Ok(())
    }
}

/// A login, and what is the same in each attempt to store it.
struct Attempt<'a> {
    new: &'a CreateCall,
    admitted_at: Timestamp,
    /// The data that it begins with.
    data: Data,
    /// The sessions that it replaces.
    ends: Vec<(SessionId, EndRequest)>,
}

impl Attempt<'_> {
    /// Built for each attempt, since a second one is rare and a copy kept for it is not.
    fn creation(&self, departures: &[(SessionId, EndRequest)]) -> Creation {
        let mut record = Box::new(Record::clone(&self.new.draft.record));
        record.admitted_at = self.admitted_at;
        record.data = self.data.clone();
        Creation {
            record,
            edits: self.new.edits.clone(),
            ends: [&self.ends, departures].concat(),
            cap: self.new.draft.cap.map(|cap| cap.most()),
            max_data: self.new.max_data,
        }
    }
}

enum Creating {
    Done(Box<Record>, Vec<EndOutcome>),
    Refused(Refusal),
    Gone,
}

/// The session that took the place of one that had ended before.
fn successor_of(outcome: &EndOutcome) -> Option<SessionId> {
    match outcome {
        EndOutcome::AlreadyEnded { tombstone, .. } => tombstone.successor.map(|successor| successor.sid),
        _ => None,
    }
}
