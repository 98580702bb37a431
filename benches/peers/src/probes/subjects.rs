//! The libraries, each over a store that can be made to wait or fail.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use axum::Router;
use tower_tenure::{MemoryStore, SystemClock, events::Operation, testing::Probe};
use tower_tenure_peers::{
    application::probed,
    libraries::{Rows, Trouble, axess, axum_session, tenure, tower_sessions, tower_sessions_0_14},
};

/// A library under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    Tenure,
    TowerSessions,
    TowerSessionsAlways,
    Moka,
    AxumSession,
    AxumSessionUncached,
    Axess,
}

pub(crate) const ALL: &[Library] = &[
    Library::Tenure,
    Library::TowerSessions,
    Library::TowerSessionsAlways,
    Library::Moka,
    Library::AxumSession,
    Library::AxumSessionUncached,
    Library::Axess,
];

/// A running application with this library.
pub(crate) struct Subject {
    pub(crate) router: Router,
    store: Store,
}

enum Store {
    Tenure(Probe<MemoryStore>),
    Watched { trouble: Arc<Trouble>, rows: Rows },
    AxumSession { trouble: Arc<Trouble>, rows: axum_session::Watched },
}

/// More calls than a probe makes.
const ALL_CALLS: usize = 1_000_000;

impl Library {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tenure => "tower-tenure",
            Self::TowerSessions => "tower-sessions 0.15",
            Self::TowerSessionsAlways => "tower-sessions 0.15, always_save",
            Self::Moka => "tower-sessions 0.14, moka",
            Self::AxumSession => "axum_session 0.22",
            Self::AxumSessionUncached => "axum_session 0.22, without its cache",
            Self::Axess => "axess 0.14",
        }
    }

    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Tenure)
    }

    /// A new server with this idle timeout.
    pub(crate) async fn start(self, idle: Duration) -> Subject {
        let subject = self.lazy(idle).await;
        // As `axum::serve` does. Without this, each request would wrap its handler in the layer
        // again.
        Subject { router: subject.router.with_state(()), ..subject }
    }

    async fn lazy(self, idle: Duration) -> Subject {
        let (trouble, rows) = (Arc::<Trouble>::default(), Rows::default());
        match self {
            Self::Tenure => {
                let store = Probe::remote(MemoryStore::new());
                let router = tenure::layered(store.clone(), idle, SystemClock, probed::<tenure::Session>());
                Subject { router, store: Store::Tenure(store) }
            }
            Self::TowerSessions | Self::TowerSessionsAlways => {
                let memory = tower_sessions::memory();
                let store = tower_sessions::Watched::new(memory, Arc::clone(&trouble), Arc::clone(&rows));
                let always = self == Self::TowerSessionsAlways;
                let router =
                    tower_sessions::layered(store, idle, always, probed::<tower_sessions::Session>());
                Subject { router, store: Store::Watched { trouble, rows } }
            }
            Self::Moka => {
                let moka = tower_sessions_0_14::moka();
                let store = tower_sessions_0_14::Watched::new(moka, Arc::clone(&trouble), Arc::clone(&rows));
                let routes = probed::<tower_sessions_0_14::Session>();
                let router = tower_sessions_0_14::layered(store, idle, false, routes);
                Subject { router, store: Store::Watched { trouble, rows } }
            }
            Self::AxumSession | Self::AxumSessionUncached => {
                let rows = axum_session::Watched::new(Arc::clone(&trouble));
                let has_cache = self == Self::AxumSession;
                let routes = probed::<axum_session::Session<axum_session::Watched>>();
                let router = axum_session::layered(Some(rows.clone()), idle, has_cache, routes).await;
                Subject { router, store: Store::AxumSession { trouble, rows } }
            }
            Self::Axess => {
                let store = axess::Watched::new(Arc::clone(&trouble), Arc::clone(&rows));
                let router = axess::layered(store, idle, probed::<axess::Session>());
                Subject { router, store: Store::Watched { trouble, rows } }
            }
        }
    }
}

impl Subject {
    /// Makes each call to its store wait.
    pub(crate) fn set_waits(&self) {
        match &self.store {
            Store::Tenure(store) => store.pause(1),
            Store::Watched { trouble, .. } | Store::AxumSession { trouble, .. } => {
                trouble.waits.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Makes its store fail, or work again. `false` if that is not possible.
    pub(crate) fn set_fails(&self, fail: bool) -> bool {
        match &self.store {
            Store::Tenure(store) => {
                let times = if fail { ALL_CALLS } else { 0 };
                for operation in [
                    Operation::Create,
                    Operation::Load,
                    Operation::Update,
                    Operation::End,
                    Operation::NotBefore,
                ] {
                    store.fail(operation, times);
                }
            }
            Store::Watched { trouble, .. } | Store::AxumSession { trouble, .. } => {
                trouble.fails.store(fail, Ordering::SeqCst);
            }
        }
        true
    }

    /// The number of rows in its store.
    pub(crate) fn rows(&self) -> Option<i64> {
        match &self.store {
            Store::Tenure(store) => Some(store.inner().len() as i64),
            Store::Watched { rows, .. } => {
                Some(rows.lock().unwrap_or_else(PoisonError::into_inner).len() as i64)
            }
            Store::AxumSession { rows, .. } => Some(rows.len() as i64),
        }
    }
}
