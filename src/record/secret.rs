//! What proves that a cookie is ours, as far as a store may know it.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use subtle::{Choice, ConstantTimeEq};

use crate::Timestamp;

/// SHA-256 of a realm and a cookie's secret: a copy of the store is not a set of cookies (C6), and a cookie of one realm is
/// nothing in another (C10).
///
/// Deliberately without `PartialEq` on its bytes from `derive`: comparison is in constant time. `Debug` shows nothing.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store to keep.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        // Word by word: byte by byte takes eight times as long, and is no more constant.
        let words = self.words().into_iter().zip(other.words());
        words.fold(Choice::from(1), |same, (a, b)| same & a.ct_eq(&b)).into()
    }

    fn words(&self) -> [u64; 4] {
        let (chunks, _) = self.0.as_chunks::<8>();
        std::array::from_fn(|word| u64::from_ne_bytes(chunks[word]))
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for SecretHash {}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        let mut text = [0; 43];
        let text = Base64UrlUnpadded::encode(&self.0, &mut text).map_err(ser::Error::custom)?;
        serializer.serialize_str(text)
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return <[u8; 32]>::deserialize(deserializer).map(Self);
        }
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        match Base64UrlUnpadded::decode(&text, &mut bytes) {
            Ok(read) if read.len() == 32 => Ok(Self(bytes)),
            _ => Err(de::Error::custom("a secret hash is 43 characters of URL-safe base64")),
        }
    }
}

/// The secret that a rotation replaced, honoured until `until` for requests that were in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// Its hash.
    pub hash: SecretHash,
    /// The first moment at which it is dead, by the clock that all nodes share.
    pub until: Timestamp,
}

/// What a secret proves of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Holds the session's secret.
    Current,
    /// Holds the secret before the last rotation, within the grace: served, but never issued a token (SPEC C6).
    Grace,
    /// Holds nothing.
    None,
}
