//! What binds a session to a device.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::Record;
use crate::Timestamp;

/// What binds a session to a device: its own random seed and, once the browser has registered one,
/// the public key of the device.
///
/// `Debug` does not show the seed, because anybody who knows it can make the values that prove a
/// device.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    seed: [u8; Self::SEED_BYTES],
    /// The device, once it is registered. The first one stays for the session's life.
    pub device: Option<Arc<BoundDevice>>,
}

impl Binding {
    /// The length of a seed.
    pub const SEED_BYTES: usize = 16;

    /// A session that can be bound, with a random seed that no client ever learns.
    pub const fn new(seed: [u8; Self::SEED_BYTES]) -> Self {
        Self { seed, device: None }
    }

    /// The key of the values that are made for this session.
    pub const fn seed(&self) -> &[u8; Self::SEED_BYTES] {
        &self.seed
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding").field("device", &self.device).finish_non_exhaustive()
    }
}

/// A device that a session is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundDevice {
    /// The public key that it registered.
    pub key: DeviceKey,
    /// When it registered the key, by the clock that all nodes share.
    pub bound_at: Timestamp,
}

/// A public key of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceKey {
    /// ECDSA on the curve P-256 with SHA-256: both coordinates, 32 bytes each.
    Es256 {
        /// The first coordinate.
        x: [u8; 32],
        /// The second one.
        y: [u8; 32],
    },
    /// RSA (PKCS #1 v1.5) with SHA-256: modulus and exponent, big-endian without leading zeros.
    Rs256 {
        /// The modulus.
        n: Box<[u8]>,
        /// The exponent.
        e: Box<[u8]>,
    },
}

/// What a request knows of the device that it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeviceProof {
    /// The session is bound to no device.
    #[default]
    NotBound,
    /// The device proved itself at this moment, and its proof still holds.
    Proven(Timestamp),
    /// The session is bound, and the request carries no valid proof.
    Unproven,
}

impl DeviceProof {
    /// Whether the request comes from the device that the session is bound to.
    pub const fn is_proven(self) -> bool {
        matches!(self, Self::Proven(_))
    }

    /// Whether the session is bound, and the request does not prove the device.
    pub const fn is_missing(self) -> bool {
        matches!(self, Self::Unproven)
    }
}

impl Record {
    /// The device that the session is bound to.
    pub fn bound_device(&self) -> Option<&BoundDevice> {
        self.binding.as_ref()?.device.as_deref()
    }

    /// Binds the session to a device, if it can be bound and is not. Says when it was bound to this
    /// device's key, if it is now.
    pub(crate) fn bind(&mut self, device: &Arc<BoundDevice>) -> Option<Timestamp> {
        let binding = self.binding.as_mut()?;
        if let Some(first) = &binding.device {
            return (first.key == device.key).then_some(first.bound_at);
        }
        Arc::make_mut(binding).device = Some(Arc::clone(device));
        Some(device.bound_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::blank;

    fn device(x: u8, at: i64) -> Arc<BoundDevice> {
        let key = DeviceKey::Es256 { x: [x; 32], y: [2; 32] };
        Arc::new(BoundDevice { key, bound_at: Timestamp::from_unix_millis(at) })
    }

    #[test]
    fn b4_the_first_device_stays_and_a_second_attempt_of_the_same_one_succeeds() {
        let mut record = Record { binding: Some(Arc::new(Binding::new([3; 16]))), ..blank() };
        let first = Some(Timestamp::from_unix_millis(10));
        assert_eq!(record.bind(&device(1, 10)), first);
        assert_eq!(record.bind(&device(1, 20)), first, "its answer may have been lost");
        assert_eq!(record.bind(&device(9, 30)), None);
        assert_eq!(record.bound_device(), Some(&*device(1, 10)));
    }

    #[test]
    fn b4_a_session_without_a_seed_cannot_be_bound() {
        let mut record = blank();
        assert_eq!(record.bind(&device(1, 10)), None);
        assert_eq!(record.bound_device(), None);
    }

    #[test]
    fn h5_debug_does_not_show_the_seed() {
        let text = format!("{:?}", Binding::new([0xab; 16]));
        assert_eq!(text, "Binding { device: None, .. }");
    }
}
