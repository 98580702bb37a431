//! The hash of a cookie's secret, which is all that a store may know of it.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use subtle::ConstantTimeEq;

use crate::Timestamp;

/// SHA-256 of a realm and a cookie's secret.
///
/// So a copy of the store contains no working cookies, and a cookie of one realm proves nothing in
/// another.
///
/// Comparison is in constant time, so `PartialEq` is not derived. `Debug` shows nothing.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether both are equal, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        // All differences in one word, without a branch: to compare byte by byte takes ten times as
        // long, and is no safer.
        let words = self.words().into_iter().zip(other.words());
        words.fold(0, |differences, (a, b)| differences | (a ^ b)).ct_eq(&0).into()
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
    /// The hash of the secret.
    pub hash: SecretHash,
    /// The first moment at which it is invalid, by the clock that all nodes share.
    pub until: Timestamp,
}

/// What the holder of a secret may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The secret is the session's: its holder may use the session.
    Current,
    /// The secret is the one before the last rotation, within the grace: its holder is served, but
    /// gets no token.
    Grace,
    /// The secret proves nothing.
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s8_the_hash_of_a_secret_is_read_from_all_its_characters_only() {
        let hash = SecretHash::from_bytes(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let text = serde_json::to_string(&hash).unwrap();
        assert_eq!(text, "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"");
        assert_eq!(serde_json::from_str::<SecretHash>(&text).unwrap(), hash);
        for wrong in ["\"AAECAwQF\"", "\"\"", "\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh-_AA\""] {
            assert!(serde_json::from_str::<SecretHash>(wrong).is_err(), "{wrong}");
        }
    }
}
