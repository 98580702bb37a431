//! The sessions that share a tag: usually those of one subject.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use super::entry::Entry;
use crate::{
    Timestamp,
    record::{Record, SessionId, SubjectMark},
    store::{CreateOutcome, Creation, marks::Marks},
};

/// The sessions that share a tag. Optimized for one session, which most subjects have.
pub(super) enum Place {
    Single(Box<Entry>),
    Group(Box<Group>),
}

#[derive(Default)]
pub(super) struct Group {
    /// Tombstones included.
    entries: BTreeMap<SessionId, Box<Entry>>,
    /// Those that have not ended, by age.
    live: BTreeSet<(Timestamp, SessionId)>,
    marks: Marks,
}

impl Place {
    pub(super) fn get(&self, sid: SessionId) -> Option<&Entry> {
        match self {
            Self::Single(entry) => Some(&**entry).filter(|entry| entry.sid == sid),
            Self::Group(group) => group.entries.get(&sid).map(|entry| &**entry),
        }
    }

    pub(super) fn get_mut(&mut self, sid: SessionId) -> Option<&mut Entry> {
        match self {
            Self::Single(entry) => Some(&mut **entry).filter(|entry| entry.sid == sid),
            Self::Group(group) => group.entries.get_mut(&sid).map(|entry| &mut **entry),
        }
    }

    /// The record, with the subject's mark applied: built in its box, as a copy of it costs more
    /// than to look it up.
    pub(super) fn load(&self, sid: SessionId) -> Option<Box<Record>> {
        let mut record = Box::new(self.get(sid)?.to_record());
        self.apply_mark(&mut record);
        Some(record)
    }

    #[inline]
    pub(super) fn record(&self, sid: SessionId) -> Option<Record> {
        self.get(sid).map(|entry| self.show(entry))
    }

    #[inline]
    fn show(&self, entry: &Entry) -> Record {
        let mut record = entry.to_record();
        self.apply_mark(&mut record);
        record
    }

    #[inline]
    fn apply_mark(&self, record: &mut Record) {
        if let Some(mark) = self.mark_of(record) {
            record.see_mark(mark);
        }
    }

    fn mark_of(&self, record: &Record) -> Option<&SubjectMark> {
        self.mark(&record.realm, record.subject.as_deref()?)
    }

    /// Whether no mark can cover a session of this place.
    pub(super) fn has_no_marks(&self) -> bool {
        match self {
            Self::Single(_) => true,
            Self::Group(group) => group.marks.is_empty(),
        }
    }

    pub(super) fn mark(&self, realm: &str, subject: &str) -> Option<&SubjectMark> {
        let Self::Group(group) = self else { return None };
        group.marks.of(realm, subject)
    }

    pub(super) fn marks_mut(&mut self) -> &mut Marks {
        &mut self.group().marks
    }

    /// Adds a session that is not there yet.
    pub(super) fn insert(&mut self, record: &Record) {
        self.group().put(Box::new(Entry::new(record)));
    }

    /// Changes a record, and returns it if it was live before or is now, but not both; `None` when
    /// there is none.
    pub(super) fn change<T>(
        &mut self,
        sid: SessionId,
        change: impl FnOnce(&mut Record) -> T,
    ) -> Option<(T, Option<Box<Record>>)> {
        let mut record = self.record(sid)?;
        let was_live = record.ended.is_none();
        let answer = change(&mut record);
        let turned = (record.ended.is_none() != was_live).then(|| Box::new(record.clone()));
        let entry = Entry::new(&record);
        match self {
            Self::Single(known) => **known = entry,
            Self::Group(group) => group.put(Box::new(entry)),
        }
        Some((answer, turned))
    }

    /// How many sessions count under the cap of this creation, and those sessions if the cap is
    /// reached.
    pub(super) fn count(&self, creation: &Creation) -> (usize, Vec<Record>) {
        let Some(subject) = creation.record.subject.as_deref() else { return (0, Vec::new()) };
        let realm = &*creation.record.realm;
        let counts = |entry: &&Entry| entry.is_of(realm, subject) && entry.ended().is_none();
        // Two subjects rarely share a tag, so the number of live sessions is usually exact.
        let live = match self {
            Self::Single(_) => 1,
            Self::Group(group) => group.live.len(),
        };
        if creation.fits(live) {
            return (live, Vec::new());
        }
        let count = self.live().filter(counts).count();
        let full = self.live().filter(counts).take(CreateOutcome::MAX_CANDIDATES);
        (count, if creation.fits(count) { Vec::new() } else { full.map(|entry| self.show(entry)).collect() })
    }

    /// Those that have not ended, by age.
    fn live(&self) -> impl Iterator<Item = &Entry> {
        let (single, group) = match self {
            Self::Single(entry) => (Some(&**entry).filter(|entry| entry.ended().is_none()), None),
            Self::Group(group) => (None, Some(group.after(None))),
        };
        single.into_iter().chain(group.into_iter().flatten())
    }

    /// The sessions of a subject that have not ended, after this one.
    pub(super) fn list(
        &self,
        realm: &str,
        subject: &str,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Vec<Record> {
        let theirs = |entry: &&Entry| entry.is_of(realm, subject);
        match self {
            Self::Single(_) => {
                let comes =
                    |entry: &&Entry| after.is_none_or(|after| (entry.created_at(), entry.sid) > after);
                self.live().filter(theirs).filter(comes).take(limit).map(|entry| self.show(entry)).collect()
            }
            Self::Group(group) => {
                group.after(after).filter(theirs).take(limit).map(|entry| self.show(entry)).collect()
            }
        }
    }

    /// How many entries there are, tombstones included.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Single(_) => 1,
            Self::Group(group) => group.entries.len(),
        }
    }

    /// Entries in the order of their ids, tombstones included.
    pub(super) fn entries_after(&self, after: Option<SessionId>) -> impl Iterator<Item = &Entry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (single, group) = match self {
            Self::Single(entry) => {
                (Some(&**entry).filter(|entry| after.is_none_or(|after| entry.sid > after)), None)
            }
            Self::Group(group) => {
                (None, Some(group.entries.range((from, Bound::Unbounded)).map(|(_, entry)| &**entry)))
            }
        };
        single.into_iter().chain(group.into_iter().flatten())
    }

    /// The record, if it has not ended and may be over.
    pub(super) fn due(&self, entry: &Entry, now: Timestamp) -> Option<Record> {
        if entry.ended().is_some() || (entry.due_at() > now && self.has_no_marks()) {
            return None;
        }
        Some(self.show(entry)).filter(|record| record.over_at() <= now || record.revoked_at.is_some())
    }

    /// Removes a session, and marks that are no longer needed; `true` when nothing is left.
    pub(super) fn remove(&mut self, sid: Option<SessionId>, now: Timestamp) -> bool {
        match self {
            Self::Single(entry) => Some(entry.sid) == sid,
            Self::Group(group) => {
                if let Some(entry) = sid.and_then(|sid| group.entries.remove(&sid)) {
                    group.live.remove(&(entry.created_at(), entry.sid));
                }
                group.marks.drop_old(now);
                if group.marks.is_empty() && group.entries.len() == 1 {
                    if let Some((_, entry)) = group.entries.pop_first() {
                        *self = Self::Single(entry);
                    }
                    return false;
                }
                group.entries.is_empty() && group.marks.is_empty()
            }
        }
    }

    pub(super) fn has_old_marks(&self, now: Timestamp) -> bool {
        matches!(self, Self::Group(group) if group.marks.has_old(now))
    }

    fn group(&mut self) -> &mut Group {
        if let Self::Single(_) = self {
            let single = std::mem::replace(self, Self::Group(Box::default()));
            if let (Self::Single(entry), Self::Group(group)) = (single, &mut *self) {
                group.put(entry);
            }
        }
        match self {
            Self::Group(group) => group,
            Self::Single(_) => unreachable!("it was made a group above"),
        }
    }
}

impl From<&Record> for Place {
    fn from(record: &Record) -> Self {
        Self::Single(Box::new(Entry::new(record)))
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::Group(Box::default())
    }
}

impl Group {
    fn put(&mut self, entry: Box<Entry>) {
        let key = (entry.created_at(), entry.sid);
        if entry.ended().is_none() {
            self.live.insert(key);
        } else {
            self.live.remove(&key);
        }
        self.entries.insert(entry.sid, entry);
    }

    fn after(&self, after: Option<(Timestamp, SessionId)>) -> impl Iterator<Item = &Entry> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.live.range((from, Bound::Unbounded));
        keys.filter_map(|(_, sid)| self.entries.get(sid).map(|entry| &**entry))
    }
}
