//! The recorded history of a run, as plain data. The rules use nothing else.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tower_tenure::EndReason;

/// Sessions and cookies are numbered in order of appearance, so that two runs of a seed give the
/// same history.
pub(crate) type Sid = u32;
pub(crate) type Token = u32;
pub(crate) type User = u8;
/// One browser with one cookie. Its tabs send requests concurrently.
pub(crate) type Browser = u8;

/// A position in the total order of all recorded things, and the true time there in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) tick: u64,
    pub(crate) at: i64,
}

/// The kinds of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Read,
    /// Like [`Ask::Read`], by a passive request.
    Peek,
    /// Appends this number, which no other call writes, to the session's list, with
    /// compare-and-set.
    Append(u32),
    /// Sets a register to a number that no other call writes.
    Write {
        key: u8,
        value: u32,
    },
    /// The same, and then the handler fails.
    FailingWrite {
        key: u8,
        value: u32,
    },
    Rotate,
    RotateNow,
    LogIn(User),
    LogOut,
    // By an administrator.
    RevokeOne(Sid),
    RevokeSubject {
        user: User,
        except: Option<Sid>,
    },
    RevokeEverybody,
    List(User),
    Sweep,
}

impl Ask {
    /// The number that the call writes.
    pub(crate) const fn value(&self) -> Option<u32> {
        match self {
            Self::Append(value) | Self::Write { value, .. } | Self::FailingWrite { value, .. } => {
                Some(*value)
            }
            _ => None,
        }
    }

    /// Whether a request of this kind extends the session.
    pub(crate) const fn is_interaction(&self) -> bool {
        matches!(
            self,
            Self::Read
                | Self::Append(_)
                | Self::Write { .. }
                | Self::FailingWrite { .. }
                | Self::Rotate
                | Self::RotateNow
                | Self::LogIn(_)
                | Self::LogOut
        )
    }
}

/// How a call ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No answer came, because the node was killed.
    #[default]
    Lost,
    /// 503: the outcome is unknown.
    Unavailable,
    Done,
    /// Refused, because the session is over.
    Over,
    /// The cap refused a login.
    Full,
    /// A login was refused, because its user was signed out everywhere meanwhile.
    SignedOut,
    /// The handler failed on purpose.
    Failed,
}

/// The effect on the browser's cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cookie {
    #[default]
    Kept,
    Set(Token),
    Removed,
}

/// The live session that a handler found when it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) sid: Sid,
    pub(crate) user: Option<User>,
    pub(crate) created: i64,
    pub(crate) idle_expires: i64,
    pub(crate) expires: i64,
    pub(crate) list: Vec<u32>,
    pub(crate) registers: Vec<(u8, u32)>,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    /// Whether a handler ran. Only then is it known that there was no session.
    pub(crate) handled: bool,
    pub(crate) found: Option<Found>,
    /// Why the session of the cookie is over.
    pub(crate) past: Option<EndReason>,
    /// The list after an append.
    pub(crate) appended: Option<Vec<u32>>,
    /// The session when the handler was done.
    pub(crate) sid: Option<Sid>,
    pub(crate) cookie: Cookie,
    /// The sessions that a list showed.
    pub(crate) listed: Vec<Sid>,
}

/// A call from its start to its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) browser: Browser,
    pub(crate) node: usize,
    /// The node's clock at the start: the arrival.
    pub(crate) clock: i64,
    pub(crate) token: Option<Token>,
    pub(crate) ask: Ask,
    pub(crate) start: Moment,
    pub(crate) end: Option<Moment>,
    pub(crate) answer: Answer,
}

impl Call {
    pub(crate) fn is_done(&self) -> bool {
        self.answer.outcome == Outcome::Done
    }

    /// The session that the call found.
    pub(crate) fn found(&self) -> Option<Sid> {
        self.answer.found.as_ref().map(|found| found.sid)
    }

    /// When the call ended. A call without an answer may take effect at any time.
    pub(crate) fn ended(&self) -> u64 {
        self.end.map_or(u64::MAX, |end| end.tick)
    }

    pub(crate) fn ended_at(&self) -> i64 {
        self.end.map_or(i64::MAX, |end| end.at)
    }

    /// The session that the call began, by its own answer.
    pub(crate) fn began(&self) -> Option<(Sid, Token)> {
        match (self.answer.cookie, self.answer.sid) {
            (Cookie::Set(token), Some(sid)) if self.found() != Some(sid) => Some((sid, token)),
            _ => None,
        }
    }
}

/// An event: the end of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub(crate) sid: Sid,
    pub(crate) reason: EndReason,
    pub(crate) node: usize,
    pub(crate) when: Moment,
}

/// The lifetimes in force on every node from a point on, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InForce {
    pub(crate) from: Moment,
    pub(crate) idle: i64,
    pub(crate) absolute: i64,
}

/// The guarantees that the run is checked against. Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// How far a node's clock may differ from the true time.
    pub(crate) skew: i64,
    /// How much earlier a session may end than its last interaction implies.
    pub(crate) granularity: i64,
    /// How long a replaced secret is honoured.
    pub(crate) grace: i64,
    /// The time after which "sign everybody out" is in force on every other node.
    pub(crate) everybody_within: i64,
    /// The retention of end reasons.
    pub(crate) retention: i64,
    pub(crate) cap: usize,
    /// Whether calls to the store may fail or lose their answers.
    pub(crate) has_faults: bool,
    /// Whether nodes are killed, which loses their unfinished work.
    pub(crate) has_kills: bool,
    /// Whether the run ended with a full sweep after all deadlines.
    pub(crate) is_settled: bool,
}

/// A run. `calls` are in the order of their start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct History {
    pub(crate) terms: Terms,
    pub(crate) calls: Vec<Call>,
    pub(crate) emitted: Vec<Emitted>,
    pub(crate) policies: Vec<InForce>,
}

impl History {
    pub(crate) fn policy_at(&self, tick: u64) -> InForce {
        let later = self.policies.partition_point(|policy| policy.from.tick <= tick);
        self.policies[later.saturating_sub(1)]
    }

    /// The shortest idle and absolute lifetimes in force between two ticks.
    pub(crate) fn shortest_between(&self, from: u64, to: u64) -> (i64, i64) {
        let first = self.policy_at(from);
        let later = self.policies.iter().filter(|policy| (from..=to).contains(&policy.from.tick));
        later.fold((first.idle, first.absolute), |(idle, absolute), policy| {
            (idle.min(policy.idle), absolute.min(policy.absolute))
        })
    }
}

/// A call on one line, to show what happened to a session.
impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { browser, node, clock, token, ask, start, end, answer } = self;
        write!(f, "{:>6}-{:<6}", start.tick, end.map_or(0, |end| end.tick))?;
        write!(f, " t={} node {node} clock {clock} browser {browser} {ask:?}", start.at)?;
        if let Some(token) = token {
            write!(f, " cookie {token}")?;
        }
        write!(f, " -> {:?}", answer.outcome)?;
        if let Some(found) = &answer.found {
            write!(f, ", found {} of {:?} from {}", found.sid, found.user, found.created)?;
            write!(f, " until {}/{} with {:?}", found.idle_expires, found.expires, found.list)?;
            write!(f, " {:?}", found.registers)?;
        }
        if let Some(past) = answer.past {
            write!(f, ", was {past}")?;
        }
        if let Some(sid) = answer.sid {
            write!(f, ", then {sid}")?;
        }
        match answer.cookie {
            Cookie::Kept => {}
            Cookie::Set(token) => write!(f, ", cookie {token}")?,
            Cookie::Removed => write!(f, ", cookie removed")?,
        }
        if !answer.listed.is_empty() {
            write!(f, ", listed {:?}", answer.listed)?;
        }
        Ok(())
    }
}

/// Numbers things in the order in which they appear.
#[derive(Debug)]
struct Numbers<T>(HashMap<T, u32>);

impl<T: Eq + Hash> Numbers<T> {
    fn of(&mut self, thing: T) -> u32 {
        let next = u32::try_from(self.0.len()).expect("fewer than 2^32");
        *self.0.entry(thing).or_insert(next)
    }
}

/// Records a run while it is in progress.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<Recording>);

#[derive(Debug)]
struct Recording {
    tick: u64,
    history: History,
    sessions: Numbers<tower_tenure::SessionId>,
    sids: Vec<tower_tenure::SessionId>,
    tokens: Numbers<String>,
}

impl Recorder {
    pub(crate) fn new(terms: Terms) -> Self {
        let history = History { terms, calls: Vec::new(), emitted: Vec::new(), policies: Vec::new() };
        let (sessions, tokens) = (Numbers(HashMap::new()), Numbers(HashMap::new()));
        Self(Mutex::new(Recording { tick: 0, history, sessions, sids: Vec::new(), tokens }))
    }

    fn recording(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a session.
    pub(crate) fn sid(&self, sid: tower_tenure::SessionId) -> Sid {
        let mut recording = self.recording();
        let number = recording.sessions.of(sid);
        if recording.sids.len() == number as usize {
            recording.sids.push(sid);
        }
        number
    }

    /// The session with this number.
    pub(crate) fn session(&self, number: Sid) -> tower_tenure::SessionId {
        self.recording().sids[number as usize]
    }

    pub(crate) fn token(&self, token: &str) -> Token {
        self.recording().tokens.of(token.to_owned())
    }

    /// Records the start of a call. Returns its number.
    pub(crate) fn begins(&self, at: i64, call: Call) -> usize {
        let mut recording = self.recording();
        let start = recording.moment(at);
        recording.history.calls.push(Call { start, ..call });
        recording.history.calls.len() - 1
    }

    pub(crate) fn ends(&self, number: usize, at: i64, answer: Answer) {
        let mut recording = self.recording();
        let end = recording.moment(at);
        let call = &mut recording.history.calls[number];
        (call.end, call.answer) = (Some(end), answer);
    }

    pub(crate) fn emitted(&self, sid: Sid, reason: EndReason, node: usize, at: i64) {
        let mut recording = self.recording();
        let when = recording.moment(at);
        recording.history.emitted.push(Emitted { sid, reason, node, when });
    }

    pub(crate) fn policy(&self, at: i64, idle: i64, absolute: i64) {
        let mut recording = self.recording();
        let from = recording.moment(at);
        recording.history.policies.push(InForce { from, idle, absolute });
    }

    pub(crate) fn history(&self) -> History {
        self.recording().history.clone()
    }
}

impl Recording {
    fn moment(&mut self, at: i64) -> Moment {
        self.tick += 1;
        Moment { tick: self.tick, at }
    }
}
