//! What handlers keep in a session.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use crate::{Error, ErrorKind};

/// One value of session data, as JSON text.
///
/// Kept as text, so that reading one key of many parses only that one. `Debug` shows its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// When the value's `Serialize` fails, as it does for maps with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        match serde_json::to_string(value) {
            Ok(text) => Ok(Self(text.into())),
            Err(error) => {
                Err(Error::new(ErrorKind::Data, "the value cannot be written as JSON").because(error))
            }
        }
    }

    /// Reads the value back.
    ///
    /// # Errors
    ///
    /// When it is not a `T`. The message names no content.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // serde_json's message may quote the value, and values stay out of errors (H5): only its kind is told.
        serde_json::from_str(&self.0).map_err(|error| {
            let message = match error.classify() {
                serde_json::error::Category::Data => "the session value is of another type",
                _ => "the session value is not valid JSON",
            };
            Error::new(ErrorKind::Data, message)
        })
    }

    /// The JSON text, for a store to keep.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Takes JSON text that a store kept. It is checked when it is read.
    pub fn from_text(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from_text)
    }
}

/// All data of a session: values by key. Shared, so that cloning a record copies none of it.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Data(Arc<BTreeMap<Arc<str>, Json>>);

impl Data {
    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }

    /// All keys with their values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the edits of a request: other keys stay as they are (SPEC S3).
    pub fn edit(&mut self, edits: &Edits) {
        if edits.is_empty() {
            return;
        }
        let values = Arc::make_mut(&mut self.0);
        for (key, value) in &edits.0 {
            match value {
                Some(value) => drop(values.insert(Arc::clone(key), value.clone())),
                None => drop(values.remove(key)),
            }
        }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} keys)", self.len())
    }
}

impl<K: Into<Arc<str>>> FromIterator<(K, Json)> for Data {
    fn from_iter<I: IntoIterator<Item = (K, Json)>>(values: I) -> Self {
        Self(Arc::new(values.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }
}

/// Keys set and removed by one request; the last word on each key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Edits(BTreeMap<Arc<str>, Option<Json>>);

impl Edits {
    /// Sets a key.
    pub fn set(&mut self, key: impl Into<Arc<str>>, value: Json) {
        self.0.insert(key.into(), Some(value));
    }

    /// Removes a key.
    pub fn remove(&mut self, key: impl Into<Arc<str>>) {
        self.0.insert(key.into(), None);
    }

    /// Forgets the edits that are the same in the other.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.0.retain(|key, value| other.0.get(key) != Some(value));
    }

    /// What these edits say about a key: nothing, removed, or a value.
    pub fn get(&self, key: &str) -> Option<Option<&Json>> {
        self.0.get(key).map(Option::as_ref)
    }

    /// All keys, each with its new value or `None` when it is removed.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&Json>)> {
        self.0.iter().map(|(key, value)| (&**key, value.as_ref()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any key is set, as opposed to removed.
    pub fn sets_any(&self) -> bool {
        self.0.values().any(Option::is_some)
    }
}

impl fmt::Debug for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edits({} keys)", self.0.len())
    }
}
