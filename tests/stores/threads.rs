//! The memory store, called from threads that all start at once.

use std::{collections::BTreeSet, sync::Barrier, thread};

use tower_tenure::{
    MemoryStore, SessionId, SessionStore, Timestamp,
    record::{Change, EndOutcome, EndRequest, UpdateOutcome},
    store::{CreateOutcome, Creation},
};

use crate::common::{
    search,
    store::{all, now_or_never, revocation},
};

/// The memory store, called from threads.
#[derive(Default)]
pub(crate) struct Store(pub(crate) MemoryStore);

impl Store {
    pub(crate) fn create(&self, creation: Creation) -> CreateOutcome {
        now_or_never(self.0.create(creation))
    }

    pub(crate) fn update(&self, sid: SessionId, change: Change) -> UpdateOutcome {
        now_or_never(self.0.update(sid, change, None))
    }

    pub(crate) fn is_applied(&self, sid: SessionId, change: Change) -> bool {
        matches!(self.update(sid, change), UpdateOutcome::Applied(_))
    }

    pub(crate) fn end(&self, sid: SessionId, request: EndRequest) -> EndOutcome {
        now_or_never(self.0.end(sid, request, None))
    }

    pub(crate) fn revoke(&self, at: Timestamp, except: Option<SessionId>) {
        now_or_never(self.0.revoke(revocation(at, except)));
    }

    /// The sessions of the subject that have not ended.
    pub(crate) fn listed(&self) -> BTreeSet<SessionId> {
        now_or_never(self.0.list(all())).into_iter().map(|record| record.sid).collect()
    }
}

/// Runs a test repeatedly, each time with a new store.
pub(crate) fn rounds(base: u32, round: impl Fn(&Store)) {
    for _ in 0..search::cases(base) {
        round(&Store::default());
    }
}

/// Runs the same work on this many threads at once, each with its number, and collects the results.
pub(crate) fn at_once<T: Send>(threads: u32, work: impl Fn(u32) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads as usize);
    let work = |number| {
        barrier.wait();
        work(number)
    };
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|number| scope.spawn(move || work(number))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
