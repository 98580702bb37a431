//! One policy for all nodes, kept in a store.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::Mutex;

use crate::{
    Clock, Error, ErrorKind, LivePolicy, Policy, SystemClock, events,
    policy::{KeptPolicy, PolicySettings},
    store::{SettingsStore, StoredSettings},
};

/// A policy whose settings are kept in a store: they outlive the process, and a change reaches every node within two
/// seconds (SPEC S7, M2). Clones share it.
///
/// The policy that a node is configured with is where an empty store starts from; settings that the store has win over it.
/// Limits, granularity and grace stay those of the node's configuration. While the store is away, every node keeps the
/// policy that it has.
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
/// tokio::spawn(shared.clone().follow()); // takes over what other nodes change
///
/// // Later, on any node: binds live sessions at their next request (L5).
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
    /// What the node was configured with.
    configured: Policy,
    live: LivePolicy,
    /// The settings of this node's own.
    own: PolicySettings,
    /// What the store held when it was last asked.
    known: ArcSwap<Known>,
    /// Held over a call to the store and what follows from it, so that an answer that comes late is not put in place of a
    /// later one.
    turn: Mutex<()>,
}

struct Known {
    version: u64,
    kept: KeptPolicy,
    settings: PolicySettings,
}

/// The realm of a layer with the default cookie.
const DEFAULT_REALM: &str = "__Host-id";

/// How often the store is asked, whatever it notices by itself.
const POLL: Duration = Duration::from_secs(1);

/// The least time between two looks: a store that always says "changed" costs no more than that.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a call to the store may take (S6).
const BUDGET: Duration = Duration::from_secs(2);

/// How often a change is tried anew when other nodes change the settings at the same time.
const TRIES: usize = 16;

impl SharedPolicy {
    /// Takes the settings that the store has, or puts those of the configured policy there if it has none.
    ///
    /// # Errors
    ///
    /// When the store fails, or has settings that can not be read.
    pub async fn open(store: impl SettingsStore, configured: Policy) -> Result<Self, Error> {
        Self::open_with_seed(store, configured, configured.into()).await
    }

    /// As [`SharedPolicy::open`], with other settings of this node's own: for a store that has none, and, as for the cap and the logout
    /// URLs, until they are changed.
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

    /// As [`SharedPolicy::open_with_seed`], for another realm: each has a document of its own, so tenants may share a store. The
    /// realm of a layer is its cookie's name unless
    /// [`with_realm`](crate::SessionLayer::with_realm) says otherwise; `__Host-id` is the default.
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
        let known = Known { version: 0, kept: KeptPolicy::seed(&seed), settings: seed.clone() };
        let shared = Shared {
            store: Box::new(store),
            realm: realm.into(),
            configured,
            live,
            own: seed,
            known: ArcSwap::from_pointee(known),
            turn: Mutex::default(),
        };
        shared.refresh().await?;
        Ok(Self(Arc::new(shared)))
    }

    /// The policy in force on this node, for [`SessionLayer::with_policy`](crate::SessionLayer::with_policy). Reading it takes
    /// no lock and no store call.
    pub fn live(&self) -> LivePolicy {
        self.0.live.clone()
    }

    /// The settings as this node knows them.
    pub fn settings(&self) -> PolicySettings {
        self.0.known.load().settings.clone()
    }

    /// Changes the settings on every node: on this one before it returns. `change` may be called several times, when other
    /// nodes change them meanwhile, each time with what is in place by then.
    ///
    /// # Errors
    ///
    /// What `change` says, or a failure of the store. Nothing is changed then.
    pub async fn change(
        &self,
        mut change: impl FnMut(&mut PolicySettings) -> Result<(), Error> + Send,
    ) -> Result<Policy, Error> {
        let shared = &*self.0;
        for _ in 0..TRIES {
            let turn = shared.turn.lock().await;
            let known = shared.known.load_full();
            let mut settings = known.settings.clone();
            change(&mut settings)?;
            let now = u64::try_from(SystemClock.now().as_unix_millis()).unwrap_or(0); // for the stamp of the version
            let kept = known.kept.changed(&known.settings, &settings, shared.configured, now);
            let text = kept.to_text()?.into();
            let after = (known.version > 0).then_some(known.version);
            if within_budget(shared.store.save(&shared.realm, text, after)).await? {
                return Ok(shared.put_in_force(known.version + 1, kept));
            }
            drop(turn);
            shared.refresh().await?;
        }
        Err(Error::new(
            ErrorKind::Store,
            "the settings change faster than this change could be made; try again",
        ))
    }

    /// Asks the store now, rather than within the next second.
    ///
    /// # Errors
    ///
    /// When the store fails, or has settings that can not be read. The policy in force stays.
    pub async fn refresh(&self) -> Result<(), Error> {
        self.0.refresh().await
    }

    /// Takes over what other nodes change, for ever; spawn it. While the store is away, or has settings that can not be read,
    /// the policy in force stays, and it is told once.
    pub async fn follow(self) {
        let mut failing = false;
        loop {
            let _ = tokio::time::timeout(POLL, self.0.store.changed()).await;
            let refreshed = self.refresh().await;
            if let (Err(error), false) = (&refreshed, failing) {
                events::settings_failed(error);
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
        let kept = match within_budget(self.store.load(&self.realm)).await? {
            Some(kept) => kept,
            None => self.begin().await?,
        };
        self.put_in_force(kept.version, KeptPolicy::from_text(&kept.text)?);
        Ok(())
    }

    /// Puts what this node knows into an empty store: empty for the first time, or again, when a server was replaced.
    async fn begin(&self) -> Result<StoredSettings, Error> {
        let text: Arc<str> = self.known.load().kept.to_text()?.into();
        if within_budget(self.store.save(&self.realm, Arc::clone(&text), None)).await? {
            return Ok(StoredSettings { version: 1, text });
        }
        let vanished = || Error::new(ErrorKind::Store, "the settings come and go in the store");
        within_budget(self.store.load(&self.realm)).await?.ok_or_else(vanished) // another node was quicker
    }

    fn put_in_force(&self, version: u64, kept: KeptPolicy) -> Policy {
        let settings = kept.over(&self.own);
        let policy = settings.over(self.configured);
        let changes = policy != self.live.load();
        self.live.swap_with(policy, kept.history().clone());
        self.known.store(Arc::new(Known { version, kept, settings }));
        if changes {
            events::settings_changed(version);
        }
        policy
    }
}

async fn within_budget<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let late = || Err(Error::new(ErrorKind::Timeout, "the store did not answer for its settings in time"));
    tokio::time::timeout(BUDGET, call).await.unwrap_or_else(|_| late())
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// [`SettingsStore`] as a trait object can be.
trait DynSettings: Send + Sync {
    fn load<'a>(&'a self, realm: &'a str) -> Boxed<'a, Result<Option<StoredSettings>, Error>>;
    fn save<'a>(
        &'a self,
        realm: &'a str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> Boxed<'a, Result<bool, Error>>;
    fn changed(&self) -> Boxed<'_, ()>;
}

impl<S: SettingsStore> DynSettings for S {
    fn load<'a>(&'a self, realm: &'a str) -> Boxed<'a, Result<Option<StoredSettings>, Error>> {
        Box::pin(self.load_settings(realm))
    }

    fn save<'a>(
        &'a self,
        realm: &'a str,
        text: Arc<str>,
        after: Option<u64>,
    ) -> Boxed<'a, Result<bool, Error>> {
        Box::pin(self.save_settings(realm, text, after))
    }

    fn changed(&self) -> Boxed<'_, ()> {
        Box::pin(self.settings_changed())
    }
}
