//! The driver: tabs of browsers that send concurrent requests to two nodes, until the plan is done.
//!
//! Everything runs in one thread. With the memory store and a paused clock, a seed always gives the
//! same history.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tower_tenure::{
    Clock, Lifetimes, LivePolicy, Mode, Policy, SessionStore,
    policy::{Cap, Overflow},
    testing::ManualClock,
};

use super::{
    check::check,
    clients::{self, BROWSERS, Dice, Plan, Step, TABS},
    connection::{Life, Weather, pause},
    node::Node,
    record::{Answer, Ask, Call, Cookie, History, Moment, Outcome, Recorder, Terms},
};

/// The browser number of administrators, who have no cookie.
const ADMINISTRATOR: u8 = u8::MAX;

/// How time passes in a run.
#[derive(Clone, Copy)]
pub(crate) enum Pace<'a> {
    /// The clock is paused, and only the driver advances it.
    Stepped,
    /// Real time, for a real server. The server has faults, if any, until the flag is set.
    Real(Option<&'a AtomicBool>),
}

struct Run<'a, S> {
    plan: &'a Plan,
    pace: Pace<'a>,
    stores: [Arc<S>; 2],
    nodes: Mutex<[Node; 2]>,
    policy: LivePolicy,
    recorder: Arc<Recorder>,
    true_time: ManualClock,
    weather: Arc<Mutex<Weather>>,
    /// The cookie of each browser, and the previous one, of which a copy may exist.
    cookies: Mutex<Vec<[Option<String>; 2]>>,
    started: AtomicUsize,
    sessions: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).expect("short times")
}

fn policy_of(plan: &Plan, idle: Duration, absolute: Duration) -> Policy {
    let lifetimes = Lifetimes::new(idle, absolute).expect("more than nothing");
    let overflow = if plan.refuses { Overflow::Refuse } else { Overflow::Evict };
    Policy::both(lifetimes)
        .with_default_mode(Mode::NonPersistent)
        .with_granularity(plan.granularity)
        .with_rotation_grace(plan.grace)
        .with_cap(Some(Cap::new(plan.cap.try_into().expect("a cap"), overflow)))
}

fn terms(plan: &Plan) -> Terms {
    Terms {
        skew: plan.ahead.abs(),
        granularity: millis(plan.granularity),
        grace: millis(plan.grace),
        everybody_within: 2000,
        retention: 3_600_000,
        cap: plan.cap as usize,
        has_faults: plan.faults > 0 || plan.bad_server,
        has_kills: plan.kills,
        is_settled: true,
    }
}

/// Runs a plan with two nodes, each with its own handle of the store. Returns the history for the
/// rules.
pub(crate) async fn run<S: SessionStore>(stores: [Arc<S>; 2], plan: &Plan, pace: Pace<'_>) -> History {
    if let Pace::Real(Some(is_calm)) = pace {
        is_calm.store(false, Ordering::SeqCst);
    }
    let true_time = ManualClock::default();
    let recorder = Arc::new(Recorder::new(terms(plan)));
    recorder.policy(true_time.now().as_unix_millis(), millis(plan.idle), millis(plan.absolute));
    let policy = LivePolicy::new(policy_of(plan, plan.idle, plan.absolute));
    let weather = Weather { dice: Dice::new(plan.seed ^ 0xfa17), pauses: plan.pauses, faults: 0 };
    let weather = Arc::new(Mutex::new(weather));
    let node = |index: usize| {
        let store = Arc::clone(&stores[index]);
        Node::start(index, store, plan, &policy, &recorder, &true_time, &weather)
    };
    let nodes = Mutex::new([node(0), node(1)]);
    let run = Run {
        plan,
        pace,
        nodes,
        policy,
        recorder,
        true_time,
        weather,
        cookies: Mutex::new(vec![[None, None]; usize::from(BROWSERS)]),
        started: AtomicUsize::new(0),
        sessions: AtomicUsize::new(0),
        stores,
    };
    lock(&run.weather).faults = plan.faults;
    let tabs = (0..BROWSERS).flat_map(|browser| (0..TABS).map(move |tab| (browser, tab)));
    join_all(tabs.map(|(browser, tab)| run.tab(browser, tab))).await;
    lock(&run.weather).faults = 0;
    run.settle().await;
    run.history_with_all_events().await
}

impl<S: SessionStore> Run<'_, S> {
    fn now(&self) -> i64 {
        self.true_time.now().as_unix_millis()
    }

    fn node(&self, index: usize) -> Node {
        lock(&self.nodes)[index].clone()
    }

    async fn tab(&self, browser: u8, tab: u8) {
        let mut dice = Dice::new(self.plan.seed << 8 | u64::from(browser) << 4 | u64::from(tab));
        loop {
            let number = self.started.fetch_add(1, Ordering::SeqCst);
            if number >= self.plan.calls {
                return;
            }
            pause(dice.below(1 + self.plan.pauses)).await;
            self.true_time.advance(clients::time_passes(&mut dice));
            let index = usize::from(dice.one_in(2));
            let number = u32::try_from(number).expect("not so many calls");
            let sids = u32::try_from(self.sessions.load(Ordering::SeqCst)).expect("not so many sessions");
            match clients::step(&mut dice, self.plan, number, sids) {
                Step::Call(ask) => {
                    let waits = dice.below(1 + 2 * self.plan.pauses);
                    let age = usize::from(dice.one_in(12));
                    self.call(browser, index, ask, waits, age).await;
                }
                Step::SetPolicy { idle, absolute } => {
                    self.policy.swap(policy_of(self.plan, idle, absolute));
                    self.recorder.policy(self.now(), millis(idle), millis(absolute));
                }
                Step::KillNode => self.kill(index),
            }
        }
    }

    /// Kills a node, which loses its state, and starts another in its place.
    fn kill(&self, index: usize) {
        let store = Arc::clone(&self.stores[index]);
        let (plan, weather) = (self.plan, &self.weather);
        let new = Node::start(index, store, plan, &self.policy, &self.recorder, &self.true_time, weather);
        let old = std::mem::replace(&mut lock(&self.nodes)[index], new);
        old.life.end();
    }

    /// `age` selects the cookie: 0 for the current one.
    async fn call(&self, browser: u8, index: usize, ask: Ask, waits: u64, age: usize) -> Outcome {
        let node = self.node(index);
        let is_browsers = ask.is_interaction() || ask == Ask::Peek;
        let cookie = if is_browsers { lock(&self.cookies)[usize::from(browser)][age].clone() } else { None };
        let begun = Call {
            browser: if is_browsers { browser } else { ADMINISTRATOR },
            node: index,
            clock: node.clock.now().as_unix_millis(),
            token: cookie.as_deref().map(|cookie| self.recorder.token(cookie)),
            ask: ask.clone(),
            start: Moment::default(),
            end: None,
            answer: Answer::default(),
        };
        let number = self.recorder.begins(self.now(), begun);
        let life: &Life = &node.life;
        let answer = if is_browsers {
            let answered = life.before_its_end(node.request(&ask, waits, cookie.as_deref())).await;
            let Some((answer, change)) = answered else { return Outcome::Lost };
            if let Some(cookie) = change {
                let mut cookies = lock(&self.cookies);
                let [now, before] = &mut cookies[usize::from(browser)];
                let old = std::mem::replace(now, cookie);
                if old.is_some() {
                    *before = old;
                }
            }
            answer
        } else {
            let Some(answer) = life.before_its_end(node.administer(&ask)).await else { return Outcome::Lost };
            answer
        };
        if let (Cookie::Set(_), Some(sid)) = (answer.cookie, answer.sid) {
            self.sessions.fetch_max(sid as usize + 1, Ordering::SeqCst);
        }
        let outcome = answer.outcome;
        self.recorder.ends(number, self.now(), answer);
        if outcome == Outcome::Unavailable && matches!(self.pace, Pace::Real(_)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        outcome
    }

    /// Waits for missing events, and returns the history. A node resolves a call with a lost answer
    /// later, in attempts that are up to a minute apart. Many answers are lost, so one in a
    /// thousand runs needs more than the first attempt.
    async fn history_with_all_events(&self) -> History {
        if let Pace::Real(Some(is_calm)) = self.pace {
            is_calm.store(true, Ordering::SeqCst);
        }
        // A node gives up after a hundred seconds.
        for _ in 0..1050 {
            let history = self.recorder.history();
            if matches!(self.pace, Pace::Stepped)
                || !check(&history).is_err_and(|broken| broken.is_only_missing_events())
            {
                return history;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.recorder.history()
    }

    /// Waits for background work, lets all sessions expire, and sweeps.
    async fn settle(&self) {
        let background = match self.pace {
            Pace::Stepped => Duration::from_secs(300), // of the paused clock
            Pace::Real(Some(_)) => Duration::from_secs(4),
            Pace::Real(None) => Duration::ZERO,
        };
        tokio::time::sleep(background).await;
        self.true_time.advance(2 * (self.plan.absolute + self.plan.idle));
        for index in [0, 1, 0] {
            while self.call(ADMINISTRATOR, index, Ask::Sweep, 0, 0).await != Outcome::Done {}
        }
        tokio::time::sleep(background).await;
    }
}
