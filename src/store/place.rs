//! The key for the tags of session ids.

use std::{fmt, hash::Hasher, sync::OnceLock};

use siphasher::sip::SipHasher24;

use crate::record::{SessionId, Tag};

/// The key for computing the tags of a store; see [`Tag`].
///
/// A store that several nodes share keeps it beside the sessions, and makes it once, at random.
/// `Debug` shows nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PlaceKey([u8; 16]);

impl PlaceKey {
    /// The key with these bytes, which should be random.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a store.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A random key.
    ///
    /// # Panics
    ///
    /// When the operating system returns no random bytes.
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Self(bytes)
    }

    /// A random key that stays the same in this process, for stores that no other process shares.
    pub fn of_this_process() -> Self {
        static KEY: OnceLock<PlaceKey> = OnceLock::new();
        *KEY.get_or_init(Self::random)
    }

    /// The tag of a subject in a realm: the first 48 bits of their
    /// [SipHash-2-4](https://www.aumasson.jp/siphash/siphash.pdf).
    pub fn tag(&self, realm: &str, subject: &str) -> Tag {
        // Made for this: short input, short output, and a key without which the output reveals
        // nothing about the input. It takes a twentieth of the instructions of SHA-256.
        let mut hash = SipHasher24::new_with_key(&self.0);
        // The length separates realm and subject.
        hash.write(&u64::try_from(realm.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.write(realm.as_bytes());
        hash.write(subject.as_bytes());
        let [tag @ .., _, _] = hash.finish().to_le_bytes();
        Tag::from_bytes(tag)
    }

    /// The id with the tag of this subject.
    pub fn place(&self, sid: SessionId, realm: &str, subject: &str) -> SessionId {
        sid.with_tag(self.tag(realm, subject))
    }
}

impl fmt::Debug for PlaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaceKey(…)")
    }
}
