//! The cap on a subject's sessions, against a naive oracle (SPEC S9).

use std::{num::NonZeroU32, time::Duration};

use proptest::prelude::*;
use tower_tenure::{
    EndReason, Lifetimes, Policy, SessionId, Timestamp,
    policy::{Admission, Cap, Overflow, admit},
    record::{CallId, Record, Timing, Tombstone},
    testing,
};

use crate::search;

const NOW: i64 = 1_700_000_000_000;

/// A session of the subject. Times are in milliseconds before the login under test.
#[derive(Clone, Debug)]
struct Session {
    number: u8,
    created: i64,
    last_interaction: i64,
    idle: i64,
    absolute: i64,
    one_off_idle: Option<i64>,
    ended: bool,
}

impl Session {
    /// A live session.
    fn active(number: u8, last_interaction: i64) -> Self {
        Self {
            number,
            created: 90,
            last_interaction,
            idle: 100,
            absolute: 100,
            one_off_idle: None,
            ended: false,
        }
    }

    fn to_record(&self) -> Record {
        let ticks = |count: i64| Duration::from_millis(count.try_into().unwrap());
        let record = testing::record(Timing {
            created_at: moment(-self.created),
            last_interaction_at: moment(-self.last_interaction),
            lifetimes: Lifetimes::new(ticks(self.idle), ticks(self.absolute)).unwrap(),
            one_off_idle: self.one_off_idle.map(|count| ticks(count).into()),
            ..Policy::default().anonymous(moment(-self.created))
        });
        Record {
            sid: sid(self.number),
            subject: Some("alice".into()),
            ended: self.ended.then(|| Tombstone {
                reason: EndReason::SignedOut,
                at: moment(-1),
                forget_at: moment(1000),
                call: CallId::new(1),
                successor: None,
                work_until: None,
            }),
            ..record
        }
    }
}

fn sid(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn moment(after_now: i64) -> Timestamp {
    Timestamp::from_unix_millis(NOW + after_now)
}

fn cap(most: u32, overflow: Overflow) -> Cap {
    Cap::new(NonZeroU32::new(most).unwrap(), overflow)
}

/// The result of the login: the evicted sessions in order, or `None` if it is refused.
type Judged = Option<Vec<SessionId>>;

/// Decides as a caller of `admit` does. The store counts, without ended sessions and without the
/// one that is replaced.
fn judge(cap: Option<Cap>, sessions: &[Session], replaced: Option<u8>) -> Judged {
    let Some(cap) = cap else { return Some(Vec::new()) };
    let records: Vec<_> = sessions.iter().map(Session::to_record).collect();
    let counted: Vec<_> = records
        .iter()
        .filter(|record| record.ended.is_none() && Some(record.sid) != replaced.map(sid))
        .collect();
    if counted.len() < cap.most().get() as usize {
        return Some(Vec::new());
    }
    let (departures, admitted) =
        match admit(cap, counted.len(), counted.iter().copied(), &Policy::default(), moment(0)) {
            Admission::Admit(departures) => (departures, true),
            Admission::Refuse(departures) => (departures, false),
        };
    for departure in &departures {
        let record = counted.iter().find(|record| record.sid == departure.sid).unwrap();
        let expired = record.end_reason_at(moment(0));
        assert_eq!(departure.reason, expired.unwrap_or(EndReason::Evicted), "each leaves for its own reason");
        assert_eq!(departure.last_interaction_at, record.timing.last_interaction_at);
    }
    let over = counted.iter().filter(|record| !record.is_live(moment(0))).count();
    assert_eq!(
        departures.iter().filter(|departure| departure.reason != EndReason::Evicted).count(),
        over,
        "all that are over are ended"
    );
    let evicted = departures.into_iter().filter(|departure| departure.reason == EndReason::Evicted);
    admitted.then(|| evicted.map(|departure| departure.sid).collect())
}

fn evict(most: u32, sessions: &[Session], replaced: Option<u8>) -> Judged {
    judge(Some(cap(most, Overflow::Evict)), sessions, replaced)
}

/// Counts the live sessions, and evicts the least recently active one until the new one fits.
fn oracle(cap: Option<(u32, Overflow)>, sessions: &[Session], replaced: Option<u8>) -> Judged {
    let Some((most, overflow)) = cap else { return Some(vec![]) };
    let mut there: Vec<&Session> = Vec::new();
    for session in sessions {
        let idle = session.one_off_idle.unwrap_or(session.idle);
        let expired = session.last_interaction >= idle || session.created >= session.absolute;
        if !session.ended && !expired && replaced != Some(session.number) {
            there.push(session);
        }
    }
    let mut evicted = Vec::new();
    while there.len() + 1 > most as usize {
        if overflow == Overflow::Refuse {
            return None;
        }
        let mut least = 0;
        for candidate in 1..there.len() {
            let (one, other) = (there[candidate], there[least]);
            // Among equally inactive sessions the older one is evicted, then the lower id, so that
            // all stores agree.
            let longer_inactive = one.last_interaction > other.last_interaction;
            let tie = one.last_interaction == other.last_interaction;
            let older = one.created > other.created;
            let same_age = one.created == other.created;
            if longer_inactive || tie && (older || same_age && one.number < other.number) {
                least = candidate;
            }
        }
        evicted.push(sid(there.remove(least).number));
    }
    Some(evicted)
}

/// Sessions with distinct ids, in any order, with many ties and some expired ones.
fn sessions() -> impl Strategy<Value = Vec<Session>> {
    let session =
        (0..12_i64, 0..6_i64, 1..20_i64, 1..20_i64, prop::option::weighted(0.2, 0..20_i64), 0..6_u8);
    let sessions = prop::collection::vec(session, 0..9).prop_map(|sessions| {
        let session = |(number, (created, last, idle, absolute, one_off_idle, ended))| Session {
            number,
            created,
            last_interaction: created.min(last),
            idle,
            absolute,
            one_off_idle,
            ended: ended == 0,
        };
        (0..).zip(sessions).map(session).collect::<Vec<_>>()
    });
    sessions.prop_shuffle()
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: search::cases(2000), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn s9_the_cap_is_what_the_oracle_counts(
        sessions in sessions(),
        replaced in prop::option::of(0..10_u8),
        most in 1..7_u32,
        overflow in prop::sample::select(vec![Overflow::Evict, Overflow::Refuse]),
        capped in prop::bool::weighted(0.9),
    ) {
        let judged = judge(capped.then(|| cap(most, overflow)), &sessions, replaced);
        prop_assert_eq!(judged, oracle(capped.then_some((most, overflow)), &sessions, replaced));
    }
}

#[test]
fn s9_up_to_the_cap_everyone_fits() {
    let two = [Session::active(1, 5), Session::active(2, 3)];
    assert_eq!(judge(Some(cap(3, Overflow::Refuse)), &two, None), Some(vec![]));
    assert_eq!(judge(Some(cap(2, Overflow::Refuse)), &two, None), None);
    assert_eq!(judge(None, &two, None), Some(vec![]));
}

#[test]
fn s9_the_least_recently_active_is_evicted() {
    let three = [Session::active(1, 5), Session::active(2, 8), Session::active(3, 3)];
    assert_eq!(evict(3, &three, None), Some(vec![sid(2)]));
}

#[test]
fn s9_several_are_evicted_when_the_cap_was_lowered_since() {
    let three = [Session::active(1, 5), Session::active(2, 8), Session::active(3, 3)];
    assert_eq!(evict(1, &three, None), Some(vec![sid(2), sid(1), sid(3)]));
}

#[test]
fn s9_expired_and_ended_ones_do_not_count() {
    let expired_now = Session { idle: 5, ..Session::active(1, 5) };
    let live_for_a_tick = Session { idle: 6, ..Session::active(1, 5) };
    let ended = Session { ended: true, ..Session::active(2, 1) };
    assert_eq!(evict(1, &[expired_now, ended.clone()], None), Some(vec![]));
    assert_eq!(evict(1, &[live_for_a_tick, ended], None), Some(vec![sid(1)]));
}

#[test]
fn s9_the_one_that_the_login_replaces_does_not_count_and_is_not_evicted() {
    let two = [Session::active(1, 8), Session::active(2, 3)];
    assert_eq!(evict(2, &two, Some(1)), Some(vec![]));
    assert_eq!(evict(1, &two, Some(1)), Some(vec![sid(2)]));
    assert_eq!(judge(Some(cap(2, Overflow::Refuse)), &two, Some(2)), Some(vec![]));
}

#[test]
fn s9_a_session_whose_cookie_never_came_back_counts_for_a_minute_where_logins_are_refused() {
    let created = |millis| Session { created: millis, last_interaction: 5, ..Session::active(1, 5) };
    let lasting = |millis| Session { absolute: 100_000, ..created(millis) };
    for (age, fits) in [(60_000, false), (60_001, true)] {
        let judged = judge(Some(cap(1, Overflow::Refuse)), &[lasting(age)], None);
        assert_eq!(judged.is_some(), fits, "{age} ms after the login");
    }
}
