//! The secret in the cookie.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::base64;
use crate::{
    Error, ErrorKind, SessionId,
    record::{SecretHash, Tag},
};

const BYTES: usize = base64::BYTES;

/// The value of a cookie: the session's id and a 256-bit secret, as 64 URL-safe characters (C6). 48
/// bytes fill 64 characters exactly, so every token has one spelling.
#[derive(Clone)]
pub(crate) struct Token([u8; BYTES]);

impl Token {
    /// The number of characters.
    pub(crate) const CHARS: usize = base64::CHARS;

    /// A token for a new session.
    pub(crate) fn generate() -> Result<Self, Error> {
        let mut bytes = [0; BYTES];
        fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// A token with a new secret for an existing session.
    pub(crate) fn renew(sid: SessionId) -> Result<Self, Error> {
        let mut token = Self::generate()?;
        token.0[..SessionId::BYTES].copy_from_slice(sid.as_bytes());
        Ok(token)
    }

    /// Reads a cookie's value. Allocates nothing.
    pub(crate) fn parse(value: &[u8]) -> Option<Self> {
        base64::decode(value.try_into().ok()?).map(Self)
    }

    /// Writes the cookie's value.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&base64::encode(&self.0));
    }

    /// Whether both are the same string. Only for dropping duplicates, not for authentication.
    pub(crate) fn same(&self, other: &Self) -> bool {
        bool::from(self.0.ct_eq(&other.0))
    }

    pub(crate) fn sid(&self) -> SessionId {
        let mut sid = [0; SessionId::BYTES];
        sid.copy_from_slice(&self.0[..SessionId::BYTES]);
        SessionId::from_bytes(sid)
    }

    /// The hash of the secret, for the store. It includes the realm, so a token of one realm proves
    /// nothing in another (C10).
    pub(crate) fn hash(&self, realm: &str) -> SecretHash {
        // The secret has a fixed length, so the concatenation is unambiguous.
        let digest = Sha256::new().chain_update(&self.0[SessionId::BYTES..]).chain_update(realm);
        SecretHash::from_bytes(digest.finalize().into())
    }

    /// The same token with this tag in the session's id.
    pub(crate) fn with_tag(mut self, tag: Tag) -> Self {
        self.0[..Tag::BYTES].copy_from_slice(tag.as_bytes());
        self
    }
}

pub(crate) fn fill(bytes: &mut [u8]) -> Result<(), Error> {
    getrandom::fill(bytes).map_err(|error| {
        Error::new(ErrorKind::Random, "the operating system returned no random bytes").with_source(error)
    })
}

/// Shows the session's id only (H5).
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, …)", self.sid())
    }
}
