//! The stores of this crate for an application with `tower-sessions` 0.14 or 0.15: the first step
//! of a migration.
//!
//! The two versions differ in nothing that matters here, but their types are not the same. An
//! application may have either, or, through `axum-login` 0.18, the older one only.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::{
    Clock, EndReason, Error, ErrorKind, Lifetimes, Mode, SessionId, SystemClock, Timestamp,
    engine::Engine,
    record::{
        Change, Edits, EndOptions, EndOutcome, Facts, Json, Record, SecretHash, Timing, TimingChange,
        UpdateOutcome,
    },
    store::{AnyStore, CreateOutcome, Creation},
};

/// A store of this crate as a `tower_sessions::SessionStore`, to migrate from `tower-sessions`.
///
/// The feature `tower-sessions` is for version 0.15, and `tower-sessions-0-14` for version 0.14,
/// which `axum-login` 0.18 uses. Both together are fine.
///
/// First replace the store, and leave the application as it is. Then replace `SessionManagerLayer`
/// by [`SessionLayer`](crate::SessionLayer), and call [`TowerSessions::take`] to migrate each
/// user's data at the next visit. The [book](crate::book::migrating) shows both steps, and how to
/// do them without signing anybody out.
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
        let Some(id) = Id::parse(cookie) else { return Ok(None) };
        let Some(stored) = self.find(id).await? else { return Ok(None) };
        let now = self.engine.clock.now();
        let request = self.engine.end_request(EndReason::Superseded, now, EndOptions::default());
        let outcome = self.engine.end(id.sid(), request, None).await?;
        let ended = matches!(outcome, EndOutcome::Ended(session) if session.reason == EndReason::Superseded);
        Ok(ended.then_some(stored.data))
    }

    async fn find(&self, id: Id) -> Result<Option<StoredData>, Error> {
        let now = self.engine.clock.now();
        let Some(record) = self.engine.load(id.sid(), now).await? else { return Ok(None) };
        if !record.is_live(now) || !record.secret.matches(&id.secret()) {
            return Ok(None);
        }
        let stored: Option<StoredData> = record.data.get(KEY).as_ref().map(Json::decode).transpose()?;
        Ok(stored.filter(|stored| now < stored.expiry))
    }
}

/// The id of a session, which is what their cookie holds.
#[derive(Clone, Copy)]
struct Id(i128);

/// The calls, whatever the version.
impl TowerSessions {
    /// Whether the id is new, and the session is now stored under it.
    async fn insert(&self, id: Id, data: &Data, expiry: OffsetDateTime) -> Result<bool, Error> {
        let now = self.engine.clock.now();
        let idle = Timestamp::from(expiry).since(now);
        let idle = idle.clamp(Duration::from_millis(1), Lifetimes::LONGEST);
        let lifetimes = Lifetimes::of(idle.into(), Lifetimes::LONGEST.into());
        let timing = Timing::new(Mode::Persistent, now, lifetimes);
        let new = Record::new(id.sid(), &KEY.into(), id.secret(), timing, Facts::default());
        let creation = Creation { edits: edits(data, expiry)?, ..Creation::new(new) };
        Ok(!matches!(self.engine.insert(creation).await?, CreateOutcome::Exists))
    }

    async fn replace(&self, id: Id, data: &Data, expiry: OffsetDateTime) -> Result<(), Error> {
        let now = self.engine.clock.now();
        let gone = || Error::new(ErrorKind::Ended, "the session has ended, so it was not saved");
        let known = self.engine.load(id.sid(), now).await?.ok_or_else(gone)?;
        // Moves the deadline for the sweep forward with the expiry.
        let reach = Timestamp::from(expiry) - known.timing.lifetimes.idle();
        let timing = TimingChange { interaction_at: Some(reach.max(now)), lowering: None };
        let change = Change { timing, edits: edits(data, expiry)?, ..Change::at(now) };
        let hint = self.engine.hint(&known);
        match self.engine.update(known.sid, &known.realm, hint, change).await? {
            UpdateOutcome::Gone(_) => Err(gone()),
            _ => Ok(()),
        }
    }

    async fn remove(&self, id: Id) -> Result<(), Error> {
        let now = self.engine.clock.now();
        let request = self.engine.end_request(EndReason::SignedOut, now, EndOptions::default());
        self.engine.end(id.sid(), request, None).await.map(drop)
    }
}

type Data = HashMap<String, Value>;

/// Their id is the secret in the cookie, so it is not stored, and cannot be derived from the sid.
impl Id {
    fn parse(cookie: &str) -> Option<Self> {
        let mut bytes = [0; 16];
        let decoded = Base64UrlUnpadded::decode(cookie, &mut bytes).ok()?;
        decoded.try_into().ok().map(|bytes| Self(i128::from_le_bytes(bytes)))
    }

    fn sid(self) -> SessionId {
        let mut bytes = [0; SessionId::BYTES];
        bytes.copy_from_slice(&self.digest(b"tower-sessions sid")[..SessionId::BYTES]);
        SessionId::from_bytes(bytes)
    }

    fn secret(self) -> SecretHash {
        SecretHash::from_bytes(self.digest(b"tower-sessions secret"))
    }

    fn digest(self, purpose: &[u8]) -> [u8; 32] {
        Sha256::new().chain_update(purpose).chain_update(self.0.to_le_bytes()).finalize().into()
    }
}

fn edits(data: &Data, expiry: OffsetDateTime) -> Result<Edits, Error> {
    let data = data.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let mut edits = Edits::default();
    edits.set(KEY, Json::encode(&StoredData { data, expiry: expiry.into() })?);
    Ok(edits)
}

/// The trait of one version of their crate. Its errors are text, and must not contain data (H5).
macro_rules! implement {
    ($theirs:ident) => {
        #[async_trait]
        impl $theirs::SessionStore for TowerSessions {
            async fn create(
                &self,
                record: &mut $theirs::session::Record,
            ) -> $theirs::session_store::Result<()> {
                while !self
                    .insert(Id(record.id.0), &record.data, record.expiry_date)
                    .await
                    .map_err(failed!($theirs::Encode))?
                {
                    record.id = $theirs::session::Id::default();
                }
                Ok(())
            }

            async fn save(&self, record: &$theirs::session::Record) -> $theirs::session_store::Result<()> {
                let saved = self.replace(Id(record.id.0), &record.data, record.expiry_date).await;
                saved.map_err(failed!($theirs::Encode))
            }

            async fn load(
                &self,
                id: &$theirs::session::Id,
            ) -> $theirs::session_store::Result<Option<$theirs::session::Record>> {
                let stored = self.find(Id(id.0)).await.map_err(failed!($theirs::Decode))?;
                Ok(stored.map(|stored| $theirs::session::Record {
                    id: *id,
                    data: stored.data.into_iter().collect(),
                    expiry_date: stored.expiry.into(),
                }))
            }

            async fn delete(&self, id: &$theirs::session::Id) -> $theirs::session_store::Result<()> {
                self.remove(Id(id.0)).await.map_err(failed!($theirs::Decode))
            }
        }
    };
}

macro_rules! failed {
    ($theirs:ident :: $data:ident) => {
        |error: Error| match error.kind() {
            ErrorKind::Data => $theirs::session_store::Error::$data(error.to_string()),
            _ => $theirs::session_store::Error::Backend(error.to_string()),
        }
    };
}

#[cfg(feature = "tower-sessions")]
implement!(tower_sessions_core);
#[cfg(feature = "tower-sessions-0-14")]
implement!(tower_sessions_core_0_14);
