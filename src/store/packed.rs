//! A record packed into bytes, for stores that keep it as one value.
//!
//! One byte for the format, then the record in postcard's encoding: variable-length integers, no
//! names. A store keeps what it searches by (the id, when it is due) in separate columns or keys.

use std::{
    borrow::Cow,
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, Timestamp,
    record::{
        AuthenticationMethod, Binding, Data, Device, Facts, LastSeen, Lifetimes, Metadata, Millis, Mode,
        PreviousSecret, Record, SecretHash, SessionId, Timing, Tombstone,
    },
};

const FORMAT: u8 = 4;

/// A [`Record`] without its id, in few bytes: moments are relative to the creation, and equal
/// values are stored once.
#[derive(Serialize, Deserialize)]
struct Packed<'a> {
    #[serde(borrow)]
    realm: Cow<'a, str>,
    secret: SecretHash,
    previous_secret: Option<PreviousSecret>,
    timing: PackedTiming,
    updated_at: Since,
    subject: Option<Arc<str>>,
    epoch: u32,
    admitted_at: Since,
    confirmed: bool,
    data: Data,
    revision: u64,
    facts: PackedFacts,
    binding: Option<Binding>,
    ended: Option<Tombstone>,
}

/// Milliseconds since the creation. Wraps around, so that every moment round-trips.
type Since = i64;

#[derive(Serialize, Deserialize)]
struct PackedTiming {
    mode: Mode,
    created_at: Timestamp,
    authenticated_at: Option<Since>,
    last_interaction_at: Since,
    longest_gap: Millis,
    lifetimes: Lifetimes,
    /// `None` when they equal the remembered lifetimes.
    policy_at_creation: Option<Lifetimes>,
    policy_stamp: u64,
    one_off_idle: Option<Millis>,
}

#[derive(Serialize, Deserialize)]
struct PackedFacts {
    initial: LastSeen,
    /// `None` when it equals where the session was seen first.
    last: Option<LastSeen>,
    clients: Vec<String>,
    authentication: Vec<AuthenticationMethod>,
    metadata: Metadata,
}

impl PackedTiming {
    fn new(timing: &Timing) -> Self {
        let since = |moment: Timestamp| since(timing.created_at, moment);
        Self {
            mode: timing.mode,
            created_at: timing.created_at,
            authenticated_at: timing.authenticated_at.map(since),
            last_interaction_at: since(timing.last_interaction_at),
            longest_gap: timing.longest_gap,
            lifetimes: timing.lifetimes,
            policy_at_creation: Some(timing.policy_at_creation).filter(|then| *then != timing.lifetimes),
            policy_stamp: timing.policy_stamp,
            one_off_idle: timing.one_off_idle,
        }
    }

    fn unpack(self) -> Timing {
        Timing {
            mode: self.mode,
            created_at: self.created_at,
            authenticated_at: self.authenticated_at.map(|since| after(self.created_at, since)),
            last_interaction_at: after(self.created_at, self.last_interaction_at),
            longest_gap: self.longest_gap,
            lifetimes: self.lifetimes,
            policy_at_creation: self.policy_at_creation.unwrap_or(self.lifetimes),
            policy_stamp: self.policy_stamp,
            one_off_idle: self.one_off_idle,
        }
    }
}

impl PackedFacts {
    fn new(facts: &Facts) -> Self {
        let device = &facts.device;
        let initial = LastSeen { ip: device.initial_ip, user_agent: device.initial_user_agent.clone() };
        Self {
            last: (device.last != initial).then(|| device.last.clone()),
            initial,
            clients: facts.clients.clone(),
            authentication: facts.authentication.clone(),
            metadata: facts.metadata.clone(),
        }
    }

    fn unpack(self) -> Facts {
        let Self { initial, last, clients, authentication, metadata } = self;
        let last = last.unwrap_or_else(|| initial.clone());
        let device = Device { initial_ip: initial.ip, initial_user_agent: initial.user_agent, last };
        Facts { device, clients, authentication, metadata }
    }
}

fn since(created_at: Timestamp, moment: Timestamp) -> Since {
    moment.as_unix_millis().wrapping_sub(created_at.as_unix_millis())
}

fn after(created_at: Timestamp, since: Since) -> Timestamp {
    Timestamp::from_unix_millis(created_at.as_unix_millis().wrapping_add(since))
}

/// Packs a record into bytes.
pub(super) fn pack(record: &Record) -> Result<Vec<u8>, Error> {
    let created_at = record.timing.created_at;
    let packed = Packed {
        realm: Cow::Borrowed(&record.realm),
        secret: record.secret,
        previous_secret: record.previous_secret,
        timing: PackedTiming::new(&record.timing),
        updated_at: since(created_at, record.updated_at),
        subject: record.subject.clone(),
        epoch: record.epoch,
        admitted_at: since(created_at, record.admitted_at),
        confirmed: record.confirmed,
        data: record.data.clone(),
        revision: record.revision,
        facts: PackedFacts::new(&record.facts),
        binding: record.binding.as_deref().cloned(),
        ended: record.ended,
    };
    let mut bytes = Vec::with_capacity(256 + record.data.bytes());
    bytes.push(FORMAT);
    postcard::to_extend(&packed, bytes)
        .map_err(|_| Error::new(ErrorKind::Store, "a session cannot be packed"))
}

/// Unpacks the record with this id. An error quotes nothing of the bytes (H5).
pub(super) fn unpack(sid: SessionId, bytes: &[u8]) -> Result<Record, Error> {
    let unreadable = || {
        Error::new(
            ErrorKind::Store,
            "a session in the store is not in the format of this version; update this node",
        )
    };
    let Some((&FORMAT, bytes)) = bytes.split_first() else { return Err(unreadable()) };
    let packed: Packed<'_> = postcard::from_bytes(bytes).map_err(|_| unreadable())?;
    let timing = packed.timing.unpack();
    Ok(Record {
        sid,
        realm: intern(&packed.realm),
        secret: packed.secret,
        previous_secret: packed.previous_secret,
        updated_at: after(timing.created_at, packed.updated_at),
        admitted_at: after(timing.created_at, packed.admitted_at),
        timing,
        subject: packed.subject,
        epoch: packed.epoch,
        confirmed: packed.confirmed,
        data: packed.data,
        revision: packed.revision,
        facts: Arc::new(packed.facts.unpack()),
        binding: packed.binding.map(Arc::new),
        ended: packed.ended,
        revoked_at: None,
        version: 0,
    })
}

/// Realms are few and compared often: all records of a realm share one string.
fn intern(realm: &str) -> Arc<str> {
    static REALMS: Mutex<Option<HashSet<Arc<str>>>> = Mutex::new(None);
    const MAX_REALMS: usize = 10_000;
    let mut realms = REALMS.lock().unwrap_or_else(PoisonError::into_inner);
    let realms = realms.get_or_insert_default();
    if let Some(known) = realms.get(realm) {
        return Arc::clone(known);
    }
    let realm: Arc<str> = realm.into();
    if realms.len() < MAX_REALMS {
        realms.insert(Arc::clone(&realm));
    }
    realm
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{BoundDevice, CallId, DeviceKey, EndReason, Json, Successor, tests::blank};

    #[test]
    fn s8_a_packed_record_comes_back_exactly_and_cut_ones_are_errors() {
        let mut binding = Binding::new([5; 16]);
        let key = DeviceKey::Rs256 { n: Box::from([1; 256]), e: Box::from([1, 0, 1]) };
        let bound_at = Timestamp::from_unix_millis(i64::MAX);
        binding.device = Some(Arc::new(BoundDevice { key, bound_at }));
        let record = Record {
            subject: Some("o'hara \0 🦀".into()),
            data: [("cart", Json::from_text("[1,2]")), ("", Json::from_text("null"))].into_iter().collect(),
            ended: Some(Tombstone {
                reason: EndReason::Idle,
                at: Timestamp::from_unix_millis(-1),
                forget_at: Timestamp::from_unix_millis(i64::MAX),
                call: CallId::new(u64::MAX),
                successor: Some(Successor {
                    sid: SessionId::from_bytes([9; 16]),
                    at: Timestamp::from_unix_millis(i64::MIN),
                }),
                work_until: None,
            }),
            binding: Some(Arc::new(binding)),
            updated_at: Timestamp::from_unix_millis(i64::MIN),
            admitted_at: Timestamp::from_unix_millis(i64::MAX),
            ..blank()
        };
        let bytes = pack(&record).unwrap();
        assert_eq!(unpack(record.sid, &bytes).unwrap(), record);
        for cut in 0..bytes.len() {
            assert!(unpack(record.sid, &bytes[..cut]).is_err());
        }
        assert!(unpack(record.sid, &[1, 2, 3]).is_err(), "another format");
    }
}
