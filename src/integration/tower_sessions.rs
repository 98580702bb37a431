//! The stores of this crate for an application with `tower-sessions` 0.14 or 0.15: the first step
//! of a migration.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower_sessions_core::{
    SessionStore as TheirStore,
    session::{Id, Record as TheirRecord},
    session_store::{Error as TheirError, Result as TheirResult},
};

use crate::{
    Clock, EndReason, Error, ErrorKind, Lifetimes, Mode, SessionId, SystemClock, Timestamp,
    engine::Engine,
    record::{
        Change, Edits, EndOptions, EndOutcome, Json, Record, SecretHash, Timing, TimingChange, UpdateOutcome,
    },
    store::{AnyStore, CreateOutcome, Creation},
};

/// A store of this crate as a `tower_sessions::SessionStore`, to migrate from `tower-sessions` 0.14
/// or 0.15.
///
/// First replace the store, and leave the application as it is. Then replace `SessionManagerLayer`
/// by [`SessionLayer`](crate::SessionLayer), and call [`TowerSessions::take`] to migrate each
/// user's data at the next visit. No user is logged out. The
/// [guide](crate::store::guide#moving-over-from-tower-sessions) shows both steps.
///
/// # Guarantees
///
/// A request in flight cannot bring back a deleted session: its save fails. The store contains no
/// id that works as a cookie. A failing store is an error, never an empty session.
///
/// The interface of `tower-sessions` does not allow the other guarantees of this crate:
///
/// - Updates can be lost: it saves the whole session, so of two parallel requests the last one
///   wins.
/// - There is one expiry instead of two lifetimes, and it moves with writes only, unless
///   `always_save` is set.
/// - A session has no subject, so there are no caps, no lists by user and no "sign out everywhere".
/// - There are no end reasons: a deleted session counts as signed out.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, TowerSessions};
///
/// # async fn main_of_yours() -> Result<(), Box<dyn std::error::Error>> {
/// let store = TowerSessions::new(MemoryStore::new());
/// // let layer = tower_sessions::SessionManagerLayer::new(store);
/// let session = tower_sessions_core::Session::new(None, std::sync::Arc::new(store), None);
/// session.insert("user", "alice").await?;
/// session.save().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct TowerSessions {
    engine: Engine,
}

/// The key of their data in a record, and the realm.
const KEY: &str = "tower-sessions";

/// The value under it.
#[derive(serde::Serialize, serde::Deserialize)]
struct StoredData {
    data: BTreeMap<String, Value>,
    /// The expiry that counts. The record's deadline is only for the sweep, and may be later.
    #[serde(serialize_with = "as_millis")]
    expiry: Timestamp,
}

/// A number takes half the room of the text.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde asks for")]
fn as_millis<S: serde::Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(moment.as_unix_millis())
}

impl TowerSessions {
    /// Keeps the sessions of `tower-sessions` in this store.
    pub fn new(store: impl Into<AnyStore>) -> Self {
        Self { engine: Engine::new(store.into(), Arc::new(SystemClock)) }
    }

    /// Reads the time from this clock; [`SystemClock`] unless set.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.engine.clock = Arc::new(clock);
        self
    }

    /// Ends the session of a `tower-sessions` cookie value, and returns its data; `None` when there
    /// is no live one.
    ///
    /// For the second step of a migration. Of parallel calls only one gets the data.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn take(&self, cookie: &str) -> Result<Option<BTreeMap<String, Value>>, Error> {
        let Ok(id) = cookie.parse::<Id>() else { return Ok(None) };
        let Some(stored) = self.find(id).await? else { return Ok(None) };
        let now = self.engine.clock.now();
        let request = self.engine.end_request(EndReason::Superseded, now, EndOptions::default());
        let outcome = self.engine.end(sid(id), request, None).await?;
        let ended = matches!(outcome, EndOutcome::Ended(session) if session.reason == EndReason::Superseded);
        Ok(ended.then_some(stored.data))
    }

    async fn find(&self, id: Id) -> Result<Option<StoredData>, Error> {
        let now = self.engine.clock.now();
        let Some(record) = self.engine.load(sid(id), now).await? else { return Ok(None) };
        if !record.is_live(now) || !record.secret.matches(&secret(id)) {
            return Ok(None);
        }
        let stored: Option<StoredData> = record.data.get(KEY).as_ref().map(Json::decode).transpose()?;
        Ok(stored.filter(|stored| now < stored.expiry))
    }
}

#[async_trait]
impl TheirStore for TowerSessions {
    async fn create(&self, record: &mut TheirRecord) -> TheirResult<()> {
        loop {
            let created = self.engine.insert(creation(record, self.engine.clock.now())?).await;
            match created.map_err(failed)? {
                CreateOutcome::Exists => record.id = Id::default(),
                _ => return Ok(()),
            }
        }
    }

    async fn save(&self, record: &TheirRecord) -> TheirResult<()> {
        let now = self.engine.clock.now();
        let gone = || TheirError::Backend("the session has ended, so it was not saved".to_owned());
        let known = self.engine.load(sid(record.id), now).await.map_err(failed)?.ok_or_else(gone)?;
        // Moves the deadline for the sweep forward with the expiry.
        let reach = Timestamp::from(record.expiry_date) - known.timing.lifetimes.idle();
        let timing = TimingChange { interaction_at: Some(reach.max(now)), lowering: None };
        let change = Change { timing, edits: edits(record)?, ..Change::at(now) };
        let hint = self.engine.hint(&known);
        match self.engine.update(known.sid, &known.realm, hint, change).await.map_err(failed)? {
            UpdateOutcome::Gone(_) => Err(gone()),
            _ => Ok(()),
        }
    }

    async fn load(&self, id: &Id) -> TheirResult<Option<TheirRecord>> {
        let stored = self.find(*id).await.map_err(failed)?;
        Ok(stored.map(|stored| TheirRecord {
            id: *id,
            data: stored.data.into_iter().collect::<HashMap<_, _>>(),
            expiry_date: stored.expiry.into(),
        }))
    }

    async fn delete(&self, id: &Id) -> TheirResult<()> {
        let now = self.engine.clock.now();
        let request = self.engine.end_request(EndReason::SignedOut, now, EndOptions::default());
        self.engine.end(sid(*id), request, None).await.map(drop).map_err(failed)
    }
}

/// Their id is the secret in the cookie, so it is not stored, and cannot be derived from the sid.
fn sid(id: Id) -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    bytes.copy_from_slice(&digest(b"tower-sessions sid", id)[..SessionId::BYTES]);
    SessionId::from_bytes(bytes)
}

fn secret(id: Id) -> SecretHash {
    SecretHash::from_bytes(digest(b"tower-sessions secret", id))
}

fn digest(purpose: &[u8], id: Id) -> [u8; 32] {
    Sha256::new().chain_update(purpose).chain_update(id.0.to_le_bytes()).finalize().into()
}

fn edits(record: &TheirRecord) -> TheirResult<Edits> {
    let data = record.data.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let stored = StoredData { data, expiry: record.expiry_date.into() };
    let mut edits = Edits::default();
    edits.set(KEY, Json::encode(&stored).map_err(|error| TheirError::Encode(error.to_string()))?);
    Ok(edits)
}

fn creation(record: &TheirRecord, now: Timestamp) -> TheirResult<Creation> {
    let idle = Timestamp::from(record.expiry_date).since(now);
    let idle = idle.clamp(Duration::from_millis(1), Lifetimes::LONGEST);
    let lifetimes = Lifetimes::of(idle.into(), Lifetimes::LONGEST.into());
    let timing = Timing::new(Mode::Persistent, now, lifetimes);
    let new = Record::new(sid(record.id), &KEY.into(), secret(record.id), timing);
    Ok(Creation { edits: edits(record)?, ..Creation::new(new) })
}

/// Their errors are text, and must not contain data (H5).
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn failed(error: Error) -> TheirError {
    match error.kind() {
        ErrorKind::Data => TheirError::Decode(error.to_string()),
        _ => TheirError::Backend(error.to_string()),
    }
}
