//! What a store keeps about itself: the version of its schema, and the key of tags.

use futures_util::future::{BoxFuture, try_join_all};
use redis::Value;

use super::{
    RedisStore,
    reply::{number, several},
};
use crate::{Error, ErrorKind, Timestamp, store::PlaceKey};

/// The version of the keys and values that this code reads and writes.
const SCHEMA: u32 = 2;

/// Migrates a store from one version to the next.
struct Step {
    from: u32,
    run: for<'a> fn(&'a RedisStore) -> BoxFuture<'a, Result<(), Error>>,
}

/// The migrations up to this version. None yet: version 1 was never released.
const STEPS: &[Step] = &[];

impl RedisStore {
    /// Checks the schema, migrates it, and reads the key of tags, which the first node creates.
    pub(super) async fn open(&self) -> Result<(), Error> {
        self.open_as(SCHEMA, STEPS).await
    }

    async fn open_as(&self, schema: u32, steps: &[Step]) -> Result<(), Error> {
        let mut command = redis::cmd("HGET");
        command.arg(self.0.keys.meta()).arg("schema");
        match self.ask(&command).await? {
            Value::Nil => self.refuse_first_schema().await?,
            found => self.migrate(number(&found)?, schema, steps).await?,
        }
        self.consult_meta(schema).await.map(drop)
    }

    async fn migrate(&self, found: i64, schema: u32, steps: &[Step]) -> Result<(), Error> {
        let mut version = u32::try_from(found).unwrap_or_default();
        while version < schema {
            let Some(step) = steps.iter().find(|step| step.from == version) else {
                let message = format!(
                    "the store has schema {version}, which this version does not read; delete the keys of its prefix, \
                     or choose another prefix"
                );
                return Err(Error::new(ErrorKind::Configuration, message));
            };
            (step.run)(self).await?;
            version += 1;
            let mut command = redis::cmd("HSET");
            self.ask(command.arg(self.0.keys.meta()).arg("schema").arg(version)).await?;
        }
        if version > schema {
            let message = format!(
                "the store has version {version} of the schema, which is newer than this build reads; update this node"
            );
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        Ok(())
    }

    /// The first schema had no version. It was never released, so it is not migrated.
    async fn refuse_first_schema(&self) -> Result<(), Error> {
        let exists = self.0.keys.of_first_schema().into_iter().map(async |key| {
            let mut command = redis::cmd("EXISTS");
            number(&self.ask(command.arg(key)).await?)
        });
        if try_join_all(exists).await?.into_iter().sum::<i64>() == 0 {
            return Ok(());
        }
        let message = "the store holds keys of schema 1, which was never released and is not read; delete the keys of \
            its prefix, or choose another prefix";
        Err(Error::new(ErrorKind::Configuration, message))
    }

    /// The server's time. Also creates what all nodes share if it is missing, perhaps flushed or
    /// evicted, and reads it.
    pub(super) async fn consult_meta(&self, schema: u32) -> Result<Timestamp, Error> {
        let meta = self.0.keys.meta();
        let ours = self.place_key_now();
        let call = self.0.scripts.meta.call(&[meta.as_bytes()]).arg(schema).arg(ours.as_bytes().as_slice());
        let [seconds, micros, _, place] = several(call.run(&self.0.connection).await?.value)?;
        let place = match place {
            Value::BulkString(bytes) => <[u8; 16]>::try_from(bytes).ok(),
            _ => None,
        };
        let place = place
            .ok_or_else(|| Error::new(ErrorKind::Store, "the key of tags in the store has the wrong length; another application may use the same prefix"))?;
        self.set_place_key(PlaceKey::from_bytes(place));
        let millis = number(&seconds)?.saturating_mul(1000).saturating_add(number(&micros)? / 1000);
        Ok(Timestamp::from_unix_millis(millis))
    }

    pub(super) async fn server_time(&self) -> Result<Timestamp, Error> {
        self.consult_meta(SCHEMA).await
    }
}
