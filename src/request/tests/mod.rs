//! What each answer of a store means, event by event: what a whole request seldom gets to see.

mod answer;
mod call;
mod cookie;

use std::{sync::Arc, time::Duration};

use super::{call::EndCall, judge::Live, known::Due, plan::Draft, *};
use crate::record::{
    Applied, CallId, Edits, EndOutcome, EndReason, Facts, LastSeen, Lifetimes, Proof, Record, Successor,
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

/// Of a session that has no successor, and no work that waits.
pub(crate) fn tombstone(reason: EndReason, at: Timestamp) -> Tombstone {
    let call = CallId::default();
    Tombstone { reason, at, forget_at: at, call, successor: None, work_until: None }
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
