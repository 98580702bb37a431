//! A value of session data, as JSON text.

use std::{fmt, str, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use smallvec::SmallVec;

use crate::{Error, ErrorKind};

/// One value of session data, as JSON text.
///
/// It stays text until it is read, so reading one key parses only that value. `Debug` shows the
/// length only.
#[derive(Clone, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl Json {
    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// When the value's `Serialize` fails, as it does for maps with keys that are not strings.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        // A short text needs no allocation of its own.
        let mut text = SmallVec::<[u8; 256]>::new();
        match serde_json::to_writer(&mut text, value) {
            Ok(()) => Ok(Self(written(&text).into())),
            Err(error) => {
                Err(Error::new(ErrorKind::Data, "the value cannot be written as JSON").with_source(error))
            }
        }
    }

    /// Reads the value back.
    ///
    /// # Errors
    ///
    /// When it is not a `T`. The message quotes no content.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Error> {
        // serde_json's message may quote the value, which must stay out of errors (H5): report only
        // the kind.
        serde_json::from_str(&self.0).map_err(|error| {
            let message = match error.classify() {
                serde_json::error::Category::Data => "the session value is of another type",
                _ => "the session value is not valid JSON",
            };
            Error::new(ErrorKind::Data, message)
        })
    }

    /// The JSON text, for a store.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A value from JSON text that a store kept. It is parsed when it is decoded.
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
/// The text that `serde_json` has written.
fn written(json: &[u8]) -> &str {
    str::from_utf8(json).expect("JSON is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h5_a_value_that_cannot_be_read_says_whether_it_is_json_and_nothing_of_itself() {
        let message = |text: &str| Json::from_text(text).decode::<u8>().unwrap_err().to_string();
        assert_eq!(message("\"secret\""), "the session value is of another type");
        assert_eq!(message("secret"), "the session value is not valid JSON");
    }
}
