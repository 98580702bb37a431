//! A store from a URL.

use super::{AnyStore, MemoryStore};
use crate::{Error, ErrorKind};

/// A store's URL, checked but not connected: for a program that reads its settings first.
///
/// | URL | store | feature |
/// |---|---|---|
/// | `memory` | [`MemoryStore`] | – |
/// | `sqlite:PATH` | `SqliteStore` | `sqlite` |
/// | `postgres://…`, `postgresql://…` | `PostgresStore` | `postgres` |
/// | `redis://…`, `rediss://…`, `unix:///PATH`, `redis+cluster://…`, `rediss+cluster://…` | `RedisStore` | `redis` |
///
/// `valkey` and `valkeys` are other names of `redis` and `rediss`. The default is `memory`. Neither
/// its errors nor its `Debug` show a password.
///
/// # Example
///
/// ```
/// use tower_tenure::{SessionLayer, SharedPolicy, store::StoreUrl};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_tenure::Error> {
/// let url = StoreUrl::parse("memory")?; // from the environment, perhaps
/// let store = url.connect().await?;
/// let policy = SharedPolicy::open(store.clone(), Default::default()).await?;
/// let layer = SessionLayer::new(store).with_policy(policy.live());
///
/// let error = StoreUrl::parse("mysql://me:secret@db/app").unwrap_err();
/// assert!(!error.to_string().contains("secret"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct StoreUrl(Kind);

#[derive(Clone, Debug, Default)]
enum Kind {
    #[default]
    Memory,
    #[cfg(feature = "sqlite")]
    Sqlite(super::SqliteOptions),
    #[cfg(feature = "postgres")]
    Postgres(Box<super::PostgresOptions>),
    #[cfg(feature = "redis")]
    Redis(Box<super::RedisOptions>),
}

impl StoreUrl {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// When no store has such a URL, or its cargo feature is missing. The message is one line and
    /// does not repeat the URL.
    pub fn parse(url: &str) -> Result<Self, Error> {
        if url == "memory" {
            return Ok(Self(Kind::Memory));
        }
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => sqlite(url),
            Some("postgres" | "postgresql") => postgres(url),
            Some(
                "redis" | "rediss" | "valkey" | "valkeys" | "unix" | "redis+unix" | "valkey+unix"
                | "redis+cluster" | "rediss+cluster",
            ) => redis(url),
            _ => Err(refuse(
                "no such store: use memory, sqlite:PATH, postgres://HOST/DATABASE or redis://HOST",
            )),
        }
        .map(Self)
    }

    /// Connects, and creates what is missing.
    ///
    /// # Errors
    ///
    /// When the store cannot be reached, or refuses the login.
    #[cfg_attr(
        not(any(feature = "sqlite", feature = "postgres", feature = "redis")),
        expect(clippy::unused_async, reason = "the stores that wait are features")
    )]
    pub async fn connect(self) -> Result<AnyStore, Error> {
        Ok(match self.0 {
            Kind::Memory => AnyStore::with_settings(MemoryStore::new()),
            #[cfg(feature = "sqlite")]
            Kind::Sqlite(options) => AnyStore::with_settings(options.open().await?),
            #[cfg(feature = "postgres")]
            Kind::Postgres(options) => AnyStore::with_settings(options.connect().await?),
            #[cfg(feature = "redis")]
            Kind::Redis(options) => AnyStore::with_settings(options.connect().await?),
        })
    }
}

#[cfg(feature = "sqlite")]
fn sqlite(url: &str) -> Result<Kind, Error> {
    let path = url.strip_prefix("sqlite:").unwrap_or_default();
    // `sqlite:///path`, as other crates write it. With two slashes, they mean a relative path.
    let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
    match path {
        "" => Err(refuse("write the path of a file after sqlite:")),
        ":memory:" => Err(refuse("SQLite keeps no sessions in memory here; use the store memory")),
        path if path.starts_with("//") => {
            Err(refuse("write sqlite:PATH, such as sqlite:sessions.db or sqlite:/var/lib/app/sessions.db"))
        }
        path => Ok(Kind::Sqlite(super::SqliteOptions::new(path))),
    }
}

#[cfg(feature = "postgres")]
fn postgres(url: &str) -> Result<Kind, Error> {
    Ok(Kind::Postgres(Box::new(super::PostgresOptions::new(url)?)))
}

#[cfg(feature = "redis")]
fn redis(url: &str) -> Result<Kind, Error> {
    Ok(Kind::Redis(Box::new(super::RedisOptions::new(url)?)))
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &str) -> Result<Kind, Error> {
    Err(refuse("a store at sqlite:PATH needs the feature `sqlite` of tower-tenure; enable it"))
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str) -> Result<Kind, Error> {
    Err(refuse("a store at postgres://… needs the feature `postgres` of tower-tenure; enable it"))
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str) -> Result<Kind, Error> {
    Err(refuse("a store at redis://… needs the feature `redis` of tower-tenure; enable it"))
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::Configuration, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_store_or_the_feature_that_is_missing() {
        assert!(StoreUrl::parse("memory").is_ok());
        for (url, feature, is_there) in [
            ("sqlite:sessions.db", "`sqlite`", cfg!(feature = "sqlite")),
            ("sqlite:///var/lib/sessions.db", "`sqlite`", cfg!(feature = "sqlite")),
            ("postgres://me:hunter2@db/app", "`postgres`", cfg!(feature = "postgres")),
            ("postgresql://me:hunter2@db/app", "`postgres`", cfg!(feature = "postgres")),
            ("redis://me:hunter2@cache", "`redis`", cfg!(feature = "redis")),
            ("valkey://me:hunter2@cache/2", "`redis`", cfg!(feature = "redis")),
            ("redis+cluster://me:hunter2@one,two", "`redis`", cfg!(feature = "redis")),
        ] {
            match StoreUrl::parse(url) {
                Ok(parsed) => assert!(is_there && !format!("{parsed:?}").contains("hunter2"), "{parsed:?}"),
                Err(error) => assert!(!is_there && error.to_string().contains(feature), "{url}: {error}"),
            }
        }
    }

    #[test]
    fn h5_what_is_wrong_is_said_in_one_line_without_the_url() {
        for url in [
            "",
            "Memory",
            "hunter2",
            "mysql://me:hunter2@db/x",
            "hunter2://",
            "me:hunter2@db",
            "sqlite:",
            "sqlite://hunter2",
            "sqlite::memory:",
            "postgres://me:hunter2@db:port/x",
            "postgres://me:hunter2@db/x?sslmode=hunter2",
            "redis://me:hunter2@cache:port",
            "rediss://me:hunter2@cache/#insecure",
        ] {
            let error = StoreUrl::parse(url).unwrap_err();
            let said = format!("{error} {error:?}");
            assert_eq!(error.kind(), ErrorKind::Configuration, "{url}");
            assert!(!said.contains("hunter2") && !said.contains('\n'), "{url}: {said}");
        }
    }
}
