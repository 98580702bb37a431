//! A record packed into bytes, for stores that keep it as one value.
//!
//! One byte for the format, then the record in postcard's encoding: variable-length integers, no
//! names. A store keeps what it searches by (the id, when it is due) in separate columns or keys.

use std::{net::IpAddr, sync::Arc};

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
    realm: &'a str,
    secret: SecretHash,
    previous_secret: Option<PreviousSecret>,
    timing: PackedTiming,
    updated_at: Since,
    subject: Option<&'a str>,
    epoch: u32,
    admitted_at: Since,
    confirmed: bool,
    #[serde(borrow)]
    data: &'a str,
    revision: u64,
    #[serde(borrow)]
    facts: PackedFacts<'a>,
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
struct PackedFacts<'a> {
    #[serde(borrow)]
    initial: PackedSeen<'a>,
    /// `None` when it equals where the session was seen first.
    last: Option<PackedSeen<'a>>,
    clients: Vec<String>,
    authentication: Vec<AuthenticationMethod>,
    metadata: Metadata,
}

#[derive(Serialize, Deserialize)]
struct PackedSeen<'a> {
    ip: Option<IpAddr>,
    user_agent: Option<&'a str>,
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

impl<'a> PackedFacts<'a> {
    fn new(facts: &'a Facts) -> Self {
        let Device { initial_ip, initial_user_agent, last } = &facts.device;
        let is_same = last.ip == *initial_ip && last.user_agent == *initial_user_agent;
        Self {
            initial: PackedSeen { ip: *initial_ip, user_agent: initial_user_agent.as_deref() },
            last: (!is_same).then_some(PackedSeen { ip: last.ip, user_agent: last.user_agent.as_deref() }),
            clients: facts.clients.clone(),
            authentication: facts.authentication.clone(),
            metadata: facts.metadata.clone(),
        }
    }

    fn unpack(self) -> Facts {
        let Self { initial, last, clients, authentication, metadata } = self;
        let initial = initial.unpack();
        let last = last.map_or_else(|| initial.clone(), PackedSeen::unpack);
        let device = Device { initial_ip: initial.ip, initial_user_agent: initial.user_agent, last };
        Facts { device, clients, authentication, metadata }
    }
}

impl PackedSeen<'_> {
    fn unpack(self) -> LastSeen {
        LastSeen { ip: self.ip, user_agent: self.user_agent.map(Into::into) }
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
        realm: &record.realm,
        secret: record.secret,
        previous_secret: record.previous_secret,
        timing: PackedTiming::new(&record.timing),
        updated_at: since(created_at, record.updated_at),
        subject: record.subject.as_deref(),
        epoch: record.epoch,
        admitted_at: since(created_at, record.admitted_at),
        confirmed: record.confirmed,
        data: record.data.as_text(),
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
        realm: packed.realm.into(),
        secret: packed.secret,
        previous_secret: packed.previous_secret,
        updated_at: after(timing.created_at, packed.updated_at),
        admitted_at: after(timing.created_at, packed.admitted_at),
        timing,
        subject: packed.subject.map(Into::into),
        epoch: packed.epoch,
        confirmed: packed.confirmed,
        data: Data::from_text(packed.data).ok_or_else(unreadable)?,
        revision: packed.revision,
        facts: Arc::new(packed.facts.unpack()),
        binding: packed.binding.map(Arc::new),
        ended: packed.ended,
        revoked_at: None,
        version: 0,
    })
}

#[cfg(test)]
#[path = "../../tests/common/search.rs"]
pub(super) mod search;

#[cfg(test)]
mod tests {
    use super::{search::cases, *};
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

    /// Whatever is in a database: a record, which comes back as it is, or an error.
    #[test]
    fn h5_bytes_that_were_never_packed_are_a_record_or_an_error_and_no_panic() {
        use proptest::{collection::vec, prelude::*, test_runner::Config};

        let good = pack(&Record { subject: Some("alice".into()), ..blank() }).unwrap();
        let mutated =
            (vec((0..good.len(), any::<u8>()), 0..4), 0..=good.len()).prop_map(move |(flips, cut)| {
                let mut bytes = good.clone();
                for (at, byte) in flips {
                    bytes[at] = byte;
                }
                bytes.truncate(cut);
                bytes
            });
        let any_bytes = vec(any::<u8>(), 0..300).prop_map(|bytes| [&[FORMAT], &*bytes].concat());
        let config = Config { failure_persistence: None, ..Config::with_cases(cases(20_000)) };
        proptest!(config, |(bytes in prop_oneof![4 => mutated, 1 => any_bytes])| {
            crate::store::fuzzing::packed_record(&bytes);
        });
    }
}
