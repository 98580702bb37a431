//! Device binding, as a layer is configured for it.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    Error, SessionId, Timestamp,
    binding::{
        self, BoundCookies, DeviceBinding, DeviceCheck, Purpose, Stamp, challenge_header, registration_header,
    },
    cookie::SessionCookie,
    record::{Binding, Record},
};

const REGISTRATION: HeaderName = HeaderName::from_static("secure-session-registration");
const CHALLENGE: HeaderName = HeaderName::from_static("secure-session-challenge");
const SKIPPED: HeaderName = HeaderName::from_static("secure-session-skipped");

/// Device binding, as a layer is configured for it.
#[derive(Clone, Debug)]
pub(crate) struct DeviceConfig {
    binding: DeviceBinding,
    registration_path: String,
    refresh_path: String,
    /// The bound cookie.
    cookie: SessionCookie,
}

/// What a request shows of its device.
#[derive(Clone, Debug)]
pub(crate) struct DeviceVisit {
    pub(crate) check: DeviceCheck,
    /// Every line of the header that says so.
    skipped: Vec<HeaderValue>,
}

impl DeviceVisit {
    pub(crate) const fn has_bound_cookie(&self) -> bool {
        self.check.cookies.brought
    }

    /// Why the browser says that it skipped the refresh of this session.
    pub(crate) fn skipped(&self, sid: SessionId) -> Option<&'static str> {
        self.skipped.iter().find_map(|line| binding::skipped(line.as_bytes(), sid))
    }
}

/// What a new login needs to be bound later.
pub(crate) fn new_binding(_: &DeviceConfig) -> Result<Binding, Error> {
    let mut seed = [0; Binding::SEED_BYTES];
    crate::cookie::fill(&mut seed)?;
    Ok(Binding::new(seed))
}

/// Asks the browser for a proof.
pub(crate) fn ask_for_proof(headers: &mut HeaderMap, binding: &Binding, sid: SessionId, now: Timestamp) {
    let challenge = binding::challenge(binding, sid, Purpose::Refresh, now);
    if let Some(value) = secret(challenge_header(&challenge, sid)) {
        headers.insert(CHALLENGE, value);
    }
}

impl DeviceConfig {
    pub(crate) fn new(binding: DeviceBinding, registration_path: String, refresh_path: String) -> Self {
        Self { binding, registration_path, refresh_path, cookie: SessionCookie::default() }
    }

    /// Names the bound cookie after the session cookie.
    pub(crate) fn set_cookie(&mut self, cookie: &SessionCookie) {
        self.cookie = cookie.bound();
    }

    /// What a request shows of its device. Allocates nothing.
    pub(crate) fn visit(&self, headers: &HeaderMap) -> DeviceVisit {
        let mut cookies = BoundCookies::default();
        self.cookie.each_value(headers, Stamp::CHARS, |value| cookies.add(value));
        let DeviceBinding { enforces, cookie_lifetime } = self.binding;
        let check = DeviceCheck { cookies, cookie_lifetime, enforces };
        DeviceVisit { check, skipped: headers.get_all(SKIPPED).iter().cloned().collect() }
    }

    /// Offers the browser to bind the session of a login.
    pub(crate) fn offer(&self, headers: &mut HeaderMap, record: &Record, now: Timestamp) {
        let Some(binding) = record.binding.as_deref().filter(|binding| binding.device.is_none()) else {
            return;
        };
        let challenge = binding::challenge(binding, record.sid, Purpose::Registration, now);
        // Two layers in one stack may log in at once: then there are two offers.
        if let Some(value) = secret(registration_header(&self.registration_path, &challenge)) {
            headers.append(REGISTRATION, value);
        }
    }

    /// Sets the bound cookie, after a proof.
    pub(crate) fn issue(&self, headers: &mut HeaderMap, binding: &Binding, sid: SessionId, now: Timestamp) {
        let lifetime = self.binding.cookie_lifetime;
        let value = Stamp::new(binding, sid, Purpose::Cookie, now + lifetime).encode();
        self.cookie.issue_bound(headers, &value, lifetime, now);
    }

    /// Removes the bound cookie.
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        self.cookie.remove(headers);
    }

    /// The session instructions for the browser.
    pub(crate) fn instructions(&self, sid: SessionId) -> Vec<u8> {
        binding::instructions(sid, &self.refresh_path, self.cookie.name(), self.cookie.attributes())
    }
}

/// A value that no log shows.
fn secret(value: Option<String>) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(value?).ok()?;
    value.set_sensitive(true);
    Some(value)
}
