//! What each answer of a store does to what a request knows.

use super::*;

/// Else a compare-and-set by what was loaded would put its value over one that it never saw.
#[test]
fn s3_the_revision_is_the_stores_only_if_no_other_request_wrote() {
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
    let over = Record { ended: Some(tombstone(EndReason::Revoked, NOW)), revision: 7, ..(*before).clone() };
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
fn s4_a_session_that_ended_elsewhere_is_not_taken_for_live() {
    let world = World::new();
    let mut state = world.arrived();
    let gone = UpdateOutcome::Gone(Some(tombstone(EndReason::Revoked, NOW)));
    let sid = sid_of(&state);
    assert!(state.answered(updated(sid, edit(), gone), &world.ctx()).is_err());
    assert_eq!(state.past(NOW).unwrap().reason, EndReason::Revoked);
    #[cfg(feature = "device-binding")]
    assert!(!state.may_be_live_elsewhere());
}
