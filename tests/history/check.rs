//! The judgement of a record: an index of it, and the rules one after another.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::{
    record::{Ask, Browser, Call, History, Outcome, Sid, Token, Told, User},
    rules,
};

/// A record, with what belongs to each session found beforehand.
pub(crate) struct View<'a> {
    pub(crate) history: &'a History,
    pub(crate) sessions: BTreeMap<Sid, Life<'a>>,
    /// The session that a cookie belongs to, and the call whose answer set it.
    pub(crate) tokens: HashMap<Token, (Sid, &'a Call)>,
    /// The call that writes a number.
    pub(crate) writers: HashMap<u32, &'a Call>,
}

/// What the record says of a session.
pub(crate) struct Life<'a> {
    pub(crate) sid: Sid,
    /// The call that began it, by its own answer. `None` where that was lost.
    pub(crate) birth: Option<&'a Call>,
    /// The calls that found it live.
    pub(crate) finds: Vec<&'a Call>,
    /// The calls that brought a cookie of it.
    pub(crate) brought: Vec<&'a Call>,
    pub(crate) told: Vec<&'a Told>,
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

    /// Whether a login may end it without its cookie: an anonymous session that followed one which was over, by a login of the
    /// same browser that still had the cookie of that one.
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
        for told in &history.told {
            view.life(told.sid).told.push(told);
        }
        view
    }

    fn life(&mut self, sid: Sid) -> &mut Life<'a> {
        self.sessions.entry(sid).or_insert_with(|| Life {
            sid,
            birth: None,
            finds: Vec::new(),
            brought: Vec::new(),
            told: Vec::new(),
        })
    }

    /// The earliest moment, by a node's clock, at which the idle deadline may have come for a call that began at tick `before`
    /// and had done its work by tick `by`.
    pub(crate) fn idle_floor(&self, life: &Life<'_>, before: u64, by: u64) -> Option<i64> {
        let (birth, terms) = (life.birth?, &self.history.terms);
        // Where calls to the store may fail, an interaction that is answered need not be recorded.
        let certain = life.finds.iter().filter(|call| {
            !terms.has_faults
                && call.ask.is_interaction()
                && call.ended() < before
                && call.answer.outcome != Outcome::Unavailable
        });
        let last = certain.map(|call| call.clock - terms.granularity).fold(birth.clock, i64::max);
        Some(last + self.history.shortest_between(birth.start.tick, by).0)
    }

    /// The earliest moment at which the absolute deadline may have come.
    pub(crate) fn absolute_floor(&self, life: &Life<'_>, by: u64) -> Option<i64> {
        let birth = life.birth?;
        Some(birth.clock + self.history.shortest_between(birth.start.tick, by).1)
    }

    /// The tick after which the session is over by an answer or an event, and what that was.
    pub(crate) fn end_known(&self, life: &Life<'_>) -> Option<(u64, String)> {
        let told = life.told.iter().map(|told| (told.when.tick, format!("it was told: {}", told.reason)));
        let answered = life.brought.iter().chain(&life.finds).filter_map(|call| {
            let end = call.end?.tick;
            let found_it = call.found() == Some(life.sid);
            let ends = matches!(call.ask, Ask::LogOut | Ask::LogIn(_)) && call.is_done() && found_it;
            // Where calls to the store fail, a deadline that passed by one node's clock need not be recorded.
            let shown = call.answer.past.is_some() && !self.history.terms.has_faults;
            (ends || shown).then(|| (end, format!("after {call}")))
        });
        let revoked = self.history.calls.iter().filter_map(|call| {
            let is_it = call.ask == Ask::RevokeOne(life.sid) && call.is_done();
            is_it.then(|| (call.ended(), format!("after {call}")))
        });
        told.chain(answered).chain(revoked).min_by_key(|(tick, _)| *tick)
    }
}

/// A rule that the record breaks.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) rule: &'static str,
    what: String,
    sid: Option<Sid>,
}

/// All that is wrong with a record, with the story of the sessions that it is about.
pub(crate) struct Broken {
    pub(crate) violations: Vec<Violation>,
    stories: Vec<String>,
}

/// Where a rule says what is wrong.
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

/// Whether a record keeps all rules.
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

/// All that the record has of a session, in order.
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
    let told = view.history.told.iter().filter(|told| told.sid == sid);
    lines.extend(told.map(|told| (told.when.tick, format!("{told:?}"))));
    lines.extend(view.history.policies.iter().map(|policy| (policy.from.tick, format!("{policy:?}"))));
    lines.sort();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    format!("session {sid}:\n  {}", lines.join("\n  "))
}

impl Broken {
    /// Whether nothing is wrong but that an end was not told yet.
    pub(crate) fn is_untold(&self) -> bool {
        self.violations.iter().all(|violation| violation.what == rules::NEVER_TOLD)
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
