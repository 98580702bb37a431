//! What the answers of a store mean for the cookie of the response.

use super::*;

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
fn c4_a_logout_after_a_login_in_the_same_browser_removes_no_cookie() {
    let world = World::new();
    for (reason, verdict) in
        [(EndReason::Superseded, CookieVerdict::Keep), (EndReason::Revoked, CookieVerdict::Remove)]
    {
        let mut state = world.arrived();
        state.plan_end(EndReason::SignedOut);
        let answer = ended(sid_of(&state), EndPurpose::Known, Ok(already(tombstone(reason, NOW))));
        assert!(state.answered(answer, &world.ctx()).is_ok());
        assert_eq!(world.verdict(&state), verdict, "{reason}");
        assert!(!state.has_plan());
    }
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
        let successor = Some(Successor { sid: first, at: NOW });
        let named = Tombstone { successor, ..tombstone(EndReason::Idle, NOW) };
        let followed = ended(over, EndPurpose::Follow(new), Ok(already(named)));
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
