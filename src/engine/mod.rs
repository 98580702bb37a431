//! The only caller of a store: load, judge, end, create, sweep.
//!
//! Every call has a time budget, and every failure is an event. Every end is reported once, and
//! wakes the streams that wait for it.

// call.rs        one call to the store: its time budget, and what its failure means
// emit.rs        events, to `tracing`, metrics and observers
// outage.rs      when an outage begins, and when it is over
// judge.rs       a token is looked up and judged
// establish.rs   a session is created, and those that it replaces end
// settle.rs      what became of a call whose caller went away
// sweep.rs       sessions that are over are found and ended
// watch.rs       streams that wait for the end of their session
// live.rs        pages of live sessions
// realm.rs       what a node knows of a realm
// clock.rs       whether this node's clock agrees with the store's
// changes.rs     events of changed settings
// concurrent.rs  two futures at once

mod call;
#[cfg(feature = "management")]
mod changes;
mod clock;
mod concurrent;
mod emit;
mod establish;
mod judge;
mod live;
mod outage;
mod realm;
mod settle;
mod sweep;
mod watch;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "management")]
pub(crate) use self::changes::SettingValues;
use self::{clock::ClockState, outage::Outage, settle::PendingEnd, watch::Watches};
pub(crate) use self::{judge::Judged, live::LivePage, realm::RealmState, settle::UnsettledLogin};
use crate::{
    Clock, Error, Policy, SessionId, Timestamp,
    events::{
        EventKind, Observer, Operation, is_sampled,
        metrics::{self, StoreTimers},
    },
    record::{Applied, CallId, Change, EndOptions, EndOutcome, EndReason, EndRequest, Record, UpdateOutcome},
    store::{Answer, AnyStore, Page, PlaceKey, StoreInfo},
};

/// The store, with the clock, timeout and observers that every call uses.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) store: AnyStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    /// How long a call to the store may take.
    pub(crate) budget: Duration,
    /// How long the reason of an end stays known (E3).
    pub(crate) retention: Duration,
    /// How far this node's clock may be from the store's (S12).
    pub(crate) clock_tolerance: Duration,
    /// How many streams of one session may be open (S13).
    pub(crate) max_streams: usize,
    shared: Arc<Shared>,
}

/// What the clones of an engine share.
struct Shared {
    place_key: PlaceKey,
    watches: Watches,
    clock: ClockState,
    store_info: StoreInfo,
    outage: Outage,
    timers: StoreTimers,
    realms: Mutex<HashMap<Arc<str>, Arc<RealmState>>>,
    /// When to sweep next, in milliseconds since the epoch.
    next_sweep: AtomicI64,
    /// The next call's id: from a random start, so that those of several processes differ.
    next_call: AtomicU64,
}

impl Engine {
    /// S6.
    const DEFAULT_BUDGET: Duration = Duration::from_secs(2);

    /// E3 asks for five minutes; an hour also covers a lunch break.
    const DEFAULT_RETENTION: Duration = Duration::from_secs(3600);

    /// S12.
    const DEFAULT_CLOCK_TOLERANCE: Duration = Duration::from_secs(30);

    pub(crate) fn new(store: AnyStore, clock: Arc<dyn Clock>) -> Self {
        let mut start = [0; 8];
        getrandom::fill(&mut start).expect("the operating system gives random bytes");
        #[cfg(feature = "metrics")]
        metrics::describe_metrics();
        let (store_info, place_key) = (store.calls().info(), store.calls().place_key());
        Self {
            store,
            clock,
            observers: Vec::new(),
            budget: Self::DEFAULT_BUDGET,
            retention: Self::DEFAULT_RETENTION,
            clock_tolerance: Self::DEFAULT_CLOCK_TOLERANCE,
            max_streams: watch::DEFAULT_MAX_STREAMS,
            shared: Arc::new(Shared {
                place_key,
                watches: Watches::default(),
                clock: ClockState::default(),
                timers: StoreTimers::new(store_info.kind()),
                store_info,
                outage: Outage::default(),
                realms: Mutex::default(),
                next_sweep: AtomicI64::new(i64::MIN),
                next_call: AtomicU64::new(u64::from_le_bytes(start)),
            }),
        }
    }

    /// Runs a future of this engine where it stands if the store answers at once, without a box.
    pub(crate) fn answer<'a, T, F>(&self, future: impl FnOnce() -> F) -> Answer<'a, Result<T, Error>>
    where
        T: Send + 'a,
        F: Future<Output = Result<T, Error>> + Send + 'a,
    {
        Answer::start(self.store.in_process(), future)
    }

    /// The id of a new call.
    pub(crate) fn call_id(&self) -> CallId {
        CallId::new(self.shared.next_call.fetch_add(1, Ordering::Relaxed))
    }

    /// A request to end a session, whose tombstone stays as long as this engine is configured to
    /// keep one.
    pub(crate) fn end_request(&self, reason: EndReason, at: Timestamp, options: EndOptions) -> EndRequest {
        EndRequest {
            retention: self.retention.into(),
            options,
            ..EndRequest::new(reason, at, self.call_id())
        }
    }

    pub(crate) async fn load(&self, sid: SessionId, at: Timestamp) -> Result<Option<Box<Record>>, Error> {
        match self.store.calls().load(sid) {
            // A fast path for the usual case: each function on the way of a record would copy it.
            // Not timed, as that would take longer than the call.
            Answer::Ready(Some(Ok(record))) if !self.shared.outage.is_on() => Ok(record),
            answer => self.call(self.timer(Operation::Load), Some(sid), at, answer).await,
        }
    }

    /// Applies a change; `seen` is the record as far as it is known, for stores that compare and
    /// set.
    pub(crate) async fn update(
        &self,
        sid: SessionId,
        realm: &str,
        seen: Option<Box<Record>>,
        change: Change,
    ) -> Result<UpdateOutcome, Error> {
        let (at, interaction) = (change.at, change.timing.interaction_at.is_some());
        let binds_at = change.bind_to.as_ref().map(|device| device.bound_at);
        let updated = match self.store.calls().update(sid, change, seen) {
            Answer::Ready(Some(Ok(updated))) if !self.shared.outage.is_on() => updated, // as in `load`
            answer => self.call(self.timer(Operation::Update), Some(sid), at, answer).await?,
        };
        if let UpdateOutcome::Applied(Applied { rotated, bound_at, .. }) = updated {
            // Not if the same device was bound by another request, which a browser may send twice.
            if bound_at.is_some() && bound_at == binds_at {
                self.emit(at, realm, Some(sid), None, EventKind::Bound);
            }
            if rotated {
                self.emit(at, realm, Some(sid), None, EventKind::Rotated);
            }
            if interaction {
                metrics::extended();
                if is_sampled(at, sid) {
                    self.emit(at, realm, Some(sid), None, EventKind::Extended);
                }
            }
        }
        Ok(updated)
    }

    /// Ends a session, and reports the end if it was this call's.
    pub(crate) async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        let at = request.at;
        let pending = PendingEnd::new(self, at, vec![(sid, request.call)]);
        let outcome = self
            .call(self.timer(Operation::End), Some(sid), at, self.store.calls().end(sid, request, seen))
            .await?;
        pending.answered();
        self.report(sid, at, &outcome);
        Ok(outcome)
    }

    /// Ends several sessions, and reports those that these calls ended.
    async fn end_many(
        &self,
        requests: Vec<(SessionId, EndRequest)>,
        at: Timestamp,
    ) -> Result<Vec<EndOutcome>, Error> {
        let sids: Vec<_> = requests.iter().map(|(sid, request)| (*sid, request.call)).collect();
        let pending = PendingEnd::new(self, at, sids.clone());
        let outcomes = self
            .call(self.timer(Operation::EndMany), None, at, self.store.calls().end_many(requests))
            .await?;
        pending.answered();
        for ((sid, _), outcome) in sids.into_iter().zip(&outcomes) {
            self.report(sid, at, outcome);
        }
        Ok(outcomes)
    }

    /// Ends a session that was judged over at a moment, unless it was used since it was read.
    /// `None` when it has ended before, or when it would end by time and this node's clock cannot
    /// be trusted.
    pub(crate) async fn end_found_over(
        &self,
        record: &Record,
        policy: &Policy,
        now: Timestamp,
        reason: EndReason,
    ) -> Option<Result<EndOutcome, Error>> {
        if record.ended.is_some() || (reason.is_deadline() && !self.clock_agrees(now).await) {
            return None;
        }
        let request = self.request_for(record, policy, now, reason);
        Some(self.end(record.sid, request, self.hint(record)).await)
    }

    /// The request that ends a session which was judged over.
    pub(crate) fn request_for(
        &self,
        record: &Record,
        policy: &Policy,
        now: Timestamp,
        reason: EndReason,
    ) -> EndRequest {
        let by_time = reason.is_deadline();
        let options = EndOptions {
            if_idle_since: by_time.then_some(record.timing.last_interaction_at),
            lowering: if by_time { policy.lowering(&record.timing) } else { None },
            resume_for: policy.resume_for().into(),
            ..EndOptions::default()
        };
        self.end_request(reason, now, options)
    }

    pub(crate) async fn list(&self, page: Page, at: Timestamp) -> Result<Vec<Record>, Error> {
        self.call(self.timer(Operation::List), None, at, self.store.calls().list(page)).await
    }

    /// A copy of what is known, for stores that compare and set.
    pub(crate) fn hint(&self, seen: &Record) -> Option<Box<Record>> {
        (!self.store.in_process()).then(|| Box::new(seen.clone()))
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.store)
            .field("clock", &self.clock)
            .field("budget", &self.budget)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}

/// No code of the application runs under these locks, so a panic cannot leave them halfway through
/// a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
