//! A store that watches, fails and waits on command.

use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use tokio::sync::Semaphore;

use crate::{
    Clock, Error, SessionId, SessionStore, Timestamp,
    events::Operation,
    record::{Change, EndOutcome, EndRequest, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, Sweep, Swept},
};

/// Wraps a store to watch its calls, let them fail, and hold them at a gate. Clones share everything.
///
/// `IN_PROCESS` is what [`SessionStore::IN_PROCESS`] says: `false` makes the middleware treat any store as a
/// remote one, `true` shows what it does with one that answers at once (gates and pauses are then of no use).
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer, events::Operation, testing::Probe};
///
/// let store = Probe::remote(MemoryStore::new());
/// let layer = SessionLayer::new(store.clone());
/// store.fail(Operation::Load, 1); // the next request with a cookie gets 503
/// assert_eq!(store.take_calls(), []);
/// ```
pub struct Probe<S, const IN_PROCESS: bool = false> {
    store: Arc<S>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    calls: Vec<Operation>,
    /// How many of the next calls fail before they reach the store.
    failures: HashMap<Operation, usize>,
    /// How many of the next calls reach the store, and then fail: the answer is lost.
    lost_answers: HashMap<Operation, usize>,
    gates: HashMap<Operation, Gate>,
    pauses: usize,
    clock: Option<Arc<dyn Clock>>,
}

/// Where one call waits, before it reaches the store. Made by [`Probe::hold`].
#[derive(Clone, Debug)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// Waits until a call stands at the gate.
    pub async fn arrived(&self) {
        pass(&self.arrived).await;
    }

    /// Lets it through.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

async fn pass(semaphore: &Semaphore) {
    semaphore.acquire().await.expect("gates are never closed").forget();
}

impl<S: SessionStore> Probe<S> {
    /// A store that the middleware takes for a remote one.
    pub fn remote(store: S) -> Self {
        Self::new(store)
    }
}

impl<S: SessionStore> Probe<S, true> {
    /// A store that the middleware takes for one in this process.
    pub fn in_process(store: S) -> Self {
        Self::new(store)
    }
}

impl<S: SessionStore, const IN_PROCESS: bool> Probe<S, IN_PROCESS> {
    fn new(store: S) -> Self {
        Self { store: Arc::new(store), state: Arc::default() }
    }

    /// The store inside, past the watching.
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// The calls since the last time this was asked.
    pub fn take_calls(&self) -> Vec<Operation> {
        let calls = std::mem::take(&mut self.state().calls);
        calls.into_iter().filter(|call| !matches!(call, Operation::NotBefore | Operation::Time)).collect()
    }

    /// Lets the next so many calls fail before they reach the store.
    pub fn fail(&self, operation: Operation, times: usize) {
        self.state().failures.insert(operation, times);
    }

    /// Lets the next so many calls do their work and then fail, as when a connection breaks before the answer
    /// is there.
    pub fn lose_answers(&self, operation: Operation, times: usize) {
        self.state().lost_answers.insert(operation, times);
    }

    /// Holds the next call at a gate, before it reaches the store.
    pub fn hold(&self, operation: Operation) -> Gate {
        let gate = Gate { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) };
        self.state().gates.insert(operation, gate.clone());
        gate
    }

    /// Gives the store a clock of its own, as a database server has one: what [`SessionStore::time`] says.
    pub fn keep_time(&self, clock: impl Clock) {
        self.state().clock = Some(Arc::new(clock));
    }

    /// Makes every call pend so many times before and after its work: places where a request can be cancelled.
    pub fn pause(&self, times: usize) {
        self.state().pauses = times;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn visit<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let (pauses, fails, loses, gate) = {
            let mut state = self.state();
            state.calls.push(operation);
            let fails = count_down(&mut state.failures, operation);
            let loses = count_down(&mut state.lost_answers, operation);
            (state.pauses, fails, loses, state.gates.remove(&operation))
        };
        if let Some(gate) = gate {
            gate.arrived.add_permits(1);
            pass(&gate.open).await;
        }
        pend(pauses).await;
        if fails {
            return Err(Error::store("made to fail"));
        }
        let answer = work.await;
        pend(pauses).await;
        if loses { Err(Error::store("made to lose the answer")) } else { answer }
    }
}

fn count_down(counts: &mut HashMap<Operation, usize>, operation: Operation) -> bool {
    counts.get_mut(&operation).is_some_and(|left| {
        let now = *left > 0;
        *left = left.saturating_sub(1);
        now
    })
}

async fn pend(mut times: usize) {
    poll_fn(|cx| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl<S: SessionStore, const IN_PROCESS: bool> SessionStore for Probe<S, IN_PROCESS> {
    const IN_PROCESS: bool = IN_PROCESS;

    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        self.visit(Operation::Create, self.store.create(creation)).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        self.visit(Operation::Load, self.store.load(sid)).await
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        self.visit(Operation::Update, self.store.update(sid, change, seen)).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        self.visit(Operation::End, self.store.end(sid, request, seen)).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        self.visit(Operation::Revoke, self.store.revoke(revocation)).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        self.visit(Operation::NotBefore, self.store.not_before(realm)).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.visit(Operation::List, self.store.list(page)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.visit(Operation::Sweep, self.store.sweep(sweep)).await
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        self.visit(Operation::Reschedule, self.store.reschedule(sessions)).await
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        self.visit(Operation::EndMany, self.store.end_many(requests)).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, Error> {
        let own = self.state().clock.as_ref().map(Clock::now);
        let time = async move { if own.is_some() { Ok(own) } else { self.store.time().await } };
        self.visit(Operation::Time, time).await
    }

    /// Past the watching: no call to the backend.
    fn place_key(&self) -> PlaceKey {
        self.store.place_key()
    }
}

impl<S, const IN_PROCESS: bool> Clone for Probe<S, IN_PROCESS> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), state: Arc::clone(&self.state) }
    }
}

impl<S, const IN_PROCESS: bool> fmt::Debug for Probe<S, IN_PROCESS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("in_process", &IN_PROCESS).finish_non_exhaustive()
    }
}
