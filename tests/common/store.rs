//! Sessions for tests of stores.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use tower_tenure::{
    EndReason, Error, Policy, SessionId, Timestamp,
    policy::{Cap, Overflow, Overrides, open},
    record::{Change, Edits, End, Json, Record, TimingChange},
    store::{Creation, Page, Replaced},
    testing,
};

pub(crate) const SUBJECT: &str = "alice";

/// Runs a call of a store within this process, which answers at the first poll.
pub(crate) fn now_or_never<T>(call: impl Future<Output = Result<T, Error>>) -> T {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer.expect("the memory store does not fail"),
        Poll::Pending => panic!("the memory store answers at the first poll"),
    }
}

/// Seconds after the start of the test.
pub(crate) fn second(seconds: u32) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + i64::from(seconds) * 1000)
}

/// Ids with different numbers are in different shards, as far as there are so many.
pub(crate) fn sid(number: u32) -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[SessionId::BYTES - 1] = bytes[0];
    SessionId::from_bytes(bytes)
}

/// A session of [`SUBJECT`], with a day idle and three days absolute.
pub(crate) fn login(number: u32, at: Timestamp) -> Creation {
    let mut overrides = Overrides::default();
    overrides.mode(tower_tenure::Mode::NonPersistent);
    let timing = open(&Policy::default(), at, &overrides).unwrap().timing;
    let record = Record { sid: sid(number), subject: Some(SUBJECT.into()), ..testing::record(timing) };
    Creation { record, edits: Edits::default(), replaces: None, cap: None }
}

/// An interaction and nothing else.
pub(crate) fn touch(at: Timestamp) -> Change {
    Change { timing: TimingChange { interaction_at: Some(at), lowering: None }, ..Change::at(at) }
}

/// A key set, without an interaction.
pub(crate) fn write(key: &str, at: Timestamp) -> Change {
    let mut edits = Edits::default();
    edits.set(key, Json::from_text("1"));
    Change { edits, ..Change::at(at) }
}

/// All live sessions of [`SUBJECT`].
pub(crate) fn all(now: Timestamp) -> Page {
    Page { subject: Some(SUBJECT.into()), after: None, limit: usize::MAX, now }
}

/// Why a session is over, by its tombstone.
pub(crate) fn reason(record: &Record) -> Option<EndReason> {
    record.ended.map(|ended| ended.reason)
}

/// With a cap.
pub(crate) fn capped(creation: Creation, most: u32, overflow: Overflow) -> Creation {
    Creation { cap: Some(Cap::new(most.try_into().unwrap(), overflow)), ..creation }
}

/// A login that takes the place of another session, and its data.
pub(crate) fn replacing(creation: Creation, old: SessionId) -> Creation {
    let end = End::new(EndReason::Superseded, creation.record.timing.created_at);
    Creation { replaces: Some(Replaced { sid: old, end, keep_data: true }), ..creation }
}
