//! Random changes do what the pure functions do (S2), for stores that express them in a language of
//! their own.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    bench::{Bench, MANY},
    material::{SECOND, User, device, end, json, lifetimes, lowering, random, rotation, secret},
};
use crate::{
    SessionStore,
    record::{
        Binding, Change, Edits, EndReason, EndRequest, LastSeen, Lifetimes, Metadata, Mode, Record,
        SecretHash, SubjectMark, Timing, TimingChange, UpdateOutcome,
    },
    store::{Page, Revocation},
};

/// Reproducible small numbers (`SplitMix64`). The message of a failed check has the seed.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        Self(u64::from_le_bytes(super::material::random()))
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
        lifetimes(lifetime(), lifetime())
    }

    fn secret(&mut self) -> SecretHash {
        SecretHash::from_bytes([u8::try_from(self.roll(3)).unwrap_or(0); 32])
    }

    fn seen(&mut self) -> LastSeen {
        let ip = [None, Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([0; 16]))];
        let agents = [None, Some("one".into()), Some("it's \"two\"".into())];
        LastSeen { ip: ip[self.roll(3) as usize], user_agent: agents[self.roll(3) as usize].clone() }
    }

    /// A moment within the life of a session, about 100 ms after its creation.
    fn timing(&mut self, plain: Timing) -> Timing {
        let mode = if self.one_in(2) { Mode::Persistent } else { Mode::NonPersistent };
        let one_off_idle = self.one_in(2).then(|| (Duration::from_millis(1) + self.millis(300)).into());
        let (lifetimes, policy_at_creation) = (self.lifetimes(), self.lifetimes());
        Timing { mode, lifetimes, policy_at_creation, one_off_idle, ..plain }
    }

    fn change(&mut self, record: &Record) -> Change {
        let at = record.timing.created_at + self.millis(300);
        let mut lifetime = || Duration::from_millis(1) + self.millis(300);
        let lowering = lowering(lifetime(), lifetime(), lifetime());
        let lowering = self.one_in(4).then_some(lowering);
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
        let rotation = rotation(self.secret(), self.secret(), at + self.millis(50));
        Change {
            at,
            timing: TimingChange { interaction_at, lowering },
            edits,
            rotation: rotation.filter(|_| self.one_in(4)),
            last_seen: self.one_in(4).then(|| Box::new(self.seen())),
            metadata: self.one_in(6).then(|| Box::new(metadata)),
            confirms: self.one_in(8),
            bind_to: self.one_in(8).then(|| device(u8::try_from(self.roll(3)).unwrap_or(0), at)),
            if_revision: self.one_in(4).then(|| record.revision.saturating_sub(u64::from(self.roll(2)))),
            max_data: if self.one_in(4) { self.roll(40) as usize } else { usize::MAX },
        }
    }

    fn end(&mut self, record: &Record, user: &User) -> EndRequest {
        let reasons = [EndReason::SignedOut, EndReason::Revoked, EndReason::Idle, EndReason::Superseded];
        let at = record.timing.created_at + self.millis(500);
        let mut request = end(reasons[self.roll(4) as usize], at);
        request.retention = self.millis(500).into();
        let options = &mut request.options;
        options.if_idle_since = self.one_in(3).then_some(record.timing.last_interaction_at - self.millis(2));
        options.if_secret = self.one_in(6).then(|| self.secret());
        options.resume_for = if self.one_in(2) { self.millis(300).into() } else { Duration::ZERO.into() };
        options.replaced_by = self.one_in(3).then(|| user.replacement(user.session(at).sid));
        request
    }
}

/// Compares results and records step by step, with an end or a revocation in between from time to
/// time.
pub(super) async fn s2_random_changes_and_ends_do_what_the_pure_functions_do<S: SessionStore>(
    bench: Bench<S>,
) {
    for _ in 0..20 {
        let mut dice = Dice::new();
        let seed = dice.0;
        let user = bench.user();
        let mut record = user.session(bench.start);
        record.timing = dice.timing(record.timing);
        record.secret = dice.secret();
        record.binding = dice.one_in(2).then(|| Arc::new(Binding::new(random())));
        let mut model = bench.open(record).await;
        let mut mark = SubjectMark::default();
        for step in 0..20 {
            if dice.one_in(10) {
                let request = dice.end(&model, &user);
                let what = format!("the end at step {step} from the seed {seed}");
                bench.same(&what, bench.end(model.sid, request.clone()).await, model.end(&request));
                bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, &model);
            }
            if dice.one_in(20) {
                let at = bench.start + dice.millis(400);
                let except = dice.one_in(2).then_some(model.sid);
                bench.revoke(Revocation { except, ..user.revocation(at) }).await;
                mark = mark.revoked(at, except);
                model.see_mark(&mark);
                let what = format!("after the revocation at step {step} from the seed {seed}");
                bench.same_record(&what, &bench.find(model.sid).await, &model);
            }
            let change = dice.change(&model);
            let what = format!("the change at step {step} from the seed {seed}");
            let wanted = change.apply(&mut model);
            bench.same(&what, bench.update(model.sid, change).await, wanted);
            bench.same_record(&format!("after {what}"), &bench.find(model.sid).await, &model);
            if matches!(wanted, UpdateOutcome::Gone(_)) && dice.one_in(3) {
                break;
            }
        }
    }
}

/// Sessions of one user, some of which were changed, ended, or are covered by a revocation.
async fn some<S: SessionStore>(bench: &Bench<S>, dice: &mut Dice, user: &User) -> Vec<Record> {
    let mut models = Vec::new();
    for number in 0..20 {
        let mut record = user.session(bench.start + dice.millis(50));
        record.admitted_at = bench.start + SECOND;
        record.secret = secret();
        record.timing = dice.timing(record.timing);
        let mut model = bench.open(record).await;
        for _ in 0..dice.roll(4) {
            let change = dice.change(&model);
            change.apply(&mut model);
            bench.update(model.sid, change).await;
        }
        if dice.one_in(3) {
            let request = dice.end(&model, user);
            model.end(&request);
            bench.end(model.sid, request).await;
        }
        models.push(model);
        if number == 9 && dice.one_in(2) {
            let at = bench.start;
            let except = dice.one_in(2).then(|| models[dice.roll(10) as usize].sid);
            bench.revoke(Revocation { except, ..user.revocation(at) }).await;
            let mark = SubjectMark::default().revoked(at, except);
            for model in &mut models {
                model.see_mark(&mark);
            }
        }
    }
    models.sort_unstable_by_key(|model| (model.timing.created_at, model.sid));
    models
}

/// A list has exactly the sessions that have not ended. A sweep ends exactly those that are over
/// and removes exactly the old tombstones, also after changes that move the deadline back and
/// forth.
pub(super) async fn o2_random_sessions_are_listed_and_swept_by_their_deadlines<S: SessionStore>(
    bench: Bench<S>,
) {
    let mut bench = super::sweeping::long_ago(bench).await;
    for _ in 0..4 {
        let mut dice = Dice::new();
        let seed = dice.0;
        let user = bench.user();
        let mut models = some(&bench, &mut dice, &user).await;
        for step in 0..18_u32 {
            let now = bench.start + Duration::from_millis(u64::from(step * 60));
            let stay: Vec<_> = models.iter().filter(|model| model.ended.is_none()).cloned().collect();
            let what = format!("the list at step {step} from the seed {seed}");
            bench.same_records(&what, &bench.list(user.page()).await, &stay);
            let all = bench.list(Page { subject: None, limit: MANY, ..user.page() }).await;
            let ours = all.iter().filter(|found| found.subject.as_ref() == Some(&user.name));
            bench.same_records(&format!("{what}, of the realm"), ours, &stay);

            let mut ended = bench.sweep_all(now, 7).await;
            ended.retain(|(sid, _)| models.iter().any(|model| model.sid == *sid));
            ended.sort_unstable_by_key(|(sid, _)| *sid);
            let mut wanted = Vec::new();
            for model in models.iter_mut().filter(|model| model.ended.is_none()) {
                if let Some(reason) = model.end_reason_at(now) {
                    wanted.push((model.sid, reason));
                    *model = bench.find(model.sid).await;
                }
            }
            wanted.sort_unstable_by_key(|(sid, _)| *sid);
            bench.same(&format!("what a sweep ended at step {step} from the seed {seed}"), ended, wanted);
            for model in &models {
                let found = bench.load(model.sid).await.is_some();
                let stays = model.ended.is_none_or(|tombstone| tombstone.forget_at > now);
                let what = format!("whether a session survives a sweep at step {step} from the seed {seed}");
                bench.same(&what, found, stays);
            }
        }
        bench.start = bench.start + 2 * SECOND;
    }
}
