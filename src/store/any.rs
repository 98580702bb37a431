//! A type-erased store.

use std::{
    fmt,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use super::{
    CreateOutcome, Creation, DynSettings, Page, PlaceKey, Revocation, SessionStore, SettingsStore, StoreInfo,
    StoreUrl, StoredSettings, Sweep, Swept,
};
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
/// use tower_tenure::{SessionLayer, SharedPolicy, store::AnyStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_tenure::Error> {
/// let store = AnyStore::connect("memory").await?; // or redis://…, postgres://…, sqlite:PATH
/// let policy = SharedPolicy::open(store.clone(), Default::default()).await?;
/// let layer = SessionLayer::new(store).with_policy(policy.live());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AnyStore {
    sessions: Arc<dyn DynStore>,
    /// `None` for a store that is only known to keep sessions.
    settings: Option<Arc<dyn DynSettings>>,
    /// A copy, since each request asks several times, and the call is virtual.
    in_process: bool,
}

impl<S: SessionStore> From<S> for AnyStore {
    fn from(store: S) -> Self {
        Self { sessions: Arc::new(store), settings: None, in_process: S::IN_PROCESS }
    }
}

/// Of a store that was made by [`AnyStore::connect`] or [`AnyStore::with_settings`]. Any other
/// answers with an error of kind [`Configuration`](ErrorKind::Configuration).
impl SettingsStore for AnyStore {
    async fn load_settings(&self, realm: &str) -> Result<Option<StoredSettings>, Error> {
        self.settings()?.load(realm).await
    }

    async fn save_settings(&self, realm: &str, text: Arc<str>, after: Option<u64>) -> Result<bool, Error> {
        self.settings()?.save(realm, text, after).await
    }

    async fn settings_changed(&self) {
        match &self.settings {
            Some(settings) => settings.changed().await,
            None => std::future::pending().await,
        }
    }

    fn settings_info(&self) -> StoreInfo {
        self.settings.as_ref().map_or_else(|| self.calls().info(), |settings| settings.info())
    }
}

impl fmt::Debug for AnyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnyStore({})", self.sessions.type_name())
    }
}

impl AnyStore {
    /// The store at a URL; [`StoreUrl`] has the schemes. Settings can be kept in it, too.
    ///
    /// # Errors
    ///
    /// As [`StoreUrl::parse`] and [`StoreUrl::connect`].
    pub async fn connect(url: &str) -> Result<Self, Error> {
        StoreUrl::parse(url)?.connect().await
    }

    /// A store that keeps settings as well as sessions.
    pub fn with_settings(store: impl SessionStore + SettingsStore) -> Self {
        let store = Arc::new(store);
        Self { in_process: store.in_process(), settings: Some(Arc::clone(&store) as _), sessions: store }
    }

    fn settings(&self) -> Result<&dyn DynSettings, Error> {
        self.settings.as_deref().ok_or_else(|| {
            let message = "this AnyStore keeps sessions only; make it by AnyStore::with_settings";
            Error::new(ErrorKind::Configuration, message)
        })
    }

    /// [`SessionStore::IN_PROCESS`] of the store.
    pub fn in_process(&self) -> bool {
        self.in_process
    }

    /// The calls.
    pub(crate) fn calls(&self) -> &dyn DynStore {
        &*self.sessions
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
            fn info(&self) -> StoreInfo;
            fn recent(&self, sid: SessionId) -> Option<Box<Record>>;
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

            fn info(&self) -> StoreInfo {
                SessionStore::info(self)
            }

            fn recent(&self, sid: SessionId) -> Option<Box<Record>> {
                SessionStore::recent(self, sid)
            }

            $(fn $call<'a>(&'a self $(, $argument: $of)*) -> Reply<'a, $answer> {
                Answer::start(S::IN_PROCESS, || SessionStore::$call(self $(, $argument)*))
            })*
        }
    };
}

dyn_store! {
    fn create(&self, creation: Creation) -> CreateOutcome;
    fn load(&self, sid: SessionId) -> Option<Box<Record>>;
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
