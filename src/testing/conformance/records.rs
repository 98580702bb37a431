//! Records come back exactly, and changes do what `Change::apply` does (SPEC S2, S8).

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::bench::{
    ABSOLUTE, Bench, IDLE, MINUTE, SECOND, cap, json, plain, replaces, secret, session, sid, subject, touch,
    write,
};
use crate::{
    SessionStore, Timestamp,
    policy::Overflow,
    record::{
        AuthenticationMethod, Change, Device, Edits, End, EndReason, Ending, Facts, LastSeen, Lifetimes,
        Lowering, Metadata, Mode, Record, Rotation, TimingChange, Updated,
    },
    store::{Created, Creation, Page},
};

/// Keys and values that a careless store would trip over.
fn hostile() -> Edits {
    let mut edits = Edits::default();
    for text in [
        "",
        " ",
        "'",
        "\"",
        "\\",
        "\0",
        "a\0b",
        "\r\n\t",
        "'; DROP TABLE sessions; --",
        "{\"$set\":1}",
        "%s",
        "null",
    ] {
        edits.set(text, json(text));
    }
    for text in ["🦀🧑‍🔬", "é", "e\u{301}", "\u{202e}", "\u{feff}", "\u{ffff}", "日本語"] {
        edits.set(text, json(text));
    }
    edits.set("100 kB", json(&"\0\"x🦀".repeat(12_500)));
    edits
}

fn facts(at: Timestamp) -> Facts {
    let mut metadata = Metadata::default();
    for (key, value) in [("risk", "low"), ("a-b_9", ""), ("quote", "'\"\\\0🦀")] {
        metadata.set(key, value).expect("it fits");
    }
    let seen = |ip: &str, agent: &str| LastSeen { ip: ip.parse().ok(), user_agent: Some(agent.into()) };
    Facts {
        device: Device {
            initial_ip: Some(IpAddr::from([192, 0, 2, 1])),
            initial_user_agent: Some("Mozilla/5.0 (X11; \"quoted\\\")".into()),
            last: seen("2001:db8::ffff", "curl/8"),
        },
        clients: vec!["b".into(), "a".into(), "it's".into()],
        authentication: vec![
            AuthenticationMethod { name: "pwd".into(), at },
            AuthenticationMethod { name: "mfa".into(), at: at + Duration::from_millis(1) },
        ],
        metadata,
    }
}

/// Every field of a record comes back as it went in: from `create`, `load` and `list`, for a user and for an anonymous
/// visitor.
pub(super) async fn s8_a_record_comes_back_exactly<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let at = bench.start + Duration::from_millis(1);
    let mut full = session(Some(&user), at);
    full.timing.mode = Mode::Persistent;
    full.timing.authenticated_at = Some(at + Duration::from_millis(2));
    full.timing.lifetimes =
        Lifetimes::new(IDLE + Duration::from_millis(3), ABSOLUTE + Duration::from_millis(5))
            .unwrap_or(full.timing.lifetimes);
    full.timing.bound = Lifetimes::from_minutes(11, 13);
    full.timing.one_off_idle = Some(MINUTE + Duration::from_millis(7));
    full.facts = Arc::new(facts(at));
    let longest = "ü".repeat(256).into();

    for record in [full, session(None, at), session(Some(&longest), at)] {
        let creation = Creation { edits: hostile(), ..plain(record) };
        let (wanted, _) = creation.clone().into_record(None);
        let (created, evicted) = bench.open(creation).await;
        bench.same("what a creation without a cap evicted", evicted, vec![]);
        bench.same_record("the answer to `create`", &created, &wanted);
        bench.same_record("a record that was created and loaded", &bench.find(wanted.sid).await, &wanted);
        if let Some(subject) = wanted.subject.clone() {
            let page = Page { subject: Some(subject), after: None, limit: 1000, now: at };
            let listed = bench.list(page).await.into_iter().find(|record| record.sid == wanted.sid);
            let listed =
                listed.unwrap_or_else(|| bench.fail("a live session is not in the list of its subject"));
            bench.same_record("a record that was created and listed", &listed, &wanted);
        }
        bench.end(wanted.sid, End::new(EndReason::SignedOut, at)).await; // 100 kB less
    }
}

/// Applies a change in the store and to what the record should be, and compares.
async fn change_both<S: SessionStore>(bench: &Bench<S>, what: &str, change: Change, model: &mut Record) {
    let wanted = change.apply(model);
    let found = bench.update(model.sid, change).await;
    bench.same(&format!("the answer to {what}"), found, wanted);
    bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, model);
}

/// A store that says a change in its own language says the same as `Change::apply`.
pub(super) async fn s2_every_change_does_what_apply_does<S: SessionStore>(bench: Bench<S>) {
    let at = |seconds: u32| bench.start + SECOND * seconds + Duration::from_millis(1);
    let mut record = session(Some(&subject()), bench.start);
    record.timing.one_off_idle = Some(2 * MINUTE);
    record.facts = Arc::new(facts(bench.start));
    let (mut model, _) = bench.open(plain(record)).await;

    let change = |at| Change::at(at);
    change_both(&bench, "a change of nothing", change(at(0)), &mut model).await;
    change_both(&bench, "a write", write(at(1), "a", "1"), &mut model).await;
    change_both(&bench, "an interaction after a one-off idle lifetime", touch(at(60)), &mut model).await;
    change_both(&bench, "an interaction", touch(at(90)), &mut model).await;
    change_both(&bench, "an interaction that comes late", touch(at(30)), &mut model).await;
    change_both(&bench, "a write over a value", write(at(91), "a", "2"), &mut model).await;
    change_both(&bench, "a write that comes late", write(at(2), "b", "1"), &mut model).await;

    let mut edits = hostile();
    edits.remove("a");
    edits.remove("never set");
    change_both(&bench, "many writes and removals at once", Change { edits, ..change(at(92)) }, &mut model)
        .await;
    let mut edits = Edits::default();
    for (key, _) in hostile().iter() {
        edits.remove(key);
    }
    change_both(&bench, "the removal of all of them", Change { edits, ..change(at(93)) }, &mut model).await;

    let lowering = Lowering { lifetimes: Lifetimes::from_minutes(14, 9999), one_off_idle: MINUTE };
    let timing = TimingChange { interaction_at: None, lowering: Some(lowering) };
    change_both(&bench, "a lowered policy", Change { timing, ..change(at(94)) }, &mut model).await;

    let last_seen = LastSeen { ip: Some(IpAddr::from([198, 51, 100, 7])), user_agent: None };
    let moved = Change { last_seen: Some(last_seen.clone()), ..touch(at(95)) };
    change_both(&bench, "an interaction from another address", moved, &mut model).await;
    let slow = Change { last_seen: Some(LastSeen::default()), ..touch(at(50)) };
    change_both(&bench, "an interaction from elsewhere that comes late", slow, &mut model).await;
    let mut metadata = Metadata::default();
    metadata.set("only", "'🦀'").expect("it fits");
    let told = Change { metadata: Some(metadata.clone()), ..change(at(96)) };
    change_both(&bench, "new metadata", told, &mut model).await;

    let rotation = Rotation { from: model.secret, to: secret(), grace: Duration::from_millis(10_001) };
    let all = Change {
        at: at(97),
        timing: TimingChange { interaction_at: Some(at(97)), lowering: Some(lowering) },
        edits: write(at(97), "c", "1").edits,
        rotation: Some(rotation),
        last_seen: Some(LastSeen { ip: None, user_agent: Some("other".into()) }),
        metadata: Some(Metadata::default()),
        if_revision: Some(model.revision),
    };
    change_both(&bench, "all kinds of changes at once", all, &mut model).await;
}

/// Absence is a value: `None`, `Gone(None)`, `Unknown`, and a creation that replaces nobody.
pub(super) async fn s2_an_unknown_id_is_a_value_and_not_an_error<S: SessionStore>(bench: Bench<S>) {
    let nobody = sid();
    let end = End::new(EndReason::SignedOut, bench.start);
    bench.same("loading an unknown id", bench.load(nobody).await, None);
    for change in [write(bench.start, "a", "1"), touch(bench.start)] {
        bench.same("updating an unknown id", bench.update(nobody, change).await, Updated::Gone(None));
    }
    bench.same("ending an unknown id", bench.end(nobody, end).await, Ending::Unknown);
    bench.same("ending all of an unknown subject", bench.end_subject(&subject(), end, None).await, vec![]);
    bench.same("listing an unknown subject", bench.live(&subject(), bench.start).await, vec![]);
    bench.same("loading an id that was only updated and ended", bench.load(nobody).await, None);

    let record = session(None, bench.start);
    bench.open(Creation { replaces: Some(replaces(nobody, end, true)), ..plain(record) }).await;
    bench.same("loading an unknown id that a creation replaced", bench.load(nobody).await, None);
}

/// The second try of a creation whose answer was lost: `Exists`, whatever the cap says, live or ended, and nothing else
/// happens.
pub(super) async fn s2_create_on_a_known_id_changes_nothing<S: SessionStore>(bench: Bench<S>) {
    let user = subject();
    let end = End::new(EndReason::Superseded, bench.start);
    let (other, _) = bench.open(plain(session(Some(&user), bench.start))).await;
    let creation =
        Creation { edits: write(bench.start, "a", "1").edits, ..plain(session(Some(&user), bench.start)) };
    let (known, _) = bench.open(creation).await;

    let usurper = Record { sid: known.sid, ..session(Some(&user), bench.start + MINUTE) };
    for overflow in [Overflow::Refuse, Overflow::Evict] {
        let again = Creation {
            edits: write(bench.start, "a", "2").edits,
            replaces: Some(replaces(other.sid, end, true)),
            cap: cap(1, overflow),
            ..plain(usurper.clone())
        };
        bench.same("creating a known id", bench.create(again).await, Created::Exists);
        let full = Creation { cap: cap(1, overflow), ..plain(usurper.clone()) };
        bench.same("creating a known id when the cap is full", bench.create(full).await, Created::Exists);
        bench.same_record("a session that was created again", &bench.find(known.sid).await, &known);
        bench.same_record(
            "a session beside one that was created again",
            &bench.find(other.sid).await,
            &other,
        );
    }
    bench.end(known.sid, End::new(EndReason::SignedOut, bench.start)).await;
    let tombstone = bench.find(known.sid).await;
    bench.same(
        "creating the id of a session that has ended",
        bench.create(plain(usurper)).await,
        Created::Exists,
    );
    bench.same_record("a tombstone that was created again", &bench.find(known.sid).await, &tombstone);
}

/// `Conflict`, and nothing of the change is there.
pub(super) async fn s3_a_condition_on_the_revision_that_does_not_hold_writes_nothing<S: SessionStore>(
    bench: Bench<S>,
) {
    let (mut model, _) = bench.open(plain(session(None, bench.start))).await;
    let at = bench.start + SECOND;
    change_both(&bench, "a first write", write(at, "a", "1"), &mut model).await;
    for revision in [0, 2] {
        let mut change = Change { if_revision: Some(revision), ..write(at + SECOND, "a", "2") };
        change.timing.interaction_at = Some(at + SECOND);
        change.rotation = Some(Rotation { from: model.secret, to: secret(), grace: MINUTE });
        change_both(&bench, "a write on the condition of another revision", change, &mut model).await;
    }
    let touched = Change { if_revision: Some(0), ..touch(at + SECOND) };
    change_both(&bench, "an interaction on the condition of another revision", touched, &mut model).await;
    let change = Change { if_revision: Some(1), ..write(at + SECOND, "a", "2") };
    change_both(&bench, "a write on the condition of its revision", change, &mut model).await;
    change_both(&bench, "an interaction, which is no revision", touch(at + MINUTE), &mut model).await;
}

/// A slow, old request does not move the last interaction back, and no touch rewrites data or counts as a revision.
pub(super) async fn l9_an_interaction_moves_forward_only_and_leaves_the_data_alone<S: SessionStore>(
    bench: Bench<S>,
) {
    let creation = Creation { edits: hostile(), ..plain(session(Some(&subject()), bench.start)) };
    let (mut model, _) = bench.open(creation).await;
    for minutes in [5, 3, 0, 9, 8, 9] {
        let at = bench.start + MINUTE * minutes;
        change_both(&bench, "interactions in and out of order", touch(at), &mut model).await;
    }
    bench.same("the longest gap", model.timing.longest_gap, 5 * MINUTE);
    let early = bench.start - MINUTE;
    change_both(&bench, "an interaction from before the session", touch(early), &mut model).await;
    bench.end(model.sid, End::new(EndReason::SignedOut, bench.start + 9 * MINUTE)).await; // 100 kB less
}

/// Field by field, and whatever the order: no lowering undoes another.
pub(super) async fn l5_lowerings_are_minima_in_any_order<S: SessionStore>(bench: Bench<S>) {
    let lowerings = [(10, 400, 5), (12, 200, 3), (14, 300, 4)].map(|(idle, absolute, one_off)| Lowering {
        lifetimes: Lifetimes::from_minutes(idle, absolute),
        one_off_idle: one_off * MINUTE,
    });
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut record = session(None, bench.start);
        record.timing.one_off_idle = Some(IDLE);
        let (mut model, _) = bench.open(plain(record)).await;
        for index in order {
            let timing = TimingChange { interaction_at: None, lowering: Some(lowerings[index]) };
            let change = Change { timing, ..Change::at(bench.start) };
            change_both(&bench, "a lowered policy", change, &mut model).await;
        }
        bench.same("three lowered policies", model.timing.lifetimes, Lifetimes::from_minutes(10, 200));
    }
}
