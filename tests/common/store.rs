//! Sessions for tests of stores.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tower_tenure::{
    EndReason, Error, Policy, SessionId, Timestamp,
    policy::{Admission, Cap, Departure, Overflow, Overrides, admit, open},
    record::{CallId, Change, Edits, EndOutcome, EndRequest, Json, Record, Replacement, Tag, TimingChange},
    store::{CreateOutcome, Creation, Page, Revocation},
    testing,
};

pub(crate) const SUBJECT: &str = "alice";

/// The tag of [`SUBJECT`] in the realm [`REALM`].
pub(crate) const TAG: Tag = Tag::from_bytes(*b"alice!");

pub(crate) const REALM: &str = "__Host-id";

/// Runs a call to an in-process store, which must complete at the first poll.
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

/// The id of [`SUBJECT`]'s session with this number. All have the same tag.
pub(crate) fn sid(number: u32) -> SessionId {
    sid_at(TAG, number)
}

/// An id with this tag.
pub(crate) fn sid_at(tag: Tag, number: u32) -> SessionId {
    let mut bytes = [0; SessionId::BYTES];
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    SessionId::from_bytes(bytes).with_tag(tag)
}

/// A session of [`SUBJECT`], with an idle lifetime of one day and an absolute lifetime of three
/// days.
pub(crate) fn login(number: u32, at: Timestamp) -> Creation {
    login_of(SUBJECT, TAG, number, at)
}

/// The same for another subject.
pub(crate) fn login_of(subject: &str, tag: Tag, number: u32, at: Timestamp) -> Creation {
    let mut overrides = Overrides::default();
    overrides.mode(tower_tenure::Mode::NonPersistent);
    let timing = open(&Policy::default(), at, &overrides).unwrap().timing;
    let record = testing::record(timing);
    let record = Record { sid: sid_at(tag, number), subject: Some(subject.into()), ..record };
    assert_eq!(&*record.realm, REALM);
    Creation::new(record)
}

/// An interaction and nothing else.
pub(crate) fn touch(at: Timestamp) -> Change {
    Change { timing: TimingChange { interaction_at: Some(at), lowering: None }, ..Change::at(at) }
}

/// A key set, without an interaction.
pub(crate) fn write(key: &str, at: Timestamp) -> Change {
    let mut edits = Edits::default();
    edits.set(key.to_owned(), Json::from_text("1"));
    Change { edits, ..Change::at(at) }
}

/// All sessions of [`SUBJECT`] that have not ended.
pub(crate) fn all() -> Page {
    Page { realm: REALM.into(), subject: Some((TAG, SUBJECT.into())), after: None, limit: usize::MAX }
}

/// An end with a new call id.
pub(crate) fn end(reason: EndReason, at: Timestamp) -> EndRequest {
    use std::hash::{BuildHasher, Hasher};
    // Unique without our own source of randomness.
    let call = std::hash::RandomState::new().build_hasher().finish();
    EndRequest::new(reason, at, CallId::new(call))
}

/// "Sign out everywhere" for [`SUBJECT`].
pub(crate) fn revocation(at: Timestamp, except: Option<SessionId>) -> Revocation {
    Revocation {
        realm: REALM.into(),
        subject: Some((TAG, SUBJECT.into())),
        at,
        except,
        keep_until: at + Duration::from_secs(3 * 24 * 3600),
    }
}

/// The end reason in a session's tombstone.
pub(crate) fn reason(record: &Record) -> Option<EndReason> {
    record.ended.map(|ended| ended.reason)
}

/// The reason for which a call ended a session, if it did.
pub(crate) fn ended(outcome: &EndOutcome) -> Option<EndReason> {
    match outcome {
        EndOutcome::Ended(session) => Some(session.reason),
        _ => None,
    }
}

/// A login that replaces another session of the same subject and takes over its data.
pub(crate) fn replacing(creation: Creation, old: SessionId) -> Creation {
    let subject: Arc<str> = creation.record.subject.clone().unwrap();
    let sid = creation.record.sid;
    let mut request = end(EndReason::Superseded, creation.record.timing.created_at);
    request.options.replaced_by =
        Some(Replacement { sid, subject, takes_data: true, same_subject_only: true });
    Creation { ends: vec![(old, request)], ..creation }
}

pub(crate) fn cap(most: u32, overflow: Overflow) -> Cap {
    Cap::new(most.try_into().unwrap(), overflow)
}

/// The result of a login under a cap.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The new session. `None` if the cap refused it.
    pub(crate) record: Option<Record>,
    /// The sessions that its calls ended, each with the reason.
    pub(crate) ended: Vec<(SessionId, EndReason)>,
}

/// A login under a cap, as the middleware does it: if the cap is full, it decides which sessions to
/// end, and creates again with these ends.
pub(crate) fn log_in(
    creation: Creation,
    cap: Cap,
    now: Timestamp,
    create: impl Fn(Creation) -> CreateOutcome,
) -> Admitted {
    let first = creation.ends.clone();
    let mut creation = Creation { cap: Some(cap.most()), ..creation };
    loop {
        match create(creation.clone()) {
            CreateOutcome::Created { record, ended: outcomes } => {
                let ends = creation.ends.iter().zip(&outcomes);
                let ended = ends.filter_map(|((sid, _), outcome)| ended(outcome).map(|why| (*sid, why)));
                return Admitted { record: Some(*record), ended: ended.collect() };
            }
            CreateOutcome::Full { mut count, mut sessions } => {
                assert_eq!(count, sessions.len());
                sessions.retain(|session| !first.iter().any(|(sid, _)| *sid == session.sid));
                count = sessions.len();
                match admit(cap, count, &sessions, &Policy::default(), now) {
                    Admission::Admit(departures) => {
                        creation.ends.clone_from(&first);
                        creation.ends.extend(departures.into_iter().map(|one| departure(one, now)));
                    }
                    Admission::Refuse(_) => return Admitted { record: None, ended: Vec::new() },
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The end of a session that makes room for a login.
pub(crate) fn departure(departure: Departure, now: Timestamp) -> (SessionId, EndRequest) {
    let mut request = end(departure.reason, now);
    request.options.if_idle_since = Some(departure.last_interaction_at);
    (departure.sid, request)
}
