//! Changes of parallel requests commute, nothing changes an ended session, and records survive a
//! round trip through JSON (SPEC S2, S3, S4, S8, L9, C6).

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use proptest::prelude::*;
use tower_tenure::{
    EndReason, Lifetimes, Mode, SessionId, Timestamp,
    record::{
        AuthenticationMethod, CallId, Change, Data, Edits, EndOutcome, EndRequest, Facts, Json, LastSeen,
        Lowering, Metadata, Millis, PreviousSecret, Proof, Record, Rotation, SecretHash, SubjectMark,
        Successor, Timing, TimingChange, Tombstone, UpdateOutcome,
    },
    testing,
};

use crate::search;

const START: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);

fn secret(number: u8) -> SecretHash {
    SecretHash::from_bytes([number; 32])
}

fn lifetimes() -> impl Strategy<Value = Lifetimes> {
    (1..200_u64, 1..200_u64).prop_map(|(idle, absolute)| {
        Lifetimes::new(Duration::from_millis(idle), Duration::from_millis(absolute)).unwrap()
    })
}

fn short() -> impl Strategy<Value = Millis> {
    (0..100_u64).prop_map(Millis::new)
}

/// A live session with a few keys, to which requests arrive.
fn session() -> impl Strategy<Value = Record> {
    (lifetimes(), lifetimes(), prop::option::of(short())).prop_map(|(lifetimes, policy, one_off_idle)| {
        let record = testing::record(Timing {
            mode: Mode::Persistent,
            created_at: START,
            authenticated_at: Some(START),
            last_interaction_at: START,
            longest_gap: Millis::ZERO,
            lifetimes,
            policy_at_creation: policy,
            policy_stamp: 0,
            one_off_idle,
        });
        Record {
            secret: secret(0),
            data: (0..6).map(|key| (key.to_string(), Json::from_text("\"before\""))).collect(),
            ..record
        }
    })
}

#[derive(Clone, Debug)]
enum Edit {
    Set,
    Remove,
    Leave,
}

/// The changes of parallel requests. Each edits its own key. Those that rotate all do so from the
/// secret that they arrived with.
fn parallel_changes() -> impl Strategy<Value = Vec<Change>> {
    let lowering =
        (lifetimes(), short()).prop_map(|(lifetimes, one_off_idle)| Lowering { lifetimes, one_off_idle });
    let edit = prop_oneof![Just(Edit::Set), Just(Edit::Remove), Just(Edit::Leave)];
    let change = (short(), any::<bool>(), prop::option::of(lowering), edit, prop::option::of(short()));
    prop::collection::vec(change, 1..7).prop_map(|changes| {
        let change = |(index, change): (u8, (Millis, bool, _, _, Option<Millis>))| {
            let (after, interaction, lowering, edit, rotation) = change;
            let at = START + after;
            let mut edits = Edits::default();
            match edit {
                Edit::Set => edits.set(index.to_string(), Json::encode(&index).unwrap()),
                Edit::Remove => edits.remove(index.to_string()),
                Edit::Leave => {}
            }
            Change {
                timing: TimingChange { interaction_at: interaction.then_some(at), lowering },
                edits,
                rotation: rotation.map(|grace| {
                    Box::new(Rotation { from: secret(0), to: secret(index + 1), until: at + grace })
                }),
                ..Change::at(at)
            }
        };
        (0..).zip(changes).map(change).collect()
    })
}

fn in_two_orders() -> impl Strategy<Value = (Vec<Change>, Vec<Change>)> {
    parallel_changes().prop_flat_map(|changes| (Just(changes.clone()), Just(changes).prop_shuffle()))
}

/// Applies changes to a live record, and returns how many of them rotated.
fn apply_all(record: &mut Record, changes: &[Change]) -> usize {
    let mut rotated = 0;
    for change in changes {
        let UpdateOutcome::Applied(applied) = change.apply(record) else { panic!("not applied: {change:?}") };
        assert_eq!(applied.timing, record.timing);
        assert_eq!(applied.revision, record.revision);
        rotated += usize::from(applied.rotated);
    }
    rotated
}

/// The longest gap depends on the order in which interactions reach the store, because the store
/// cannot know those still in flight. See `e2_the_longest_gap_is_never_too_short`.
fn but_the_longest_gap(timing: Timing) -> Timing {
    Timing { longest_gap: Millis::ZERO, ..timing }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: search::cases(512), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn s2_s3_parallel_changes_agree_in_any_order(before in session(), (one, other) in in_two_orders()) {
        let (mut left, mut right) = (before.clone(), before);
        apply_all(&mut left, &one);
        apply_all(&mut right, &other);

        prop_assert_eq!(but_the_longest_gap(left.timing), but_the_longest_gap(right.timing));
        prop_assert_eq!(left.data, right.data);
        prop_assert_eq!(left.revision, right.revision);
        prop_assert_eq!(left.updated_at, right.updated_at);
    }

    #[test]
    fn s3_no_edit_of_a_parallel_request_is_lost(before in session(), changes in parallel_changes()) {
        let mut after = before.clone();
        apply_all(&mut after, &changes);
        for key in 0..6 {
            let (key, edited) = (key.to_string(), changes.get(key).and_then(|change| change.edits.get(&key.to_string())));
            let before = before.data.get(&key);
            let expected = edited.unwrap_or(before.as_ref());
            let found = after.data.get(&key);
            prop_assert_eq!(found.as_ref(), expected, "key {}", key);
        }
    }

    #[test]
    fn c6_of_parallel_rotations_exactly_one_wins_in_any_order(before in session(), (_, changes) in in_two_orders()) {
        let mut after = before;
        let rotated = apply_all(&mut after, &changes);
        let winner = changes.iter().find_map(|change| change.rotation.as_ref().map(|rotation| (change.at, rotation)));
        let Some((at, rotation)) = winner else {
            prop_assert_eq!((rotated, after.secret), (0, secret(0)));
            return Ok(());
        };
        prop_assert_eq!((rotated, after.secret), (1, rotation.to), "the first one wins");
        // Without a grace the old secret is invalid at once, but still known, so that it differs
        // from a forged one.
        let graced = PreviousSecret { hash: secret(0), until: rotation.until };
        prop_assert_eq!(after.previous_secret, Some(graced));
        let proof = if rotation.until == at { Proof::None } else { Proof::Grace };
        prop_assert_eq!(after.prove(&secret(0), at), proof);
    }

    #[test]
    fn l9_the_last_interaction_only_moves_forward(before in session(), (_, changes) in in_two_orders()) {
        let mut record = before;
        for change in changes {
            let last = record.timing.last_interaction_at;
            change.apply(&mut record);
            let moved = change.timing.interaction_at.unwrap_or(last).max(last);
            prop_assert_eq!(record.timing.last_interaction_at, moved);
        }
    }

    /// A route with a shorter idle lifetime uses the longest gap (E2), which may be too long but
    /// never too short.
    #[test]
    fn e2_the_longest_gap_is_never_too_short(before in session(), (_, changes) in in_two_orders()) {
        let mut record = before;
        apply_all(&mut record, &changes);

        let mut arrivals: Vec<_> = changes.iter().filter_map(|change| change.timing.interaction_at).collect();
        arrivals.push(START);
        arrivals.sort_unstable();
        let gaps = arrivals.windows(2).map(|pair| pair[1].since(pair[0]));
        let true_gap = gaps.max().unwrap_or_default();
        let whole = arrivals[arrivals.len() - 1].since(START);
        prop_assert!((true_gap..=whole).contains(&record.timing.longest_gap.as_duration()));
    }

    #[test]
    fn s4_nothing_changes_what_has_ended(
        before in session(),
        changes in parallel_changes(),
        split in any::<prop::sample::Index>(),
        reason in end_reason(),
        ends_after in short(),
    ) {
        let (earlier, later) = changes.split_at(split.index(changes.len() + 1));
        let mut record = before;
        apply_all(&mut record, earlier);
        let outcome = record.end(&EndRequest::new(reason, START + ends_after, CallId::new(1)));

        let tombstone = record.clone();
        let EndOutcome::Ended(session) = outcome else { return Err(TestCaseError::fail("not ended")) };
        prop_assert_eq!(Some(session.reason), tombstone.ended.map(|ended| ended.reason));
        prop_assert!(tombstone.data.is_empty() && tombstone.previous_secret.is_none());
        for change in later {
            for if_revision in [None, Some(0), Some(tombstone.revision)] {
                let change = Change { if_revision, ..change.clone() };
                prop_assert_eq!(change.apply(&mut record), UpdateOutcome::Gone(tombstone.ended));
            }
            let again = record.end(&EndRequest::new(EndReason::Revoked, change.at, CallId::new(2)));
            let already = EndOutcome::AlreadyEnded { tombstone: tombstone.ended.unwrap(), work: None };
            prop_assert_eq!(again, already);
        }
        prop_assert_eq!(record, tombstone);
    }

    /// A session that a revocation of its subject covers behaves like an ended one.
    #[test]
    fn l14_nothing_changes_what_a_revocation_covers(
        before in session(),
        changes in parallel_changes(),
        split in any::<prop::sample::Index>(),
        revoked_after in short(),
    ) {
        let (earlier, later) = changes.split_at(split.index(changes.len() + 1));
        let mut record = Record { subject: Some("alice".into()), ..before };
        apply_all(&mut record, earlier);
        let mark = SubjectMark::default().revoked(START + revoked_after, None);
        record.see_mark(&mark);
        let covered = record.clone();
        for change in later {
            let UpdateOutcome::Gone(Some(tombstone)) = change.apply(&mut record) else {
                return Err(TestCaseError::fail("a change was applied"));
            };
            prop_assert_eq!((tombstone.reason, tombstone.at), (EndReason::Revoked, mark.not_before));
        }
        prop_assert_eq!(&record, &covered);
        // Its end reason is the revocation, unless a deadline came first.
        let deadline = record.timing.deadline();
        record.end(&EndRequest::new(EndReason::SignedOut, mark.not_before, CallId::new(1)));
        let ended = record.ended.unwrap();
        prop_assert_eq!(ended.at, deadline.min(mark.not_before));
        prop_assert_eq!(ended.reason == EndReason::Revoked, mark.not_before < deadline);
    }

    /// Exactly the revocations from a session's epoch on cover it, whatever their times. A covered
    /// session stays covered, whatever later revocations except.
    #[test]
    fn l14_a_mark_covers_what_was_stored_before_it_and_nothing_later(
        steps in prop::collection::vec((short(), 0..8_u8, any::<bool>()), 1..12),
    ) {
        let mut mark = SubjectMark::default();
        let mut stored: Vec<(Record, bool)> = Vec::new();
        for (number, (after, target, revokes)) in (0..).zip(steps) {
            let sid = |number| SessionId::from_bytes([number; 16]);
            if !revokes {
                let record = testing::record(tower_tenure::Policy::default().anonymous(START));
                let subject = Some("alice".into());
                stored.push((Record { sid: sid(number), subject, epoch: mark.epoch, ..record }, false));
                continue;
            }
            // Excepts one of the stored sessions, or none.
            let except = stored.get(usize::from(target)).map(|(record, _)| record.sid);
            mark = mark.revoked(START + after, except);
            for (record, covered) in &mut stored {
                *covered |= Some(record.sid) != except;
            }
            for (record, covered) in &stored {
                // The mark stores only the latest exceptions. A session with a dropped exception is
                // covered, and never the other way round.
                prop_assert!(mark.covers(record) || !*covered, "what was covered is spared");
                if Some(record.sid) == except && !*covered {
                    prop_assert!(!mark.covers(record), "what is excepted, and was not covered, is covered");
                }
            }
        }
    }

    #[test]
    fn s3_a_change_for_another_revision_changes_nothing(before in session(), changes in parallel_changes()) {
        let mut record = before.clone();
        for change in changes {
            let conflicting = Change { if_revision: Some(before.revision + 1), ..change };
            prop_assert_eq!(conflicting.apply(&mut record), UpdateOutcome::Conflict);
        }
        prop_assert_eq!(record, before);
    }
}

proptest! {
    // Arbitrary text is slow to generate.
    #![proptest_config(ProptestConfig { cases: search::cases(64), ..config() })]

    #[test]
    fn s8_a_record_comes_back_from_json_exactly(record in any_record()) {
        let text = serde_json::to_string(&record).unwrap();
        let back: Record = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &record);
        prop_assert_eq!(back.secret.as_bytes(), record.secret.as_bytes());
        // Times are stored in whole milliseconds, so a second round trip changes nothing either.
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }
}

#[test]
fn l9_where_a_session_was_last_seen_is_not_overwritten_by_a_slow_old_request() {
    let seen = |user_agent: &str| LastSeen { ip: None, user_agent: Some(user_agent.into()) };
    let request = |after, user_agent| Change {
        timing: TimingChange { interaction_at: Some(START + after), lowering: None },
        last_seen: Some(Box::new(seen(user_agent))),
        ..Change::at(START + after)
    };
    let (slow, quick) = (request(Duration::from_secs(1), "slow"), request(Duration::from_secs(2), "quick"));
    let timing = tower_tenure::Policy::default().anonymous(START);
    for order in [[&slow, &quick], [&quick, &slow]] {
        let mut record = testing::record(timing);
        apply_all(&mut record, &order.map(Clone::clone));
        assert_eq!(record.facts.device.last, seen("quick"));
    }
}

fn end_reason() -> impl Strategy<Value = EndReason> {
    prop::sample::select(vec![
        EndReason::Idle,
        EndReason::Absolute,
        EndReason::SignedOut,
        EndReason::Revoked,
        EndReason::Evicted,
        EndReason::Superseded,
    ])
}

// Every field of a record, with its whole range of values.

fn any_moment() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_unix_millis)
}

fn any_duration() -> impl Strategy<Value = Millis> {
    any::<u64>().prop_map(Millis::new)
}

fn any_lifetimes() -> impl Strategy<Value = Lifetimes> {
    let longest = u64::try_from(Lifetimes::LONGEST.as_millis()).unwrap();
    (1..=longest, 1..=longest).prop_map(|(idle, absolute)| {
        Lifetimes::new(Duration::from_millis(idle), Duration::from_millis(absolute)).unwrap()
    })
}

fn any_secret() -> impl Strategy<Value = SecretHash> {
    any::<[u8; 32]>().prop_map(SecretHash::from_bytes)
}

fn any_text() -> impl Strategy<Value = Arc<str>> {
    any::<String>().prop_map(Arc::from)
}

prop_compose! {
    fn any_timing()(
        persistent: bool,
        created_at in any_moment(),
        authenticated_at in prop::option::of(any_moment()),
        last_interaction_at in any_moment(),
        longest_gap in any_duration(),
        lifetimes in any_lifetimes(),
        policy_at_creation in any_lifetimes(),
        policy_stamp: u64,
        one_off_idle in prop::option::of(any_duration()),
    ) -> Timing {
        let mode = if persistent { Mode::Persistent } else { Mode::NonPersistent };
        Timing {
            mode,
            created_at,
            authenticated_at,
            last_interaction_at,
            longest_gap,
            lifetimes,
            policy_at_creation,
            policy_stamp,
            one_off_idle,
        }
    }
}

prop_compose! {
    fn any_facts()(
        initial_ip: Option<IpAddr>,
        initial_user_agent in prop::option::of(any_text()),
        ip: Option<IpAddr>,
        user_agent in prop::option::of(any_text()),
        clients: Vec<String>,
        authentication in prop::collection::vec((any::<String>(), any_moment()), 0..3),
        entries in prop::collection::btree_map("[a-zA-Z0-9_-]{1,9}", ".{0,9}", 0..4_usize),
    ) -> Facts {
        let mut metadata = Metadata::default();
        for (key, value) in &entries {
            metadata.set(key, value).unwrap();
        }
        let mut facts = Facts::default();
        facts.device.initial_ip = initial_ip;
        facts.device.initial_user_agent = initial_user_agent;
        facts.device.last = LastSeen { ip, user_agent };
        facts.clients = clients;
        facts.authentication =
            authentication.into_iter().map(|(name, at)| AuthenticationMethod::new(name, at)).collect();
        facts.metadata = metadata;
        facts
    }
}

fn any_data() -> impl Strategy<Value = Data> {
    any::<BTreeMap<String, String>>()
        .prop_map(|values| values.into_iter().map(|(key, text)| (key, Json::from_text(text))).collect())
}

prop_compose! {
    fn any_tombstone()(
        reason in end_reason(),
        at in any_moment(),
        forget_at in any_moment(),
        call: u64,
        successor in prop::option::of((any::<[u8; 16]>(), any_moment())),
        work_until in prop::option::of(any_moment()),
    ) -> Tombstone {
        let successor = successor.map(|(sid, at)| Successor { sid: SessionId::from_bytes(sid), at });
        Tombstone { reason, at, forget_at, call: CallId::new(call), successor, work_until }
    }
}

prop_compose! {
    /// The facts of a session, without its data.
    fn any_frame()(
        sid: [u8; 16],
        realm in any_text(),
        secret in any_secret(),
        previous in prop::option::of((any_secret(), any_moment())),
        timing in any_timing(),
        updated_at in any_moment(),
        epoch: u32,
        admitted_at in any_moment(),
        confirmed: bool,
    ) -> Record {
        Record {
            sid: SessionId::from_bytes(sid),
            realm,
            secret,
            previous_secret: previous.map(|(hash, until)| PreviousSecret { hash, until }),
            updated_at,
            epoch,
            admitted_at,
            confirmed,
            ..testing::record(timing)
        }
    }
}

prop_compose! {
    fn any_record()(
        frame in any_frame(),
        subject in prop::option::of(any_text()),
        data in any_data(),
        revision: u64,
        facts in any_facts(),
        ended in prop::option::of(any_tombstone()),
    ) -> Record {
        Record { subject, data, revision, facts: Arc::new(facts), ended, ..frame }
    }
}
