//! The allocation behind a handle, used again.
//!
//! A request without a cookie should cost next to nothing, and the shared part of its handle would
//! be two of three allocations (the third is the box of the request's extensions). So each thread
//! keeps a few of those parts after their requests. That saves two allocations and 1,250
//! instructions of each request: of 3,320 without a cookie, of 12,230 for a read (`cargo bench
//! --bench overhead`).
//!
//! The content of a part is dropped before the part is kept, not when it is handed out again:
//! nothing of a session outlives its request here.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
};

use super::{Inner, Session};
use crate::{
    engine::UnsettledLogin,
    record::Millis,
    request::{CookieSent, RequestState},
};

/// The part of a handle that its clones share.
pub(super) struct Shared {
    /// `None` between two requests.
    pub(super) inner: Option<Inner>,
    /// The `User-Agent`, cut at 512 bytes; empty when there is none. A copy in room that is there
    /// already: sharing the header's value would cost more, and an allocation where it was not
    /// shared before.
    pub(super) user_agent: Vec<u8>,
    /// Beside it, because it is large: between two requests it is emptied where it stands, not
    /// moved.
    pub(super) state: Mutex<State>,
}

/// What changes while the request runs.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) request: RequestState,
    /// Whether the handler looked at the session, so that the response depends on it.
    pub(super) looked: bool,
    /// A login that was sent to the store, and may or may not have taken place.
    pub(super) unsettled: Option<UnsettledLogin>,
    /// Whether the browser sent a bound cookie, which then goes with the session cookie.
    pub(super) has_bound_cookie: bool,
}

/// How many a thread keeps; it needs one for each request that it has between its first and last
/// poll.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Arc<Shared>>> = const { RefCell::new(Vec::new()) };
}

const USER_AGENT: usize = 512;

/// A handle's shared part with this in it. Takes a closure, so that a large value is built in place.
pub(super) fn fill(
    inner: impl FnOnce() -> Inner,
    cookie: CookieSent,
    keep_longer: Millis,
    user_agent: &[u8],
) -> Arc<Shared> {
    let user_agent = &user_agent[..user_agent.len().min(USER_AGENT)];
    let free = FREE.with(|free| free.try_borrow_mut().ok()?.pop());
    if let Some(mut shared) = free
        && let Some(slot) = Arc::get_mut(&mut shared)
    {
        slot.inner.get_or_insert_with(inner);
        slot.user_agent.extend_from_slice(user_agent);
        let state = slot.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.request.start(cookie, keep_longer);
        return shared;
    }
    let mut room = Vec::with_capacity(USER_AGENT);
    room.extend_from_slice(user_agent);
    let mut state = State::default();
    state.request.start(cookie, keep_longer);
    Arc::new(Shared { inner: Some(inner()), user_agent: room, state: Mutex::new(state) })
}

impl Session {
    /// Gives the shared part back, if nobody else holds it.
    pub(crate) fn recycle(self) {
        let Self(mut shared) = self;
        if let Some(slot) = Arc::get_mut(&mut shared) {
            slot.inner = None;
            slot.user_agent.clear();
            let state = slot.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            state.request.reset();
            state.looked = false;
            state.unsettled = None;
            state.has_bound_cookie = false;
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
