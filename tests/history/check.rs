//! Checks a history: builds an index of it, and applies the rules one after another.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::{
    record::{Ask, Browser, Call, Emitted, History, Outcome, Sid, Token, User},
    rules,
};

/// A history with an index of what belongs to each session.
pub(crate) struct View<'a> {
    pub(crate) history: &'a History,
    pub(crate) sessions: BTreeMap<Sid, Life<'a>>,
    /// The session of each cookie, and the call whose answer set it.
    pub(crate) tokens: HashMap<Token, (Sid, &'a Call)>,
    /// The call that writes each number.
    pub(crate) writers: HashMap<u32, &'a Call>,
}

/// What the history contains about a session.
pub(crate) struct Life<'a> {
    pub(crate) sid: Sid,
    /// The call that began the session, by its own answer. `None` if that answer was lost.
    pub(crate) birth: Option<&'a Call>,
    /// The calls that found it live.
    pub(crate) finds: Vec<&'a Call>,
    /// The calls that sent a cookie of the session.
    pub(crate) brought: Vec<&'a Call>,
    pub(crate) emitted: Vec<&'a Emitted>,
}

impl Life<'_> {
    pub(crate) fn user(&self) -> Option<User> {
        match self.birth?.ask {
            Ask::LogIn(user) => Some(user),
            _ => None,
        }
    }

    pub(crate) fn browser(&self) -> Option<Browser> {
        Some(self.birth?.browser)
    }

    /// Whether a login may end the session without its cookie. That is so for an anonymous session
    /// that followed an ended one, if the browser's login still had the cookie of the ended one.
    pub(crate) fn may_be_followed(&self, login: &Call) -> bool {
        self.user().is_none() && self.browser() == Some(login.browser)
    }
}

impl<'a> View<'a> {
    pub(crate) fn new(history: &'a History) -> Self {
        let mut view =
            Self { history, sessions: BTreeMap::new(), tokens: HashMap::new(), writers: HashMap::new() };
        for call in &history.calls {
            if let Some(value) = call.ask.value() {
                view.writers.insert(value, call);
            }
            if let Some((sid, token)) = call.began() {
                view.life(sid).birth.get_or_insert(call);
                view.tokens.insert(token, (sid, call));
            } else if let (super::record::Cookie::Set(token), Some(sid)) =
                (call.answer.cookie, call.answer.sid)
            {
                view.tokens.insert(token, (sid, call));
            }
        }
        for call in &history.calls {
            if let Some(found) = call.found() {
                view.life(found).finds.push(call);
            }
            if let Some((sid, _)) = call.token.and_then(|token| view.tokens.get(&token).copied()) {
                view.life(sid).brought.push(call);
            }
        }
        for emitted in &history.emitted {
            view.life(emitted.sid).emitted.push(emitted);
        }
        view
    }

    fn life(&mut self, sid: Sid) -> &mut Life<'a> {
        self.sessions.entry(sid).or_insert_with(|| Life {
            sid,
            birth: None,
            finds: Vec::new(),
            brought: Vec::new(),
            emitted: Vec::new(),
        })
    }

    /// The earliest time, by a node's clock, at which the idle deadline may have passed for a call
    /// that began at tick `before` and was done by tick `by`.
    pub(crate) fn idle_floor(&self, life: &Life<'_>, before: u64, by: u64) -> Option<i64> {
        let (birth, terms) = (life.birth?, &self.history.terms);
        // If calls to the store may fail, an answered interaction may be unrecorded.
        let certain = life.finds.iter().filter(|call| {
            !terms.has_faults
                && call.ask.is_interaction()
                && call.ended() < before
                && call.answer.outcome != Outcome::Unavailable
        });
        let last = certain.map(|call| call.clock - terms.granularity).fold(birth.clock, i64::max);
        Some(last + self.history.shortest_between(birth.start.tick, by).0)
    }

    /// The earliest time at which the absolute deadline may have passed.
    pub(crate) fn absolute_floor(&self, life: &Life<'_>, by: u64) -> Option<i64> {
        let birth = life.birth?;
        Some(birth.clock + self.history.shortest_between(birth.start.tick, by).1)
    }

    /// The tick after which the session is over by an answer or an event, and a description of it.
    pub(crate) fn end_known(&self, life: &Life<'_>) -> Option<(u64, String)> {
        let emitted =
            life.emitted.iter().map(|emitted| (emitted.when.tick, format!("an event: {}", emitted.reason)));
        let answered = life.brought.iter().chain(&life.finds).filter_map(|call| {
            let end = call.end?.tick;
            let found_it = call.found() == Some(life.sid);
            let ends = matches!(call.ask, Ask::LogOut | Ask::LogIn(_)) && call.is_done() && found_it;
            // If calls to the store fail, an end by one node's clock may be unrecorded.
            let shown = call.answer.past.is_some() && !self.history.terms.has_faults;
            (ends || shown).then(|| (end, format!("after {call}")))
        });
        let revoked = self.history.calls.iter().filter_map(|call| {
            let is_it = call.ask == Ask::RevokeOne(life.sid) && call.is_done();
            is_it.then(|| (call.ended(), format!("after {call}")))
        });
        emitted.chain(answered).chain(revoked).min_by_key(|(tick, _)| *tick)
    }
}

/// A rule that the history breaks.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    what: String,
    sid: Option<Sid>,
}

/// All violations of a history, with the stories of the sessions concerned.
pub(crate) struct Broken {
    pub(crate) violations: Vec<Violation>,
    stories: Vec<String>,
}

/// Collects the violations of a rule.
pub(crate) struct Findings {
    rule: &'static str,
    violations: Vec<Violation>,
}

impl Findings {
    pub(crate) fn add(&mut self, sid: impl Into<Option<Sid>>, what: impl fmt::Display) {
        self.violations.push(Violation { rule: self.rule, what: what.to_string(), sid: sid.into() });
    }
}

/// How many violations are shown in full.
const SHOWN: usize = 3;

/// Checks a history against all rules.
pub(crate) fn check(history: &History) -> Result<(), Broken> {
    let view = View::new(history);
    let mut violations = Vec::new();
    for (rule, judge) in rules::ALL {
        let mut findings = Findings { rule, violations: Vec::new() };
        judge(&view, &mut findings);
        violations.append(&mut findings.violations);
    }
    if violations.is_empty() {
        return Ok(());
    }
    let stories = violations.iter().take(SHOWN).filter_map(|found| found.sid);
    let stories = stories.map(|sid| story(&view, sid)).collect();
    Err(Broken { violations, stories })
}

/// Everything in the history about a session, in order.
fn story(view: &View<'_>, sid: Sid) -> String {
    let mut lines: Vec<(u64, String)> = Vec::new();
    let user = view.sessions.get(&sid).and_then(Life::user);
    let mentions = |call: &Call| match &call.ask {
        Ask::RevokeOne(one) => *one == sid,
        Ask::RevokeSubject { user: whose, .. } => Some(*whose) == user,
        Ask::RevokeEverybody | Ask::Sweep => true,
        Ask::LogIn(whose) if Some(*whose) == user => true,
        _ => call.answer.sid == Some(sid) || call.found() == Some(sid) || call.answer.listed.contains(&sid),
    };
    let brought = view.sessions.get(&sid).map_or(&[][..], |life| &life.brought);
    let calls = view.history.calls.iter();
    let calls = calls.filter(|call| mentions(call) || brought.iter().any(|other| other.start == call.start));
    lines.extend(calls.map(|call| (call.start.tick, call.to_string())));
    let emitted = view.history.emitted.iter().filter(|emitted| emitted.sid == sid);
    lines.extend(emitted.map(|emitted| (emitted.when.tick, format!("{emitted:?}"))));
    lines.extend(view.history.policies.iter().map(|policy| (policy.from.tick, format!("{policy:?}"))));
    lines.sort();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    format!("session {sid}:\n  {}", lines.join("\n  "))
}

impl Broken {
    /// Whether the only violations are ends that were not emitted yet.
    pub(crate) fn is_only_missing_events(&self) -> bool {
        self.violations.iter().all(|violation| violation.what == rules::NEVER_EMITTED)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} violations", self.violations.len())?;
        for Violation { rule, what, sid } in self.violations.iter().take(3 * SHOWN) {
            writeln!(f, "{rule}: {what} (session {sid:?})")?;
        }
        self.stories.iter().try_for_each(|story| writeln!(f, "{story}"))
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
