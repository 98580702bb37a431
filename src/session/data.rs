//! Reading and writing session data.

use std::any::type_name;

use serde::{Serialize, de::DeserializeOwned};

use super::Session;
use crate::{
    Error, ErrorKind, Key, events,
    record::{Edits, Json},
    request::{Progress, StoreCall},
};

/// What [`Session::insert`] stores under a key of type `T`: a `&T`, or a `&str` under a key of type
/// `String`.
#[diagnostic::on_unimplemented(
    message = "a key of type `{T}` does not take `{Self}`",
    label = "expected `&{T}`",
    note = "the value is handed over by reference, and has the type of its key"
)]
pub trait ValueFor<T>: sealed::Sealed<T> {
    #[doc(hidden)]
    fn into_json(self) -> Result<Json, Error>;
}

mod sealed {
    pub trait Sealed<T> {}
    impl<T> Sealed<T> for &T {}
    impl Sealed<String> for &str {}
}

impl<T: Serialize> ValueFor<T> for &T {
    fn into_json(self) -> Result<Json, Error> {
        Json::encode(self)
    }
}

impl ValueFor<String> for &str {
    fn into_json(self) -> Result<Json, Error> {
        Json::encode(self)
    }
}

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
    /// [`Data`](ErrorKind::Data) when the value cannot be written as JSON.
    /// [`TooLarge`](ErrorKind::TooLarge) when the data of the session would exceed its limit.
    /// [`Closed`](ErrorKind::Closed) after the response head was sent. Nothing is changed then.
    pub fn insert<T>(&self, key: &Key<T>, value: impl ValueFor<T>) -> Result<(), Error> {
        self.put(key, value.into_json()?)
    }

    fn put<T>(&self, key: &Key<T>, value: Json) -> Result<(), Error> {
        let max_data = self.inner().config.max_data;
        self.edit()?.request.plan_edit(key.to_name(), Some(value), max_data)
    }

    /// Removes the value under a key, and returns what was there as this request sees it.
    ///
    /// It is a write even if nothing was there, because another request may just have stored
    /// something. So where most requests find nothing, [`get`](Session::get) it first.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after the response head was sent; nothing is changed then.
    /// [`Data`](ErrorKind::Data) when the stored value is of another type; it is removed all the
    /// same.
    ///
    /// # Example
    ///
    /// ```
    /// # use tower_tenure::{Error, Key, Session};
    /// const FLASH: Key<String> = Key::new("flash");
    ///
    /// /// A message that the next page shows, once.
    /// fn flash(session: &Session) -> Result<Option<String>, Error> {
    ///     if session.get(&FLASH)?.is_none() {
    ///         return Ok(None);
    ///     }
    ///     session.remove(&FLASH)
    /// }
    /// ```
    #[doc(alias = "take")]
    pub fn remove<T: DeserializeOwned>(&self, key: &Key<T>) -> Result<Option<T>, Error> {
        let mut state = self.edit()?;
        let value = state.request.value(key.name());
        state.request.plan_edit(key.to_name(), None, usize::MAX)?;
        drop(state);
        value.map(|value| self.decode(key, &value)).transpose()
    }

    /// Removes all values that this request sees. The session goes on, and so does what another
    /// request stores meanwhile under a new key.
    ///
    /// # Errors
    ///
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    pub fn clear(&self) -> Result<(), Error> {
        self.edit()?.request.plan_clear();
        Ok(())
    }

    /// Computes a new value from the current one and stores it at once, atomically: for counters
    /// and the like.
    ///
    /// No change of a parallel request is lost. `change` may be called several times, until no
    /// other request came between.
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
        self.try_update(key, |value| Ok(change(value))).await
    }

    /// As [`update`](Session::update), with a change that may fail: then nothing is stored, and its
    /// error is returned.
    ///
    /// # Errors
    ///
    /// Those of [`update`](Session::update), and those of `change`.
    ///
    /// # Example
    ///
    /// ```
    /// # use tower_tenure::{Error, Key, Session};
    /// # struct SoldOut;
    /// # enum ShopError { Session(Error), SoldOut }
    /// # impl From<Error> for ShopError { fn from(error: Error) -> Self { Self::Session(error) } }
    /// # impl From<SoldOut> for ShopError { fn from(_: SoldOut) -> Self { Self::SoldOut } }
    /// # fn reserve(_: u32) -> Result<(), SoldOut> { Ok(()) }
    /// const CART: Key<Vec<u32>> = Key::new("cart");
    ///
    /// async fn add(session: &Session, item: u32) -> Result<Vec<u32>, ShopError> {
    ///     session
    ///         .try_update(&CART, |cart| {
    ///             reserve(item)?;
    ///             Ok::<_, ShopError>([cart.unwrap_or_default(), vec![item]].concat())
    ///         })
    ///         .await
    /// }
    /// ```
    pub async fn try_update<T, E, F>(&self, key: &Key<T>, mut change: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
        F: FnMut(Option<T>) -> Result<T, E>,
    {
        // What is planned so far comes first. A refused login says so (S9).
        if self.edit()?.request.has_plan() {
            self.save().await?.accepted()?;
        }
        let ctx = self.inner().context();
        loop {
            let known = self.edit()?.request.value(key.name());
            let value = change(known.map(|value| self.decode(key, &value)).transpose()?)?;
            let json = Json::encode(&value)?;
            let mut edits = Edits::default();
            edits.set(key.to_name(), json.clone());

            let call = self.edit()?.request.compare_and_set(edits, &ctx);
            let Some(call) = call else {
                // No other request knows a session that is about to be created, and no cap counts
                // anonymous ones.
                self.put(key, json)?;
                let _ = self.save().await?; // no login is planned
                return Ok(value);
            };
            let answer = self.perform(call).await;
            let Progress::Conflict(reload) = self.answered(answer, &ctx)? else { return Ok(value) };
            let answer = self.perform(StoreCall::Load(reload)).await;
            self.answered(answer, &ctx)?;
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
