//! The store of the sessions and the settings.

use std::time::Duration;

use tower_tenure::{
    Error, MemoryStore, Policy, SessionStore, SharedPolicy,
    policy::PolicySettings,
    store::{AnyStore, PostgresOptions, RedisOptions, SettingsStore, SqliteOptions},
};

/// The value of `--store`, checked but not yet opened.
pub(crate) enum Store {
    Memory,
    Sqlite(SqliteOptions),
    Postgres(Box<PostgresOptions>),
    Redis(Box<RedisOptions>),
}

/// The open store, and the policy whose settings it keeps.
pub(crate) struct Opened {
    pub(crate) sessions: AnyStore,
    pub(crate) policy: SharedPolicy,
}

/// How long opening may take, since a database may be starting.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

impl Store {
    /// Reads the value of `--store`. Errors do not repeat the URL, which may contain a password.
    ///
    /// # Errors
    ///
    /// What is wrong and how to correct it.
    pub(crate) fn parse(value: &str) -> Result<Self, String> {
        let message = |error: Error| error.to_string();
        match value.split_once(':') {
            None if value == "memory" => Ok(Self::Memory),
            Some(("sqlite", "")) => Err("write the path of a file after sqlite:".to_owned()),
            Some(("sqlite", path)) => Ok(Self::Sqlite(SqliteOptions::new(path))),
            Some(("postgres" | "postgresql", _)) => {
                PostgresOptions::new(value).map(|options| Self::Postgres(Box::new(options))).map_err(message)
            }
            Some(("redis" | "rediss" | "valkey" | "valkeys" | "redis+cluster" | "rediss+cluster", _)) => {
                RedisOptions::new(value).map(|options| Self::Redis(Box::new(options))).map_err(message)
            }
            _ => {
                Err("no such store: use memory, sqlite:PATH, postgres://HOST/DATABASE or redis://HOST"
                    .to_owned())
            }
        }
    }

    /// Opens the store; an empty store gets the settings of `seed`.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or has settings that cannot be read.
    pub(crate) async fn open(
        self,
        realm: &str,
        configured: Policy,
        seed: PolicySettings,
    ) -> Result<Opened, Error> {
        let opening = async {
            match self {
                Self::Memory => open(MemoryStore::new(), realm, configured, seed).await,
                Self::Sqlite(options) => open(options.open().await?, realm, configured, seed).await,
                Self::Postgres(options) => open(options.connect().await?, realm, configured, seed).await,
                Self::Redis(options) => open(options.connect().await?, realm, configured, seed).await,
            }
        };
        let late = || Err(Error::store(format!("no answer within {OPEN_TIMEOUT:?}")));
        tokio::time::timeout(OPEN_TIMEOUT, opening).await.unwrap_or_else(|_| late())
    }
}

async fn open<S>(store: S, realm: &str, configured: Policy, seed: PolicySettings) -> Result<Opened, Error>
where
    S: SessionStore + SettingsStore + Clone,
{
    let policy = SharedPolicy::open_in_realm(store.clone(), realm, configured, seed).await?;
    Ok(Opened { sessions: store.into(), policy })
}
