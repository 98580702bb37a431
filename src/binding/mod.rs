//! Sessions bound to the device of their browser: the protocol, without I/O.
//!
//! A copied cookie works anywhere until its session ends. With Device Bound Session Credentials the
//! browser proves every few minutes that it still holds a private key of this device.
//!
//! ```text
//! login ──► offer, with a challenge                  (Secure-Session-Registration)
//!           browser makes a key pair and signs ──►   proof ──► the session keeps the public key
//!                                                              and the browser a bound cookie
//! minutes later the bound cookie expires:
//!           refresh ──► 403 and a challenge ──► proof ──► a new bound cookie
//! ```
//!
//! Challenges and bound cookies are [`stamp`]s: a moment and a hash of it, keyed by a random value
//! of the session that no client learns. So neither needs a row in the store.

// config.rs         what an application says about it
// stamp.rs          a moment, authenticated by the session's seed
// proof.rs          the signed token by which a device proves itself
// header.rs         the structured header fields of the protocol
// instructions.rs   the instructions to the browser

mod config;
mod header;
mod instructions;
mod proof;
mod stamp;

use std::time::Duration;

pub use self::config::DeviceBinding;
pub(crate) use self::{
    header::{challenge_header, registration_header, session_id, skipped, text},
    instructions::{continue_false, instructions},
    proof::{DeviceToken, Malformed},
    stamp::Stamp,
};
use crate::{
    SessionId, Timestamp,
    record::{Binding, DeviceProof, Record},
};

/// How long a challenge is good for.
const CHALLENGE_LIFETIME: Duration = Duration::from_secs(300);

/// How far ahead the clock of the node may be that issued a challenge.
const CLOCK_LEEWAY: Duration = Duration::from_secs(30);

/// How long after the binding a request may come without the bound cookie: those that the browser
/// sent before it had it.
const GRACE: Duration = Duration::from_secs(30);

/// What a stamp is for. One of one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The challenge of a registration.
    Registration = 1,
    /// The challenge of a refresh.
    Refresh = 2,
    /// A bound cookie.
    Cookie = 3,
}

/// A challenge for this session.
pub(crate) fn challenge(binding: &Binding, sid: SessionId, purpose: Purpose, now: Timestamp) -> String {
    Stamp::new(binding, sid, purpose, now).encode()
}

/// Whether this is a challenge for the session and the purpose, not older than five minutes.
pub(crate) fn is_challenge(
    text: &str,
    binding: &Binding,
    sid: SessionId,
    purpose: Purpose,
    now: Timestamp,
) -> bool {
    Stamp::parse(text.as_bytes()).is_some_and(|stamp| {
        let (from, until) = (stamp.moment() - CLOCK_LEEWAY, stamp.moment() + CHALLENGE_LIFETIME);
        stamp.is_of(binding, sid, purpose) && from <= now && now < until
    })
}

/// The bound cookies that a request brought: at most three well-formed ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BoundCookies {
    stamps: [Option<Stamp>; 3],
    /// Whether there was one at all, malformed ones included.
    pub(crate) brought: bool,
}

impl BoundCookies {
    pub(crate) fn add(&mut self, value: &[u8]) {
        self.brought = true;
        if let (Some(stamp), Some(free)) =
            (Stamp::parse(value), self.stamps.iter_mut().find(|stamp| stamp.is_none()))
        {
            *free = Some(stamp);
        }
    }

    /// Until when these cookies prove the device that the session is bound to.
    fn proves_until(&self, binding: &Binding, sid: SessionId, now: Timestamp) -> Option<Timestamp> {
        let mut stamps = self.stamps.iter().flatten();
        let valid =
            stamps.find(|stamp| now < stamp.moment() && stamp.is_of(binding, sid, Purpose::Cookie))?;
        Some(valid.moment())
    }
}

/// What a request is judged by, as far as its device is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeviceCheck {
    pub(crate) cookies: BoundCookies,
    /// How long a bound cookie is valid.
    pub(crate) cookie_lifetime: Duration,
    /// Whether a request without a proof is treated as having no session.
    pub(crate) enforces: bool,
}

impl DeviceCheck {
    /// What the request proves about the device. `now` is by the clock that all nodes share.
    pub(crate) fn judge(&self, record: &Record, now: Timestamp) -> DeviceProof {
        let Some(binding) = record.binding.as_deref() else { return DeviceProof::NotBound };
        let Some(device) = binding.device.as_deref() else { return DeviceProof::NotBound };
        match self.cookies.proves_until(binding, record.sid, now) {
            // The cookie may be of a node with another lifetime, while a new one is rolled out.
            Some(until) => DeviceProof::Proven((until - self.cookie_lifetime).min(now)),
            None if now < device.bound_at + GRACE => DeviceProof::Proven(device.bound_at),
            None => DeviceProof::Unproven,
        }
    }

    /// Whether a session counts as absent for a request that does not prove its device.
    pub(crate) const fn is_enforced(&self) -> bool {
        self.enforces
    }

    /// Whether a session of which the request proves this counts as absent.
    pub(crate) const fn refuses(&self, proof: DeviceProof) -> bool {
        self.enforces && matches!(proof, DeviceProof::Unproven)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::record::{BoundDevice, DeviceKey, tests::blank};

    const NOW: Timestamp = Timestamp::from_unix_millis(1_700_000_000_000);
    const TICK: Duration = Duration::from_millis(1);

    fn bound(at: Timestamp) -> Record {
        let mut binding = Binding::new([7; 16]);
        let key = DeviceKey::Es256 { x: [1; 32], y: [2; 32] };
        binding.device = Some(Arc::new(BoundDevice { key, bound_at: at }));
        Record { binding: Some(Arc::new(binding)), ..blank() }
    }

    fn check(values: &[&str], enforces: bool) -> DeviceCheck {
        let mut cookies = BoundCookies::default();
        for value in values {
            cookies.add(value.as_bytes());
        }
        DeviceCheck { cookies, cookie_lifetime: Duration::from_secs(600), enforces }
    }

    fn cookie(record: &Record, until: Timestamp) -> String {
        Stamp::new(record.binding.as_ref().unwrap(), record.sid, Purpose::Cookie, until).encode()
    }

    #[test]
    fn b3_a_challenge_is_good_for_five_minutes_for_its_session_and_its_purpose() {
        let (binding, other) = (Binding::new([1; 16]), Binding::new([2; 16]));
        let [sid, elsewhere] = [1, 2].map(|byte| SessionId::from_bytes([byte; 16]));
        let text = challenge(&binding, sid, Purpose::Refresh, NOW);
        let good = |binding, sid, purpose, now| is_challenge(&text, binding, sid, purpose, now);
        assert!(good(&binding, sid, Purpose::Refresh, NOW));
        assert!(good(&binding, sid, Purpose::Refresh, NOW), "the same proof may come again");
        assert!(good(&binding, sid, Purpose::Refresh, NOW + CHALLENGE_LIFETIME - TICK));
        assert!(!good(&binding, sid, Purpose::Refresh, NOW + CHALLENGE_LIFETIME));
        assert!(good(&binding, sid, Purpose::Refresh, NOW - CLOCK_LEEWAY), "issued by a node ahead");
        assert!(!good(&binding, sid, Purpose::Refresh, NOW - CLOCK_LEEWAY - TICK));
        assert!(!good(&binding, sid, Purpose::Registration, NOW));
        assert!(!good(&binding, sid, Purpose::Cookie, NOW));
        assert!(!good(&binding, elsewhere, Purpose::Refresh, NOW));
        assert!(!good(&other, sid, Purpose::Refresh, NOW));
    }

    #[test]
    fn b6_a_bound_session_needs_a_valid_bound_cookie_after_thirty_seconds() {
        let record = bound(NOW);
        let until = NOW + Duration::from_secs(600);
        let valid = cookie(&record, until);
        let proof = |values: &[&str], now| check(values, true).judge(&record, now);
        assert_eq!(proof(&[], NOW + GRACE - TICK), DeviceProof::Proven(NOW));
        assert_eq!(proof(&[], NOW + GRACE), DeviceProof::Unproven);
        assert_eq!(proof(&[&valid], until - TICK), DeviceProof::Proven(NOW));
        assert_eq!(proof(&[&valid], until), DeviceProof::Unproven);
        let junk = ["", "x", &"A".repeat(54)];
        assert_eq!(proof(&junk, NOW + GRACE), DeviceProof::Unproven);
        let beside_junk = [junk[2], &valid, ""];
        assert_eq!(proof(&beside_junk, NOW + GRACE), DeviceProof::Proven(NOW), "junk beside it");
        let challenge = challenge(record.binding.as_ref().unwrap(), record.sid, Purpose::Refresh, until);
        assert_eq!(proof(&[&challenge], NOW + GRACE), DeviceProof::Unproven, "a challenge is no cookie");
        let foreign = cookie(&Record { sid: SessionId::from_bytes([9; 16]), ..record.clone() }, until);
        assert_eq!(proof(&[&foreign], NOW + GRACE), DeviceProof::Unproven, "of another session");
    }

    #[test]
    fn b1_nothing_is_refused_unless_the_session_is_bound_and_the_mode_is_enforce() {
        let unproven = |enforces| {
            let check = check(&[], enforces);
            check.refuses(check.judge(&bound(NOW), NOW + GRACE))
        };
        assert!(unproven(true));
        assert!(!unproven(false));
        for plain in [blank(), Record { binding: Some(Arc::new(Binding::new([1; 16]))), ..blank() }] {
            let check = check(&[], true);
            assert_eq!(check.judge(&plain, NOW), DeviceProof::NotBound);
            assert!(!check.refuses(DeviceProof::NotBound));
        }
    }
}
