//! What the engine knows of a realm: when everybody in it was signed out, and by which policy it is
//! judged.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;

use super::{Engine, sweep::FullPass};
use crate::{
    Error, Policy, SessionId, Timestamp,
    events::{Event, EventKind, Operation},
    record::Tag,
    store::Revocation,
};

/// What the engine knows of a realm.
#[derive(Debug)]
pub(crate) struct RealmState {
    pub(crate) name: Arc<str>,
    /// [`NEVER`] or a moment.
    not_before: AtomicI64,
    /// When the store was last asked for it.
    asked_at: AtomicI64,
    /// The policy that the last request had, where the application chooses one for each.
    last_policy: ArcSwapOption<Policy>,
    pub(super) full_pass: Mutex<FullPass>,
    poll: Poll,
}

/// The task that asks the store in the background, so that requests need not.
#[derive(Debug, Default)]
struct Poll {
    is_running: AtomicBool,
    /// Whether a request used the realm since the last round.
    is_used: AtomicBool,
}

const NEVER: i64 = i64::MIN;

/// How long the answer of the store counts, in milliseconds. A request that finds an older answer
/// asks again before it is judged. So the moment is in force on every node within this time (L14).
const FRESH_FOR: i64 = 1000;

/// How often the task asks: sooner than an answer gets stale, with some time for the answer to
/// arrive.
const ASK_EVERY: Duration = Duration::from_millis(600);

/// After how many rounds without a request the task stops. The next request starts another.
const IDLE_ROUNDS: usize = 100;

impl RealmState {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            not_before: AtomicI64::new(NEVER),
            asked_at: AtomicI64::new(NEVER),
            last_policy: ArcSwapOption::empty(),
            full_pass: Mutex::default(),
            poll: Poll::default(),
        }
    }

    fn not_before(&self) -> Option<Timestamp> {
        let moment = self.not_before.load(Ordering::Acquire);
        (moment != NEVER).then(|| Timestamp::from_unix_millis(moment))
    }

    fn see(&self, moment: Option<Timestamp>) {
        if let Some(moment) = moment {
            self.not_before.fetch_max(moment.as_unix_millis(), Ordering::AcqRel);
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        let asked_at = self.asked_at.load(Ordering::Relaxed);
        let age = now.as_unix_millis().saturating_sub(asked_at);
        // A clock that stepped back makes it stale, too.
        asked_at != NEVER && (0..FRESH_FOR).contains(&age)
    }

    /// Remembers the policy of a request, for what is judged without one.
    pub(crate) fn remember(&self, policy: &Policy) {
        let known = self.last_policy.load();
        if known.as_deref() != Some(policy) {
            self.last_policy.store(Some(Arc::new(*policy)));
        }
    }

    pub(crate) fn remembered(&self) -> Option<Policy> {
        self.last_policy.load().as_deref().copied()
    }

    fn bound_by<'a>(&self, policy: &'a Policy) -> RealmPolicy<'a> {
        let not_before = self.not_before();
        if policy.not_before() == not_before {
            RealmPolicy::Same(policy)
        } else {
            RealmPolicy::SignedOut(Box::new(policy.with_not_before(not_before)))
        }
    }
}

/// A policy with the moment at which everybody in the realm was signed out.
#[derive(Debug)]
pub(crate) enum RealmPolicy<'a> {
    /// There is no such moment, so requests need no copy of their policy.
    Same(&'a Policy),
    SignedOut(Box<Policy>),
}

impl Deref for RealmPolicy<'_> {
    type Target = Policy;

    fn deref(&self) -> &Policy {
        match self {
            Self::Same(policy) => policy,
            Self::SignedOut(policy) => policy,
        }
    }
}

/// Notes the end of the task, also when its runtime ends.
struct Running(Weak<RealmState>);

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(realm) = self.0.upgrade() {
            realm.poll.is_running.store(false, Ordering::Relaxed);
        }
    }
}

impl Engine {
    /// The state of a realm, the same for all who ask.
    pub(crate) fn realm(&self, name: &Arc<str>) -> Arc<RealmState> {
        let realms = &self.shared.realms;
        if let Some(known) = super::lock(realms).get(name) {
            return Arc::clone(known);
        }
        let new = || Arc::new(RealmState::new(Arc::clone(name)));
        Arc::clone(super::lock(realms).entry(Arc::clone(name)).or_insert_with(new))
    }

    /// The policy with the moment at which everybody was signed out, if that is known well enough.
    pub(crate) fn known_policy<'a>(
        realm: &RealmState,
        policy: &'a Policy,
        now: Timestamp,
    ) -> Option<RealmPolicy<'a>> {
        if !realm.poll.is_used.load(Ordering::Relaxed) {
            realm.poll.is_used.store(true, Ordering::Relaxed);
        }
        realm.is_fresh(now).then(|| realm.bound_by(policy))
    }

    /// The policy with the moment at which everybody was signed out; asks the store when it has not
    /// been asked for a second.
    pub(crate) async fn policy_of<'a>(
        &self,
        realm: &Arc<RealmState>,
        policy: &'a Policy,
        now: Timestamp,
    ) -> Result<RealmPolicy<'a>, Error> {
        if let Some(policy) = Self::known_policy(realm, policy, now) {
            return Ok(policy);
        }
        self.ask_not_before(realm, now).await?;
        realm.asked_at.store(now.as_unix_millis(), Ordering::Relaxed);
        // With a clock that only a test moves, the interval of the task would mean nothing.
        if !self.store.in_process() && self.clock.keeps_wall_time() {
            self.ask_in_background(realm);
        }
        Ok(realm.bound_by(policy))
    }

    /// Asks the store for the moment. It is the smallest of its calls, so it also shows whether the
    /// store answers.
    pub(crate) async fn ask_not_before(&self, realm: &RealmState, now: Timestamp) -> Result<(), Error> {
        let (timer, answer) = (self.timer(Operation::NotBefore), self.store.calls().not_before(&realm.name));
        realm.see(self.call(timer, None, now, answer).await?);
        Ok(())
    }

    /// Starts the task that asks for the moment, unless it runs. It ends with the realm, or when no
    /// request uses it. Where it does not run, or is late, requests ask themselves.
    fn ask_in_background(&self, realm: &Arc<RealmState>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if realm.poll.is_running.swap(true, Ordering::Relaxed) {
            return;
        }
        let (store, clock, budget) = (self.store.clone(), Arc::clone(&self.clock), self.budget);
        let realm = Arc::downgrade(realm);
        runtime.spawn(async move {
            let _running = Running(realm.clone());
            let mut idle_rounds = 0;
            while idle_rounds < IDLE_ROUNDS {
                tokio::time::sleep(ASK_EVERY).await;
                let Some(realm) = realm.upgrade() else { return };
                let used = realm.poll.is_used.swap(false, Ordering::Relaxed);
                idle_rounds = if used { 0 } else { idle_rounds + 1 };
                let asked_at = clock.now();
                let answer = tokio::time::timeout(budget, store.calls().not_before(&realm.name)).await;
                // After a failure the answer goes stale. Then requests ask, and report the failure.
                if let Ok(Ok(moment)) = answer {
                    realm.see(moment);
                    realm.asked_at.store(asked_at.as_unix_millis(), Ordering::Relaxed);
                }
            }
        });
    }

    /// Signs a subject out everywhere, but for one session.
    pub(crate) async fn revoke_subject(
        &self,
        realm: &RealmState,
        subject: (Tag, Arc<str>),
        except: Option<SessionId>,
        keep: Duration,
        now: Timestamp,
        by: Option<&str>,
    ) -> Result<(), Error> {
        let at = self.shared_time(now).await;
        let name = Arc::clone(&subject.1);
        let revocation = Revocation {
            realm: Arc::clone(&realm.name),
            subject: Some(subject),
            at,
            except,
            keep_until: at + keep,
        };
        self.call(self.timer(Operation::Revoke), None, now, self.store.calls().revoke(revocation)).await?;
        let kind = EventKind::SignedOutEverywhere { except };
        self.emit_event(&Event { at: now, realm: &realm.name, sid: None, subject: Some(&name), by, kind });
        Ok(())
    }

    /// Signs everybody in a realm out: at once on this node, within [`FRESH_FOR`] on others.
    pub(crate) async fn revoke_everybody(
        &self,
        realm: &RealmState,
        now: Timestamp,
        by: Option<&str>,
    ) -> Result<(), Error> {
        let at = self.shared_time(now).await;
        let revocation = Revocation {
            realm: Arc::clone(&realm.name),
            subject: None,
            at,
            except: None,
            keep_until: at + crate::Lifetimes::LONGEST,
        };
        self.call(self.timer(Operation::Revoke), None, now, self.store.calls().revoke(revocation)).await?;
        realm.see(Some(at));
        let kind = EventKind::EverybodySignedOut;
        self.emit_event(&Event { at: now, realm: &realm.name, sid: None, subject: None, by, kind });
        self.shared.watches.wake_all();
        Ok(())
    }
}
