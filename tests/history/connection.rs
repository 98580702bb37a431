//! A node's connection to the store, its clock, and the life of its process.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tower_tenure::{
    Clock, Error, SessionId, SessionStore, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, StoreInfo, Sweep, Swept},
    testing::ManualClock,
};

use super::clients::Dice;

/// The clock of a node: the true time plus an offset.
#[derive(Clone, Debug)]
pub(crate) struct NodeClock {
    pub(crate) true_time: ManualClock,
    pub(crate) ahead: i64,
}

impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(self.true_time.now().as_unix_millis() + self.ahead)
    }
}

/// The life of a node's process.
#[derive(Debug, Default)]
pub(crate) struct Life {
    is_over: AtomicBool,
    ends: Notify,
}

impl Life {
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.ends.notify_waiters();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// The call's result, or `None` if the process ended first.
    pub(crate) async fn before_its_end<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        match select(pin!(call), pin!(self.ends.notified())).await {
            Either::Left((answer, _)) => Some(answer),
            Either::Right(_) => None,
        }
    }
}

/// A node's connection to the store. Its calls yield and fail at random, and never complete once
/// the node was killed. The store's clock shows the true time.
pub(crate) struct Connection<S> {
    pub(crate) store: Arc<S>,
    pub(crate) life: Arc<Life>,
    pub(crate) true_time: ManualClock,
    pub(crate) weather: Arc<Mutex<Weather>>,
}

#[derive(Debug)]
pub(crate) struct Weather {
    pub(crate) dice: Dice,
    pub(crate) pauses: u64,
    pub(crate) faults: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Answered,
    Fails,
    Lost,
}

pub(crate) async fn pause(mut times: u64) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

impl Weather {
    fn pauses(&mut self) -> u64 {
        if self.pauses == 0 { 0 } else { self.dice.below(self.pauses) }
    }

    fn fate(&mut self) -> Fate {
        if self.faults == 0 || !self.dice.one_in(self.faults) {
            Fate::Answered
        } else if self.dice.one_in(2) {
            Fate::Fails
        } else {
            Fate::Lost
        }
    }
}

impl<S: SessionStore> Connection<S> {
    async fn call<T>(&self, call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let (before, fate, after) = {
            let mut weather = self.weather.lock().unwrap_or_else(PoisonError::into_inner);
            (weather.pauses(), weather.fate(), weather.pauses())
        };
        pause(before).await;
        if self.life.is_over() {
            std::future::pending::<()>().await;
        }
        if fate == Fate::Fails {
            return Err(Error::store("it fails"));
        }
        let answer = call.await;
        pause(after).await;
        if self.life.is_over() {
            std::future::pending::<()>().await;
        }
        if fate == Fate::Lost { Err(Error::store("the answer is lost")) } else { answer }
    }
}

impl<S: SessionStore> SessionStore for Connection<S> {
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        self.call(self.store.create(creation)).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        self.call(self.store.load(sid)).await
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        self.call(self.store.update(sid, change, seen)).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        self.call(self.store.end(sid, request, seen)).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        self.call(self.store.revoke(revocation)).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        self.call(self.store.not_before(realm)).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        self.call(self.store.list(page)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.call(self.store.sweep(sweep)).await
    }

    async fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> Result<(), Error> {
        self.call(self.store.reschedule(sessions)).await
    }

    async fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Result<Vec<EndOutcome>, Error> {
        self.call(self.store.end_many(requests)).await
    }

    /// The true time, without delay: a slow answer would make the nodes' clocks differ, which is
    /// not under test here.
    async fn time(&self) -> Result<Option<Timestamp>, Error> {
        Ok(Some(self.true_time.now()))
    }

    fn place_key(&self) -> PlaceKey {
        self.store.place_key()
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }
}
