//! The schema, and its version.

use std::sync::Arc;

use tokio_postgres::{Client, error::SqlState};

use super::{connection::Failed, statements};
use crate::{Error, ErrorKind, store::PlaceKey};

/// "tenure": the advisory lock of the node that creates the schema.
const LOCK: i64 = 0x7465_6e75_7265;

/// How a schema is created, and migrated from an older version.
#[derive(Debug)]
pub(super) struct Migrations {
    /// Creates the newest version.
    fresh: &'static str,
    /// The oldest version that can be migrated.
    oldest: i32,
    /// Each migrates the schema from one version to the next, beginning with the oldest.
    steps: &'static [&'static str],
}

/// Version 1 was never released, so there is no step from it.
pub(super) const MIGRATIONS: Migrations =
    Migrations { fresh: include_str!("schema.sql"), oldest: 2, steps: &[] };

impl Migrations {
    fn newest(&self) -> i32 {
        self.oldest + i32::try_from(self.steps.len()).unwrap_or(i32::MAX)
    }

    /// The migration from this version; 0 is no schema.
    fn from(&self, version: i32) -> Vec<&'static str> {
        if version == 0 {
            return vec![self.fresh];
        }
        self.steps.iter().skip(usize::try_from(version - self.oldest).unwrap_or(0)).copied().collect()
    }
}

/// The name of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schema(Arc<str>);

impl Schema {
    pub(super) const DEFAULT: &str = "tower_tenure";

    /// A name that means the same with and without quotes, and leaves room for suffixes.
    pub(super) fn named(name: &str) -> Result<Self, Error> {
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let fits = !name.is_empty() && name.len() <= 48 && name.bytes().all(letters);
        if !fits || name.starts_with(|first: char| first.is_ascii_digit()) || name.starts_with("pg_") {
            let message = "a schema name is 1 to 48 lower-case letters, digits and _, does not begin with a digit or `pg_`";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(Self(name.into()))
    }

    pub(super) fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// The channel that announces changed settings.
    pub(super) fn channel(&self) -> String {
        format!("{}_settings", self.0)
    }

    /// The 16 bits above the tag in advisory locks, which separate schemas of one database.
    pub(super) fn lock_of(&self, tag: i64) -> i64 {
        tag | (super::row::realm(&self.0) << 48)
    }

    /// Creates what is missing, and refuses unknown versions. One node at a time; others wait.
    /// Returns the stored key of tags, which is `place_key` if there was none.
    pub(super) async fn prepare(
        &self,
        client: &mut Client,
        migrations: &Migrations,
        place_key: PlaceKey,
    ) -> Result<PlaceKey, Error> {
        check_encoding(client).await?;
        if self.version(client, migrations).await? != migrations.newest() {
            self.migrate(client, migrations).await?;
        }
        let insert = format!(
            "INSERT INTO {}.place_key (id, key) VALUES (1, $1) ON CONFLICT DO NOTHING",
            self.quoted()
        );
        let select = format!("SELECT key FROM {}.place_key", self.quoted());
        let mut rows = client.query(&select, &[]).await.map_err(Failed::from)?;
        if rows.is_empty() {
            client.execute(&insert, &[&place_key.as_bytes().as_slice()]).await.map_err(Failed::from)?;
            rows = client.query(&select, &[]).await.map_err(Failed::from)?;
        }
        let key = rows.first().and_then(|row| row.try_get::<_, &[u8]>(0).ok()?.try_into().ok());
        key.map(PlaceKey::from_bytes).ok_or_else(super::row::unreadable)
    }

    async fn migrate(&self, client: &mut Client, migrations: &Migrations) -> Result<(), Error> {
        // After the lock, a statement must see what the previous holder created.
        let transaction =
            client.build_transaction().isolation_level(tokio_postgres::IsolationLevel::ReadCommitted);
        let transaction = transaction.start().await.map_err(Failed::from)?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(Failed::from)?;
        let quoted = self.quoted();
        // Not `IF NOT EXISTS`, which needs the right to create a schema even if it exists.
        let exists = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)";
        let exists = transaction.query_one(exists, &[&&*self.0]).await.map_err(Failed::from)?;
        let exists: bool = exists.try_get(0).map_err(Failed::from)?;
        let schema = if exists { String::new() } else { format!("CREATE SCHEMA {quoted};") };
        let begin =
            format!("{schema} CREATE TABLE IF NOT EXISTS {quoted}.schema_version (version integer NOT NULL)");
        transaction.batch_execute(&begin).await.map_err(Failed::from)?;
        let select = format!("SELECT coalesce(max(version), 0) FROM {quoted}.schema_version");
        let row = transaction.query_one(&select, &[]).await.map_err(Failed::from)?;
        let version: i32 = row.try_get(0).map_err(Failed::from)?;
        for step in migrations.from(version) {
            let step = statements::complete(step, &quoted, &self.channel());
            transaction.batch_execute(&step).await.map_err(Failed::from)?;
        }
        let newest = migrations.newest();
        let mark = format!(
            "DELETE FROM {quoted}.schema_version; INSERT INTO {quoted}.schema_version VALUES ({newest})"
        );
        transaction.batch_execute(&mark).await.map_err(Failed::from)?;
        transaction.commit().await.map_err(|error| Failed::from(error).error)
    }

    /// The stored version; 0 without a schema.
    async fn version(&self, client: &Client, migrations: &Migrations) -> Result<i32, Error> {
        let select = format!("SELECT coalesce(max(version), 0) FROM {}.schema_version", self.quoted());
        let version: i32 = match client.query_one(&select, &[]).await {
            Ok(row) => row.try_get(0).map_err(Failed::from)?,
            Err(error) => match Failed::from(error) {
                Failed { state: Some(SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME), .. } => 0,
                failed => return Err(failed.error),
            },
        };
        let (name, newest) = (&self.0, migrations.newest());
        if version > newest {
            let message = format!(
                "the schema {name} has version {version} and this build reads up to {newest}; use a newer build"
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        if version != 0 && version < migrations.oldest {
            let message = format!(
                "the schema {name} has version {version}, from before the first release, which cannot be migrated: drop it \
                (`DROP SCHEMA {name} CASCADE`; everybody has to log in again), or choose another schema"
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(version)
    }
}

/// Refuses a database whose encoding cannot represent every name.
async fn check_encoding(client: &Client) -> Result<(), Error> {
    let row =
        client.query_one("SELECT current_setting('server_encoding')", &[]).await.map_err(Failed::from)?;
    let encoding: &str = row.try_get(0).map_err(Failed::from)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let message = format!(
        "the database has the encoding {encoding}; sessions need one with the encoding UTF8: \
        `CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0`"
    );
    Err(Error::new(ErrorKind::Configuration, message))
}

#[cfg(test)]
#[path = "../../../tests/common/servers.rs"]
mod servers;

#[cfg(test)]
mod tests {
    use tokio_postgres::NoTls;

    use super::{
        servers::{Kind, Server},
        *,
    };

    /// A made-up next version.
    const NEXT: Migrations = Migrations {
        fresh: "this is not reached",
        oldest: 2,
        steps: &[
            "ALTER TABLE {s}.sessions ADD COLUMN first text; UPDATE {s}.sessions SET first = '{channel}'",
            "ALTER TABLE {s}.sessions ADD COLUMN second integer",
        ],
    };

    async fn prepare(server: &Server, migrations: &Migrations) -> Result<PlaceKey, Error> {
        let (mut client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        Schema::named("mine")?.prepare(&mut client, migrations, PlaceKey::random()).await
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn s7_an_older_schema_is_brought_up_step_by_step_and_once() {
        let Some(server) = Server::start(Kind::Postgres, "migrations of PostgreSQL") else { return };
        let key = prepare(&server, &MIGRATIONS).await.unwrap();
        server.ask(&["INSERT INTO mine.sessions VALUES (1, 1, 1, 1, 1, 1, gen_random_uuid(), 0, '')"]);
        let nodes = (0..4).map(|_| prepare(&server, &NEXT));
        for brought_up in futures_util::future::join_all(nodes).await {
            assert!(brought_up.unwrap() == key, "subjects keep their places");
        }
        assert_eq!(server.ask(&["SELECT version FROM mine.schema_version"]), "4");
        assert_eq!(server.ask(&["SELECT first FROM mine.sessions WHERE second IS NULL"]), "mine_settings");
        let older = prepare(&server, &MIGRATIONS).await.err().unwrap();
        assert!(
            older.to_string().contains("version 4") && older.to_string().contains("newer build"),
            "{older}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn s7_a_step_that_fails_changes_nothing() {
        let Some(server) = Server::start(Kind::Postgres, "a failed migration of PostgreSQL") else { return };
        prepare(&server, &MIGRATIONS).await.unwrap();
        let steps = &["CREATE TABLE {s}.half (done integer)", "ALTER TABLE {s}.nowhere ADD COLUMN x integer"];
        assert!(prepare(&server, &Migrations { fresh: "", oldest: 2, steps }).await.is_err());
        assert_eq!(server.ask(&["SELECT version FROM mine.schema_version"]), "2");
        assert_eq!(server.ask(&["SELECT count(*) FROM pg_class WHERE relname = 'half'"]), "0");
    }
}
