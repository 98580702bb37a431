//! Our stores beneath an application that still uses `tower-sessions` 0.14 or 0.15: the first step of moving over.

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
        Change, Data, Edits, EndOptions, EndOutcome, Facts, Json, Millis, Record, SecretHash, Timing,
        TimingChange, UpdateOutcome,
    },
    store::{AnyStore, CreateOutcome, Creation},
};

/// One of our stores as a `tower_sessions::SessionStore`, for a `tower-sessions` 0.14 or 0.15 application that moves over.
///
/// First the store changes and the application stays as it is. Then [`SessionLayer`](crate::SessionLayer) takes the place
/// of `SessionManagerLayer`, and [`TowerSessions::take`] brings each user's data over at their next visit, so that nobody
/// is logged out. The [guide](crate::store::guide#moving-over-from-tower-sessions) shows both steps.
///
/// # What it keeps, and what it can not keep
///
/// Kept, and more than other stores of `tower-sessions` do: a session that was deleted does not come back by a request in
/// flight (S4), the save of that request fails; the store holds no id that would work as a cookie (C6); a failing store is an
/// error, never an empty session (S6).
///
/// It can not keep what their interface does not tell a store:
///
/// - lost updates (S3): they hand over the whole session, so of two parallel requests the last one wins;
/// - idle and absolute lifetimes (L2): there is one expiry, and theirs moves with writes only, unless `always_save` is set;
/// - subjects (S9, S10): nothing says whose session it is, so there are no caps, no listing by user and no "sign out
///   everywhere";
/// - reasons (E3): a deleted session counts as signed out, whatever it was deleted for.
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

/// Where their data is in a record of ours.
const KEY: &str = "tower-sessions";

/// What is kept under it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    data: BTreeMap<String, Value>,
    /// Decides; the record's own deadline is only for the sweep, and may be later.
    expiry: Timestamp,
}

impl TowerSessions {
    /// Keeps their sessions in this store.
    pub fn new(store: impl Into<AnyStore>) -> Self {
        Self { engine: Engine::new(store.into(), Arc::new(SystemClock)) }
    }

    /// Reads the time from this clock; [`SystemClock`] unless set.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.engine.clock = Arc::new(clock);
        self
    }

    /// Ends the session that the value of a `tower-sessions` cookie leads to, and gives its data: once, to one of parallel
    /// requests. `None` when there is no live one. For the second step of moving over.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub async fn take(&self, cookie: &str) -> Result<Option<BTreeMap<String, Value>>, Error> {
        let Ok(id) = cookie.parse::<Id>() else { return Ok(None) };
        let Some(kept) = self.find(id).await? else { return Ok(None) };
        let now = self.engine.clock.now();
        let request = self.engine.end_request(EndReason::Superseded, now, EndOptions::default());
        let outcome = self.engine.end(sid(id), request, None).await?;
        let ended = matches!(outcome, EndOutcome::Ended(session) if session.reason == EndReason::Superseded);
        Ok(ended.then_some(kept.data))
    }

    async fn find(&self, id: Id) -> Result<Option<Kept>, Error> {
        let now = self.engine.clock.now();
        let Some(record) = self.engine.load(sid(id), now).await? else { return Ok(None) };
        if !record.is_live(now) || !record.secret.matches(&secret(id)) {
            return Ok(None);
        }
        let kept: Option<Kept> = record.data.get(KEY).as_ref().map(Json::decode).transpose()?;
        Ok(kept.filter(|kept| now < kept.expiry))
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
        let gone = || TheirError::Backend("the session has ended, and is not brought back".to_owned());
        let known = self.engine.load(sid(record.id), now).await.map_err(failed)?.ok_or_else(gone)?;
        // The deadline for the sweep follows the expiry, forwards.
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
        let kept = self.find(*id).await.map_err(failed)?;
        Ok(kept.map(|kept| TheirRecord {
            id: *id,
            data: kept.data.into_iter().collect::<HashMap<_, _>>(),
            expiry_date: kept.expiry.into(),
        }))
    }

    async fn delete(&self, id: &Id) -> TheirResult<()> {
        let now = self.engine.clock.now();
        let request = self.engine.end_request(EndReason::SignedOut, now, EndOptions::default());
        self.engine.end(sid(*id), request, None).await.map(drop).map_err(failed)
    }
}

/// Their id is the secret in the cookie, so it is not stored, and our public handle does not tell it.
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
    let kept = Kept { data, expiry: record.expiry_date.into() };
    let mut edits = Edits::default();
    edits.set(KEY, Json::encode(&kept).map_err(|error| TheirError::Encode(error.to_string()))?);
    Ok(edits)
}

fn creation(record: &TheirRecord, now: Timestamp) -> TheirResult<Creation> {
    let idle = Timestamp::from(record.expiry_date).since(now);
    let idle = idle.clamp(Duration::from_millis(1), Lifetimes::LONGEST);
    let lifetimes = Lifetimes::of(idle.into(), Lifetimes::LONGEST.into());
    let timing = Timing {
        mode: Mode::Persistent,
        created_at: now,
        authenticated_at: None,
        last_interaction_at: now,
        longest_gap: Millis::ZERO,
        lifetimes,
        policy_at_creation: lifetimes,
        policy_stamp: 0,
        one_off_idle: None,
    };
    let new = Record {
        sid: sid(record.id),
        realm: KEY.into(),
        secret: secret(record.id),
        previous_secret: None,
        timing,
        updated_at: now,
        subject: None,
        epoch: 0,
        admitted_at: now,
        confirmed: false,
        data: Data::default(),
        revision: 0,
        facts: Arc::new(Facts::default()),
        ended: None,
        revoked_at: None,
        version: 0,
    };
    Ok(Creation { edits: edits(record)?, ..Creation::new(new) })
}

/// Their errors are text. Ours names no data (H5).
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn failed(error: Error) -> TheirError {
    match error.kind() {
        ErrorKind::Data => TheirError::Decode(error.to_string()),
        _ => TheirError::Backend(error.to_string()),
    }
}
