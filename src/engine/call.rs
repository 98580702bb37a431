//! One call to the store: its time budget, and what its failure means.

use super::{Engine, outage::PastOutage};
use crate::{
    Error, ErrorKind, SessionId, Timestamp,
    events::{self, EventKind, Operation, metrics::StoreTimer},
    store::Answer,
};

impl Engine {
    /// Starts to measure a call to the store: before it, since a store in this process has answered
    /// when it returns.
    pub(super) fn timer(&self, operation: Operation) -> StoreTimer<'_> {
        self.shared.timers.start(operation)
    }

    /// Waits for an answer, and emits an event when an outage begins or is over.
    pub(super) async fn call<T>(
        &self,
        timer: StoreTimer<'_>,
        sid: Option<SessionId>,
        at: Timestamp,
        answer: Answer<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        let operation = timer.operation();
        // Every error of a store counts as its failure, whatever kind the store gave it (S6).
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
