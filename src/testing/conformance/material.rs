//! The users, sessions, changes and ends of the checks.

use std::{sync::Arc, time::Duration};

use crate::{
    SessionId, Timestamp,
    policy::{Cap, Overflow, Policy},
    record::{
        BoundDevice, CallId, Change, DeviceKey, Edits, EndReason, EndRequest, Json, Lifetimes, Lowering,
        Millis, Record, Replacement, Rotation, SecretHash, SubjectMark, Tag, Timing,
    },
    store::{Page, Revocation},
};

pub(super) const TICK: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const IDLE: Duration = Duration::from_secs(15 * 60);
pub(super) const ABSOLUTE: Duration = Duration::from_secs(8 * 3600);
/// How long a tombstone of [`end`] stays.
pub(super) const RETENTION: Duration = Duration::from_secs(3600);

/// A user of a realm.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) realm: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) tag: Tag,
}

impl User {
    /// A live session of this user, of the lifetimes of [`policy`].
    pub(super) fn session(&self, created_at: Timestamp) -> Record {
        let record = visitor(&self.realm, created_at);
        Record {
            sid: record.sid.with_tag(self.tag),
            timing: Timing { authenticated_at: Some(created_at), ..record.timing },
            subject: Some(Arc::clone(&self.name)),
            ..record
        }
    }

    /// A page of all sessions of this user.
    pub(super) fn page(&self) -> Page {
        let subject = Some((self.tag, Arc::clone(&self.name)));
        Page { realm: Arc::clone(&self.realm), subject, after: None, limit: super::bench::MANY }
    }

    /// "Sign out everywhere", kept for as long as a session can live.
    pub(super) fn revocation(&self, at: Timestamp) -> Revocation {
        Revocation {
            realm: Arc::clone(&self.realm),
            subject: Some((self.tag, Arc::clone(&self.name))),
            at,
            except: None,
            keep_until: at + ABSOLUTE,
        }
    }

    /// The login by which this session replaces another, for [`EndRequest`].
    pub(super) fn replacement(&self, sid: SessionId) -> Replacement {
        Replacement { sid, subject: Arc::clone(&self.name), takes_data: true, same_subject_only: false }
    }
}

/// A device whose key is made from this byte.
pub(super) fn device(key: u8, bound_at: Timestamp) -> Arc<BoundDevice> {
    let key = match key % 2 {
        0 => DeviceKey::Es256 { x: [key; 32], y: [0; 32] },
        _ => DeviceKey::Rs256 { n: Box::from([key; 256]), e: Box::from([1, 0, 1]) },
    };
    Arc::new(BoundDevice { key, bound_at })
}

/// A live anonymous session.
pub(super) fn visitor(realm: &Arc<str>, created_at: Timestamp) -> Record {
    Record {
        sid: sid(),
        realm: Arc::clone(realm),
        secret: secret(),
        ..crate::testing::record(policy().anonymous(created_at))
    }
}

/// 15 minutes idle, 8 hours absolute.
pub(super) fn policy() -> Policy {
    Policy::both(lifetimes(IDLE, ABSOLUTE))
}

pub(super) fn lifetimes(idle: Duration, absolute: Duration) -> Lifetimes {
    Lifetimes::of(idle.into(), absolute.into())
}

pub(super) fn lowering(idle: Duration, absolute: Duration, one_off_idle: Duration) -> Lowering {
    Lowering { lifetimes: lifetimes(idle, absolute), one_off_idle: one_off_idle.into() }
}

pub(super) fn cap(most: u32, overflow: Overflow) -> Cap {
    Cap::new(most.try_into().expect("a cap is not zero"), overflow)
}

pub(super) fn sid() -> SessionId {
    SessionId::from_bytes(random())
}

pub(super) fn secret() -> SecretHash {
    SecretHash::from_bytes(random())
}

pub(super) fn call() -> CallId {
    CallId::new(u64::from_le_bytes(random()))
}

pub(super) fn json(text: &str) -> Json {
    Json::encode(text).expect("text is JSON")
}

pub(super) fn edits(key: &str, value: &str) -> Edits {
    let mut edits = Edits::default();
    edits.set(key.to_owned(), json(value));
    edits
}

/// A record that has this value.
pub(super) fn holding(record: Record, key: &str, value: &str) -> Record {
    Record { data: [(key.to_owned(), json(value))].into_iter().collect(), ..record }
}

pub(super) fn write(at: Timestamp, key: &str, value: &str) -> Change {
    Change { edits: edits(key, value), ..Change::at(at) }
}

pub(super) fn touch(at: Timestamp) -> Change {
    let mut change = Change::at(at);
    change.timing.interaction_at = Some(at);
    change
}

#[expect(clippy::unnecessary_wraps, reason = "as a change takes it")]
pub(super) fn rotation(from: SecretHash, to: SecretHash, until: Timestamp) -> Option<Box<Rotation>> {
    Some(Box::new(Rotation { from, to, until }))
}

/// An unconditional end with a new call id.
pub(super) fn end(reason: EndReason, at: Timestamp) -> EndRequest {
    EndRequest { retention: RETENTION.into(), ..EndRequest::new(reason, at, call()) }
}

/// An end by time, as a sweep or a request makes it: not if an interaction was recorded meanwhile.
pub(super) fn end_idle(record: &Record, at: Timestamp) -> EndRequest {
    let mut request = end(EndReason::Idle, at);
    request.options.if_idle_since = Some(record.timing.last_interaction_at);
    request.options.if_realm = Some(Arc::clone(&record.realm));
    request
}

/// The end of a session that a login replaces.
pub(super) fn superseded(at: Timestamp, by: Replacement) -> EndRequest {
    let mut request = end(EndReason::Superseded, at);
    request.options.replaced_by = Some(by);
    request
}

/// An end after which the data of an expired session waits for its user.
pub(super) fn end_resumable(at: Timestamp, resume_for: Duration) -> EndRequest {
    let mut request = end(EndReason::Idle, at);
    request.options.resume_for = Millis::from(resume_for);
    request
}

/// A user's mark after these revocations.
pub(super) fn mark(revocations: &[Revocation]) -> SubjectMark {
    let revoke = |mark: SubjectMark, revocation: &Revocation| mark.revoked(revocation.at, revocation.except);
    revocations.iter().fold(SubjectMark::default(), revoke)
}

/// A record with this mark applied.
pub(super) fn seen_under(mark: &SubjectMark, record: &Record) -> Record {
    let mut record = record.clone();
    record.see_mark(mark);
    record
}

pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
