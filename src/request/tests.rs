//! What each answer of a store means, event by event: what a whole request seldom gets to see.

use std::{sync::Arc, time::Duration};

use super::{
    judge::Live,
    known::Due,
    plan::{Draft, EndCall},
    *,
};
use crate::record::{
    Applied, Edits, EndOutcome, EndReason, Facts, LastSeen, Lifetimes, Proof, Record, Successor,
    TimingChange, UpdateOutcome, tests::blank,
};

const NOW: Timestamp = Timestamp::from_unix_millis(60_000);

/// A token of this character.
fn token(char: u8) -> Token {
    Token::parse(&[char; Token::CHARS]).unwrap()
}

/// What a request is judged by.
struct World {
    policy: Policy,
    realm: Arc<str>,
}

impl World {
    fn new() -> Self {
        Self { policy: Policy::unlimited(), realm: "__Host-id".into() }
    }

    fn ctx(&self) -> RequestContext<'_> {
        RequestContext {
            now: NOW,
            shared_now: NOW,
            policy: &self.policy,
            realm: &self.realm,
            max_data: 100,
            in_flight_window: Duration::from_secs(10),
            wants_hints: false,
        }
    }

    /// A request whose cookie led to a live session, with an interaction that is due.
    fn arrived(&self) -> RequestState {
        self.arrived_with(blank(), &Visit { ip: None, user_agent: b"", device: None })
    }

    fn arrived_with(&self, record: Record, visit: &Visit<'_>) -> RequestState {
        let token = token(b'A');
        let record = Record { secret: token.hash(&self.realm), sid: token.sid(), ..record };
        let timing = TimingChange { interaction_at: Some(NOW), lowering: None };
        let due = Due::of(&record, timing, false, visit);
        let live =
            Live { record: Box::new(record), proof: Proof::Current, device: DeviceProof::NotBound, due };
        let mut state = RequestState::default();
        state.start(CookieSent::Something, Millis::ZERO);
        state.arrived(live, token);
        state
    }

    fn draft(&self, subject: Option<&str>) -> Draft {
        let token = token(b'B');
        let timing = self.policy.anonymous(NOW);
        let record = new_record(&token, &self.realm, timing, subject.map(Into::into), Facts::default());
        Draft { record: Arc::new(record), token, keeps_data: false, cap: None }
    }

    /// The answer to the creation of a session, after one that ended for this reason.
    fn created(
        &self,
        state: &mut RequestState,
        subject: Option<&str>,
        before: Option<EndReason>,
        may_be_stale: bool,
    ) -> SessionId {
        let draft = self.draft(subject);
        let (sid, record) = (draft.record.sid, Box::new((*draft.record).clone()));
        let before = before.map(|reason| (Box::new(blank()), reason));
        let call = CreateCall { draft, edits: Edits::default(), max_data: 100, before, past: None };
        let done = Established::Done { record, may_be_stale };
        assert!(state.answered(StoreAnswer::Created(call, Ok(done)), &self.ctx()).is_ok());
        sid
    }

    fn verdict(&self, state: &RequestState) -> CookieVerdict {
        state.cookie_verdict(false, &self.ctx())
    }
}

fn sid_of(state: &RequestState) -> SessionId {
    state.known().unwrap().record.sid
}

fn edit() -> Edits {
    let mut edits = Edits::default();
    edits.set("a", Json::from_text("1"));
    edits
}

/// What a store says of a session as this request knows it.
fn applied(state: &RequestState, revision: u64) -> Applied {
    let record = &state.known().unwrap().record;
    Applied { timing: record.timing, revision, rotated: false, bound_at: None, secret: record.secret }
}

fn updated(sid: SessionId, edits: Edits, outcome: UpdateOutcome) -> StoreAnswer {
    StoreAnswer::Updated(UpdatePurpose::Plan { sid, edits, token: None, device: None }, Ok(outcome))
}

fn tombstone(reason: EndReason, successor: Option<SessionId>) -> Tombstone {
    let successor = successor.map(|sid| Successor { sid, at: NOW });
    let call = crate::record::CallId::default();
    Tombstone { reason, at: NOW, forget_at: NOW, call, successor, work_until: None }
}

fn ended(sid: SessionId, purpose: EndPurpose, outcome: Result<EndOutcome, Error>) -> StoreAnswer {
    StoreAnswer::Ended(EndCall { sid, seen: None, reason: EndReason::SignedOut, purpose }, outcome)
}

fn already(tombstone: Tombstone) -> EndOutcome {
    EndOutcome::AlreadyEnded { tombstone, work: None }
}

fn failure() -> Error {
    Error::new(ErrorKind::Store, "the store failed")
}

fn past(sid: SessionId) -> Past {
    Past::new(sid, blank().timing.past(EndReason::Idle, NOW))
}

/// Else a compare-and-set by what was loaded would put its value over one that it never saw.
#[test]
fn s3_the_revision_is_the_stores_only_if_nobody_else_wrote() {
    for (edits, revision, known) in
        [(edit(), 1, 1), (edit(), 2, 0), (Edits::default(), 0, 0), (Edits::default(), 1, 0)]
    {
        let world = World::new();
        let mut state = world.arrived();
        let outcome = UpdateOutcome::Applied(applied(&state, revision));
        let answer = updated(sid_of(&state), edits, outcome);
        assert!(state.answered(answer, &world.ctx()).is_ok());
        assert_eq!(state.known().unwrap().record.revision, known, "{revision}");
    }
}

#[test]
fn s3_what_was_compared_and_set_is_what_the_handler_reads() {
    let world = World::new();
    let mut state = world.arrived();
    let (sid, outcome) = (sid_of(&state), UpdateOutcome::Applied(applied(&state, 1)));
    let purpose = UpdatePurpose::CompareAndSet { sid, edits: edit() };
    assert!(state.answered(StoreAnswer::Updated(purpose, Ok(outcome)), &world.ctx()).is_ok());
    assert_eq!(state.value("a"), Some(Json::from_text("1")));
}

#[test]
fn s3_what_has_ended_is_not_taken_for_the_session_that_was_reloaded() {
    let world = World::new();
    let mut state = world.arrived();
    let before = state.known().unwrap().record.clone();
    let over = Record { ended: Some(tombstone(EndReason::Revoked, None)), revision: 7, ..(*before).clone() };
    let answer = StoreAnswer::Loaded(LoadCall::Reload(before.sid), Ok(Some(Box::new(over))));
    assert!(state.answered(answer, &world.ctx()).is_ok());
    assert_eq!(state.known().unwrap().record, before);
}

#[test]
fn s13_data_that_is_too_large_for_the_store_is_given_up() {
    let world = World::new();
    let mut state = world.arrived();
    assert!(state.plan_edit("a".into(), Some(Json::from_text("1")), 100).is_ok());
    let answer = updated(sid_of(&state), edit(), UpdateOutcome::TooLarge);
    assert_eq!(state.answered(answer, &world.ctx()).unwrap_err().kind(), ErrorKind::TooLarge);
    assert!(!state.has_plan());
}

/// S5: what the store has just said need not be asked.
#[test]
fn s5_after_an_answer_of_the_store_the_cookie_needs_no_look() {
    let world = World::new();
    for touches in [true, false] {
        let mut state = world.arrived();
        state.handler_waits();
        let sid = sid_of(&state);
        let mut applied = applied(&state, 1);
        applied.timing.last_interaction_at = NOW;
        let outcome = UpdateOutcome::Applied(applied);
        if touches {
            let touch = state.take_touch(&world.ctx()).unwrap();
            assert!(state.touched(sid, &touch.secret, Ok(outcome), &world.ctx()).is_ok());
        } else {
            assert!(state.answered(updated(sid, edit(), outcome), &world.ctx()).is_ok());
        }
        assert_eq!(world.verdict(&state), CookieVerdict::Set, "{touches}");
    }
}

#[test]
fn s6_what_could_not_be_recorded_is_not_shown() {
    let world = World::new();
    let mut state = world.arrived();
    let touch = state.take_touch(&world.ctx()).unwrap();
    assert_eq!(state.known().unwrap().next_timing().last_interaction_at, NOW);
    assert!(state.touched(touch.sid, &touch.secret, Err(failure()), &world.ctx()).is_ok());
    assert_ne!(state.known().unwrap().next_timing().last_interaction_at, NOW);
}

/// S4: the handler may have logged in while its touch was in flight.
#[test]
fn s4_the_answer_about_another_session_says_nothing_of_this_one() {
    let world = World::new();
    let mut state = world.arrived();
    let (sid, before) = (sid_of(&state), state.known().unwrap().record.clone());
    let mut late = applied(&state, 0);
    late.timing.last_interaction_at = NOW;
    let touch = state.take_touch(&world.ctx()).unwrap();
    let other = SessionId::from_bytes([1; 16]);
    assert_ne!(other, sid);
    assert!(state.touched(other, &touch.secret, Ok(UpdateOutcome::Applied(late)), &world.ctx()).is_ok());
    assert_eq!(state.known().unwrap().record, before);
}

#[test]
fn s6_a_second_session_that_the_store_could_not_end_fails_the_logout_and_is_tried_again() {
    let world = World::new();
    let mut state = world.arrived();
    let other = (SessionId::from_bytes([1; 16]), SecretHash::from_bytes([1; 32]));
    state.arrived_beside(other.0, other.1);
    let answer = |outcome| ended(other.0, EndPurpose::Other(other.1), outcome);
    assert!(state.answered(answer(Err(failure())), &world.ctx()).is_err());
    assert_eq!(state.other_tokens, [other]);
    assert!(state.answered(answer(Ok(EndOutcome::Unknown)), &world.ctx()).is_ok());
    assert_eq!(state.other_tokens, []);
}

#[test]
fn c4_a_logout_after_a_login_in_the_same_browser_removes_no_cookie() {
    let world = World::new();
    for (reason, verdict) in
        [(EndReason::Superseded, CookieVerdict::Keep), (EndReason::Revoked, CookieVerdict::Remove)]
    {
        let mut state = world.arrived();
        state.plan_end(EndReason::SignedOut);
        let answer = ended(sid_of(&state), EndPurpose::Known, Ok(already(tombstone(reason, None))));
        assert!(state.answered(answer, &world.ctx()).is_ok());
        assert_eq!(world.verdict(&state), verdict, "{reason}");
        assert!(!state.has_plan());
    }
}

#[test]
fn s4_a_login_that_has_ended_since_an_earlier_attempt_leaves_nothing_to_do() {
    let world = World::new();
    let mut state = world.arrived();
    let draft = world.draft(Some("alice"));
    state.plan_login((*draft.record).clone(), draft.token.clone(), None);
    let call = CreateCall { draft, edits: Edits::default(), max_data: 100, before: None, past: None };
    let answer = StoreAnswer::Created(call, Ok(Established::Gone));
    assert_eq!(state.answered(answer, &world.ctx()).unwrap_err().kind(), ErrorKind::Ended);
    assert!(!state.has_plan() && !state.is_live());
    assert_eq!(world.verdict(&state), CookieVerdict::Keep);
}

#[test]
fn s9_a_login_that_replaced_another_in_flight_is_looked_up_before_its_cookie_is_set() {
    let world = World::new();
    for (may_be_stale, verdict) in [(true, CookieVerdict::Recheck), (false, CookieVerdict::Set)] {
        let mut state = world.arrived();
        world.created(&mut state, Some("alice"), None, may_be_stale);
        assert_eq!(world.verdict(&state), verdict);
    }
}

#[test]
fn c5_a_login_and_a_logout_before_a_write_end_the_other_sessions_and_a_mere_write_does_not() {
    let world = World::new();
    for (subject, before, ends) in [
        (Some("alice"), None, Some(EndReason::Superseded)),
        (None, Some(EndReason::SignedOut), Some(EndReason::SignedOut)),
        (None, None, None),
    ] {
        let mut state = world.arrived();
        state.arrived_beside(SessionId::from_bytes([1; 16]), SecretHash::from_bytes([1; 32]));
        world.created(&mut state, subject, before, false);
        assert_eq!(state.plan.end_others, ends, "{subject:?}");
    }
}

/// The tombstone has to name the anonymous session, unless its end is not certain.
#[test]
fn s4_only_an_anonymous_session_follows_one_that_is_certainly_over() {
    let world = World::new();
    for (subject, is_certain, follows) in
        [(None, true, true), (None, false, false), (Some("alice"), true, false)]
    {
        let mut state = RequestState::default();
        state.start(CookieSent::Something, Millis::ZERO);
        let over = Past { is_certain, ..past(SessionId::from_bytes([1; 16])) };
        state.arrived_late(over);
        let new = world.created(&mut state, subject, None, false);
        assert!(state.past.is_none());
        assert_eq!(state.is_carried_out(Scope::All, &world.ctx()), !follows, "{subject:?} {is_certain}");
        let call = state.next_call(Scope::All, &world.ctx(), || Ok(token(b'C'))).unwrap();
        let names = matches!(call, Some(StoreCall::End(end)) if end.sid == over.sid
            && matches!(end.purpose, EndPurpose::Follow(sid) if sid == new));
        assert_eq!(names, follows, "{subject:?} {is_certain}");
    }
}

/// A login was first: its cookie must reach the browser, so the anonymous session goes.
#[test]
fn s4_an_anonymous_session_gives_way_to_a_login_that_followed_first() {
    let world = World::new();
    for is_login_first in [true, false] {
        let mut state = RequestState::default();
        state.start(CookieSent::Something, Millis::ZERO);
        let over = SessionId::from_bytes([1; 16]);
        state.arrived_late(past(over));
        let new = world.created(&mut state, None, None, false);
        let first = if is_login_first { SessionId::from_bytes([2; 16]) } else { new };
        let followed =
            ended(over, EndPurpose::Follow(new), Ok(already(tombstone(EndReason::Idle, Some(first)))));
        assert!(state.answered(followed, &world.ctx()).is_ok());
        if !is_login_first {
            assert!(!state.has_plan());
            assert_eq!(world.verdict(&state), CookieVerdict::Set);
            continue;
        }
        assert_eq!(world.verdict(&state), CookieVerdict::Keep, "not even before the end is stored");
        // What another task of the handler wrote since starts no session in its place.
        assert!(state.plan_edit("a".into(), Some(Json::from_text("1")), 100).is_ok());
        let call = state.next_call(Scope::All, &world.ctx(), || Ok(token(b'C'))).unwrap();
        assert!(matches!(call, Some(StoreCall::End(end)) if end.sid == new));
        let answer = ended(new, EndPurpose::Known, Ok(EndOutcome::Unknown));
        let error = state.answered(answer, &world.ctx()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Ended, "what was written is lost, and the handler hears of it");
        assert_eq!(world.verdict(&state), CookieVerdict::Keep);
    }
}

#[test]
fn a1_where_a_request_came_from_is_recorded_when_it_is_news() {
    let world = World::new();
    let ip = |last: u8| Some(std::net::IpAddr::from([127, 0, 0, last]));
    let seen = |last, agent: Option<&str>| LastSeen { ip: ip(last), user_agent: agent.map(Into::into) };
    let cases: [(LastSeen, u8, &str, Option<LastSeen>); 8] = [
        (seen(1, Some("a")), 1, "a", None),
        (seen(1, None), 1, "", None),
        (seen(1, None), 1, "ä", None),
        (seen(1, Some("a")), 2, "a", Some(seen(2, Some("a")))),
        (seen(1, None), 2, "", Some(seen(2, None))),
        (seen(1, Some("a")), 1, "b", Some(seen(1, Some("b")))),
        (seen(1, None), 1, "b", Some(seen(1, Some("b")))),
        (seen(1, Some("a")), 1, "ä", Some(seen(1, None))),
    ];
    for (known, last, agent, recorded) in cases {
        let mut record = blank();
        Arc::make_mut(&mut record.facts).device.last = known;
        let visit = Visit { ip: ip(last), user_agent: agent.as_bytes(), device: None };
        let touch = world.arrived_with(record, &visit).take_touch(&world.ctx()).unwrap();
        assert_eq!(touch.change.last_seen.as_deref(), recorded.as_ref(), "{last} {agent}");
    }
}

#[test]
fn l9_an_interaction_is_sent_once() {
    let world = World::new();
    let mut state = world.arrived();
    assert!(state.take_touch(&world.ctx()).is_some());
    assert!(state.take_touch(&world.ctx()).is_none());
}

#[test]
fn s3_the_handler_reads_what_each_of_its_saves_stored_and_what_was_loaded_since() {
    let world = World::new();
    let mut state = world.arrived();
    let sid = sid_of(&state);
    for (key, revision) in [("a", 1), ("b", 2)] {
        let mut edits = Edits::default();
        edits.set(key, Json::from_text("1"));
        let outcome = UpdateOutcome::Applied(applied(&state, revision));
        assert!(state.answered(updated(sid, edits, outcome), &world.ctx()).is_ok());
    }
    for key in ["a", "b"] {
        assert_eq!(state.value(key), Some(Json::from_text("1")), "{key}");
    }
    let outcome = UpdateOutcome::Applied(applied(&state, 3));
    assert!(state.answered(updated(sid, edit(), outcome), &world.ctx()).is_ok());
    let data = [("a", Json::from_text("2"))].into_iter().collect();
    let loaded = Record { data, revision: 4, ..(*state.known().unwrap().record).clone() };
    let answer = StoreAnswer::Loaded(LoadCall::Reload(sid), Ok(Some(Box::new(loaded))));
    assert!(state.answered(answer, &world.ctx()).is_ok());
    assert_eq!(state.value("a"), Some(Json::from_text("2")));
    assert_eq!(state.value("b"), None);
}

/// Else it would send the old token again, after that of the other request.
#[test]
fn c6_a_touch_that_finds_another_secret_sends_no_cookie() {
    let world = World::new();
    for another in [true, false] {
        let mut state = world.arrived();
        let mut applied = applied(&state, 0);
        applied.timing.last_interaction_at = NOW;
        let touch = state.take_touch(&world.ctx()).unwrap();
        if another {
            applied.secret = SecretHash::from_bytes([1; 32]);
        }
        let outcome = Ok(UpdateOutcome::Applied(applied));
        assert!(state.touched(touch.sid, &touch.secret, outcome, &world.ctx()).is_ok());
        let verdict = if another { CookieVerdict::Keep } else { CookieVerdict::Set };
        assert_eq!(world.verdict(&state), verdict);
    }
}

/// L5: another request may have recorded it, without an interaction.
#[test]
fn l5_a_lowering_that_the_store_knows_of_counts_at_once() {
    let world = World::new();
    let mut state = world.arrived();
    let mut applied = applied(&state, 1);
    applied.timing.lifetimes = Lifetimes::from_minutes(5, 480);
    let answer = updated(sid_of(&state), edit(), UpdateOutcome::Applied(applied));
    assert!(state.answered(answer, &world.ctx()).is_ok());
    assert_eq!(state.known().unwrap().record.timing.lifetimes, Lifetimes::from_minutes(5, 480));
}

#[test]
fn s6_a_look_that_fails_leaves_a_moved_expiry_for_later_and_a_new_token_for_now() {
    let world = World::new();
    for is_new in [true, false] {
        let mut state = world.arrived();
        if is_new {
            world.created(&mut state, Some("alice"), None, false);
        } else {
            let mut applied = applied(&state, 1);
            applied.timing.last_interaction_at = NOW;
            let answer = updated(sid_of(&state), edit(), UpdateOutcome::Applied(applied));
            assert!(state.answered(answer, &world.ctx()).is_ok());
        }
        state.handler_waits();
        assert_eq!(world.verdict(&state), CookieVerdict::Recheck);
        let answer = StoreAnswer::Loaded(LoadCall::RecheckLive(sid_of(&state)), Err(failure()));
        assert!(state.answered(answer, &world.ctx()).is_ok());
        let verdict = if is_new { CookieVerdict::Set } else { CookieVerdict::Keep };
        assert_eq!(world.verdict(&state), verdict);
    }
}

#[test]
fn s4_a_session_that_ended_elsewhere_is_not_taken_for_live() {
    let world = World::new();
    let mut state = world.arrived();
    let gone = UpdateOutcome::Gone(Some(tombstone(EndReason::Revoked, None)));
    let sid = sid_of(&state);
    assert!(state.answered(updated(sid, edit(), gone), &world.ctx()).is_err());
    assert_eq!(state.past(NOW).unwrap().reason, EndReason::Revoked);
    #[cfg(feature = "device-binding")]
    assert!(!state.may_be_live_elsewhere());
}

#[test]
fn s4_the_store_is_asked_before_the_response_if_a_tombstone_has_to_name_the_new_session() {
    let world = World::new();
    for follows in [true, false] {
        let mut state = RequestState::default();
        state.start(CookieSent::Something, Millis::ZERO);
        if follows {
            state.arrived_late(past(SessionId::from_bytes([1; 16])));
        }
        world.created(&mut state, None, None, false);
        assert_eq!(state.close(false, || world.ctx()).is_none(), follows);
    }
}

/// Its place is used again for the next request, which may be another user's.
#[test]
fn h5_nothing_of_a_request_is_left_for_the_next_one() {
    let world = World::new();
    let mut state = world.arrived();
    let other = SessionId::from_bytes([1; 16]);
    state.keep_longer = Millis::new(1);
    state.arrived_unproven();
    state.arrived_beside(other, SecretHash::from_bytes([1; 32]));
    state.past = Some(past(other));
    state.follows = Follows::Past(past(other));
    state.handler_waits();
    state.touch_must_succeed();
    state.plan_end(EndReason::SignedOut);
    state.close(false, || world.ctx());
    state.reset();
    assert_eq!(format!("{state:?}"), format!("{:?}", RequestState::default()));
}

/// What was written beside a logout is lost if the browser has a newer cookie, and the logout is not.
#[test]
fn s4_a_logout_goes_on_without_what_was_written_for_a_browser_that_has_a_newer_cookie() {
    let world = World::new();
    let mut state = world.arrived();
    state.arrived_with_old_secret();
    state.plan_end(EndReason::SignedOut);
    assert!(state.plan_edit("a".into(), Some(Json::from_text("1")), 100).is_ok());
    let sid = sid_of(&state);
    let call = state.next_call(Scope::All, &world.ctx(), || Ok(token(b'C'))).unwrap();
    assert!(matches!(call, Some(StoreCall::End(end)) if end.sid == sid));
    let outcome = already(tombstone(EndReason::SignedOut, None));
    assert!(state.answered(ended(sid, EndPurpose::Known, Ok(outcome)), &world.ctx()).is_ok());
    assert!(state.next_call(Scope::All, &world.ctx(), || Ok(token(b'C'))).unwrap().is_none());
    assert!(!state.has_plan());
}

/// E2: how old the authentication was, and how long the session was idle, before this request.
#[test]
fn e2_only_a_login_changes_what_a_route_judges_by() {
    let world = World::new();
    for (subject, judged_by_new) in [(None, false), (Some("alice"), true)] {
        let mut state = world.arrived();
        let before = state.known().unwrap().record.timing;
        let draft = world.draft(subject);
        let new = draft.record.timing;
        assert_ne!(new, before);
        state.plan.new = Some(draft);
        assert_eq!(state.timing_on_arrival(), Some(if judged_by_new { new } else { before }));
    }
}
