//! A store in front of which recent copies of sessions are kept.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    CreateOutcome, Creation, Page, PlaceKey, Revocation, SessionStore, SettingsStore, StoreInfo,
    StoredSettings, Sweep, Swept,
};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, Tag, UpdateOutcome},
    time::TimerMoment,
};

/// Keeps recent copies of sessions in this process, in front of a store on the network. Opt-in.
///
/// A request whose session was loaded less than a second ago, by this node, is judged by the copy:
/// it asks the store nothing. That suits pages that send many requests at a time.
///
/// # What it costs: a second
///
/// A change by *another* node is seen when the copy is a second old, at the latest: a value that it
/// wrote, a logout, a revocation. The age counts from the moment at which the store was asked, by a
/// monotonic clock. So the bound holds whatever the store, the network or the wall clock does. What
/// this node itself changes is seen at once.
///
/// A copy is trusted for one thing only: that a session is live and that this is its current
/// cookie. If the copy says anything else, the store is asked. So an old copy never makes a session
/// count as over, or a cookie as unknown. Changes never start from a copy without a check: the
/// store refuses a change of something that has moved on.
///
/// Do not use it where a second is too long. Nor where a page must show what the request before it
/// wrote, and a load balancer may send both to different nodes.
///
/// # Example
///
/// ```
/// use tower_tenure::{SessionLayer, store::NearCache};
/// # let store = tower_tenure::testing::Probe::remote(tower_tenure::MemoryStore::new());
/// # /*
/// let store = RedisStore::connect("redis://127.0.0.1").await?;
/// # */
/// let layer = SessionLayer::new(NearCache::new(store));
/// ```
pub struct NearCache<S> {
    store: S,
    copies: Arc<Copies>,
}

impl<S> NearCache<S> {
    /// The maximum age of a copy, which is also the default.
    pub const MAX_AGE: Duration = Duration::from_secs(1);

    /// How many sessions are kept unless set.
    pub const CAPACITY: usize = 65_536;

    /// Keeps copies of up to 65,536 sessions, each for a second: about 40 MB when it is full.
    pub fn new(store: S) -> Self {
        Self { store, copies: Arc::new(Copies::new(Self::MAX_AGE, Self::CAPACITY)) }
    }

    /// Keeps copies for at most `max_age`, of at most `capacity` sessions.
    ///
    /// # Errors
    ///
    /// [`Configuration`](ErrorKind::Configuration) when `max_age` is longer than a second, or
    /// either is zero.
    pub fn with_limits(store: S, max_age: Duration, capacity: usize) -> Result<Self, Error> {
        if max_age.is_zero() || max_age > Self::MAX_AGE || capacity == 0 {
            let message = format!(
                "a near cache keeps at least one session, for at most {:?}; this one is for {capacity} \
                 sessions and {max_age:?}",
                Self::MAX_AGE
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Self { store, copies: Arc::new(Copies::new(max_age, capacity)) })
    }

    /// The store behind it.
    pub const fn inner(&self) -> &S {
        &self.store
    }
}

/// A clone shares the copies.
impl<S: Clone> Clone for NearCache<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), copies: Arc::clone(&self.copies) }
    }
}

impl<S: fmt::Debug> fmt::Debug for NearCache<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NearCache").field("store", &self.store).finish_non_exhaustive()
    }
}

/// The copies, in shards by tag, so that all sessions of a user are in one.
struct Copies {
    shards: [Mutex<Shard>; SHARDS],
    max_age: Duration,
    /// How many sessions a shard keeps.
    room: usize,
}

const SHARDS: usize = 64;

#[derive(Default)]
struct Shard {
    copies: HashMap<SessionId, Copy>,
    /// Counts what was forgotten. A load that was under way meanwhile may have read what was before
    /// it, so its answer is not kept.
    forgotten: u64,
}

struct Copy {
    record: Arc<Record>,
    /// When the store was asked.
    asked_at: TimerMoment,
}

impl Shard {
    fn forget(&mut self, sid: SessionId) {
        self.forgotten += 1;
        self.copies.remove(&sid);
    }

    /// Also of others: it is rare, and a copy is soon made again.
    fn forget_all(&mut self) {
        self.forgotten += 1;
        self.copies.clear();
    }
}

/// No code of the application runs under these locks.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A load that is under way.
struct Asked {
    at: TimerMoment,
    forgotten: u64,
}

impl Copies {
    fn new(max_age: Duration, capacity: usize) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, max_age, room: capacity.div_ceil(SHARDS) }
    }

    fn shard(&self, tag: Tag) -> MutexGuard<'_, Shard> {
        // Tags are keyed hashes or random, so any of their bytes spreads evenly.
        lock(&self.shards[usize::from(tag.as_bytes()[0]) % SHARDS])
    }

    fn get(&self, sid: SessionId) -> Option<Box<Record>> {
        let shard = self.shard(sid.tag());
        let copy = shard.copies.get(&sid).filter(|copy| copy.asked_at.elapsed() < self.max_age)?;
        let record = Arc::clone(&copy.record);
        drop(shard);
        Some(Box::new(Record::clone(&record)))
    }

    fn ask(&self, sid: SessionId) -> Asked {
        Asked { at: TimerMoment::now(), forgotten: self.shard(sid.tag()).forgotten }
    }

    fn keep(&self, asked: &Asked, record: &Record) {
        // Whatever is over is judged by the store.
        if record.ended.is_some() || record.revoked_at.is_some() || asked.at.elapsed() >= self.max_age {
            return;
        }
        let copy = Copy { record: Arc::new(record.clone()), asked_at: asked.at };
        let mut shard = self.shard(record.sid.tag());
        if shard.forgotten != asked.forgotten {
            return;
        }
        if shard.copies.len() >= self.room {
            shard.copies.retain(|_, copy| copy.asked_at.elapsed() < self.max_age);
        }
        if shard.copies.len() < self.room || shard.copies.contains_key(&record.sid) {
            shard.copies.insert(record.sid, copy);
        }
    }
}

/// What a call may change, which is forgotten when the call is over: answered, failed or cancelled.
struct Changing<'a> {
    copies: &'a Copies,
    what: What,
}

enum What {
    Sessions(Vec<SessionId>),
    Session(SessionId),
    Subject(Tag),
    Everybody,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        match &self.what {
            What::Session(sid) => self.copies.shard(sid.tag()).forget(*sid),
            What::Sessions(sids) => sids.iter().for_each(|sid| self.copies.shard(sid.tag()).forget(*sid)),
            What::Subject(tag) => self.copies.shard(*tag).forget_all(),
            What::Everybody => self.copies.shards.iter().for_each(|shard| lock(shard).forget_all()),
        }
    }
}

impl<S> NearCache<S> {
    fn changing(&self, what: What) -> Changing<'_> {
        Changing { copies: &self.copies, what }
    }
}

impl<S: SessionStore> SessionStore for NearCache<S> {
    const IN_PROCESS: bool = S::IN_PROCESS;

    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        let sids = creation.ends.iter().map(|(sid, _)| *sid).chain([creation.record.sid]).collect();
        let _changing = self.changing(What::Sessions(sids));
        self.store.create(creation).await
    }

    /// From the store, always.
    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        let asked = self.copies.ask(sid);
        let record = self.store.load(sid).await?;
        if let Some(record) = &record {
            self.copies.keep(&asked, record);
        }
        Ok(record)
    }

    fn recent(&self, sid: SessionId) -> Option<Box<Record>> {
        self.copies.get(sid)
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        let _changing = self.changing(What::Session(sid));
        self.store.update(sid, change, seen).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        let _changing = self.changing(What::Session(sid));
        self.store.end(sid, request, seen).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        let subject = revocation.subject.as_ref();
        let _changing = self.changing(subject.map_or(What::Everybody, |(tag, _)| What::Subject(*tag)));
        self.store.revoke(revocation).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        self.store.not_before(realm).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.store.list(page).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.store.sweep(sweep).await
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        self.store.reschedule(sessions).await
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        let sids = requests.iter().map(|(sid, _)| *sid).collect();
        let _changing = self.changing(What::Sessions(sids));
        self.store.end_many(requests).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, Error> {
        self.store.time().await
    }

    fn place_key(&self) -> PlaceKey {
        self.store.place_key()
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }
}

/// Settings pass through.
impl<S: SettingsStore> SettingsStore for NearCache<S> {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        self.store.load_settings(realm).await
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        self.store.save_settings(realm, text, after).await
    }

    async fn settings_changed(&self) {
        self.store.settings_changed().await;
    }

    fn settings_info(&self) -> StoreInfo {
        self.store.settings_info()
    }
}
