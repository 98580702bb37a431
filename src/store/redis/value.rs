//! Sessions as fields of their place.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::Value;

use super::{
    keys,
    marks::Marks,
    reply::{array, bytes, unreadable},
    squeeze::{squeeze, unsqueeze},
};
use crate::{
    Error, Timestamp,
    record::{Record, SessionId, Tag},
    store::packed::{pack, unpack},
};

const VERSION: usize = 5;
const CREATED: usize = 6;

/// The version of a write: random, so that no two writes of any node share one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(u64);

impl Version {
    const BITS: u32 = 40;

    /// A new version: a random start plus a counter, mixed, so that two nodes do not collide.
    pub(super) fn new() -> Self {
        Self(unique() & ((1 << Self::BITS) - 1))
    }

    pub(super) fn bytes(self) -> [u8; VERSION] {
        let [_, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    fn read(bytes: [u8; VERSION]) -> Self {
        let mut all = [0; 8];
        all[3..].copy_from_slice(&bytes);
        Self(u64::from_be_bytes(all))
    }

    /// The record with this version, beside these marks.
    pub(super) fn of_new(self, mut record: Box<Record>, marks: &Marks) -> Box<Record> {
        record.version = self.0 | u64::from(marks.stamp()) << Self::BITS;
        record
    }

    /// The version of a record that this store has read.
    pub(super) const fn of(record: &Record) -> Self {
        Self(record.version & ((1 << Self::BITS) - 1))
    }

    /// The stamp of the marks that a record was read with.
    pub(super) fn stamp_beside(record: &Record) -> u32 {
        u32::try_from(record.version >> Self::BITS).unwrap_or_default()
    }
}

/// Unique over all nodes, up to a chance of 2^-64.
pub(super) fn unique() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        u64::from_le_bytes(bytes)
    });
    // SplitMix64 (Steele, Lea and Flood 2014): every number of the sequence once.
    let step = COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut z = start.wrapping_add(step);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The value of a record's field, or of its tombstone's key.
pub(super) fn encode(record: &Record, version: Version) -> Result<Vec<u8>, Error> {
    let packed = pack(record)?;
    let mut bytes = Vec::with_capacity(VERSION + CREATED + packed.len());
    bytes.extend_from_slice(&version.bytes());
    bytes.extend_from_slice(&created(record.timing.created_at));
    squeeze(&packed, &mut bytes);
    Ok(bytes)
}

/// The record of a value, with its subject's mark applied. Its version includes that of the marks.
pub(super) fn decode(sid: SessionId, bytes: &[u8], marks: &Marks) -> Result<Record, Error> {
    let (version, rest) = bytes.split_first_chunk::<VERSION>().ok_or_else(unreadable)?;
    let (_, packed) = rest.split_first_chunk::<CREATED>().ok_or_else(unreadable)?;
    let mut unsqueezed = Vec::with_capacity(2 * packed.len());
    unsqueeze(packed, &mut unsqueezed).ok_or_else(unreadable)?;
    let mut record = unpack(sid, &unsqueezed)?;
    record.version = Version::read(*version).0 | u64::from(marks.stamp()) << Version::BITS;
    if let Some(mark) = record.subject.as_ref().and_then(|subject| marks.all.of(&record.realm, subject)) {
        record.see_mark(mark);
    }
    Ok(record)
}

/// A moment in six bytes that sort like the moments.
fn created(at: Timestamp) -> [u8; CREATED] {
    const HALF: i64 = 1 << 47;
    let shifted = at.as_unix_millis().clamp(-HALF, HALF - 1) + HALF;
    let [_, _, bytes @ ..] = shifted.to_be_bytes();
    bytes
}

/// The sort key of a session in its place.
pub(super) fn position_in_place(at: Timestamp, sid: &SessionId) -> Vec<u8> {
    [created(at).as_slice(), keys::field(sid)].concat()
}

/// The sort key of a session in its realm.
pub(super) fn position_in_realm(at: Timestamp, sid: &SessionId) -> Vec<u8> {
    [created(at).as_slice(), sid.as_bytes()].concat()
}

/// The session of a sort key in its realm.
pub(super) fn at_position(member: &[u8]) -> Option<SessionId> {
    let (_, sid) = member.split_first_chunk::<CREATED>()?;
    sid.try_into().ok().map(SessionId::from_bytes)
}

/// The time to live of a key that is needed between two moments, by the server's clock. It is a
/// safety net for what no sweep removes, so it is an hour longer; for a place a day, since a sweep
/// must see sessions that are over.
pub(super) fn time_to_live(from: Timestamp, until: Timestamp) -> i64 {
    with_slack(until.since(from), 24)
}

/// The same for a tombstone.
pub(super) fn tombstone_time_to_live(from: Timestamp, until: Timestamp) -> i64 {
    with_slack(until.since(from), 1)
}

fn with_slack(duration: Duration, hours: u64) -> i64 {
    // The server adds it to its current time.
    const MOST: i64 = 100 * 365 * 24 * 3_600_000;
    let duration = duration + Duration::from_secs(hours * 3600);
    i64::try_from(duration.as_millis()).map_or(MOST, |millis| millis.min(MOST))
}

/// The live sessions among the fields of a place; the marks are another field.
pub(super) fn sessions(tag: Tag, fields: Value, marks: &Marks) -> Result<Vec<Record>, Error> {
    let mut fields = array(fields)?.into_iter();
    let mut records = Vec::with_capacity(fields.len() / 2);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        if let (Some(sid), Value::BulkString(value)) = (keys::sid(tag, &bytes(name)?), value) {
            records.push(decode(sid, &value, marks)?);
        }
    }
    Ok(records)
}
