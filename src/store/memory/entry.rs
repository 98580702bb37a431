//! One session, as the memory store keeps it.

use super::sync::{AtomicI64, AtomicU64, Ordering};
use crate::{
    SessionId, Timestamp,
    record::{
        Applied, Binding, Change, Data, Facts, Lifetimes, Millis, Mode, PreviousSecret, Record, SecretHash,
        Timing, Tombstone, UpdateOutcome,
    },
};
use std::sync::Arc;

/// A record in few bytes. The two fields that every interaction changes are atomics.
///
/// INVARIANT: the atomics only grow while the entry is shared, so an interaction needs only a read
/// lock. A reader that sees one of them updated and not the other sees a valid state. Everything
/// else changes under the write lock.
pub(super) struct Entry {
    pub(super) sid: SessionId,
    secret: SecretHash,
    last_interaction_at: AtomicI64,
    longest_gap: AtomicU64,
    created_at: Timestamp,
    lifetimes: Lifetimes,
    policy_stamp: u64,
    updated_at: Timestamp,
    revision: u64,
    realm: Arc<str>,
    subject: Option<Arc<str>>,
    data: Data,
    facts: Arc<Facts>,
    /// Fields that few records have, or that usually equal another.
    rare: Option<Box<Rare>>,
    epoch: u32,
    mode: Mode,
    confirmed: bool,
    /// Whether it was created by a login.
    is_authenticated: bool,
}

#[derive(Default, PartialEq)]
struct Rare {
    previous_secret: Option<PreviousSecret>,
    one_off_idle: Option<Millis>,
    binding: Option<Arc<Binding>>,
    ended: Option<Tombstone>,
    /// Unless that was at the creation.
    authenticated_at: Option<Timestamp>,
    /// Unless that was at the creation.
    admitted_at: Option<Timestamp>,
    /// Unless they equal the lifetimes.
    policy_at_creation: Option<Lifetimes>,
}

impl Rare {
    /// Whether an interaction or a write depends on it, or changes it.
    const fn decides_touch(&self) -> bool {
        self.one_off_idle.is_some() || self.ended.is_some()
    }
}

impl Entry {
    /// Fields are cloned, none of which copies text: a record moved here would be copied on its
    /// way.
    pub(super) fn new(record: &Record) -> Self {
        let timing = &record.timing;
        let is_authenticated = timing.authenticated_at == Some(timing.created_at);
        let rare = Rare {
            previous_secret: record.previous_secret,
            one_off_idle: timing.one_off_idle,
            binding: record.binding.clone(),
            ended: record.ended,
            authenticated_at: timing.authenticated_at.filter(|_| !is_authenticated),
            admitted_at: Some(record.admitted_at).filter(|at| *at != timing.created_at),
            policy_at_creation: Some(timing.policy_at_creation).filter(|then| *then != timing.lifetimes),
        };
        Self {
            sid: record.sid,
            secret: record.secret,
            last_interaction_at: AtomicI64::new(timing.last_interaction_at.as_unix_millis()),
            longest_gap: AtomicU64::new(timing.longest_gap.as_u64()),
            created_at: timing.created_at,
            lifetimes: timing.lifetimes,
            policy_stamp: timing.policy_stamp,
            updated_at: record.updated_at,
            revision: record.revision,
            realm: Arc::clone(&record.realm),
            subject: record.subject.clone(),
            data: record.data.clone(),
            facts: Arc::clone(&record.facts),
            rare: (rare != Rare::default()).then(|| Box::new(rare)),
            epoch: record.epoch,
            mode: timing.mode,
            confirmed: record.confirmed,
            is_authenticated,
        }
    }

    /// The current record, without marks applied.
    #[inline] // with the two below: a record built where it goes, not copied there
    pub(super) fn to_record(&self) -> Record {
        let timing = self.timing();
        let rare = self.rare.as_deref();
        Record {
            sid: self.sid,
            realm: Arc::clone(&self.realm),
            secret: self.secret,
            previous_secret: rare.and_then(|rare| rare.previous_secret),
            updated_at: self.updated_at.max(timing.last_interaction_at),
            timing,
            subject: self.subject.clone(),
            epoch: self.epoch,
            admitted_at: rare.and_then(|rare| rare.admitted_at).unwrap_or(self.created_at),
            confirmed: self.confirmed,
            data: self.data.clone(),
            revision: self.revision,
            facts: Arc::clone(&self.facts),
            binding: rare.and_then(|rare| rare.binding.clone()),
            ended: self.ended().copied(),
            revoked_at: None,
            version: 0,
        }
    }

    fn timing(&self) -> Timing {
        let rare = self.rare.as_deref();
        let at_creation = Some(self.created_at).filter(|_| self.is_authenticated);
        Timing {
            mode: self.mode,
            created_at: self.created_at,
            authenticated_at: at_creation.or_else(|| rare?.authenticated_at),
            last_interaction_at: Timestamp::from_unix_millis(
                self.last_interaction_at.load(Ordering::Relaxed),
            ),
            longest_gap: Millis::new(self.longest_gap.load(Ordering::Relaxed)),
            lifetimes: self.lifetimes,
            policy_at_creation: rare.and_then(|rare| rare.policy_at_creation).unwrap_or(self.lifetimes),
            policy_stamp: self.policy_stamp,
            one_off_idle: rare.and_then(|rare| rare.one_off_idle),
        }
    }

    /// Records an interaction, if the change is nothing else; `None` if it needs the write lock.
    pub(super) fn touch(&self, change: &Change) -> Option<UpdateOutcome> {
        let is_touch =
            change.timing.interaction_at.is_some() && change.edits.is_empty() && change.if_revision.is_none();
        (is_touch && self.is_plain(change)).then(|| self.touched(change))
    }

    /// Edits the data in place, if the change is at most that and an interaction; `None` if the
    /// whole record must be built, which takes 700 instructions more.
    pub(super) fn write(&mut self, change: &Change) -> Option<UpdateOutcome> {
        if !self.is_plain(change) {
            return None;
        }
        if change.if_revision.is_some_and(|revision| revision != self.revision) {
            return Some(UpdateOutcome::Conflict);
        }
        if !change.edit(&mut self.data, &mut self.revision) {
            return Some(UpdateOutcome::TooLarge);
        }
        self.updated_at = self.updated_at.max(change.at);
        Some(self.touched(change))
    }

    /// Whether the session is live for certain, and a change concerns its data and its last
    /// interaction at most.
    fn is_plain(&self, change: &Change) -> bool {
        change.timing.lowering.is_none()
            && change.is_timing_and_data_only()
            && !self.rare.as_deref().is_some_and(Rare::decides_touch)
    }

    fn touched(&self, change: &Change) -> UpdateOutcome {
        if let Some(arrival) = change.timing.interaction_at {
            let before = self.last_interaction_at.fetch_max(arrival.as_unix_millis(), Ordering::Relaxed);
            let gap = arrival.since(Timestamp::from_unix_millis(before));
            self.longest_gap.fetch_max(Millis::from(gap).as_u64(), Ordering::Relaxed);
        }
        UpdateOutcome::Applied(Applied {
            timing: self.timing(),
            revision: self.revision,
            rotated: false,
            bound_at: None,
            secret: self.secret,
        })
    }

    pub(super) fn ended(&self) -> Option<&Tombstone> {
        self.rare.as_ref()?.ended.as_ref()
    }

    pub(super) const fn created_at(&self) -> Timestamp {
        self.created_at
    }

    pub(super) const fn realm(&self) -> &Arc<str> {
        &self.realm
    }

    pub(super) fn is_of(&self, realm: &str, subject: &str) -> bool {
        self.subject.as_deref() == Some(subject) && *self.realm == *realm
    }

    /// When a sweep must look at it, by the record alone.
    pub(super) fn due_at(&self) -> Timestamp {
        self.ended().map_or_else(|| self.timing().deadline(), |ended| ended.forget_at)
    }
}
