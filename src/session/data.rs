//! Reading and writing session data.

use serde::{Serialize, de::DeserializeOwned};

use super::{Outcome, Session};
use crate::{
    Error, ErrorKind, Key,
    engine::too_large,
    record::{Change, Edits, Json, Record, UpdateOutcome},
};

impl Session {
    /// The value under a key, with what this request changed; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Data`](ErrorKind::Data) when the stored value is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &Key<T>) -> Result<Option<T>, Error> {
        let value = self.look().value(key.name());
        value.map(|value| value.decode()).transpose()
    }

    /// Sets the value under a key. Other keys are not touched, also not those that another request is changing (S3).
    ///
    /// Without a session this starts an anonymous one when the response goes out.
    ///
    /// # Errors
    ///
    /// [`Data`](ErrorKind::Data) when the value cannot be written as JSON, [`TooLarge`](ErrorKind::TooLarge) when the data of the
    /// session would exceed its limit, [`Closed`](ErrorKind::Closed) after the response head was sent. Nothing is changed then.
    pub fn insert<T: Serialize>(&self, key: &Key<T>, value: &T) -> Result<(), Error> {
        let value = Json::encode(value)?;
        let mut state = self.edit()?;
        let before = state.plan.edits.clone();
        state.plan.edits.set(key.name(), value);
        let max_data = self.inner().config.max_data;
        if state.data_bytes() > max_data {
            state.plan.edits = before;
            return Err(too_large(max_data));
        }
        Ok(())
    }

    /// Removes the value under a key.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    pub fn remove<T>(&self, key: &Key<T>) -> Result<(), Error> {
        self.edit()?.plan.edits.remove(key.name());
        Ok(())
    }

    /// Changes a value by what it is at that moment, atomically, also against requests that change it in parallel: for
    /// counters and the like. Stored at once. `change` may be called several times, until no other request came between.
    ///
    /// # Errors
    ///
    /// As [`Session::get`], [`Session::insert`] and [`Session::save`]; [`Ended`](ErrorKind::Ended) when the session ended
    /// meanwhile. After a failure of the store it is unknown whether the change took place; another try may make it twice.
    ///
    /// # Example
    ///
    /// ```
    /// # use tower_tenure::{Error, Key, Session};
    /// const COUNTER: Key<u64> = Key::new("counter");
    ///
    /// async fn count(session: &Session) -> Result<u64, Error> {
    ///     session.update(&COUNTER, |count| count.unwrap_or(0) + 1).await
    /// }
    /// ```
    pub async fn update<T, F>(&self, key: &Key<T>, mut change: F) -> Result<T, Error>
    where
        T: Serialize + DeserializeOwned,
        F: FnMut(Option<T>) -> T,
    {
        // What is planned so far comes first.
        let planned = !self.edit()?.plan.is_empty();
        if planned && self.save().await? != Outcome::Done {
            return Err(Error::new(ErrorKind::Ended, "the login was refused, so there is nothing to update"));
        }
        loop {
            let (stored, known) = {
                let state = self.edit()?;
                let stored = state.stored.as_ref().map(|stored| stored.live.record.clone());
                (stored, state.value(key.name()))
            };
            let value = change(known.map(|value| value.decode()).transpose()?);
            let mut edits = Edits::default();
            edits.set(key.name(), Json::encode(&value)?);

            let Some(seen) = stored else {
                // A session that is about to be created is nobody else's yet, and no cap is for anonymous ones.
                self.edit()?.plan.edits.set(key.name(), Json::encode(&value)?);
                return self.save().await.map(|_| value);
            };
            if self.try_edit(&seen, edits).await? {
                return Ok(value);
            }
        }
    }

    /// Stores edits if the data is at this revision still; `false` after taking a fresh look when it is not.
    async fn try_edit(&self, seen: &Record, edits: Edits) -> Result<bool, Error> {
        let inner = self.inner();
        let engine = &inner.config.engine;
        let change = Change { edits: edits.clone(), if_revision: Some(seen.revision), ..self.change() };
        match engine.update(seen, change).await? {
            UpdateOutcome::Applied(applied) => {
                let mut state = self.state();
                state.may_be_stale = false;
                if let Some(stored) = &mut state.stored {
                    stored.live.recorded(&applied);
                    stored.live.record.data.edit(&edits);
                    stored.live.record.revision = applied.revision;
                }
                Ok(true)
            }
            UpdateOutcome::Conflict => {
                let fresh =
                    engine.load(seen.sid, inner.now).await?.filter(|record| record.tombstone().is_none());
                // Without a fresh one the next try says why it is gone.
                if let (Some(stored), Some(fresh)) = (&mut self.state().stored, fresh) {
                    let record = &mut stored.live.record;
                    record.data = fresh.data;
                    record.revision = fresh.revision;
                    record.version = fresh.version;
                }
                Ok(false)
            }
            UpdateOutcome::TooLarge => Err(too_large(inner.config.max_data)),
            UpdateOutcome::Gone(tombstone) => {
                self.state().ended_elsewhere(tombstone, inner.now);
                Err(Error::new(ErrorKind::Ended, "the session ended while the request was in flight"))
            }
        }
    }
}
