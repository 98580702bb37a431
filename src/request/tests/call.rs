//! Which calls a request makes to the store.

use super::*;

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

#[test]
fn a1_where_a_request_came_from_is_recorded_when_it_changed() {
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

/// What was written beside a logout is lost if the browser has a newer cookie, and the logout is
/// not.
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
    let outcome = already(tombstone(EndReason::SignedOut, NOW));
    assert!(state.answered(ended(sid, EndPurpose::Known, Ok(outcome)), &world.ctx()).is_ok());
    assert!(state.next_call(Scope::All, &world.ctx(), || Ok(token(b'C'))).unwrap().is_none());
    assert!(!state.has_plan());
}
