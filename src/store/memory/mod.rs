//! The store in this process's memory.
//!
//! Sessions are distributed over shards by their tag, each behind a read-write lock. All sessions
//! of a subject share a tag, so one lock makes caps, lists and revocations exact. No call takes two
//! locks.
//!
//! An interaction is recorded under a *read* lock, by an atomic maximum. So the readers of a busy
//! session do not wait for each other. An end takes the write lock, so it cannot interleave (S4).

mod entry;
mod place;
mod sweep;
mod sync;
mod user_agents;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    hash::{BuildHasherDefault, Hasher},
    ops::Bound,
    sync::Arc,
};

use self::{
    place::Place,
    sweep::SweepCursor,
    sync::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard, read, write},
    user_agents::{CommonFacts, UserAgents},
};
use super::{
    CreateOutcome, Creation, CreationPlan, Page, PlaceKey, Revocation, SessionStore, SettingsStore,
    StoreInfo, StoredSettings, Sweep, Swept,
};
use crate::{
    Error, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, Tag, UpdateOutcome},
};

/// Keeps sessions in this process's memory. They end with the process.
///
/// Cheap to clone; clones share the sessions. The middleware sweeps it from time to time when a
/// session is created. [`Sessions::sweep_every`](crate::Sessions::sweep_every) also sweeps it while
/// there are no requests.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer};
///
/// let layer = SessionLayer::new(MemoryStore::new());
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Shared>);

struct Shared {
    shards: Box<[RwLock<Shard>]>,
    sweep: Mutex<SweepCursor>,
    settings: RwLock<HashMap<Arc<str>, StoredSettings>>,
    /// When everybody in a realm was signed out.
    not_before: RwLock<HashMap<Arc<str>, Timestamp>>,
    place_key: PlaceKey,
    user_agents: UserAgents,
}

#[derive(Default)]
struct Shard {
    places: HashMap<u64, Place, BuildHasherDefault<TagHasher>>,
    /// For each realm, the sessions that have not ended, by age. Each shard has its own copy of the
    /// name: a reference count shared by all shards would be a bottleneck.
    realms: BTreeMap<Arc<str>, BTreeSet<(Timestamp, SessionId)>>,
    common_facts: CommonFacts,
}

/// A power of two: a million sessions are 4,000 per shard.
#[cfg(not(shuttle))]
const SHARDS: usize = 256;

/// Few, so that the interleaving tests do not spend their steps on empty shards.
#[cfg(shuttle)]
const SHARDS: usize = 2;

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            sweep: Mutex::default(),
            settings: RwLock::default(),
            not_before: RwLock::default(),
            place_key: PlaceKey::random(),
            user_agents: UserAgents::default(),
        }))
    }

    /// The number of records, including tombstones and expired sessions that are not swept yet.
    pub fn len(&self) -> usize {
        let count = |shard: &RwLock<Shard>| read(shard).places.values().map(Place::len).sum::<usize>();
        self.0.shards.iter().map(count).sum()
    }

    /// Whether the store has no records.
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

    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        let mut creation = creation;
        self.0.user_agents.share(&mut creation.record.facts);
        Ok(self.0.write(creation.record.sid.tag()).create(creation))
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        Ok(self.0.read(sid.tag()).place(sid.tag()).and_then(|place| place.load(sid)))
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        _seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        // Data changes under the write lock in any case.
        if change.edits.is_empty()
            && let Some(place) = self.0.read(sid.tag()).place(sid.tag())
            && place.has_no_marks()
            && let Some(applied) = place.get(sid).and_then(|entry| entry.touch(&change))
        {
            return Ok(applied);
        }
        Ok(self.0.write(sid.tag()).update(sid, &change))
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        _seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        Ok(self.0.write(sid.tag()).end(sid, &request))
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        let Revocation { realm, subject, at, except, keep_until } = revocation;
        if let Some((tag, subject)) = subject {
            let mut shard = self.0.write(tag);
            let place = shard.places.entry(tag.as_u64()).or_default();
            place.marks_mut().revoke(&realm, &subject, at, except, keep_until);
        } else {
            let mut moments = write(&self.0.not_before);
            let moment = moments.entry(realm).or_insert(at);
            *moment = at.max(*moment);
        }
        Ok(())
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        Ok(read(&self.0.not_before).get(realm).copied())
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        Ok(match &page.subject {
            Some((tag, subject)) => {
                let shard = self.0.read(*tag);
                let place = shard.place(*tag);
                place.map_or(Vec::new(), |place| place.list(&page.realm, subject, page.after, page.limit))
            }
            None => self.0.list_everybody(&page),
        })
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        Ok(self.0.sweep(&sweep))
    }

    fn place_key(&self) -> PlaceKey {
        self.0.place_key
    }

    fn info(&self) -> StoreInfo {
        StoreInfo::new("memory")
    }
}

/// Settings last as long as the process; clones see changes at once.
impl SettingsStore for MemoryStore {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        Ok(read(&self.0.settings).get(realm).cloned())
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        let mut settings = write(&self.0.settings);
        let holds = settings.get(realm).map(|stored| stored.version) == after;
        if holds {
            settings.insert(realm.into(), StoredSettings { version: after.unwrap_or(0) + 1, text });
        }
        Ok(holds)
    }

    fn settings_info(&self) -> StoreInfo {
        SessionStore::info(self)
    }
}

impl Shard {
    fn place(&self, tag: Tag) -> Option<&Place> {
        self.places.get(&tag.as_u64())
    }

    fn create(&mut self, creation: Creation) -> CreateOutcome {
        let sid = creation.record.sid;
        let tag = sid.tag();
        let (realm, subject) = (&creation.record.realm, creation.record.subject.as_deref());
        if self.place(tag).is_some_and(|place| place.get(sid).is_some()) {
            return CreateOutcome::Exists;
        }
        let place = self.place(tag);
        let mark = place.and_then(|place| place.mark(realm, subject?)).copied();
        let (count, sessions) = place.map_or((0, Vec::new()), |place| place.count(&creation));
        let found = creation.ends.iter().map(|(sid, _)| place.and_then(|place| place.record(*sid))).collect();
        let (mut record, outcomes) = match creation.plan(mark.as_ref(), found, count) {
            CreationPlan::Store { record, ended, outcomes } => {
                for ended in ended {
                    self.change(ended.sid, |record| *record = ended);
                }
                (record, outcomes)
            }
            CreationPlan::Full => return CreateOutcome::Full { count, sessions },
            CreationPlan::SignedOutEverywhere => return CreateOutcome::SignedOutEverywhere,
            CreationPlan::TooLarge => return CreateOutcome::TooLarge,
        };
        self.common_facts.share(&mut record.facts);
        record.realm = self.own_name(&record.realm);
        self.index(&record, true);
        match self.places.get_mut(&tag.as_u64()) {
            Some(place) => place.insert(&record),
            None => drop(self.places.insert(tag.as_u64(), (&*record).into())),
        }
        CreateOutcome::Created { record, ended: outcomes }
    }

    fn update(&mut self, sid: SessionId, change: &Change) -> UpdateOutcome {
        if let Some(place) = self.places.get_mut(&sid.tag().as_u64())
            && place.has_no_marks()
            && let Some(outcome) = place.get_mut(sid).and_then(|entry| entry.write(change))
        {
            return outcome;
        }
        self.change(sid, |record| change.apply(record)).unwrap_or(UpdateOutcome::Gone(None))
    }

    fn end(&mut self, sid: SessionId, request: &EndRequest) -> EndOutcome {
        self.change(sid, |record| record.end(request)).unwrap_or(EndOutcome::Unknown)
    }

    fn change<T>(&mut self, sid: SessionId, change: impl FnOnce(&mut Record) -> T) -> Option<T> {
        let place = self.places.get_mut(&sid.tag().as_u64())?;
        let (answer, turned) = place.change(sid, change)?;
        if let Some(record) = turned {
            self.index(&record, record.ended.is_none());
        }
        Some(answer)
    }

    fn own_name(&mut self, realm: &Arc<str>) -> Arc<str> {
        if let Some((own, _)) = self.realms.get_key_value(realm) {
            return Arc::clone(own);
        }
        let own: Arc<str> = Arc::from(&**realm);
        self.realms.insert(Arc::clone(&own), BTreeSet::new());
        own
    }

    fn index(&mut self, record: &Record, is_live: bool) {
        let key = (record.timing.created_at, record.sid);
        if let Some(sessions) = self.realms.get_mut(&record.realm) {
            if is_live {
                sessions.insert(key)
            } else {
                sessions.remove(&key)
            };
        }
    }
}

impl Shared {
    fn read(&self, tag: Tag) -> RwLockReadGuard<'_, Shard> {
        read(&self.shards[shard_of(tag)])
    }

    fn write(&self, tag: Tag) -> RwLockWriteGuard<'_, Shard> {
        write(&self.shards[shard_of(tag)])
    }

    /// A page of all sessions of a realm.
    fn list_everybody(&self, page: &Page) -> Vec<Record> {
        let record = |sid: SessionId| self.read(sid.tag()).place(sid.tag())?.record(sid);
        let (mut found, mut after) = (Vec::new(), page.after);
        loop {
            let wanted = page.limit - found.len();
            let oldest = self.oldest(&page.realm, after, wanted);
            let are_all = oldest.len() < wanted;
            after = oldest.last().copied().or(after);
            // A session may have ended since the index was read. Then continue after it: a page
            // that is not full would be taken for the last one.
            let records = oldest.into_iter().filter_map(|(_, sid)| record(sid));
            found.extend(records.filter(|record| record.ended.is_none()));
            if are_all || found.len() >= page.limit {
                return found;
            }
        }
    }

    /// The first sessions of a realm after this one: merges the first few of each shard.
    fn oldest(
        &self,
        realm: &Arc<str>,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> BTreeSet<(Timestamp, SessionId)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut oldest = BTreeSet::new();
        for shard in &self.shards {
            let shard = read(shard);
            let sessions = shard.realms.get(realm).into_iter();
            for key in sessions.flat_map(|sessions| sessions.range((from, Bound::Unbounded))).take(limit) {
                if oldest.len() >= limit && oldest.last().is_some_and(|last| key >= last) {
                    break;
                }
                oldest.insert(*key);
                if oldest.len() > limit {
                    oldest.pop_last();
                }
            }
        }
        oldest
    }
}

/// Tags are pseudo-random, so any of their bytes works as a hash.
fn shard_of(tag: Tag) -> usize {
    usize::from(tag.as_bytes()[Tag::BYTES - 1]) % SHARDS
}

/// Uses a tag as its own hash. Clients do not know the key of tags, so they cannot cause
/// collisions.
#[derive(Default)]
struct TagHasher(u64);

impl Hasher for TagHasher {
    fn write(&mut self, _: &[u8]) {
        unreachable!("tags are hashed as one number");
    }

    fn write_u64(&mut self, tag: u64) {
        // The hash table also uses the upper bits, and a tag has only 48.
        self.0 = tag ^ (tag << 16);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
