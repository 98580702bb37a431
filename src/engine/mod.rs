//! The only caller of a store: load, judge, end, create, sweep.
//!
//! Every call has a time budget, every failure is an event, and every end is reported once and
//! wakes the streams that wait for it.

#[cfg(feature = "management")]
mod changes;
mod clock;
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
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

#[cfg(feature = "management")]
pub(crate) use self::changes::SettingValues;
use self::{
    clock::ClockState,
    outage::{Outage, PastOutage},
    settle::PendingEnd,
    watch::Watches,
};
pub(crate) use self::{judge::Judged, live::LivePage, realm::RealmState, settle::UnsettledLogin};
use crate::{
    Clock, Error, ErrorKind, Policy, SessionId, Timestamp,
    events::{
        self, Event, EventKind, Observer, Operation, is_sampled,
        metrics::{self, StoreTimer, StoreTimers},
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

    /// E3 asks for five minutes; an hour also serves those who come back from lunch.
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
            // A fast path for the usual case: every stop of a record on its way is a copy of it. Not
            // timed, as that would take longer than the call.
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

    /// Ends a session that was judged over at a moment, unless it was used since it was read, and
    /// unless this node's clock cannot be trusted. `None` then.
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

    fn report(&self, sid: SessionId, at: Timestamp, outcome: &EndOutcome) {
        if let EndOutcome::Ended(session) = outcome {
            self.ended(sid, session.reason, at, &session.realm, session.subject.as_deref());
        }
    }

    pub(crate) fn created(&self, record: &Record) {
        let (at, sid, subject) = (record.timing.created_at, Some(record.sid), record.subject.as_deref());
        self.emit(at, &record.realm, sid, subject, EventKind::Created);
        if subject.is_some() {
            self.emit(at, &record.realm, sid, subject, EventKind::Authenticated);
        }
    }

    fn ended(&self, sid: SessionId, reason: EndReason, at: Timestamp, realm: &str, subject: Option<&str>) {
        self.emit(at, realm, Some(sid), subject, EventKind::Ended(reason));
        self.shared.watches.wake(sid, reason);
    }

    /// Emits an event to `tracing`, the metrics and all observers.
    pub(crate) fn emit(
        &self,
        at: Timestamp,
        realm: &str,
        sid: Option<SessionId>,
        subject: Option<&str>,
        kind: EventKind<'_>,
    ) {
        self.emit_event(&Event { at, realm, sid, subject, by: None, kind });
    }

    /// As [`Engine::emit`], for an event that says who did it.
    pub(crate) fn emit_event(&self, event: &Event<'_>) {
        let kind = event.kind;
        event.trace();
        metrics::event(&kind);
        for observer in &self.observers {
            // What an observer does is its own business: a logout must not fail because an audit
            // log panics.
            let observe = AssertUnwindSafe(|| observer.observe(event));
            if catch_unwind(observe).is_err() {
                events::observer_panicked(kind.as_str());
            }
        }
    }

    /// Starts to measure a call to the store: before it, since a store in this process has answered
    /// when it returns.
    fn timer(&self, operation: Operation) -> StoreTimer<'_> {
        self.shared.timers.start(operation)
    }

    /// Waits for an answer, and emits an event when an outage begins or is over.
    async fn call<T>(
        &self,
        timer: StoreTimer<'_>,
        sid: Option<SessionId>,
        at: Timestamp,
        answer: Answer<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        let operation = timer.operation();
        // Whatever a store calls its failure: here it is one, and nothing else (S6).
        let failed = |error: Error| if error.is_store_failure() { error } else { Error::store(error) };
        let result = self.wait(operation, answer).await.map_err(failed);
        timer.stop((&result).into());
        match &result {
            Ok(_) if self.shared.outage.is_on() => self.succeeded(at),
            Ok(_) => {}
            Err(error) => self.failed(operation, sid, at, error),
        }
        result
    }

    /// A call has failed: at the beginning of an outage, or in it (O3).
    #[cold]
    fn failed(&self, operation: Operation, sid: Option<SessionId>, at: Timestamp, error: &Error) {
        let store = &self.shared.store_info;
        if self.shared.outage.failed(at, self.clock.now()) {
            self.emit(at, "", sid, None, EventKind::StoreFailed { store, operation, error });
        } else {
            events::call_failed(store, sid, operation, error);
        }
    }

    /// A call has succeeded during an outage.
    #[cold]
    fn succeeded(&self, at: Timestamp) {
        if let Some(PastOutage { lasted, failures }) = self.shared.outage.succeeded(at, self.clock.now()) {
            let store = &self.shared.store_info;
            self.emit(at, "", None, None, EventKind::StoreRecovered { store, lasted, failures });
        }
    }

    /// Waits for an answer, but no longer than the budget.
    async fn wait<T>(
        &self,
        operation: Operation,
        mut answer: Answer<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        if let Answer::Ready(value) = &mut answer
            && let Some(value) = value.take()
        {
            return value;
        }
        let late = || {
            let message = format!("the session store did not answer `{operation}` within {:?}", self.budget);
            Err(Error::new(ErrorKind::Timeout, message))
        };
        tokio::time::timeout(self.budget, answer).await.unwrap_or_else(|_| late())
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

/// Waits for the first of two futures.
pub(crate) async fn first_of(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        let ready = a.as_mut().poll(cx).is_ready() || b.as_mut().poll(cx).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Waits for both of two futures.
pub(crate) async fn both<A, B>(a: impl Future<Output = A>, b: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut first, mut second) = (None, None);
    poll_fn(|cx| {
        if first.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            first = Some(value);
        }
        if second.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            second = Some(value);
        }
        if first.is_some() && second.is_some() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    match (first, second) {
        (Some(first), Some(second)) => (first, second),
        _ => unreachable!("both are there when the loop ends"),
    }
}
