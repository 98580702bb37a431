//! The algebra of deadlines (SPEC L2 to L6), exhaustively: every login and every history over small
//! domains.
//!
//! The oracle is written from the text of the SPEC alone, and differently from the crate. For each
//! lifetime it stores the origin, and the longest value that a policy allowed since the login. It
//! has neither stamps nor peaks. The test compares the answers at every request of every history:
//! live or over, the reason, both deadlines, and what lists would say.
//!
//! A solver would prove these laws only for a model, which would be a third text beside the rules
//! and the code. Deadlines are only added and compared, and no constant exceeds the domains. So
//! only the order of a few sums matters, and small domains contain all these orders.
//! `TENURE_SEARCH=2` makes the histories one request longer.

use std::time::Duration;

use tower_tenure::{
    Lifetimes, LivePolicy, Mode, Policy, Timestamp,
    policy::{Activity, Limits, Overrides, Verdict, decide, open},
    record::{EndReason, Record},
    testing,
};

use crate::search;

/// Idle and absolute lifetimes, or limits, in ticks of a millisecond.
type Pair = (i64, i64);

/// A policy: lifetimes of persistent and of non-persistent sessions, and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    persistent: Pair,
    non_persistent: Pair,
    limits: Pair,
}

/// The overrides of a login. Times count from the login.
#[derive(Clone, Copy, Debug)]
struct Wishes {
    mode: Option<Mode>,
    expires_at: Option<i64>,
    not_after: Option<i64>,
    idle_expires_at: Option<i64>,
    idle_lifetime: Option<i64>,
}

const UNLIMITED: Pair = (90, 90);

const fn settings(persistent: Pair, non_persistent: Pair, limits: Pair) -> Settings {
    Settings { persistent, non_persistent, limits }
}

/// The first policy is in the middle. The second has both lifetimes lower. The third has idle
/// higher and absolute lower for one mode, and the opposite for the other. The fourth differs from
/// the first only in its limits. So each change raises or lowers something, or does both.
const POLICIES: [Settings; 4] = [
    settings((2, 4), (3, 3), UNLIMITED),
    settings((1, 3), (1, 2), UNLIMITED),
    settings((3, 2), (2, 4), UNLIMITED),
    settings((2, 4), (3, 3), (1, 3)),
];

/// How a policy changes between two requests: not at all, once, or twice. Two changes include
/// "taken back" and "raised, then lowered".
fn changes(from: usize) -> Vec<Vec<usize>> {
    let others = |from: usize| (0..POLICIES.len()).filter(move |to| *to != from);
    let mut changes = vec![vec![]];
    for to in others(from) {
        changes.push(vec![to]);
        changes.extend(others(to).map(|then| vec![to, then]));
    }
    changes
}

mod oracle {
    use super::{Mode, Pair, Settings, Wishes};

    /// A stored lifetime: its length, and whether a login's override set it.
    #[derive(Clone, Copy, Debug)]
    struct Remembered {
        length: i64,
        is_override: bool,
    }

    /// A session as the SPEC describes it.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Session {
        mode: Mode,
        created: i64,
        last_interaction: i64,
        idle: Remembered,
        absolute: Remembered,
        one_off: Option<i64>,
        /// For each lifetime, the longest value that the policy has allowed since the login.
        longest: Pair,
    }

    /// L4: a value above the limit is superseded by the limit.
    fn in_force(settings: &Settings, mode: Mode) -> Pair {
        let pair = match mode {
            Mode::Persistent => settings.persistent,
            Mode::NonPersistent => settings.non_persistent,
        };
        (pair.0.min(settings.limits.0), pair.1.min(settings.limits.1))
    }

    impl Session {
        /// L6. `None` for a refused login.
        pub(super) fn login(settings: &Settings, now: i64, wishes: &Wishes) -> Option<Self> {
            let Wishes { mode, expires_at, not_after, idle_expires_at, idle_lifetime } = *wishes;
            if [expires_at, not_after, idle_expires_at].into_iter().flatten().any(|after| after <= 0) {
                return None;
            }
            let mode = mode.unwrap_or(Mode::Persistent);
            let policy = in_force(settings, mode);
            let remember = |asked: Option<i64>, policy: i64, limit: i64| Remembered {
                length: asked.map_or(policy, |asked| asked.min(limit)),
                is_override: asked.is_some(),
            };
            let mut absolute = remember(expires_at, policy.1, settings.limits.1);
            if let Some(bound) = not_after {
                absolute.length = absolute.length.min(bound);
            }
            Some(Self {
                mode,
                created: now,
                last_interaction: now,
                idle: remember(idle_lifetime, policy.0, settings.limits.0),
                absolute,
                one_off: idle_expires_at.map(|after| after.min(settings.limits.0)),
                longest: policy,
            })
        }

        /// The policy was changed.
        pub(super) fn policy_changed(&mut self, settings: &Settings) {
            let policy = in_force(settings, self.mode);
            self.longest = (self.longest.0.max(policy.0), self.longest.1.max(policy.1));
        }

        pub(super) fn deadlines(&self) -> Pair {
            let idle = self.one_off.unwrap_or(self.idle.length);
            (self.last_interaction + idle, self.created + self.absolute.length)
        }

        /// L2: live before both deadlines. The reason is the deadline that came first, and a tie is
        /// absolute.
        pub(super) fn over_at(&self, now: i64) -> Option<&'static str> {
            let (idle, absolute) = self.deadlines();
            match (now < idle && now < absolute, idle < absolute) {
                (true, _) => None,
                (false, true) => Some("idle"),
                (false, false) => Some("absolute"),
            }
        }

        /// L5: applies the policy to a live session at its next request, before the decision. The
        /// result is stored.
        fn bind(&mut self, settings: &Settings) {
            let (policy, limits) = (in_force(settings, self.mode), settings.limits);
            let bound = |remembered: Remembered, policy: i64, limit: i64, was_lowered: bool| Remembered {
                length: remembered.length.min(if remembered.is_override && !was_lowered {
                    limit
                } else {
                    policy
                }),
                ..remembered
            };
            let (idle_lowered, absolute_lowered) = (policy.0 < self.longest.0, policy.1 < self.longest.1);
            self.idle = bound(self.idle, policy.0, limits.0, idle_lowered);
            self.absolute = bound(self.absolute, policy.1, limits.1, absolute_lowered);
            self.one_off = self.one_off.map(|length| {
                bound(Remembered { length, is_override: true }, policy.0, limits.0, idle_lowered).length
            });
        }

        /// The deadlines at the next request, after the policy is applied.
        pub(super) fn deadlines_under(mut self, settings: &Settings) -> Pair {
            self.bind(settings);
            self.deadlines()
        }

        /// A request. Returns why the session is over, or `None` if it is live.
        pub(super) fn request(
            &mut self,
            settings: &Settings,
            now: i64,
            counts: bool,
            granularity: i64,
        ) -> Option<&'static str> {
            // The policy is not applied to a session that was over already.
            if let Some(reason) = self.over_at(now) {
                return Some(reason);
            }
            self.bind(settings);
            if let Some(reason) = self.over_at(now) {
                return Some(reason);
            }
            // L9: an interaction is recorded only if the recorded one is older than the
            // granularity, which is at most half of the idle lifetime. The first after a one-off is
            // always recorded.
            let age = now - self.last_interaction;
            let is_older = 2 * age > self.idle.length.min(2 * granularity);
            if counts && (is_older || self.one_off.is_some()) {
                // L3 and L6: a one-off lasts until the first interaction.
                self.last_interaction = now;
                self.one_off = None;
            }
            None
        }
    }
}

fn ticks(count: i64) -> Duration {
    Duration::from_millis(count.try_into().unwrap())
}

fn moment(tick: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + tick)
}

fn policy(settings: &Settings, granularity: i64) -> Policy {
    let lifetimes = |(idle, absolute)| Lifetimes::new(ticks(idle), ticks(absolute)).unwrap();
    Policy::new(lifetimes(settings.persistent), lifetimes(settings.non_persistent))
        .with_limits(Limits::new(ticks(settings.limits.0), ticks(settings.limits.1)).unwrap())
        .with_granularity(ticks(granularity))
}

fn overrides(wishes: &Wishes) -> Overrides {
    let mut overrides = Overrides::default();
    wishes.mode.into_iter().for_each(|mode| overrides.mode(mode));
    wishes.expires_at.into_iter().for_each(|after| overrides.expires_at(moment(after)));
    wishes.not_after.into_iter().for_each(|after| overrides.not_after(moment(after)));
    wishes.idle_expires_at.into_iter().for_each(|after| overrides.idle_expires_at(moment(after)));
    wishes.idle_lifetime.into_iter().for_each(|idle| overrides.idle_lifetime(ticks(idle)).unwrap());
    overrides
}

/// A policy with its past, and its successors by each change before the next request.
struct Version {
    settings: usize,
    policy: Policy,
    next: Vec<(Vec<usize>, Version)>,
}

/// Every past that a policy can have over this many requests. A live policy cannot be copied, so
/// each past is replayed from the start.
fn versions(past: &[usize], requests: u32, granularity: i64) -> Version {
    let live = LivePolicy::new(policy(&POLICIES[past[0]], granularity));
    past[1..].iter().for_each(|next| live.swap(policy(&POLICIES[*next], granularity)));
    let settings = *past.last().unwrap();
    let next = |change: Vec<usize>| {
        let version = versions(&[past, &change].concat(), requests - 1, granularity);
        (change, version)
    };
    let next = if requests == 0 { vec![] } else { changes(settings).into_iter().map(next).collect() };
    Version { settings, policy: live.load(), next }
}

/// One request of a history: the policy changes before it, and the time since the previous request.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "shown when a test fails")]
struct Step<'a> {
    change: &'a [usize],
    pause: i64,
    activity: Activity,
}

/// The oracle's sessions: one that coalesces by the granularity, and one that records every
/// interaction.
#[derive(Clone, Copy)]
struct Expected {
    recorded: oracle::Session,
    exact: oracle::Session,
}

/// Runs every history of this many requests, and counts the requests.
struct Walk<'a> {
    wishes: &'a Wishes,
    record: Record,
    pauses: &'a [i64],
    granularity: i64,
    requests: u64,
}

impl Walk<'_> {
    fn after<'a>(&mut self, version: &'a Version, oracle: Expected, now: i64, past: &mut Vec<Step<'a>>) {
        let timing = self.record.timing;
        for (change, version) in &version.next {
            let mut oracle = oracle;
            for settings in change {
                oracle.recorded.policy_changed(&POLICIES[*settings]);
                oracle.exact.policy_changed(&POLICIES[*settings]);
            }
            for &pause in self.pauses {
                for activity in [Activity::Interaction, Activity::Passive] {
                    past.push(Step { change, pause, activity });
                    self.record.timing = timing;
                    self.request(version, oracle, now + pause, activity, past);
                    past.pop();
                }
            }
        }
        self.record.timing = timing;
    }

    fn request<'a>(
        &mut self,
        version: &'a Version,
        mut oracle: Expected,
        now: i64,
        activity: Activity,
        past: &mut Vec<Step<'a>>,
    ) {
        self.requests += 1;
        let (settings, counts) = (&POLICIES[version.settings], activity == Activity::Interaction);
        let before = oracle.exact.deadlines_under(settings).0;
        let exact = oracle.exact.request(settings, now, counts, 0);
        let expected = oracle.recorded.request(settings, now, counts, self.granularity);
        let listed = self.record.end_reason_under(&version.policy, moment(now)).map(EndReason::as_str);
        let wishes = self.wishes;
        // L9: early by at most the granularity, never late.
        match (expected, exact) {
            (None, over) => assert_eq!(over, None, "late; {wishes:?}, {past:?}"),
            (Some("idle"), _) => assert!(before - self.granularity <= now, "early; {wishes:?}, {past:?}"),
            (Some(reason), exact) => assert_eq!(exact, Some(reason), "{wishes:?}, {past:?}"),
        }
        assert_eq!(listed, expected, "a list says; {wishes:?}, {past:?}");

        match decide(&self.record, &version.policy, moment(now), activity) {
            Verdict::Over { reason, .. } => {
                assert_eq!(Some(reason.as_str()), expected, "the reason of a request; {wishes:?}, {past:?}");
            }
            Verdict::Live(next) => {
                assert_eq!(None, expected, "a request is served; {wishes:?}, {past:?}");
                self.record.timing.apply(&next.change);
                assert_eq!(self.record.timing, next.timing, "the predicted timing; {wishes:?}, {past:?}");
                assert_eq!(deadlines(&self.record), oracle.recorded.deadlines(), "{wishes:?}, {past:?}");
                self.after(version, oracle, now, past);
            }
        }
    }
}

fn deadlines(record: &Record) -> Pair {
    let tick = |moment: Timestamp| moment.as_unix_millis() - self::moment(0).as_unix_millis();
    (tick(record.timing.idle_expires_at()), tick(record.timing.expires_at()))
}

/// Runs every history of this many requests after each of these logins. Returns the numbers of
/// logins and requests.
fn walk(logins: &[Wishes], requests: u32, pauses: &[i64], granularity: i64) -> (u64, u64) {
    let (mut logged_in, mut count) = (0, 0);
    for (first, settings) in POLICIES.iter().enumerate() {
        let version = versions(&[first], requests, granularity);
        for wishes in logins {
            let session = oracle::Session::login(settings, 0, wishes);
            let opening = open(&version.policy, moment(0), &overrides(wishes));
            assert_eq!(opening.is_ok(), session.is_some(), "{wishes:?}");
            logged_in += 1;
            let (Ok(opening), Some(session)) = (opening, session) else { continue };
            let record = testing::record(opening.timing);
            assert_eq!(deadlines(&record), session.deadlines(), "of a new session; {wishes:?}");
            let mut walk = Walk { wishes, record, pauses, granularity, requests: 0 };
            walk.after(&version, Expected { recorded: session, exact: session }, 0, &mut Vec::new());
            count += walk.requests;
        }
    }
    (logged_in, count)
}

/// Each combination of overrides: below, at and above the values of policies and limits.
fn every_login() -> Vec<Wishes> {
    let mut logins = Vec::new();
    for mode in [None, Some(Mode::Persistent), Some(Mode::NonPersistent)] {
        for expires_at in [None, Some(0), Some(2), Some(3), Some(5)] {
            for not_after in [None, Some(0), Some(3)] {
                for idle_expires_at in [None, Some(0), Some(1), Some(4)] {
                    for idle_lifetime in [None, Some(1), Some(2), Some(4)] {
                        logins.push(Wishes { mode, expires_at, not_after, idle_expires_at, idle_lifetime });
                    }
                }
            }
        }
    }
    logins
}

/// One login for each kind of lifetime: the policy's own, longer ones, shorter ones, and a one-off.
fn some_logins() -> Vec<Wishes> {
    let plain =
        Wishes { mode: None, expires_at: None, not_after: None, idle_expires_at: None, idle_lifetime: None };
    vec![
        plain,
        Wishes { mode: Some(Mode::NonPersistent), ..plain },
        Wishes { expires_at: Some(6), idle_lifetime: Some(4), ..plain },
        Wishes { not_after: Some(3), idle_lifetime: Some(1), ..plain },
        Wishes { idle_expires_at: Some(3), expires_at: Some(5), ..plain },
    ]
}

/// How many requests a history has: one more with `TENURE_SEARCH=2`.
fn requests(base: u32) -> u32 {
    base - 1 + search::cases(1).min(2)
}

#[test]
fn l2_to_l6_after_every_login_each_short_history_is_as_the_rules_say() {
    let (logins, requests) = walk(&every_login(), requests(2), &[1, 2], 0);
    println!("{logins} logins, {requests} requests");
    assert!(logins == 4 * 720 && requests >= 500_000, "{logins} logins, {requests} requests");
}

#[test]
fn l2_to_l6_every_longer_history_is_as_the_rules_say() {
    let (logins, requests) = walk(&some_logins(), requests(3), &[0, 1, 2], 0);
    println!("{logins} logins, {requests} requests");
    assert!(logins == 4 * 5 && requests >= 1_500_000, "{logins} logins, {requests} requests");
}

#[test]
fn l9_with_every_granularity_no_history_ends_late_or_too_early() {
    for granularity in [1, 2, 9] {
        let (logins, requests) = walk(&some_logins(), requests(2), &[0, 1, 2], granularity);
        println!("granularity {granularity}: {logins} logins, {requests} requests");
        assert!(requests >= 30_000, "{requests} requests");
    }
}
