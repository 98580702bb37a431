//! A policy that all nodes share through a store.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::{
    Clock, Error, ErrorKind, LivePolicy, Policy, SystemClock, events,
    policy::{PolicySettings, StoredPolicy},
    store::{DynSettings, SettingsStore, StoredSettings},
};

/// A policy whose settings are kept in a store.
///
/// The settings survive a restart, and a change reaches every node within two seconds. Clones share
/// the policy.
///
/// The node's configured policy fills an empty store; settings in the store take precedence over
/// it. Limits, granularity and grace are always those of the node. While the store is unavailable,
/// every node keeps its current policy.
///
/// # Example
///
/// ```
/// use tower_tenure::{Lifetimes, MemoryStore, Policy, SessionLayer, SharedPolicy};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_tenure::Error> {
/// let store = MemoryStore::new();
/// let shared = SharedPolicy::open(store.clone(), Policy::default()).await?;
/// let layer = SessionLayer::new(store).with_policy(shared.live());
/// tokio::spawn(shared.clone().follow()); // applies what other nodes change
///
/// // Later, on any node. It binds live sessions at their next request.
/// shared.change(|settings| {
///     settings.persistent = Lifetimes::from_minutes(15, 8 * 60);
///     Ok(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SharedPolicy(Arc<Shared>);

struct Shared {
    store: Box<dyn DynSettings>,
    realm: Arc<str>,
    /// The policy that the node was configured with.
    configured: Policy,
    live: LivePolicy,
    /// This node's settings, where the store has none.
    local_defaults: PolicySettings,
    /// What the store had at the last look.
    known: ArcSwap<Known>,
    /// Held from a call to the store until its answer is activated. Otherwise a slow answer could
    /// replace a newer one.
    turn: Mutex<()>,
}

struct Known {
    version: u64,
    stored: StoredPolicy,
    settings: PolicySettings,
}

/// The realm of a layer with the default cookie.
const DEFAULT_REALM: &str = "__Host-id";

/// How often the store is polled, whatever notifications it sends.
const POLL: Duration = Duration::from_secs(1);

/// The minimum time between two loads, for a store that reports changes all the time.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a call to the store may take (S6).
const BUDGET: Duration = Duration::from_secs(2);

/// How often a change is retried when other nodes change the settings at the same time.
const MAX_ATTEMPTS: usize = 16;

impl SharedPolicy {
    /// Loads the settings from the store; an empty store gets those of the configured policy.
    ///
    /// # Errors
    ///
    /// When the store fails, or has settings that cannot be read.
    pub async fn open(store: impl SettingsStore, configured: Policy) -> Result<Self, Error> {
        Self::open_with_seed(store, configured, configured.into()).await
    }

    /// As [`SharedPolicy::open`], with other settings for an empty store.
    ///
    /// The cap and the logout URLs of `seed` stay in force on this node until they are changed in
    /// the store.
    ///
    /// # Errors
    ///
    /// As [`SharedPolicy::open`].
    pub async fn open_with_seed(
        store: impl SettingsStore,
        configured: Policy,
        seed: PolicySettings,
    ) -> Result<Self, Error> {
        Self::open_in_realm(store, DEFAULT_REALM, configured, seed).await
    }

    /// As [`SharedPolicy::open_with_seed`], for another realm than `__Host-id`.
    ///
    /// Each realm has its own settings, so tenants may share a store. The realm of a layer is its
    /// cookie's name unless [`with_realm`](crate::SessionLayer::with_realm) sets another.
    ///
    /// # Errors
    ///
    /// As [`SharedPolicy::open`].
    pub async fn open_in_realm(
        store: impl SettingsStore,
        realm: impl Into<Arc<str>>,
        configured: Policy,
        seed: PolicySettings,
    ) -> Result<Self, Error> {
        let live = LivePolicy::new(configured);
        let known = Known { version: 0, stored: StoredPolicy::seed(&seed), settings: seed.clone() };
        let shared = Shared {
            store: Box::new(store),
            realm: realm.into(),
            configured,
            live,
            local_defaults: seed,
            known: ArcSwap::from_pointee(known),
            turn: Mutex::default(),
        };
        shared.refresh().await?;
        Ok(Self(Arc::new(shared)))
    }

    /// The policy in force on this node, for
    /// [`SessionLayer::with_policy`](crate::SessionLayer::with_policy). Reading it needs no lock
    /// and no store call.
    pub fn live(&self) -> LivePolicy {
        self.0.live.clone()
    }

    /// The settings as this node knows them.
    pub fn settings(&self) -> PolicySettings {
        self.0.known.load().settings.clone()
    }

    /// Changes the settings on every node, and on this one before it returns.
    ///
    /// `change` is called again with the current settings when another node changed them meanwhile.
    ///
    /// # Errors
    ///
    /// The error of `change`, or a failure of the store. Nothing is changed then.
    pub async fn change(
        &self,
        mut change: impl FnMut(&mut PolicySettings) -> Result<(), Error> + Send,
    ) -> Result<Policy, Error> {
        let shared = &*self.0;
        for _ in 0..MAX_ATTEMPTS {
            let turn = shared.turn.lock().await;
            let known = shared.known.load_full();
            let mut settings = known.settings.clone();
            change(&mut settings)?;
            let now = u64::try_from(SystemClock.now().as_unix_millis()).unwrap_or(0); // for the stamp of the version
            let stored = known.stored.changed(&known.settings, &settings, shared.configured, now);
            let text = stored.to_text()?.into();
            let after = (known.version > 0).then_some(known.version);
            if within_budget(shared.store.save(&shared.realm, text, after)).await? {
                return Ok(shared.activate(known.version + 1, stored));
            }
            drop(turn);
            shared.refresh().await?;
        }
        Err(Error::new(
            ErrorKind::Store,
            "other nodes kept changing the settings at the same time; try again",
        ))
    }

    /// Loads the settings now, rather than within the next second.
    ///
    /// # Errors
    ///
    /// When the store fails, or has settings that cannot be read. The policy in force stays.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.0.refresh().await
    }

    /// Applies what other nodes change, for as long as it is polled: spawn it.
    ///
    /// While the store is unavailable, or has settings that cannot be read, the policy in force
    /// stays. An event reports that once, and another one when the settings are loaded again.
    pub async fn follow(self) {
        let mut failing = false;
        loop {
            let _ = tokio::time::timeout(POLL, self.0.store.changed()).await;
            let refreshed = self.refresh().await;
            match &refreshed {
                Err(error) if !failing => events::settings_failed(&self.0.store.info(), error),
                Ok(()) if failing => events::settings_recovered(&self.0.store.info()),
                _ => {}
            }
            failing = refreshed.is_err();
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedPolicy").field(&self.0.live.load()).finish()
    }
}

impl Shared {
    async fn refresh(&self) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let stored = match within_budget(self.store.load(&self.realm)).await? {
            Some(stored) => stored,
            None => self.begin().await?,
        };
        self.activate(stored.version, StoredPolicy::from_text(&stored.text)?);
        Ok(())
    }

    /// Writes this node's settings to an empty store: a new one, or a server that was replaced.
    async fn begin(&self) -> Result<StoredSettings, Error> {
        let text: Arc<str> = self.known.load().stored.to_text()?.into();
        if within_budget(self.store.save(&self.realm, Arc::clone(&text), None)).await? {
            return Ok(StoredSettings { version: 1, text });
        }
        let vanished = || {
            Error::new(
                ErrorKind::Store,
                "the settings vanished from the store while they were loaded; try again",
            )
        };
        within_budget(self.store.load(&self.realm)).await?.ok_or_else(vanished) // another node was quicker
    }

    fn activate(&self, version: u64, stored: StoredPolicy) -> Policy {
        let settings = stored.over(&self.local_defaults);
        let policy = settings.over(self.configured);
        let changes = policy != self.live.load();
        self.live.swap_with(policy, stored.history().clone());
        self.known.store(Arc::new(Known { version, stored, settings }));
        if changes {
            events::settings_changed(version);
        }
        policy
    }
}

async fn within_budget<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || {
        Err(Error::new(
            ErrorKind::Timeout,
            "the store did not return its settings in time; check that it is reachable",
        ))
    };
    tokio::time::timeout(BUDGET, call).await.unwrap_or_else(|_| late())
}
