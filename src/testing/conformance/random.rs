//! Random changes do what the pure functions do (SPEC S2), for stores that say them in a language of their own.

use std::{net::IpAddr, time::Duration};

use super::bench::{Bench, SECOND, json, plain, secret, session, subject};
use crate::{
    SessionId, SessionStore,
    record::{
        Change, Edits, End, EndReason, LastSeen, Lifetimes, Lowering, Metadata, Mode, Record, Rotation,
        SecretHash, Timing, TimingChange, Updated,
    },
    store::Page,
};

/// Small numbers that repeat from their seed (SplitMix64): the seed is told when a check fails.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let sid = super::bench::sid();
        Self(sid.as_bytes().iter().fold(0, |seed, byte| (seed << 4) ^ u64::from(*byte)))
    }

    /// From 0 to `sides - 1`.
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((mixed ^ (mixed >> 31)) % u64::from(sides)).unwrap_or(0)
    }

    fn one_in(&mut self, sides: u32) -> bool {
        self.roll(sides) == 0
    }

    fn millis(&mut self, below: u32) -> Duration {
        Duration::from_millis(u64::from(self.roll(below)))
    }

    fn lifetimes(&mut self) -> Lifetimes {
        let mut lifetime = || Duration::from_millis(1) + self.millis(400);
        Lifetimes::of(lifetime(), lifetime())
    }

    fn secret(&mut self) -> SecretHash {
        SecretHash::from_bytes([u8::try_from(self.roll(3)).unwrap_or(0); 32])
    }

    fn seen(&mut self) -> LastSeen {
        let ip = [None, Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([0; 16]))];
        let agents = [None, Some("one".into()), Some("it's \"two\"".into())];
        LastSeen { ip: ip[self.roll(3) as usize], user_agent: agents[self.roll(3) as usize].clone() }
    }

    /// Of a session that lives for some 100 ms after its creation.
    fn timing(&mut self, plain: Timing) -> Timing {
        let mode = if self.one_in(2) { Mode::Persistent } else { Mode::NonPersistent };
        let one_off_idle = self.one_in(2).then(|| Duration::from_millis(1) + self.millis(300));
        Timing { mode, lifetimes: self.lifetimes(), bound: self.lifetimes(), one_off_idle, ..plain }
    }

    fn change(&mut self, record: &Record) -> Change {
        let at = record.timing.created_at + self.millis(300);
        let lowering = self.one_in(4).then(|| Lowering {
            lifetimes: self.lifetimes(),
            one_off_idle: Duration::from_millis(1) + self.millis(300),
        });
        let interaction_at = self.one_in(2).then_some(at);
        let mut edits = Edits::default();
        for _ in 0..self.roll(4) {
            let key = ["a", "b", "\0", "\u{1}0", "it's"][self.roll(5) as usize];
            if self.one_in(3) {
                edits.remove(key);
            } else {
                edits.set(key, json(&self.roll(1000).to_string()));
            }
        }
        let mut metadata = Metadata::default();
        metadata.set("n", &self.roll(1000).to_string()).expect("it fits");
        let rotation = Rotation { from: self.secret(), to: self.secret(), grace: self.millis(50) };
        Change {
            at,
            timing: TimingChange { interaction_at, lowering },
            edits,
            rotation: self.one_in(4).then_some(rotation),
            last_seen: self.one_in(4).then(|| self.seen()),
            metadata: self.one_in(6).then_some(metadata),
            if_revision: self.one_in(4).then(|| record.revision.saturating_sub(u64::from(self.roll(2)))),
        }
    }

    fn end(&mut self, record: &Record) -> End {
        let reasons = [EndReason::SignedOut, EndReason::Revoked, EndReason::Idle];
        let at = record.timing.created_at + self.millis(500);
        let seen = record.timing.last_interaction_at - self.millis(2);
        let if_idle_since = self.one_in(2).then_some(seen);
        End { if_idle_since, ..End::new(reasons[self.roll(3) as usize], at) }
    }
}

/// Answers and records, step by step. Now and then an end comes between, and nothing changes after it.
pub(super) async fn s2_random_changes_and_ends_do_what_the_pure_functions_do<S: SessionStore>(
    bench: Bench<S>,
) {
    for _ in 0..20 {
        let mut dice = Dice::new();
        let seed = dice.0;
        let mut record = session(Some(&subject()), bench.start);
        record.timing = dice.timing(record.timing);
        record.secret = dice.secret();
        let (mut model, _) = bench.open(plain(record)).await;
        for step in 0..20 {
            if dice.one_in(20) {
                let end = dice.end(&model);
                let what = format!("the end at step {step} from the seed {seed}");
                bench.same(&what, bench.end(model.sid, end).await, model.end(&end));
                bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, &model);
            }
            let change = dice.change(&model);
            let what = format!("the change at step {step} from the seed {seed}");
            let wanted = change.apply(&mut model);
            bench.same(&what, bench.update(model.sid, change).await, wanted);
            bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, &model);
            if matches!(wanted, Updated::Gone(_)) && dice.one_in(2) {
                break;
            }
        }
    }
}

/// A list has exactly those that are live at its moment, and a sweep removes exactly those that were over before its own:
/// also after interactions, lowerings and ends, which move the deadline to and fro.
pub(super) async fn s2_random_sessions_are_listed_and_swept_by_their_deadlines<S: SessionStore>(
    bench: Bench<S>,
) {
    let mut bench = super::sweeps::long_ago(bench).await;
    for _ in 0..4 {
        let mut dice = Dice::new();
        let seed = dice.0;
        let user = subject();
        let mut models = Vec::new();
        for _ in 0..20 {
            let mut record = session(Some(&user), bench.start + dice.millis(50));
            record.secret = secret();
            record.timing = dice.timing(record.timing);
            let (mut model, _) = bench.open(plain(record)).await;
            for _ in 0..dice.roll(4) {
                let change = dice.change(&model);
                change.apply(&mut model);
                bench.update(model.sid, change).await;
            }
            if dice.one_in(3) {
                let end = dice.end(&model);
                model.end(&end);
                bench.end(model.sid, end).await;
            }
            models.push(model);
        }
        models.sort_unstable_by_key(|model| (model.timing.created_at, model.sid));
        let sids = |models: &[&Record]| models.iter().map(|model| model.sid).collect::<Vec<SessionId>>();
        for step in 0..10_u32 {
            let now = bench.start + Duration::from_millis(u64::from(step * 60));
            let live: Vec<_> = models.iter().filter(|model| model.is_live(now)).collect();
            let what = format!("the live sessions at step {step} from the seed {seed}");
            bench.same(&what, bench.live(&user, now).await, sids(&live));
            let page = Page { subject: None, after: None, limit: 1000, now };
            let all = bench.list(page).await;
            let ours: Vec<_> = all.iter().filter(|found| found.subject.as_ref() == Some(&user)).collect();
            bench.same(&format!("{what}, in the list of all"), sids(&ours), sids(&live));
        }
        for step in 0..10_u32 {
            let before = bench.start + Duration::from_millis(u64::from(step * 60));
            bench.sweep(before, 7).await;
            for model in &models {
                let found = bench.load(model.sid).await.is_some();
                let what = format!("whether a session survives a sweep at step {step} from the seed {seed}");
                bench.same(&what, found, model.over_at() >= before);
            }
        }
        bench.start = bench.start + SECOND;
    }
}
