//! The store in this process's memory.
//!
//! Records are spread over shards by their random id, each behind a read-write lock; subjects are spread over shards of
//! their own, each an ordered set of ids. Locks are taken in this order: one subject shard, then record shards in
//! ascending order. Whatever adds a session to a subject or ends all of its sessions holds the subject's shard, so caps
//! and revoke-all are exact under parallel logins (SPEC S9, S10). An ended session stays in its subject's set until it is
//! swept: the index may name too many, never too few.
//!
//! An interaction is recorded under a *read* lock, by an atomic maximum: hot sessions do not serialize their readers, and
//! an end, which takes the write lock, can not come between (S4).

mod hot;
mod sync;

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    ops::Bound,
    sync::Arc,
};

use self::{
    hot::Entry,
    sync::{AtomicUsize, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard, read, write},
};
use super::{Created, Creation, KeptSettings, Page, SessionStore, SettingsStore, Swept};
use crate::{
    Error, Timestamp,
    policy::Admission,
    record::{Change, End, Ending, Record, SessionId, Updated},
};

/// Keeps sessions in this process's memory: the default store, exact and fast, gone with the process.
///
/// Cheap to clone; clones share the sessions. Records that are over are removed by [`SessionStore::sweep`], which the
/// middleware calls now and then on its own when a session is created.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer};
///
/// let layer = SessionLayer::new(MemoryStore::new());
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Shards>);

struct Shards {
    records: Box<[RwLock<Records>]>,
    subjects: Box<[RwLock<Subjects>]>,
    subject_hasher: RandomState,
    /// Where the next sweep goes on.
    sweep_from: AtomicUsize,
    settings: RwLock<Option<KeptSettings>>,
}

/// How many records a sweep looks at for each that it may remove, before it lets others have their turn.
const LOOKS: usize = 40;

type Records = HashMap<SessionId, Entry, BuildHasherDefault<IdHasher>>;
type Subjects = HashMap<Arc<str>, BTreeSet<(Timestamp, SessionId)>>;

/// A power of two; at a million sessions 4,000 a shard, which a sweep passes in well under a millisecond.
#[cfg(not(shuttle))]
const SHARDS: usize = 256;

/// So few that a sweep passes the sessions of a model, and not many empty shards, between two steps of another thread.
#[cfg(shuttle)]
const SHARDS: usize = 2;

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self(Arc::new(Shards {
            records: (0..SHARDS).map(|_| RwLock::default()).collect(),
            subjects: (0..SHARDS).map(|_| RwLock::default()).collect(),
            subject_hasher: RandomState::new(),
            sweep_from: AtomicUsize::new(0),
            settings: RwLock::default(),
        }))
    }

    /// How many records there are, tombstones and expired ones that are not yet swept included.
    pub fn len(&self) -> usize {
        self.0.records.iter().map(|shard| read(shard).len()).sum()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl SessionStore for MemoryStore {
    const IN_PROCESS: bool = true;

    async fn create(&self, creation: Creation) -> Result<Created, Error> {
        Ok(self.0.create(creation))
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        Ok(self.0.read(sid).get(&sid).map(Entry::to_record))
    }

    async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        if let Some(entry) = self.0.read(sid).get(&sid)
            && let Some(applied) = entry.touch(&change)
        {
            return Ok(applied);
        }
        Ok(self.0.write(sid).get_mut(&sid).map_or(Updated::Gone(None), |entry| change.apply(entry.record())))
    }

    async fn end(&self, sid: SessionId, end: End) -> Result<Ending, Error> {
        Ok(self.0.end(sid, &end))
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        Ok(self.0.list(&page))
    }

    async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        let subjects = write(self.0.subjects_of(&subject));
        let mut ended: Vec<_> = subjects.get(&subject).into_iter().flatten().map(|&(_, sid)| sid).collect();
        ended.retain(|&sid| Some(sid) != except && self.0.end(sid, &end) == Ending::Done(end.reason));
        Ok(ended)
    }

    async fn sweep(&self, before: Timestamp, limit: usize) -> Result<Swept, Error> {
        Ok(self.0.sweep(before, limit))
    }
}

/// For one process: gone with it, and seen by its clones at once.
impl SettingsStore for MemoryStore {
    async fn load_settings(&self) -> Result<Option<KeptSettings>, Error> {
        Ok(read(&self.0.settings).clone())
    }

    async fn save_settings(&self, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let mut kept = write(&self.0.settings);
        let holds = kept.as_ref().map(|kept| kept.version) == after;
        if holds {
            *kept = Some(KeptSettings { version: after.unwrap_or(0) + 1, text });
        }
        Ok(holds)
    }
}

impl Shards {
    fn create(&self, creation: Creation) -> Created {
        let sid = creation.record.sid;
        let Some(subject) = creation.record.subject.clone() else {
            return self.insert(creation, Vec::new());
        };
        // Held to the end: no other login of the subject, and no end of all its sessions, comes between.
        let mut subjects = write(self.subjects_of(&subject));
        // Only a cap asks for the others, and between two sweeps a busy subject has many that are over.
        let others = subjects.get(&subject).into_iter().flatten().filter(|_| creation.cap.is_some());
        let others: Vec<_> =
            others.filter_map(|(_, sid)| self.read(*sid).get(sid).map(Entry::to_record)).collect();
        let Admission::Admit(evicted) = creation.admit(&others) else {
            // The second try of a creation counts itself as one too many.
            let exists = self.read(sid).contains_key(&sid);
            return if exists { Created::Exists } else { Created::Refused };
        };
        let (created_at, eviction) = (creation.record.timing.created_at, creation.eviction());
        let mut created = self.insert(creation, evicted);
        if let Created::Done { evicted, .. } = &mut created {
            // One that was ended otherwise meanwhile was not evicted, and nobody is told that it was.
            evicted.retain(|&sid| self.end(sid, &eviction) == Ending::Done(eviction.reason));
            subjects.entry(subject).or_default().insert((created_at, sid));
        }
        created
    }

    fn end(&self, sid: SessionId, end: &End) -> Ending {
        self.write(sid).get_mut(&sid).map_or(Ending::Unknown, |entry| entry.record().end(end))
    }

    /// Inserts the new record and ends the one it replaces, holding the shards of both.
    fn insert(&self, creation: Creation, evicted: Vec<SessionId>) -> Created {
        let sid = creation.record.sid;
        let replaced = creation.replaced_sid();
        let home = shard_of(sid);
        let other = replaced.map_or(home, shard_of);
        let mut low = write(&self.records[home.min(other)]);
        let mut high = (home != other).then(|| write(&self.records[home.max(other)]));

        if pick(&mut low, &mut high, home > other).contains_key(&sid) {
            return Created::Exists;
        }
        let old = replaced.and_then(|old| pick(&mut low, &mut high, other > home).get_mut(&old));
        let (record, replaced) = creation.into_record(old.map(Entry::record));
        pick(&mut low, &mut high, home > other).insert(sid, Entry::new(record.clone()));
        Created::Done { record, replaced, evicted }
    }

    fn list(&self, page: &Page) -> Vec<Record> {
        let comes_after = |key: &(Timestamp, SessionId)| page.after.is_none_or(|after| *key > after);
        let live =
            |sid: SessionId| self.read(sid).get(&sid).map(Entry::to_record).filter(|r| r.is_live(page.now));
        if let Some(subject) = &page.subject {
            let subjects = read(self.subjects_of(subject));
            let Some(keys) = subjects.get(subject) else { return Vec::new() };
            let from = page.after.map_or(Bound::Unbounded, Bound::Excluded);
            keys.range((from, Bound::Unbounded)).filter_map(|(_, sid)| live(*sid)).take(page.limit).collect()
        } else {
            let mut keys: Vec<_> = Vec::new();
            for shard in &self.records {
                let shard = read(shard);
                let records = shard.values().map(Entry::to_record).filter(|record| record.is_live(page.now));
                keys.extend(records.map(|record| (record.timing.created_at, record.sid)).filter(comes_after));
            }
            keys.sort_unstable();
            keys.into_iter().filter_map(|(_, sid)| live(sid)).take(page.limit).collect()
        }
    }

    fn sweep(&self, before: Timestamp, limit: usize) -> Swept {
        let mut removed = 0;
        let mut looked_at = 0;
        while removed < limit && looked_at < limit.saturating_mul(LOOKS) {
            let from = self.sweep_from.load(Ordering::Relaxed) % SHARDS;
            let shard = &self.records[from];
            looked_at += read(shard).len();
            removed += self.sweep_shard(shard, before, limit - removed);
            if removed >= limit {
                break; // this shard may have more
            }
            self.sweep_from.store(from + 1, Ordering::Relaxed);
            if from + 1 == SHARDS {
                return Swept { removed, finished: true };
            }
        }
        Swept { removed, finished: false }
    }

    fn sweep_shard(&self, shard: &RwLock<Records>, before: Timestamp, limit: usize) -> usize {
        let is_due = |entry: &Entry| entry.over_at() < before;
        let due: Vec<_> =
            read(shard).iter().filter(|(_, entry)| is_due(entry)).map(|(sid, _)| *sid).take(limit).collect();
        if due.is_empty() {
            return 0;
        }
        let mut records = write(shard);
        // A slow request that arrived in time may have recorded it since.
        let still_due: Vec<_> = due.into_iter().filter(|sid| records.get(sid).is_some_and(is_due)).collect();
        let removed: Vec<_> = still_due.iter().filter_map(|sid| records.remove(sid)).collect();
        drop(records); // before the subjects': the other order is the order of locks
        for mut entry in removed {
            self.forget_subject_of(entry.record());
        }
        still_due.len()
    }

    fn forget_subject_of(&self, record: &Record) {
        let Some(subject) = &record.subject else { return };
        let mut subjects = write(self.subjects_of(subject));
        if let Some(keys) = subjects.get_mut(subject) {
            keys.remove(&(record.timing.created_at, record.sid));
            if keys.is_empty() {
                subjects.remove(subject);
            }
        }
    }

    fn subjects_of(&self, subject: &str) -> &RwLock<Subjects> {
        let hash = self.subject_hasher.hash_one(subject);
        &self.subjects[usize::try_from(hash % SHARDS as u64).unwrap_or(0)]
    }

    fn read(&self, sid: SessionId) -> RwLockReadGuard<'_, Records> {
        read(&self.records[shard_of(sid)])
    }

    fn write(&self, sid: SessionId) -> RwLockWriteGuard<'_, Records> {
        write(&self.records[shard_of(sid)])
    }
}

/// Ids are random, so any of their bytes is as good as a hash.
fn shard_of(sid: SessionId) -> usize {
    usize::from(sid.as_bytes()[SessionId::BYTES - 1]) % SHARDS
}

/// The guard of the higher shard, or of the lower one, which is the only one when both are the same.
fn pick<'a>(
    low: &'a mut RwLockWriteGuard<'_, Records>,
    high: &'a mut Option<RwLockWriteGuard<'_, Records>>,
    want_high: bool,
) -> &'a mut Records {
    match high {
        Some(high) if want_high => high,
        _ => low,
    }
}

/// Takes eight bytes of a random id for its hash. Only ids of our own making are ever inserted, so nobody can aim for
/// collisions.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_ne_bytes(*first);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
