//! A store that records its calls, fails and waits on command.

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
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, StoreInfo, Sweep, Swept},
};

/// Wraps a store: records its calls, makes them fail, and holds them at a gate. Clones share
/// everything.
///
/// `IN_PROCESS` becomes [`SessionStore::IN_PROCESS`]. With `false`, the middleware treats the store
/// as remote. With `true`, it treats it as in this process; gates and pauses then do not work.
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
    /// How many of the next calls reach the store and then fail, as if the answer were lost.
    lost_answers: HashMap<Operation, usize>,
    gates: HashMap<Operation, Gate>,
    pauses: usize,
    clock: Option<Arc<dyn Clock>>,
}

/// Holds one call before it reaches the store. Made by [`Probe::hold`].
#[derive(Clone, Debug)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

impl Gate {
    /// Waits until a call is at the gate.
    pub async fn arrived(&self) {
        pass(&self.arrived).await;
    }

    /// Lets the call continue.
    pub fn open(&self) {
        self.open.add_permits(1);
    }
}

async fn pass(semaphore: &Semaphore) {
    semaphore.acquire().await.expect("gates are never closed").forget();
}

impl<S: SessionStore> Probe<S> {
    /// A probe that the middleware treats as a remote store.
    pub fn remote(store: S) -> Self {
        Self::new(store)
    }
}

impl<S: SessionStore> Probe<S, true> {
    /// A probe that the middleware treats as a store in this process.
    pub fn in_process(store: S) -> Self {
        Self::new(store)
    }
}

impl<S: SessionStore, const IN_PROCESS: bool> Probe<S, IN_PROCESS> {
    fn new(store: S) -> Self {
        Self { store: Arc::new(store), state: Arc::default() }
    }

    /// The wrapped store; calls to it are not recorded.
    pub fn inner(&self) -> &S {
        &self.store
    }

    /// Takes the calls recorded since the last time.
    pub fn take_calls(&self) -> Vec<Operation> {
        let calls = std::mem::take(&mut self.state().calls);
        calls.into_iter().filter(|call| !matches!(call, Operation::NotBefore | Operation::Time)).collect()
    }

    /// Makes the next `times` calls fail before they reach the store.
    pub fn fail(&self, operation: Operation, times: usize) {
        self.state().failures.insert(operation, times);
    }

    /// Makes the next `times` calls do their work and then fail, as when a connection breaks before
    /// the answer.
    pub fn lose_answers(&self, operation: Operation, times: usize) {
        self.state().lost_answers.insert(operation, times);
    }

    /// Holds the next call at a gate, before it reaches the store.
    pub fn hold(&self, operation: Operation) -> Gate {
        let gate = Gate { arrived: Arc::new(Semaphore::new(0)), open: Arc::new(Semaphore::new(0)) };
        self.state().gates.insert(operation, gate.clone());
        gate
    }

    /// Gives the store its own clock, as a database server has: the result of
    /// [`SessionStore::time`].
    pub fn keep_time(&self, clock: impl Clock) {
        self.state().clock = Some(Arc::new(clock));
    }

    /// Makes every call pend `times` times before and after its work, so that a request can be
    /// cancelled there.
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

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
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

    /// Not recorded: no call to the backend.
    fn place_key(&self) -> PlaceKey {
        self.store.place_key()
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
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
