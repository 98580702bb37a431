//! Reading and writing session data.

use std::any::type_name;

use serde::{Serialize, de::DeserializeOwned};

use super::Session;
use crate::{
    Error, ErrorKind, Key, events,
    record::{Edits, Json},
    request::{Progress, StoreCall},
};

impl Session {
    /// The value under a key, with what this request changed; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`Data`](ErrorKind::Data) when the stored value is of another type.
    pub fn get<T: DeserializeOwned>(&self, key: &Key<T>) -> Result<Option<T>, Error> {
        let value = self.look().request.value(key.name());
        value.map(|value| self.decode(key, &value)).transpose()
    }

    /// Sets the value under a key. Other keys are not touched, also not those that another request
    /// is changing.
    ///
    /// Without a session this starts an anonymous one when the response goes out.
    ///
    /// # Errors
    ///
    /// [`Data`](ErrorKind::Data) when the value cannot be written as JSON,
    /// [`TooLarge`](ErrorKind::TooLarge) when the data of the session would exceed its limit,
    /// [`Closed`](ErrorKind::Closed) after the response head was sent. Nothing is changed then.
    pub fn insert<T: Serialize>(&self, key: &Key<T>, value: &T) -> Result<(), Error> {
        let value = Json::encode(value)?;
        let max_data = self.inner().config.max_data;
        self.edit()?.request.plan_edit(key.name(), Some(value), max_data)
    }

    /// Removes the value under a key.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    pub fn remove<T>(&self, key: &Key<T>) -> Result<(), Error> {
        self.edit()?.request.plan_edit(key.name(), None, usize::MAX)
    }

    /// Changes a value by what it is at that moment, atomically, also against requests that change
    /// it in parallel: for counters and the like. Stored at once. `change` may be called several
    /// times, until no other request came between.
    ///
    /// # Errors
    ///
    /// As [`Session::get`], [`Session::insert`] and [`Session::save`]; [`Ended`](ErrorKind::Ended)
    /// when the session ended meanwhile. After a failure of the store it is unknown whether the
    /// change took place; another try may make it twice.
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
        // What is planned so far comes first. A refused login says so (S9).
        if self.edit()?.request.has_plan() {
            self.save().await?.accepted()?;
        }
        loop {
            let known = self.edit()?.request.value(key.name());
            let value = change(known.map(|value| self.decode(key, &value)).transpose()?);
            let mut edits = Edits::default();
            edits.set(key.name(), Json::encode(&value)?);

            let inner = self.inner();
            let call = self.edit()?.request.compare_and_set(edits, &inner.context());
            let Some(call) = call else {
                // No other request knows a session that is about to be created, and no cap counts
                // anonymous ones.
                self.insert(key, &value)?;
                return self.save().await.map(|_| value);
            };
            let answer = self.perform(call).await;
            let Progress::Conflict(reload) = self.answered(answer)? else { return Ok(value) };
            let answer = self.perform(StoreCall::Load(reload)).await;
            self.answered(answer)?;
        }
    }

    /// A value of another type is a mistake of the application: it changed a type while sessions
    /// with the old one were live. The log has to name the key and the type, never the value.
    fn decode<T: DeserializeOwned>(&self, key: &Key<T>, value: &Json) -> Result<T, Error> {
        value.decode().map_err(|error| {
            let (sid, expected) =
                (self.state().request.known().map(|known| known.record.sid), type_name::<T>());
            events::value_unreadable(sid, key.name(), expected, &error);
            let message = format!("the session value under `{}` cannot be read as `{expected}`", key.name());
            Error::new(ErrorKind::Data, message).with_source(error)
        })
    }
}
