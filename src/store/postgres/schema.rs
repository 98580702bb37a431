//! The schema, and its version.

use std::sync::Arc;

use tokio_postgres::{Client, error::SqlState};

use super::connection::Failed;
use crate::{Error, ErrorKind};

/// Each brings the schema from one version, which is its index, to the next.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// "tenure": the lock that holds other nodes back while one makes the schema.
const LOCK: i64 = 0x7465_6e75_7265;

/// A schema by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schema(Arc<str>);

impl Schema {
    pub(super) const DEFAULT: &str = "tower_tenure";

    /// A name that means the same with and without quotes, and leaves room for what is made of it.
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

    /// The name of the channel on which changes of the settings are told.
    pub(super) fn channel(&self) -> String {
        format!("{}_settings", self.0)
    }

    /// Makes what is missing; refuses what is newer. By one node at a time, and the others wait.
    pub(super) async fn prepare(&self, client: &mut Client) -> Result<(), Error> {
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        if self.version(client).await? == newest {
            return Ok(());
        }
        let transaction = client.transaction().await.map_err(Failed::from)?;
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(Failed::from)?;
        let quoted = self.quoted();
        // Not `IF NOT EXISTS`, which asks for the right to make one even where there is one.
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
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            transaction.batch_execute(&migration.replace("{s}", &quoted)).await.map_err(Failed::from)?;
        }
        let mark = format!(
            "DELETE FROM {quoted}.schema_version; INSERT INTO {quoted}.schema_version VALUES ({newest})"
        );
        transaction.batch_execute(&mark).await.map_err(Failed::from)?;
        transaction.commit().await.map_err(|error| Failed::from(error).error)
    }

    /// The version that is there; 0 where there is none.
    async fn version(&self, client: &Client) -> Result<i32, Error> {
        let select = format!("SELECT coalesce(max(version), 0) FROM {}.schema_version", self.quoted());
        let version = match client.query_one(&select, &[]).await {
            Ok(row) => row.try_get(0).map_err(Failed::from)?,
            Err(error) => match Failed::from(error) {
                Failed { state: Some(SqlState::UNDEFINED_TABLE | SqlState::INVALID_SCHEMA_NAME), .. } => 0,
                failed => return Err(failed.error),
            },
        };
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        if version > newest {
            let message = format!(
                "the schema {} has version {version} and this build knows up to {newest}; use a newer build",
                self.0
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(version)
    }
}
