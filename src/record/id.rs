//! The public handle of a session.

use std::{fmt, str::FromStr};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, ErrorKind};

/// The public handle of a session (`sid`). It does not work as a cookie.
///
/// It begins with the [`Tag`] of the session's subject; the other 80 bits are random. It may be
/// logged, shown to the user and used in URLs. It is written as 22 characters of URL-safe base64.
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

    /// The id with these bytes, for stores that read it back. The middleware makes the ids of new
    /// sessions.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The first bytes, which say where a store keeps the session.
    pub const fn tag(&self) -> Tag {
        match self.0.first_chunk() {
            Some(bytes) => Tag(*bytes),
            None => unreachable!(),
        }
    }

    /// The same random bits after this tag.
    #[must_use]
    pub const fn with_tag(self, tag: Tag) -> Self {
        let mut bytes = self.0;
        let mut at = 0;
        while at < Tag::BYTES {
            bytes[at] = tag.0[at];
            at += 1;
        }
        Self(bytes)
    }
}

/// Where a session lives: all sessions of one subject and realm have the same tag, so a store can
/// keep them in one place.
///
/// It is computed from realm and subject under a key of the store, so it reveals nothing about the
/// subject. Anonymous sessions have random tags. Two subjects may share a tag by chance, so a store
/// must compare whole subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag([u8; Self::BYTES]);

impl Tag {
    /// The number of bytes of a tag.
    pub const BYTES: usize = 6;

    /// The tag with these bytes.
    pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }

    /// The tag as a number below 2^48, in the order of the bytes.
    pub const fn as_u64(&self) -> u64 {
        let mut number = 0;
        let mut at = 0;
        while at < Self::BYTES {
            number = number << 8 | self.0[at] as u64;
            at += 1;
        }
        number
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

/// Accepts the one spelling that `Display` writes.
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
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            <[u8; Self::BYTES]>::deserialize(deserializer).map(Self)
        }
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
        // The last character has four unused bits, which must be zero.
        let twisted = format!("{}x", &text[..21]);
        assert!(twisted.parse::<SessionId>().is_err(), "{twisted}");
    }

    #[test]
    fn a_tag_is_a_number_in_the_order_of_its_bytes() {
        assert_eq!(Tag::from_bytes([1, 2, 3, 4, 5, 0xf6]).as_u64(), 0x0102_0304_05f6);
    }
}
