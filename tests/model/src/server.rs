//! The store: one place, which takes one call at a time and decides with the crate's functions.

use std::{
    collections::BTreeMap,
    hash::{Hash, Hasher},
    time::Duration,
};

use tower_tenure::{
    EndReason, Mode, Policy, SessionId, Timestamp,
    policy::{Overrides, open},
    record::{
        CallId, Change, EndOutcome, EndRequest, Json, Record, Replacement, Rotation, SecretHash, SubjectMark,
        Tag, TimingChange, UpdateOutcome,
    },
    store::{Creation, CreationPlan},
    testing,
};

use crate::Bug;

/// A call, reduced to what the model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Call {
    Load,
    LoadLogin,
    Add {
        revision: u64,
        count: usize,
    },
    Touch,
    Rotate {
        from: u8,
    },
    End,
    EndIdle {
        idle_since: i64,
    },
    Revoke,
    Create,
    /// Whether the session was ended by this node's call.
    Look,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Answer {
    Found {
        revision: u64,
        count: usize,
        secret: u8,
        idle_since: i64,
    },
    Applied {
        rotated: bool,
    },
    Conflict,
    /// There is no such session, or it is over.
    Gone,
    Ended,
    AlreadyEnded,
    Spared,
    Revoked,
    Created {
        ended_before: bool,
    },
    Exists,
    Refused,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    records: BTreeMap<SessionId, Record>,
    mark: Option<SubjectMark>,
}

impl Eq for Server {}

/// A text of everything that is stored. `Debug` would hide secrets and data.
impl Hash for Server {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        for record in self.records.values() {
            let ended = record
                .ended
                .map(|ended| (ended.call.as_u64(), ended.reason, ended.successor.map(|new| new.sid)));
            let data: Vec<_> = record.data.iter().collect();
            let interaction = record.timing.last_interaction_at.as_unix_millis();
            let parts = (
                record.sid,
                record.secret.as_bytes(),
                record.epoch,
                record.revision,
                data,
                interaction,
                ended,
            );
            parts.hash(hasher);
            record.previous_secret.map(|previous| *previous.hash.as_bytes()).hash(hasher);
        }
        let mark = self.mark.map(|mark| (mark.epoch, mark.not_before.as_unix_millis()));
        mark.hash(hasher);
    }
}

const SUBJECT: &str = "alice";
const TAG: Tag = Tag::from_bytes(*b"alice!");
const COUNT: &str = "count";
const IDLE: Duration = Duration::from_secs(24 * 3600);

fn sid(number: u8) -> SessionId {
    SessionId::from_bytes([number; SessionId::BYTES]).with_tag(TAG)
}

const fn secret(number: u8) -> SecretHash {
    SecretHash::from_bytes([number; 32])
}

/// Seconds after the session began.
fn second(seconds: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + seconds * 1000)
}

/// When the request of a node arrived.
fn arrival(node: usize) -> Timestamp {
    second(10 + i64::try_from(node).unwrap())
}

/// The time of a sweep. By then the session has timed out unless it was used.
fn sweep_at() -> Timestamp {
    second(5) + IDLE
}

fn record_of(id: SessionId, at: Timestamp) -> Record {
    let mut overrides = Overrides::default();
    overrides.mode(Mode::NonPersistent);
    let timing = open(&Policy::default(), at, &overrides).expect("the policy allows it").timing;
    let record = testing::record(timing);
    Record { sid: id, subject: Some(SUBJECT.into()), secret: secret(0), admitted_at: at, ..record }
}

fn count_of(record: &Record) -> usize {
    record.data.get(COUNT).map_or(0, |count| count.as_str().parse().expect("a number"))
}

impl Server {
    pub(crate) const SESSION: u8 = 0;

    /// The number of the session that a node's login opens.
    pub(crate) fn login(node: usize) -> u8 {
        u8::try_from(node).unwrap() + 1
    }

    /// The new secret of a node's rotation.
    pub(crate) fn new_secret(node: usize) -> u8 {
        u8::try_from(node).unwrap() + 1
    }

    pub(crate) fn has_timed_out(idle_since: i64) -> bool {
        Timestamp::from_unix_millis(idle_since) + IDLE <= sweep_at()
    }

    pub(crate) fn new() -> Self {
        let session = record_of(sid(Self::SESSION), second(0));
        assert_eq!(session.timing.lifetimes.idle(), IDLE);
        Self { records: BTreeMap::from([(session.sid, session)]), mark: None }
    }

    /// A record as a store returns it, with its subject's mark applied.
    fn find(&self, id: SessionId) -> Option<Record> {
        let mut record = self.records.get(&id)?.clone();
        if let Some(mark) = &self.mark {
            record.see_mark(mark);
        }
        Some(record)
    }

    fn put(&mut self, record: Record) {
        self.records.insert(record.sid, Record { revoked_at: None, ..record });
    }

    /// Whether a session is over.
    pub(crate) fn is_over(&self, number: u8) -> bool {
        self.find(sid(number)).is_none_or(|record| record.ended.is_some() || record.revoked_at.is_some())
    }

    /// The stored end reason of the session, if there is one.
    pub(crate) fn ended(&self) -> Option<EndReason> {
        self.records[&sid(Self::SESSION)].ended.map(|ended| ended.reason)
    }

    pub(crate) fn secret(&self) -> u8 {
        self.records[&sid(Self::SESSION)].secret.as_bytes()[0]
    }

    /// The count in the session, or in the one that took over its data. `None` if it ended with the
    /// session.
    pub(crate) fn count(&self) -> Option<usize> {
        let session = &self.records[&sid(Self::SESSION)];
        let record = match session.ended {
            None => session,
            Some(ended) if ended.reason == EndReason::Superseded => {
                self.records.get(&ended.successor?.sid)?
            }
            Some(_) => return None,
        };
        Some(count_of(record))
    }

    /// Whether no session is live that was stored, or in flight, when this node signed its user out
    /// everywhere.
    pub(crate) fn none_lives_from_before(&self, node: usize) -> bool {
        let lives = |record: &Record| record.ended.is_none() && record.revoked_at.is_none();
        let mut live = self.records.keys().filter_map(|id| self.find(*id)).filter(lives);
        live.all(|record| record.admitted_at > arrival(node))
    }

    pub(crate) fn take(&mut self, node: usize, call: Call, bug: Option<Bug>) -> Answer {
        let at = arrival(node);
        match call {
            Call::Load => self.show(Self::SESSION),
            Call::LoadLogin => self.show(Self::login(node)),
            Call::Add { revision, count } => {
                let if_revision = Some(revision).filter(|_| bug != Some(Bug::WriteIsUnconditional));
                let mut change = Change { if_revision, ..Change::at(at) };
                change.edits.set(COUNT, Json::from_text(count.to_string()));
                self.update(&change, bug)
            }
            Call::Touch => {
                let timing = TimingChange { interaction_at: Some(at), lowering: None };
                self.update(&Change { timing, ..Change::at(at) }, bug)
            }
            Call::Rotate { from } => {
                let from = if bug == Some(Bug::RotationIsUnconditional) { self.secret() } else { from };
                let (from, to) = (secret(from), secret(Self::new_secret(node)));
                let rotation = Some(Box::new(Rotation { from, to, until: at + Duration::from_secs(10) }));
                self.update(&Change { rotation, ..Change::at(at) }, bug)
            }
            Call::End => self.end(&EndRequest::new(EndReason::SignedOut, at, call_of(node)), bug),
            Call::EndIdle { idle_since } => {
                let mut request = EndRequest::new(EndReason::Idle, sweep_at(), call_of(node));
                let since = Timestamp::from_unix_millis(idle_since);
                request.options.if_idle_since =
                    Some(since).filter(|_| bug != Some(Bug::SweepIsUnconditional));
                self.end(&request, bug)
            }
            Call::Revoke => {
                let mut mark = self.mark.unwrap_or_default().revoked(at, None);
                if bug == Some(Bug::RevocationComparesClocks) {
                    mark.epoch = 0;
                }
                self.mark = Some(mark);
                Answer::Revoked
            }
            Call::Create => self.create(node, bug),
            Call::Look => match self.records[&sid(Self::SESSION)].ended {
                Some(ended) if ended.call == call_of(node) => Answer::Ended,
                Some(_) => Answer::AlreadyEnded,
                None => Answer::Spared,
            },
        }
    }

    fn show(&self, number: u8) -> Answer {
        let live = |record: &Record| record.ended.is_none() && record.revoked_at.is_none();
        self.find(sid(number)).filter(live).map_or(Answer::Gone, |record| Answer::Found {
            revision: record.revision,
            count: count_of(&record),
            secret: record.secret.as_bytes()[0],
            idle_since: record.timing.last_interaction_at.as_unix_millis(),
        })
    }

    fn update(&mut self, change: &Change, bug: Option<Bug>) -> Answer {
        let Some(mut record) = self.find(sid(Self::SESSION)) else { return Answer::Gone };
        if bug == Some(Bug::WriteRevives) {
            record.ended = None;
        }
        let answer = match change.apply(&mut record) {
            UpdateOutcome::Applied(applied) => Answer::Applied { rotated: applied.rotated },
            UpdateOutcome::Gone(_) => Answer::Gone,
            UpdateOutcome::Conflict => Answer::Conflict,
            UpdateOutcome::TooLarge => unreachable!("one number is small"),
        };
        self.put(record);
        answer
    }

    fn end(&mut self, request: &EndRequest, bug: Option<Bug>) -> Answer {
        let Some(mut record) = self.find(sid(Self::SESSION)) else { return Answer::Gone };
        let was_ended = record.ended.is_some();
        let outcome = record.end(request);
        self.put(record);
        match outcome {
            EndOutcome::Ended(_) if was_ended && bug == Some(Bug::RepeatedEndIsAnother) => {
                Answer::AlreadyEnded
            }
            EndOutcome::AlreadyEnded { .. } if bug == Some(Bug::EndIsEmittedAgain) => Answer::Ended,
            EndOutcome::Ended(_) => Answer::Ended,
            EndOutcome::AlreadyEnded { .. } => Answer::AlreadyEnded,
            EndOutcome::Spared => Answer::Spared,
            EndOutcome::Unknown => Answer::Gone,
        }
    }

    fn create(&mut self, node: usize, bug: Option<Bug>) -> Answer {
        let (id, before, at) = (sid(Self::login(node)), sid(Self::SESSION), arrival(node));
        if self.records.contains_key(&id) && bug != Some(Bug::RepeatedLoginIsAnother) {
            return Answer::Exists;
        }
        let mut request = EndRequest::new(EndReason::Superseded, at, call_of(node));
        let new =
            Replacement { sid: id, subject: SUBJECT.into(), takes_data: true, same_subject_only: false };
        request.options.replaced_by = Some(new);
        let creation = Creation { ends: vec![(before, request)], ..Creation::new(record_of(id, at)) };
        let mut mark = self.mark;
        if let (Some(mark), Some(Bug::LoginMissesRevocation)) = (&mut mark, bug) {
            mark.not_before = Timestamp::UNIX_EPOCH;
        }
        let found = vec![self.find(before)];
        match creation.plan(mark.as_ref(), found, 1) {
            CreationPlan::Store { record, ended, outcomes } => {
                ended.into_iter().for_each(|record| self.put(record));
                self.put(*record);
                Answer::Created { ended_before: matches!(outcomes[..], [EndOutcome::Ended(_)]) }
            }
            CreationPlan::SignedOutEverywhere => Answer::Refused,
            CreationPlan::Full | CreationPlan::TooLarge => unreachable!("there is no cap, and little data"),
        }
    }
}

/// A node ends a session at most once, so its number names the call.
fn call_of(node: usize) -> CallId {
    CallId::new(node as u64 + 1)
}
