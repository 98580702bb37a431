//! Handwritten histories: one that keeps all rules, and for each rule changes that break it.

use tower_tenure::EndReason;

use super::super::{
    check::check,
    record::{
        Answer, Ask, Call, Cookie, Emitted, Found, History, InForce, Moment, Outcome, Sid, Terms, Token,
    },
};

const SECOND: i64 = 1000;
const IDLE: i64 = 20 * SECOND;
const ABSOLUTE: i64 = 90 * SECOND;

/// A history of calls one after another, a second apart.
struct Story(History);

impl Story {
    fn new() -> Self {
        let terms = Terms {
            skew: 0,
            granularity: 0,
            grace: 5 * SECOND,
            everybody_within: 2 * SECOND,
            retention: 3600 * SECOND,
            cap: 1,
            has_faults: false,
            has_kills: false,
            is_settled: false,
        };
        let policies = vec![InForce { from: Moment::default(), idle: IDLE, absolute: ABSOLUTE }];
        Self(History { terms, calls: Vec::new(), emitted: Vec::new(), policies })
    }

    fn now(&self) -> Moment {
        let calls = self.0.calls.last().and_then(|call| call.end);
        let last = calls.into_iter().chain(self.0.emitted.last().map(|emitted| emitted.when));
        last.max_by_key(|moment| moment.tick).unwrap_or_default()
    }

    /// A call that begins this long after the previous one.
    fn later(&mut self, by: i64, ask: Ask, token: Option<Token>, answer: Answer) -> &mut Self {
        let now = self.now();
        let start = Moment { tick: now.tick + 1, at: now.at + by };
        let end = Some(Moment { tick: now.tick + 2, at: start.at });
        let (browser, node, clock) = (0, 0, start.at);
        self.0.calls.push(Call { browser, node, clock, token, ask, start, end, answer });
        self
    }

    fn then(&mut self, ask: Ask, token: Option<Token>, answer: Answer) -> &mut Self {
        self.later(SECOND, ask, token, answer)
    }

    /// A login without an earlier session. Session and cookie have the same number.
    fn login(&mut self, sid: Sid) -> &mut Self {
        self.then(Ask::LogIn(1), None, Answer { sid: Some(sid), cookie: Cookie::Set(sid), ..done() })
    }

    fn emitted(&mut self, sid: Sid, reason: EndReason) -> &mut Self {
        let now = self.now();
        let when = Moment { tick: now.tick + 1, ..now };
        self.0.emitted.push(Emitted { sid, reason, node: 0, when });
        self
    }

    /// What a call that finds the session sees, with the last interaction just now.
    fn found(&self, sid: Sid) -> Found {
        let before = self.0.calls.iter().rev().find(|call| call.found() == Some(sid));
        let before = before.map(|call| call.answer.clone()).unwrap_or_default();
        let list = before.appended.or(before.found.map(|found| found.list)).unwrap_or_default();
        let birth = self.0.calls.iter().find(|call| call.began().is_some_and(|(began, _)| began == sid));
        let created = birth.map_or(0, |birth| birth.clock);
        Found {
            sid,
            user: Some(1),
            created,
            idle_expires: self.now().at + SECOND + IDLE,
            expires: created + ABSOLUTE,
            list,
            ..Found::default()
        }
    }

    /// A read that finds the session with this list.
    fn reads(&mut self, sid: Sid, list: &[u32]) -> &mut Self {
        let found = Found { list: list.to_vec(), ..self.found(sid) };
        self.then(Ask::Read, Some(sid), finds(found))
    }

    fn appends(&mut self, sid: Sid, before: &[u32], value: u32) -> &mut Self {
        let found = Found { list: before.to_vec(), ..self.found(sid) };
        let appended = Some([before, &[value]].concat());
        self.then(Ask::Append(value), Some(sid), Answer { appended, ..finds(found) })
    }

    fn logout(&mut self, sid: Sid) -> &mut Self {
        let found = self.found(sid);
        self.then(Ask::LogOut, Some(sid), Answer { sid: None, cookie: Cookie::Removed, ..finds(found) })
    }

    /// A read that sees why the session is over.
    fn sees_end(&mut self, sid: Sid, reason: EndReason) -> &mut Self {
        self.then(Ask::Read, Some(sid), Answer { past: Some(reason), ..done() })
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Call)) -> &mut Self {
        edit(self.0.calls.last_mut().expect("a call"));
        self
    }

    fn edit_found(&mut self, edit: impl FnOnce(&mut Found)) -> &mut Self {
        self.edit(|call| edit(call.answer.found.as_mut().expect("it found a session")))
    }

    fn keeps_the_rules(&self) {
        check(&self.0).unwrap();
    }

    fn breaks(&self, rule: &str) {
        let broken = check(&self.0).expect_err(rule);
        assert!(broken.violations.iter().any(|violation| violation.rule == rule), "not {rule}: {broken}");
    }
}

fn done() -> Answer {
    Answer { outcome: Outcome::Done, handled: true, ..Answer::default() }
}

fn finds(found: Found) -> Answer {
    Answer { sid: Some(found.sid), found: Some(found), ..done() }
}

fn write(value: u32) -> Ask {
    Ask::Write { key: 0, value }
}

#[test]
fn a_life_from_login_to_logout_keeps_the_rules() {
    let mut story = Story::new();
    story.login(1).appends(1, &[], 7).appends(1, &[7], 8).reads(1, &[7, 8]).logout(1);
    story.emitted(1, EndReason::SignedOut).sees_end(1, EndReason::SignedOut);
    story.0.terms.is_settled = true;
    story.keeps_the_rules();
}

#[test]
fn writes_that_are_lost_twice_there_refused_or_of_others_break_the_rule_of_writes() {
    let begun = || {
        let mut story = Story::new();
        story.login(1).appends(1, &[], 7);
        story
    };
    begun().reads(1, &[7]).keeps_the_rules();
    begun().reads(1, &[]).breaks("writes");
    begun().reads(1, &[7, 7]).breaks("writes");
    begun().reads(1, &[7, 9]).breaks("writes");
    begun()
        .appends(1, &[7], 8)
        .edit(|call| call.answer.outcome = Outcome::Over)
        .reads(1, &[7, 8])
        .breaks("writes");
    // A call without an answer may have taken effect or not.
    let lost = |list: &[u32]| {
        let mut story = begun();
        story.appends(1, &[7], 8).edit(|call| call.answer = Answer::default());
        story.reads(1, list).keeps_the_rules();
    };
    lost(&[7]);
    lost(&[7, 8]);
    begun().reads(1, &[7]).edit(|call| call.browser = 1).breaks("writes");
}

#[test]
fn a_register_that_is_lost_or_stale_breaks_the_rule_of_writes() {
    let registers = |read: &[(u8, u32)]| {
        let mut story = Story::new();
        story.login(1);
        for value in [7, 8] {
            let found = story.found(1);
            story.then(write(value), Some(1), finds(found));
            if value == 8 {
                story.edit_found(|found| found.registers = vec![(0, 7)]);
            }
        }
        story.reads(1, &[]).edit_found(|found| found.registers = read.to_vec());
        story
    };
    registers(&[(0, 8)]).keeps_the_rules();
    registers(&[(0, 7)]).breaks("writes");
    registers(&[]).breaks("writes");
}

#[test]
fn data_that_a_login_does_not_take_over_breaks_the_rule_of_writes() {
    let again = |list: &[u32]| {
        let mut story = Story::new();
        story.login(1).appends(1, &[], 7);
        let found = Found { list: vec![7], ..story.found(1) };
        let answer = Answer { sid: Some(2), cookie: Cookie::Set(2), ..finds(found) };
        story.then(Ask::LogIn(1), Some(1), answer).emitted(1, EndReason::Superseded).reads(2, list);
        story
    };
    again(&[7]).keeps_the_rules();
    again(&[]).breaks("writes");
}

#[test]
fn a_session_that_is_found_after_its_end_breaks_the_rule_of_ends() {
    Story::new().login(1).logout(1).reads(1, &[]).breaks("ends");
    Story::new().login(1).emitted(1, EndReason::Idle).reads(1, &[]).breaks("ends");
    Story::new().login(1).then(Ask::RevokeOne(1), None, done()).reads(1, &[]).breaks("ends");
    Story::new().login(1).sees_end(1, EndReason::Idle).reads(1, &[]).breaks("ends");
    // A call that began before the end may find the session.
    let mut story = Story::new();
    story.login(1).logout(1).reads(1, &[]);
    story.0.calls[2].start.tick = story.0.calls[1].start.tick;
    story.keeps_the_rules();
}

#[test]
fn a_session_that_outlives_a_revocation_of_all_breaks_the_rule_of_revocations() {
    let after = |ask: Ask, wait: i64, node: usize| {
        let mut story = Story::new();
        story.login(1).then(ask, None, done()).edit(|call| call.node = node);
        let found = Found { idle_expires: story.now().at + wait + IDLE, ..story.found(1) };
        story.later(wait, Ask::Read, Some(1), finds(found));
        story
    };
    let subject = |user, except| Ask::RevokeSubject { user, except };
    after(subject(1, None), 1, 1).breaks("revocations");
    after(subject(1, Some(9)), 1, 1).breaks("revocations");
    after(subject(1, Some(1)), 1, 1).keeps_the_rules();
    after(subject(2, None), 1, 1).keeps_the_rules();
    after(Ask::RevokeEverybody, 1, 0).breaks("revocations");
    after(Ask::RevokeEverybody, 1999, 1).keeps_the_rules();
    after(Ask::RevokeEverybody, 2000, 1).breaks("revocations");
    // A login in flight is covered, too.
    let mut story = after(subject(1, None), 1, 1);
    story.0.calls[0].end = story.0.calls[1].end;
    story.breaks("revocations");
}

#[test]
fn a_session_that_outlives_a_deadline_breaks_the_rule_of_deadlines() {
    let used = |after: i64| {
        let mut story = Story::new();
        story.login(1);
        let found = Found { idle_expires: story.now().at + after + IDLE, ..story.found(1) };
        story.later(after, Ask::Read, Some(1), finds(found));
        story
    };
    used(IDLE - 1).keeps_the_rules();
    used(IDLE).breaks("deadlines");
    let long = |seconds: i64| {
        let mut story = Story::new();
        story.login(1);
        for _ in 0..seconds {
            story.reads(1, &[]);
        }
        story
    };
    long(89).keeps_the_rules();
    long(90).breaks("deadlines");
    // A lowered policy applies at once.
    let mut story = used(15 * SECOND);
    let from = story.0.calls[0].end.unwrap();
    story.0.policies.push(InForce { from, idle: 15 * SECOND, absolute: ABSOLUTE });
    story.breaks("deadlines");
    // A passive request extends nothing.
    let mut story = Story::new();
    story.login(1);
    for _ in 0..25 {
        story.reads(1, &[]).edit(|call| call.ask = Ask::Peek);
    }
    story.breaks("deadlines");
    Story::new().login(1).reads(1, &[]).edit_found(|found| found.expires += 1).breaks("deadlines");
    Story::new().login(1).reads(1, &[]).edit_found(|found| found.idle_expires -= 1).breaks("deadlines");
}

#[test]
fn an_end_without_a_cause_breaks_the_rule_of_causes() {
    let over = |after: i64, reason: Option<EndReason>| {
        let mut story = Story::new();
        story.login(1).later(after, Ask::Read, Some(1), Answer { past: reason, ..done() });
        story
    };
    over(IDLE, Some(EndReason::Idle)).keeps_the_rules();
    over(IDLE - 1, Some(EndReason::Idle)).breaks("causes");
    over(ABSOLUTE - 1, Some(EndReason::Absolute)).breaks("causes");
    for reason in [EndReason::SignedOut, EndReason::Revoked, EndReason::Evicted, EndReason::Superseded] {
        over(SECOND, Some(reason)).breaks("causes");
    }
    over(SECOND, None).breaks("causes");
    let mut story = Story::new();
    story.login(1).then(Ask::RevokeOne(1), None, done()).sees_end(1, EndReason::Revoked).keeps_the_rules();
    // A granularity, or a clock of another node that is ahead, explains the early end.
    let mut story = over(IDLE - 1, Some(EndReason::Idle));
    story.0.calls[1].clock += 1;
    story.keeps_the_rules();
    // The clock of a call that could not have ended the session does not explain it.
    let mut story = over(IDLE - 1, Some(EndReason::Idle));
    let other = Call {
        browser: 1,
        ask: Ask::LogIn(2),
        clock: SECOND + IDLE,
        answer: Answer { sid: Some(2), cookie: Cookie::Set(2), ..done() },
        ..story.0.calls[0].clone()
    };
    story.0.calls.insert(1, other);
    story.breaks("causes");
    let refused = Answer { outcome: Outcome::Full, ..done() };
    Story::new().then(Ask::LogIn(1), None, refused.clone()).breaks("causes");
    Story::new().login(1).then(Ask::LogIn(1), None, refused).keeps_the_rules();
    let unavailable = Answer { outcome: Outcome::Unavailable, ..Answer::default() };
    Story::new().then(Ask::Read, None, unavailable).breaks("causes");
}

#[test]
fn more_live_sessions_than_the_cap_break_the_rule_of_caps() {
    Story::new().login(1).login(2).reads(1, &[]).reads(2, &[]).breaks("caps");
    Story::new().login(1).reads(1, &[]).login(2).reads(2, &[]).keeps_the_rules();
}

#[test]
fn an_end_that_is_emitted_twice_never_or_otherwise_breaks_the_rule_of_events() {
    let ended = || {
        let mut story = Story::new();
        story.0.terms.is_settled = true;
        story.login(1).logout(1);
        story
    };
    ended().emitted(1, EndReason::SignedOut).keeps_the_rules();
    ended().breaks("events");
    ended().emitted(1, EndReason::SignedOut).emitted(1, EndReason::SignedOut).breaks("events");
    ended().emitted(1, EndReason::Idle).sees_end(1, EndReason::SignedOut).breaks("events");
    // An end that was lost with its killed node needs no event.
    ended().edit(|call| (call.end, call.answer) = (None, Answer::default())).keeps_the_rules();
    // Only a login of the same browser may end an anonymous session without its cookie.
    let killed = |story: &mut Story, browser| {
        story
            .then(Ask::LogIn(2), None, Answer::default())
            .edit(|call| (call.end, call.browser) = (None, browser));
    };
    let anonymous = |browser| {
        let mut story = Story::new();
        story.0.terms.is_settled = true;
        story.then(Ask::Append(7), None, Answer { sid: Some(1), cookie: Cookie::Set(1), ..done() });
        story.logout(1).edit_found(|found| (found.user, found.list) = (None, vec![7]));
        killed(&mut story, browser);
        story
    };
    anonymous(0).keeps_the_rules();
    anonymous(1).breaks("events");
    let mut of_a_user = ended();
    killed(&mut of_a_user, 0);
    of_a_user.breaks("events");
}

#[test]
fn a_cookie_that_leads_to_another_session_breaks_the_rule_of_identity() {
    let both = || {
        let mut story = Story::new();
        story.0.terms.cap = 2;
        story.login(1).login(2);
        story
    };
    both().reads(1, &[]).keeps_the_rules();
    both().reads(1, &[]).edit(|call| call.token = Some(2)).breaks("identity");
    both().reads(1, &[]).edit(|call| call.token = None).breaks("identity");
    both().reads(1, &[]).edit_found(|found| found.user = Some(2)).breaks("identity");
}

#[test]
fn a_replaced_secret_that_works_after_its_grace_breaks_the_rule_of_rotations() {
    let after = |ask: Ask, wait: i64| {
        let mut story = Story::new();
        story.login(1);
        let found = story.found(1);
        story.then(ask, Some(1), Answer { cookie: Cookie::Set(5), ..finds(found) });
        let found = Found { idle_expires: story.now().at + wait + IDLE, ..story.found(1) };
        story.later(wait, Ask::Read, Some(1), finds(found));
        story
    };
    after(Ask::Rotate, 4999).keeps_the_rules();
    after(Ask::Rotate, 5000).breaks("rotations");
    after(Ask::RotateNow, 1).breaks("rotations");
}

#[test]
fn a_list_that_has_what_is_over_or_lacks_what_is_live_breaks_the_rule_of_lists() {
    let listed = |sids: &[Sid]| Answer { listed: sids.to_vec(), ..done() };
    Story::new().login(1).then(Ask::List(1), None, listed(&[1])).reads(1, &[]).keeps_the_rules();
    Story::new().login(1).then(Ask::List(1), None, listed(&[])).reads(1, &[]).breaks("lists");
    Story::new().login(1).then(Ask::List(2), None, listed(&[1])).breaks("lists");
    Story::new().login(1).logout(1).then(Ask::List(1), None, listed(&[1])).breaks("lists");
}
