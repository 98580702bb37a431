//! A new session, and what goes with it.

use std::num::NonZeroU32;

use crate::record::{Data, Edits, EndOutcome, EndRequest, Record, SessionId, SubjectMark};

/// A new session to store, and the sessions to end first, as plain data.
///
/// # Example
///
/// A store takes these steps, under one lock or in one transaction:
///
/// ```
/// # use std::collections::HashMap;
/// # use tower_tenure::{record::{Record, SessionId, SubjectMark}, store::{CreateOutcome, Creation, CreationPlan}};
/// # struct Table { sessions: HashMap<SessionId, Record>, marks: HashMap<String, SubjectMark> }
/// fn create(table: &mut Table, creation: Creation) -> CreateOutcome {
///     if table.sessions.contains_key(&creation.record.sid) {
///         return CreateOutcome::Exists;
///     }
///     let mark = creation.record.subject.as_deref().and_then(|subject| table.marks.get(subject)).copied();
///     let ends = creation.ends.iter().map(|(sid, _)| table.sessions.get(sid).cloned()).collect();
///     let others: Vec<_> = table.sessions.values().filter(|other| creation.counts(other)).cloned().collect();
///     match creation.plan(mark.as_ref(), ends, others.len()) {
///         CreationPlan::Store { record, ended, outcomes } => {
///             table.sessions.extend(ended.into_iter().map(|record| (record.sid, record)));
///             table.sessions.insert(record.sid, *record.clone());
///             CreateOutcome::Created { record, ended: outcomes }
///         }
///         CreationPlan::Full => CreateOutcome::Full { count: others.len(), sessions: others },
///         CreationPlan::SignedOutEverywhere => CreateOutcome::SignedOutEverywhere,
///         CreationPlan::TooLarge => CreateOutcome::TooLarge,
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Creation {
    /// The new record, with its initial data. Boxed, like each new record here: it passes through
    /// many calls, and each would copy its 440 bytes.
    pub record: Box<Record>,
    /// Edits of that data, applied also to data that an ended session hands over.
    pub edits: Edits,
    /// Sessions of the same tag to end in the same step: the one that a login replaces, those that
    /// are over, and those that the cap evicts.
    pub ends: Vec<(SessionId, EndRequest)>,
    /// How many sessions the subject may have, this one included. Sessions that have not ended
    /// count.
    pub cap: Option<NonZeroU32>,
    /// The maximum size of the session's data in bytes.
    pub max_data: usize,
}

/// The outcome of a [`Creation`]. Unless the session was created, nothing was changed, and none of
/// `ends` took effect.
#[derive(Clone, Debug, PartialEq)]
pub enum CreateOutcome {
    /// The session is stored.
    Created {
        /// The record as stored.
        record: Box<Record>,
        /// The outcomes of `ends`, in their order.
        ended: Vec<EndOutcome>,
    },
    /// The subject has as many sessions as the cap allows.
    Full {
        /// How many sessions count.
        count: usize,
        /// Those sessions, or [`MAX_CANDIDATES`](CreateOutcome::MAX_CANDIDATES) of them. The caller
        /// judges whether they are over.
        sessions: Vec<Record>,
    },
    /// The subject was signed out everywhere after the login arrived.
    SignedOutEverywhere,
    /// A record with this id exists already.
    Exists,
    /// The data would exceed `max_data` bytes.
    TooLarge,
}

/// What a store must do for a [`Creation`]; see [`Creation::plan`].
#[derive(Clone, Debug, PartialEq)]
pub enum CreationPlan {
    /// Store these, all in one step.
    Store {
        /// The new record.
        record: Box<Record>,
        /// The records of `ends` that exist, after their end.
        ended: Vec<Record>,
        /// The outcomes of `ends`, in their order.
        outcomes: Vec<EndOutcome>,
    },
    /// Answer [`CreateOutcome::Full`].
    Full,
    /// Answer [`CreateOutcome::SignedOutEverywhere`].
    SignedOutEverywhere,
    /// Answer [`CreateOutcome::TooLarge`].
    TooLarge,
}

impl CreateOutcome {
    /// The maximum number of sessions in [`CreateOutcome::Full`].
    pub const MAX_CANDIDATES: usize = 4096;
}

impl Creation {
    /// A new session without edits, ends and limits.
    pub fn new(record: impl Into<Box<Record>>) -> Self {
        let record = record.into();
        Self { record, edits: Edits::default(), ends: Vec::new(), cap: None, max_data: usize::MAX }
    }

    /// Whether another record counts under the cap: a session of the same subject and realm that
    /// has not ended.
    pub fn counts(&self, other: &Record) -> bool {
        self.record.subject.is_some()
            && other.subject == self.record.subject
            && other.realm == self.record.realm
            && other.ended.is_none()
    }

    /// Whether the session fits under the cap beside this many others that count.
    pub fn fits(&self, others: usize) -> bool {
        let most = self.cap.and_then(|cap| usize::try_from(cap.get()).ok()).unwrap_or(usize::MAX);
        self.record.subject.is_none() || others < most
    }

    /// Decides what to store.
    ///
    /// The store passes `mark`, the mark of the record's subject. `found` are the records of `ends`
    /// in their order, after [`Record::see_mark`], as far as they exist. `count` is how many
    /// records count by [`Creation::counts`], those of `ends` included.
    pub fn plan(
        mut self,
        mark: Option<&SubjectMark>,
        found: Vec<Option<Record>>,
        count: usize,
    ) -> CreationPlan {
        let mark = mark.filter(|_| self.record.subject.is_some());
        self.record.epoch = mark.map_or(0, |mark| mark.epoch);
        if mark.is_some_and(|mark| mark.covers_login(self.record.admitted_at)) {
            return CreationPlan::SignedOutEverywhere;
        }
        let (mut gone, mut ended) = (0, Vec::with_capacity(found.len()));
        let mut outcomes = Vec::with_capacity(found.len());
        for ((_, request), found) in self.ends.iter().zip(found) {
            let Some(mut record) = found else {
                outcomes.push(EndOutcome::Unknown);
                continue;
            };
            let counted = self.counts(&record);
            outcomes.push(record.end(request));
            gone += usize::from(counted && record.ended.is_some());
            ended.push(record);
        }
        if !self.fits(count.saturating_sub(gone)) {
            return CreationPlan::Full;
        }
        let mut record = self.record;
        if let Some(data) = outcomes.iter().rev().find_map(handed_over) {
            record.data = data.clone();
        }
        let before = record.data.bytes();
        record.data.edit(&self.edits);
        if record.data.bytes() > self.max_data.max(before) {
            return CreationPlan::TooLarge;
        }
        CreationPlan::Store { record, ended, outcomes }
    }
}

/// The data that an ended session handed over to its replacement.
pub(crate) fn handed_over(outcome: &EndOutcome) -> Option<&Data> {
    match outcome {
        EndOutcome::Ended(session) => session.data.as_ref(),
        EndOutcome::AlreadyEnded { work, .. } => work.as_ref(),
        EndOutcome::Spared | EndOutcome::Unknown => None,
    }
}
