//! A moment, authenticated by the session's seed.

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::Purpose;
use crate::{SessionId, Timestamp, record::Binding};

const MOMENT_BYTES: usize = 8;
const BYTES: usize = MOMENT_BYTES + 32;

/// A moment and the HMAC of it, of the session's id and of a purpose, keyed by the session's seed.
///
/// Only who knows the seed can make one, so a client can neither foresee a challenge nor extend a
/// bound cookie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp([u8; BYTES]);

impl Stamp {
    /// The number of characters.
    pub(crate) const CHARS: usize = 54;

    pub(crate) fn new(binding: &Binding, sid: SessionId, purpose: Purpose, moment: Timestamp) -> Self {
        let moment = moment.as_unix_millis().to_be_bytes();
        let mut bytes = [0; BYTES];
        bytes[..MOMENT_BYTES].copy_from_slice(&moment);
        bytes[MOMENT_BYTES..].copy_from_slice(tag(binding, sid, purpose, moment).as_ref());
        Self(bytes)
    }

    /// Reads one. Allocates nothing.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; BYTES];
        let text: &[u8; Self::CHARS] = text.try_into().ok()?;
        Base64UrlUnpadded::decode(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    pub(crate) fn encode(&self) -> String {
        Base64UrlUnpadded::encode_string(&self.0)
    }

    /// The moment that it claims; to be trusted only if it [is](Self::is_of) the session's.
    pub(crate) fn moment(&self) -> Timestamp {
        Timestamp::from_unix_millis(i64::from_be_bytes(self.moment_bytes()))
    }

    fn moment_bytes(&self) -> [u8; MOMENT_BYTES] {
        let mut bytes = [0; MOMENT_BYTES];
        bytes.copy_from_slice(&self.0[..MOMENT_BYTES]);
        bytes
    }

    /// Whether it was made for this session and purpose, in constant time.
    pub(crate) fn is_of(&self, binding: &Binding, sid: SessionId, purpose: Purpose) -> bool {
        let expected = tag(binding, sid, purpose, self.moment_bytes());
        self.0[MOMENT_BYTES..].ct_eq(expected.as_ref()).into()
    }
}

/// RFC 2104: two SHA-256, and no allocation.
fn tag(binding: &Binding, sid: SessionId, purpose: Purpose, moment: [u8; MOMENT_BYTES]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, binding.seed()));
    // All parts have a fixed length, so the concatenation is unambiguous.
    context.update(&[purpose as u8]);
    context.update(sid.as_bytes());
    context.update(&moment);
    context.sign()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b3_a_stamp_comes_back_and_every_changed_bit_is_noticed() {
        let (binding, sid) = (Binding::new([4; 16]), SessionId::from_bytes([5; 16]));
        let stamp = Stamp::new(&binding, sid, Purpose::Cookie, Timestamp::from_unix_millis(i64::MIN));
        let text = stamp.encode();
        assert_eq!(text.len(), Stamp::CHARS);
        let back = Stamp::parse(text.as_bytes()).unwrap();
        assert_eq!(back.moment(), Timestamp::from_unix_millis(i64::MIN));
        assert!(back.is_of(&binding, sid, Purpose::Cookie));
        for bit in 0..BYTES * 8 {
            let mut changed = stamp;
            changed.0[bit / 8] ^= 1 << (bit % 8);
            assert!(!changed.is_of(&binding, sid, Purpose::Cookie), "bit {bit}");
        }
    }
}
