//! The public handle of a session.

use std::{fmt, str::FromStr};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, ErrorKind};

/// The public handle of a session (`sid`): 128 random bits, useless as a cookie.
///
/// It may be logged, shown to its user and used in URLs. It is written as 22 characters of URL-safe base64.
///
/// # Example
///
/// ```
/// use tower_tenure::SessionId;
///
/// let sid: SessionId = "AAECAwQFBgcICQoLDA0ODw".parse()?;
/// assert_eq!(sid.to_string(), "AAECAwQFBgcICQoLDA0ODw");
/// assert!("not a session id".parse::<SessionId>().is_err());
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; Self::BYTES]);

impl SessionId {
    /// The number of bytes of an id.
    pub const BYTES: usize = 16;

    /// The number of characters of its text form.
    pub const CHARS: usize = 22;

    /// The id with these bytes. Ids for new sessions come from the middleware; this is for stores that read them back.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; Self::CHARS];
        f.write_str(Base64UrlUnpadded::encode(&self.0, &mut text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({self})")
    }
}

/// The one way each id is written is the one way it is read.
impl FromStr for SessionId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut bytes = [0; Self::BYTES];
        let read =
            (text.len() == Self::CHARS).then(|| Base64UrlUnpadded::decode(text, &mut bytes).ok()).flatten();
        match read {
            Some(_) => Ok(Self(bytes)),
            None => {
                Err(Error::new(ErrorKind::InvalidInput, "a session id is 22 characters of URL-safe base64"))
            }
        }
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let sid = SessionId::from_bytes([0xff; 16]);
        let text = sid.to_string();
        assert_eq!(text.parse::<SessionId>().unwrap(), sid);
        // The last character carries four bits that mean nothing: only zeros are accepted there.
        let twisted = format!("{}x", &text[..21]);
        assert!(twisted.parse::<SessionId>().is_err(), "{twisted}");
    }
}
