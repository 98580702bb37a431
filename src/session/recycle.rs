//! The allocation behind a handle, used again.
//!
//! A request without a cookie should cost next to nothing, and the shared part of its handle is one of two allocations
//! (the other is the box of the request's extensions). So each thread keeps a few of those parts when a request is done
//! with them. What was in one is dropped before it is kept, never when it is handed out again: nothing of a session
//! outlives its request here.

use std::{cell::RefCell, sync::Arc};

use super::{Inner, Session};

type Shared = Arc<Option<Inner>>;

/// How many a thread keeps; it needs one for each request that it has between its first and last poll.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Shared>> = const { RefCell::new(Vec::new()) };
}

/// A handle's shared part with this in it.
pub(super) fn fill(inner: Inner) -> Shared {
    let free = FREE.with(|free| free.try_borrow_mut().ok()?.pop());
    match free {
        Some(mut shared) => {
            if let Some(slot) = Arc::get_mut(&mut shared) {
                *slot = Some(inner);
                return shared;
            }
            Arc::new(Some(inner))
        }
        None => Arc::new(Some(inner)),
    }
}

impl Session {
    /// Gives the shared part back, if nobody else holds it.
    pub(crate) fn recycle(self) {
        let Self(mut shared) = self;
        if let Some(slot) = Arc::get_mut(&mut shared) {
            drop(slot.take());
            // `try_with`: the thread may be ending.
            let _ = FREE.try_with(|free| {
                if let Ok(mut free) = free.try_borrow_mut()
                    && free.len() < KEPT
                {
                    free.push(shared);
                }
            });
        }
    }
}
