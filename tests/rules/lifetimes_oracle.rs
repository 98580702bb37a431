//! Long random histories against an oracle that is too simple to have the same mistakes (SPEC L2 to
//! L10).
//!
//! The oracle stores a list of all events, and derives each answer from the whole list by the text
//! of the SPEC. It shares no code with the crate: plain milliseconds in, plain milliseconds out.
//! `TENURE_SEARCH=100` runs a hundred times as many histories.

use std::time::Duration;

use proptest::prelude::*;
use tower_tenure::{
    Lifetimes, LivePolicy, Mode, Policy, Timestamp,
    policy::{Activity, Limits, Overrides, Verdict, decide, open},
    record::{
        CallId, Change, Edits, EndOptions, EndReason, EndRequest, Json, Record, Rotation, SecretHash,
        UpdateOutcome,
    },
    testing,
};

use crate::search;

/// The settings at one time, in milliseconds. Pairs are idle and absolute.
#[derive(Clone, Copy, Debug)]
struct Settings {
    persistent: (i64, i64),
    non_persistent: (i64, i64),
    limits: (i64, i64),
    granularity: Option<i64>,
}

/// The overrides of a login: times in milliseconds since the epoch, and an idle lifetime in
/// milliseconds.
#[derive(Clone, Debug)]
struct Wishes {
    persistent: bool,
    expires_at: Vec<i64>,
    not_after: Vec<i64>,
    idle_expires_at: Vec<i64>,
    idle_lifetime: Option<i64>,
}

#[derive(Clone, Debug)]
enum Event {
    Configured(Settings),
    LoggedIn {
        at: i64,
        wishes: Wishes,
    },
    Arrived {
        request: usize,
        at: i64,
        interaction: bool,
    },
    /// The request's change has reached the store, perhaps long after the request's arrival.
    Recorded {
        request: usize,
    },
}

mod oracle {
    use super::{Event, Settings, Wishes};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Deadlines {
        pub(crate) idle: i64,
        pub(crate) absolute: i64,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Answer {
        Live(Deadlines),
        Over(&'static str),
    }

    /// L6: whether a login with these wishes is refused.
    pub(crate) fn refuses(at: i64, wishes: &Wishes) -> bool {
        let asked = [&wishes.expires_at, &wishes.not_after, &wishes.idle_expires_at];
        asked.into_iter().flatten().any(|&deadline| deadline <= at)
    }

    /// The deadlines of the latest session, by the recorded events of this history.
    pub(crate) fn deadlines(history: &[Event]) -> Deadlines {
        deadlines_with(history, None)
    }

    /// The right answer to the last event, which must be an arrival. If the session is live, the
    /// deadlines are those after the interaction is recorded.
    pub(crate) fn answer(history: &[Event]) -> Answer {
        let (login, ..) = login(history);
        for (index, event) in history.iter().enumerate().skip(login + 1) {
            let &Event::Arrived { request, at, .. } = event else { continue };
            let before = &history[..index];
            // The policy is not applied to a session that is over by its stored deadlines. Applied
            // to a live session, the policy may end it.
            for Deadlines { idle, absolute } in [deadlines(before), deadlines_with(before, Some(index))] {
                if at >= idle || at >= absolute {
                    return Answer::Over(if idle < absolute { "idle" } else { "absolute" });
                }
            }
            if index == history.len() - 1 {
                let mut after = history.to_vec();
                after.push(Event::Recorded { request });
                return Answer::Live(deadlines(&after));
            }
        }
        panic!("the last event should be an arrival");
    }

    /// L9: how much earlier than its exact deadline coalescing may end the session.
    pub(crate) fn coarsest_granularity(history: &[Event]) -> i64 {
        let (login, ..) = login(history);
        let longest_idle = initial(history).idle;
        let coarse = |index| settings(history, index).granularity.unwrap_or(60_000.min(longest_idle / 64));
        (login..history.len()).map(coarse).max().unwrap()
    }

    /// L5: `and_bound` is the arrival under test. Its settings apply already, but its interaction
    /// does not count yet.
    fn deadlines_with(before: &[Event], and_bound: Option<usize>) -> Deadlines {
        let (login, created, wishes) = login(before);
        let recorded: Vec<usize> =
            (login..before.len()).filter(|&index| is_recorded(before, index)).collect();
        let interactions: Vec<i64> =
            recorded.iter().filter_map(|&index| interaction_at(&before[index])).collect();

        let Initial { mut idle, mut absolute, mut one_off } = initial(before);
        for index in recorded.into_iter().chain(and_bound) {
            let settings = settings(before, index);
            let (policy, limits) = (pair(settings, wishes), settings.limits);
            // Longer overrides take precedence over the policy until it is lowered after the login,
            // even if it was raised in between (L5, L6).
            let since_login = versions_since(before, login, index).map(|version| pair(version, wishes));
            let peak = since_login.fold((0, 0), |peak, pair| (peak.0.max(pair.0), peak.1.max(pair.1)));
            if policy.0 < peak.0 {
                idle = idle.min(policy.0);
                one_off = one_off.map(|one_off| one_off.min(policy.0));
            }
            if policy.1 < peak.1 {
                absolute = absolute.min(policy.1);
            }
            idle = idle.min(limits.0);
            one_off = one_off.map(|one_off| one_off.min(limits.0));
            absolute = absolute.min(limits.1);
        }
        let last = interactions.iter().copied().chain([created]).max().unwrap();
        let idle = if interactions.is_empty() { one_off.unwrap_or(idle) } else { idle };
        Deadlines { idle: last + idle, absolute: created + absolute }
    }

    struct Initial {
        idle: i64,
        absolute: i64,
        one_off: Option<i64>,
    }

    /// L6, L7: the lifetimes that the latest session was created with.
    fn initial(history: &[Event]) -> Initial {
        let (login, created, wishes) = login(history);
        let settings = settings(history, login);
        let (idle_limit, absolute_limit) = settings.limits;
        let (idle, mut absolute) = pair(settings, wishes);
        if let Some(earliest) = wishes.expires_at.iter().min() {
            absolute = absolute_limit.min(earliest - created);
        }
        for bound in &wishes.not_after {
            absolute = absolute.min(bound - created);
        }
        Initial {
            idle: wishes.idle_lifetime.map_or(idle, |asked| asked.min(idle_limit)),
            absolute,
            one_off: wishes.idle_expires_at.iter().min().map(|asked| idle_limit.min(asked - created)),
        }
    }

    /// L4: the pair of lifetimes in force for the mode.
    fn pair(settings: Settings, wishes: &Wishes) -> (i64, i64) {
        let (idle, absolute) = if wishes.persistent { settings.persistent } else { settings.non_persistent };
        (idle.min(settings.limits.0), absolute.min(settings.limits.1))
    }

    fn login(history: &[Event]) -> (usize, i64, &Wishes) {
        let login = history.iter().enumerate().rev().find_map(|(index, event)| match event {
            Event::LoggedIn { at, wishes } => Some((index, *at, wishes)),
            _ => None,
        });
        login.expect("a history has a login")
    }

    fn settings(history: &[Event], at: usize) -> Settings {
        let configured = history[..history.len().min(at)].iter().rev().find_map(|event| match event {
            Event::Configured(settings) => Some(*settings),
            _ => None,
        });
        configured.expect("a history begins with settings")
    }

    /// The settings at the login, and all that replaced them before an event.
    fn versions_since(history: &[Event], login: usize, at: usize) -> impl Iterator<Item = Settings> {
        let later = history[login..history.len().min(at)].iter().filter_map(|event| match event {
            Event::Configured(settings) => Some(*settings),
            _ => None,
        });
        std::iter::once(settings(history, login)).chain(later)
    }

    fn is_recorded(history: &[Event], arrival: usize) -> bool {
        let Event::Arrived { request: arrived, .. } = history[arrival] else { return false };
        let is_its_record =
            |event: &Event| matches!(event, Event::Recorded { request } if *request == arrived);
        history[arrival..].iter().any(is_its_record)
    }

    fn interaction_at(event: &Event) -> Option<i64> {
        match event {
            Event::Arrived { at, interaction: true, .. } => Some(*at),
            _ => None,
        }
    }
}

/// The next event. Times are in units of the history, so that there are histories of milliseconds
/// and of hours.
#[derive(Clone, Debug)]
enum Step {
    Configure(Settings),
    Login(Wishes),
    /// A request. Its change reaches the store only after `slow` steps.
    Request {
        interaction: bool,
        slow: usize,
    },
    Rotate,
    /// The clock advances or steps back.
    Pass(i64),
    /// The clock moves to a deadline, or a millisecond to either side.
    GoToDeadline {
        idle: bool,
        beside: i64,
    },
}

fn pairs() -> impl Strategy<Value = (i64, i64)> {
    (1..12_i64, 1..40_i64)
}

fn settings(granularities: impl Strategy<Value = Option<i64>>) -> impl Strategy<Value = Settings> {
    let limits = prop_oneof![3 => Just((1000, 1000)), 1 => (3..16_i64, 10..50_i64)];
    (pairs(), pairs(), limits, granularities).prop_map(|(persistent, non_persistent, limits, granularity)| {
        Settings { persistent, non_persistent, limits, granularity }
    })
}

/// Deadlines count from the login. A few are in the past.
fn wishes() -> impl Strategy<Value = Wishes> {
    let calls =
        |ahead: std::ops::Range<i64>| prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(ahead, 1..3)];
    let sticky = prop::option::weighted(0.25, 1..25_i64);
    (any::<bool>(), calls(-1..70), calls(-1..60), calls(-1..30), sticky).prop_map(
        |(persistent, expires_at, not_after, idle_expires_at, idle_lifetime)| Wishes {
            persistent,
            expires_at,
            not_after,
            idle_expires_at,
            idle_lifetime,
        },
    )
}

fn steps(
    granularities: impl Strategy<Value = Option<i64>> + Clone,
) -> impl Strategy<Value = (i64, Settings, Vec<Step>)> {
    let slow = prop_oneof![4 => Just(0), 1 => 1..6_usize];
    let step = prop_oneof![
        2 => settings(granularities.clone()).prop_map(Step::Configure),
        1 => wishes().prop_map(Step::Login),
        8 => (any::<bool>(), slow).prop_map(|(interaction, slow)| Step::Request { interaction, slow }),
        1 => Just(Step::Rotate),
        6 => (0..6_i64).prop_map(Step::Pass),
        1 => (-8..0_i64).prop_map(Step::Pass),
        1 => (any::<bool>(), -1..=1_i64).prop_map(|(idle, beside)| Step::GoToDeadline { idle, beside }),
    ];
    let units = prop_oneof![Just(1), Just(1000), Just(3_600_000)];
    (units, settings(granularities), prop::collection::vec(step, 1..60))
}

impl Settings {
    fn in_units_of(self, unit: i64) -> Self {
        let times = |(idle, absolute): (i64, i64)| (idle * unit, absolute * unit);
        Self {
            persistent: times(self.persistent),
            non_persistent: times(self.non_persistent),
            limits: times(self.limits),
            granularity: self.granularity.map(|granularity| granularity * unit),
        }
    }

    fn to_policy(self) -> Policy {
        let lifetimes = |(idle, absolute)| Lifetimes::new(millis(idle), millis(absolute)).unwrap();
        let policy = Policy::new(lifetimes(self.persistent), lifetimes(self.non_persistent))
            .with_limits(Limits::new(millis(self.limits.0), millis(self.limits.1)).unwrap());
        match self.granularity {
            Some(granularity) => policy.with_granularity(millis(granularity)),
            None => policy,
        }
    }
}

impl Wishes {
    fn in_units_of(self, unit: i64, now: i64) -> Self {
        let times = |calls: Vec<i64>| calls.into_iter().map(|ahead| now + ahead * unit).collect();
        Self {
            persistent: self.persistent,
            expires_at: times(self.expires_at),
            not_after: times(self.not_after),
            idle_expires_at: times(self.idle_expires_at),
            idle_lifetime: self.idle_lifetime.map(|lifetime| lifetime * unit),
        }
    }

    fn to_overrides(&self) -> Overrides {
        let mut overrides = Overrides::default();
        overrides.mode(if self.persistent { Mode::Persistent } else { Mode::NonPersistent });
        self.expires_at.iter().for_each(|&at| overrides.expires_at(moment(at)));
        self.not_after.iter().for_each(|&at| overrides.not_after(moment(at)));
        self.idle_expires_at.iter().for_each(|&at| overrides.idle_expires_at(moment(at)));
        self.idle_lifetime.into_iter().for_each(|idle| overrides.idle_lifetime(millis(idle)).unwrap());
        overrides
    }
}

fn millis(count: i64) -> Duration {
    Duration::from_millis(count.try_into().unwrap())
}

fn moment(unix_millis: i64) -> Timestamp {
    Timestamp::from_unix_millis(unix_millis)
}

fn reason(text: &str) -> EndReason {
    match text {
        "idle" => EndReason::Idle,
        "absolute" => EndReason::Absolute,
        _ => panic!("no deadline's reason: {text}"),
    }
}

fn deadlines_of(timing: &tower_tenure::record::Timing) -> oracle::Deadlines {
    oracle::Deadlines {
        idle: timing.idle_expires_at().as_unix_millis(),
        absolute: timing.expires_at().as_unix_millis(),
    }
}

/// The crate under test and its history.
struct World {
    unit: i64,
    now: i64,
    policy: LivePolicy,
    record: Option<Record>,
    history: Vec<Event>,
    /// Requests in flight to the store: steps left, the request, and its change.
    in_flight: Vec<(usize, usize, Change)>,
    requests: usize,
    /// Whether every interaction is recorded, so that the answers must equal the oracle's exactly.
    exact: bool,
}

impl World {
    fn new(unit: i64, settings: Settings, exact: bool) -> Self {
        let mut world = Self {
            unit,
            now: 1_700_000_000_000,
            policy: LivePolicy::new(Policy::default()),
            record: None,
            history: Vec::new(),
            in_flight: Vec::new(),
            requests: 0,
            exact,
        };
        world.step(Step::Configure(settings));
        world.log_in(Wishes {
            persistent: true,
            expires_at: vec![],
            not_after: vec![],
            idle_expires_at: vec![],
            idle_lifetime: None,
        });
        world
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Configure(settings) => {
                let settings = settings.in_units_of(self.unit);
                self.policy.swap(settings.to_policy());
                self.history.push(Event::Configured(settings));
            }
            Step::Login(wishes) => self.log_in(wishes.in_units_of(self.unit, self.now)),
            Step::Request { interaction, slow } => self.request(interaction, slow),
            Step::Rotate => self.rotate(),
            Step::Pass(units) => self.now += units * self.unit,
            Step::GoToDeadline { idle, beside } => {
                if let Some(record) = &self.record {
                    let deadlines = deadlines_of(&record.timing);
                    self.now = beside + if idle { deadlines.idle } else { deadlines.absolute };
                }
            }
        }
        for (steps_left, ..) in &mut self.in_flight {
            *steps_left = steps_left.saturating_sub(1);
        }
        while let Some(index) = self.in_flight.iter().position(|(steps_left, ..)| *steps_left == 0) {
            let (_, request, change) = self.in_flight.remove(index);
            self.arrive_in_store(request, &change);
        }
    }

    fn log_in(&mut self, wishes: Wishes) {
        let opening = open(&self.policy.load(), moment(self.now), &wishes.to_overrides());
        assert_eq!(opening.is_err(), oracle::refuses(self.now, &wishes), "a login refused, {wishes:?}");
        // Requests of the earlier session do not concern the new one.
        self.in_flight.clear();
        self.record = opening.ok().map(|opening| testing::record(opening.timing));
        if let Some(record) = &self.record {
            self.history.push(Event::LoggedIn { at: self.now, wishes });
            assert_eq!(deadlines_of(&record.timing), oracle::deadlines(&self.history), "of a new session");
        }
    }

    fn request(&mut self, interaction: bool, slow: usize) {
        let Some(record) = &mut self.record else { return };
        self.requests += 1;
        let request = self.requests;
        let exact_deadlines = oracle::deadlines(&self.history);
        self.history.push(Event::Arrived { request, at: self.now, interaction });
        let expected = oracle::answer(&self.history);
        let activity = if interaction { Activity::Interaction } else { Activity::Passive };

        match (decide(record, &self.policy.load(), moment(self.now), activity), expected) {
            (Verdict::Live(next), oracle::Answer::Live(deadlines)) => {
                if self.exact {
                    assert_eq!(deadlines_of(&next.timing), deadlines, "of a live session");
                }
                let mut edits = Edits::default();
                edits.set("key", Json::encode(&request).unwrap());
                let change = Change { timing: next.change, edits, ..Change::at(moment(self.now)) };
                self.in_flight.push((slow + 1, request, change));
            }
            (Verdict::Live(_), oracle::Answer::Over(reason)) => {
                panic!("live past its end, which was {reason}");
            }
            (Verdict::Over { reason: reported, .. }, oracle::Answer::Over(expected)) => {
                assert!(
                    !self.exact || reported == reason(expected),
                    "over as {reported}, but it was {expected}"
                );
                self.end(reported);
            }
            (Verdict::Over { reason: reported, .. }, oracle::Answer::Live(_)) => {
                assert!(!self.exact, "over as {reported}, but it is live");
                assert_eq!(reported, EndReason::Idle, "coalescing is about interactions");
                let early = exact_deadlines.idle - deadlines_of(&record.timing).idle;
                let granularity = oracle::coarsest_granularity(&self.history);
                assert!(early <= granularity, "ended {early} ms early, the granularity is {granularity} ms");
                // The oracle's session is still live, so the two cannot be compared any more.
                self.record = None;
            }
        }
    }

    fn end(&mut self, reason: EndReason) {
        let Some(record) = &mut self.record else { return };
        let seen = record.timing.last_interaction_at;
        let end = EndRequest {
            options: EndOptions {
                if_idle_since: (reason == EndReason::Idle).then_some(seen),
                ..EndOptions::default()
            },
            ..EndRequest::new(reason, moment(self.now), CallId::new(1))
        };
        record.end(&end);
        assert_eq!(
            record.ended.map(|ended| ended.reason),
            Some(reason),
            "the tombstone has the reported reason"
        );
    }

    fn rotate(&mut self) {
        let Some(record) = &mut self.record else { return };
        let timing = record.timing;
        self.requests += 1;
        let to = SecretHash::from_bytes([u8::try_from(self.requests % 256).unwrap(); 32]);
        let rotation = Rotation { from: record.secret, to, until: moment(self.now + 10_000) };
        Change { rotation: Some(Box::new(rotation)), ..Change::at(moment(self.now)) }.apply(record);
        assert_eq!(record.timing, timing, "rotation of the token moves neither deadline (L3)");
    }

    fn arrive_in_store(&mut self, request: usize, change: &Change) {
        let Some(record) = &mut self.record else { return };
        let (last, tombstone) =
            (record.timing.last_interaction_at, record.ended.is_some().then(|| record.clone()));
        let updated = change.apply(record);
        assert!(record.timing.last_interaction_at >= last, "the last interaction moved back");
        if let Some(tombstone) = tombstone {
            assert!(matches!(updated, UpdateOutcome::Gone(Some(_))), "{updated:?}");
            assert_eq!(*record, tombstone, "nothing changes what has ended (S4)");
            return;
        }
        self.history.push(Event::Recorded { request });
        let (recorded, exact) = (deadlines_of(&record.timing), oracle::deadlines(&self.history));
        if self.exact {
            assert_eq!(recorded, exact, "as recorded");
        } else {
            let early = exact.idle - recorded.idle;
            assert!(
                (0..=oracle::coarsest_granularity(&self.history)).contains(&early),
                "early by {early} ms"
            );
            assert_eq!(recorded.absolute, exact.absolute, "coalescing is about interactions");
        }
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: search::cases(512), failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn l2_to_l10_every_request_gets_the_answer_that_the_whole_history_implies(
        (unit, settings, steps) in steps(Just(Some(0))),
    ) {
        let mut world = World::new(unit, settings, true);
        for step in steps {
            world.step(step);
        }
    }

    #[test]
    fn l9_coalescing_ends_a_session_early_by_at_most_the_granularity_and_never_late(
        (unit, settings, steps) in steps(prop::option::of(0..6_i64)),
    ) {
        let mut world = World::new(unit, settings, false);
        for step in steps {
            world.step(step);
        }
    }
}
