//! Load, decide, commit: the only caller of a store.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Engine`]: the calls to the store |
//! | `arrive.rs` | from the tokens of a request to its session (C5, E3, L5, S4) |
//!
//! Every call has a time budget, every failure is told, and every end wakes whoever waits for it (SPEC S6, O1, H4).

mod arrive;

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

pub(crate) use self::arrive::{Arrival, Live};
use crate::{
    Clock, Error, ErrorKind, SessionId, Timestamp,
    events::{Event, EventKind, Observer, Operation, is_sampled},
    metrics::{self, StoreTimer},
    record::{Applied, Change, End, EndReason, Ending, Record, Updated},
    store::{Answer, AnyStore, Created, Creation, Page, Swept},
};

/// A store with a clock, a time budget and ears.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) store: AnyStore,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observers: Vec<Arc<dyn Observer>>,
    /// How long a call to the store may take.
    pub(crate) budget: Duration,
    /// How long the reason of an end stays known (E3).
    pub(crate) retention: Duration,
    shared: Arc<Shared>,
}

/// What the clones of an engine share.
struct Shared {
    /// Woken by every end, spread by session id.
    ends: [Notify; 64],
    /// When to sweep next, in milliseconds since the epoch.
    next_sweep: AtomicI64,
}

/// How a store in this process is swept, by the requests that create sessions: a small batch at a time, so that none of them
/// waits long, until all is done; then not for a while.
const SWEEP_BATCH: usize = 100;
const SWEEP_STEP: Duration = Duration::from_millis(250);
const SWEEP_PAUSE: Duration = Duration::from_secs(60);

impl Engine {
    /// SPEC S6.
    const DEFAULT_BUDGET: Duration = Duration::from_secs(2);

    /// SPEC E3 asks for five minutes; an hour tells also those who come back from lunch.
    const DEFAULT_RETENTION: Duration = Duration::from_secs(3600);

    pub(crate) fn new(store: AnyStore, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            observers: Vec::new(),
            budget: Self::DEFAULT_BUDGET,
            retention: Self::DEFAULT_RETENTION,
            shared: Arc::new(Shared {
                ends: std::array::from_fn(|_| Notify::new()),
                next_sweep: AtomicI64::new(i64::MIN),
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

    pub(crate) async fn load(&self, sid: SessionId, at: Timestamp) -> Result<Option<Record>, Error> {
        match self.store.calls().load(sid) {
            // The usual case has a short way: every stop of a record on its way is a copy of it.
            Answer::Ready(Some(Ok(record))) => Ok(record),
            answer => self.call(Operation::Load, Some(sid), at, answer).await,
        }
    }

    pub(crate) async fn update(&self, sid: SessionId, change: Change) -> Result<Updated, Error> {
        let (at, interaction) = (change.at, change.timing.interaction_at.is_some());
        let updated = match self.store.calls().update(sid, change) {
            Answer::Ready(Some(Ok(updated))) => updated, // as in `load`
            answer => self.call(Operation::Update, Some(sid), at, answer).await?,
        };
        if let Updated::Applied(Applied { rotated, .. }) = updated {
            if rotated {
                self.tell(at, Some(sid), None, EventKind::Rotated);
            }
            if interaction {
                metrics::extended();
                if is_sampled(at, sid) {
                    self.tell(at, Some(sid), None, EventKind::Extended);
                }
            }
        }
        Ok(updated)
    }

    pub(crate) async fn end(&self, sid: SessionId, end: End, subject: Option<&str>) -> Result<Ending, Error> {
        let ending = self.call(Operation::End, Some(sid), end.at, self.store.calls().end(sid, end)).await?;
        if let Ending::Done(reason) = ending {
            self.ended(sid, reason, end.at, subject);
        }
        Ok(ending)
    }

    pub(crate) async fn create(
        &self,
        creation: Creation,
        replaced_subject: Option<&str>,
    ) -> Result<Created, Error> {
        let (sid, at) = (creation.record.sid, creation.record.timing.created_at);
        let subject = creation.record.subject.clone();
        let replaced = creation.replaces;
        let created =
            self.call(Operation::Create, Some(sid), at, self.store.calls().create(creation)).await?;
        if let Created::Done { evicted, replaced: ending, .. } = &created {
            self.created(sid, subject.as_deref(), at);
            if let (Some(replaced), Some(Ending::Done(reason))) = (replaced, *ending) {
                self.ended(replaced.sid, reason, at, replaced_subject);
            }
            for sid in evicted {
                self.ended(*sid, EndReason::Evicted, at, subject.as_deref());
            }
            self.sweep_now_and_then(at).await;
        }
        Ok(created)
    }

    pub(crate) async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        let at = page.now;
        self.call(Operation::List, None, at, self.store.calls().list(page)).await
    }

    pub(crate) async fn end_subject(
        &self,
        subject: Arc<str>,
        end: End,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        let answer = self.store.calls().end_subject(Arc::clone(&subject), end, except);
        let ended = self.call(Operation::EndSubject, None, end.at, answer).await?;
        for sid in &ended {
            self.ended(*sid, end.reason, end.at, Some(&subject));
        }
        Ok(ended)
    }

    /// Removes a batch of records that have been over for longer than the retention.
    pub(crate) async fn sweep(&self, now: Timestamp, limit: usize) -> Result<Swept, Error> {
        self.call(Operation::Sweep, None, now, self.store.calls().sweep(now - self.retention, limit)).await
    }

    /// A store in this process has nobody else to sweep it.
    async fn sweep_now_and_then(&self, now: Timestamp) {
        let next = &self.shared.next_sweep;
        let seen = next.load(Ordering::Relaxed);
        let step = (now + SWEEP_STEP).as_unix_millis();
        // A clock that stepped back does not stop it.
        let stepped_back = seen > (now + SWEEP_PAUSE).as_unix_millis();
        let due = self.store.in_process() && (now.as_unix_millis() >= seen || stepped_back);
        if due && next.compare_exchange(seen, step, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let again = match self.sweep(now, SWEEP_BATCH).await {
                Ok(swept) if swept.finished => now + SWEEP_PAUSE,
                // Full: more may be due than a batch at a time can remove, so the next creation goes on.
                Ok(swept) if swept.removed >= SWEEP_BATCH => now,
                _ => return,
            };
            next.store(again.as_unix_millis(), Ordering::Relaxed);
        }
    }

    /// Resolves when a session on the same branch of ids ends on this node; whoever waits then looks.
    pub(crate) fn some_end_near(&self, sid: SessionId) -> Notified<'_> {
        self.notifier(sid).notified()
    }

    fn notifier(&self, sid: SessionId) -> &Notify {
        let ends = &self.shared.ends;
        &ends[usize::from(sid.as_bytes()[0]) % ends.len()]
    }

    pub(crate) fn created(&self, sid: SessionId, subject: Option<&str>, at: Timestamp) {
        self.tell(at, Some(sid), subject, EventKind::Created);
        if subject.is_some() {
            self.tell(at, Some(sid), subject, EventKind::Authenticated);
        }
    }

    fn ended(&self, sid: SessionId, reason: EndReason, at: Timestamp, subject: Option<&str>) {
        self.tell(at, Some(sid), subject, EventKind::Ended(reason));
        self.notifier(sid).notify_waiters();
    }

    /// Tells everybody who listens.
    pub(crate) fn tell(
        &self,
        at: Timestamp,
        sid: Option<SessionId>,
        subject: Option<&str>,
        kind: EventKind<'_>,
    ) {
        let event = Event { at, sid, subject, kind };
        event.trace();
        metrics::event(&kind);
        for observer in &self.observers {
            observer.observe(&event);
        }
    }

    /// Waits for an answer, and tells of a failure.
    async fn call<T>(
        &self,
        operation: Operation,
        sid: Option<SessionId>,
        at: Timestamp,
        answer: Answer<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        // Whatever a store calls its failure: here it is one, and nothing else (S6).
        let failed = |error: Error| if error.is_store_failure() { error } else { Error::store(error) };
        let tell = |error: &Error| self.tell(at, sid, None, EventKind::StoreFailed { operation, error });
        self.wait(operation, answer).await.map_err(failed).inspect_err(tell)
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
        let _timer = StoreTimer::start(operation);
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

/// Waits for the first of two futures.
pub(crate) async fn first_of(a: impl Future<Output = ()>, b: impl Future<Output = ()>) {
    let (mut a, mut b) = (pin!(a), pin!(b));
    poll_fn(|cx| {
        let ready = a.as_mut().poll(cx).is_ready() || b.as_mut().poll(cx).is_ready();
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
