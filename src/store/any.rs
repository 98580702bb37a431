//! A type-erased store.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{CreateOutcome, Creation, Page, PlaceKey, Revocation, SessionStore, Sweep, Swept};
use crate::{
    Error, ErrorKind, Timestamp,
    record::{Change, EndOutcome, EndRequest, Record, SessionId, UpdateOutcome},
};

/// A type-erased store, for choosing one at run time.
///
/// Cheap to clone; clones share the store. Every function that takes a store accepts
/// `impl Into<AnyStore>`.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer, store::AnyStore};
///
/// fn store_by_name(name: &str) -> Option<AnyStore> {
///     match name {
///         "memory" => Some(MemoryStore::new().into()),
///         _ => None,
///     }
/// }
/// let layer = SessionLayer::new(store_by_name("memory").unwrap());
/// ```
#[derive(Clone)]
pub struct AnyStore(Arc<dyn DynStore>);

impl<S: SessionStore> From<S> for AnyStore {
    fn from(store: S) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyStore({})", self.0.type_name())
    }
}

impl AnyStore {
    /// [`SessionStore::IN_PROCESS`] of the store.
    pub fn in_process(&self) -> bool {
        self.0.in_process()
    }

    /// The calls.
    pub(crate) fn calls(&self) -> &dyn DynStore {
        &*self.0
    }
}

/// A result that is ready, or a boxed future of it: no allocation where a store answers at once.
#[must_use]
pub(crate) enum Answer<'a, T> {
    Ready(Option<T>),
    Waiting(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
}

impl<T> Answer<'_, T> {
    /// Polls a future once, without a box; `None` if it is not ready.
    ///
    /// Takes a closure, so that the future is built in place: moving a future copies its whole
    /// state.
    pub(crate) fn at_once<F: Future<Output = T>>(future: impl FnOnce() -> F) -> Option<T> {
        match pin!(future()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }
}

impl<'a, T> Answer<'a, Result<T, Error>> {
    /// Polls the future in place if the store is in this process, else boxes it.
    pub(crate) fn start<F>(in_process: bool, future: impl FnOnce() -> F) -> Self
    where
        F: Future<Output = Result<T, Error>> + Send + 'a,
    {
        if !in_process {
            return Self::Waiting(Box::pin(future()));
        }
        let broken = || {
            Err(Error::new(
                ErrorKind::Store,
                "a store with IN_PROCESS must be ready at the first poll; set it to false if it waits",
            ))
        };
        Self::Ready(Some(Answer::at_once(future).unwrap_or_else(broken)))
    }
}

impl<'a, T: Send + 'a> Answer<'a, T> {
    /// As a boxed future in any case.
    pub(crate) fn into_future(self) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> {
        match self {
            Self::Waiting(future) => future,
            ready @ Self::Ready(_) => Box::pin(ready),
        }
    }
}

impl<T> Unpin for Answer<'_, T> {}

impl<T> Future for Answer<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut *self {
            Self::Ready(value) => Poll::Ready(value.take().expect("an answer is taken once")),
            Self::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

type Reply<'a, T> = Answer<'a, Result<T, Error>>;

macro_rules! dyn_store {
    ($(fn $call:ident(&self $(, $argument:ident: $of:ty)*) -> $answer:ty;)*) => {
        /// [`SessionStore`], object-safe.
        #[expect(clippy::elidable_lifetime_names, reason = "one of the calls borrows an argument")]
        pub(crate) trait DynStore: Send + Sync + 'static {
            fn type_name(&self) -> &'static str;
            fn in_process(&self) -> bool;
            fn place_key(&self) -> PlaceKey;
            /// Boxed: each stop of a record on its way to the handler would be a copy of it.
            fn load(&self, sid: SessionId) -> Reply<'_, Option<Box<Record>>>;
            $(fn $call<'a>(&'a self $(, $argument: $of)*) -> Reply<'a, $answer>;)*
        }

        #[expect(clippy::elidable_lifetime_names, reason = "as in the trait")]
        impl<S: SessionStore> DynStore for S {
            fn type_name(&self) -> &'static str {
                std::any::type_name::<S>()
            }

            fn in_process(&self) -> bool {
                S::IN_PROCESS
            }

            fn place_key(&self) -> PlaceKey {
                SessionStore::place_key(self)
            }

            fn load(&self, sid: SessionId) -> Reply<'_, Option<Box<Record>>> {
                let load = async move || Ok(SessionStore::load(self, sid).await?.map(Box::new));
                Answer::start(S::IN_PROCESS, load)
            }

            $(fn $call<'a>(&'a self $(, $argument: $of)*) -> Reply<'a, $answer> {
                Answer::start(S::IN_PROCESS, || SessionStore::$call(self $(, $argument)*))
            })*
        }
    };
}

dyn_store! {
    fn create(&self, creation: Creation) -> CreateOutcome;
    fn update(&self, sid: SessionId, change: Change, seen: Option<Box<Record>>) -> UpdateOutcome;
    fn end(&self, sid: SessionId, request: EndRequest, seen: Option<Box<Record>>) -> EndOutcome;
    fn revoke(&self, revocation: Revocation) -> ();
    fn not_before(&self, realm: &'a str) -> Option<Timestamp>;
    fn list(&self, page: Page) -> Vec<Record>;
    fn sweep(&self, sweep: Sweep) -> Swept;
    fn reschedule(&self, sessions: Vec<(SessionId, Timestamp)>) -> ();
    fn end_many(&self, requests: Vec<(SessionId, EndRequest)>) -> Vec<EndOutcome>;
    fn time(&self) -> Option<Timestamp>;
}
