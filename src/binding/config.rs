//! What an application says about device binding.

use std::time::Duration;

use crate::{Error, ErrorKind};

/// Binds sessions to the device of their browser (feature `device-binding`).
///
/// A login offers the browser to bind the new session (Device Bound Session Credentials). A browser
/// that knows the protocol makes a key pair that cannot leave the device. It proves every few
/// minutes that it still holds the key, and gets a short-lived second cookie for it. A copy of the
/// cookies is then worthless as soon as that one expires.
///
/// Browsers without the protocol are served as before, in both modes. A route may require a bound
/// session: [`RequireSession::with_device_binding`](crate::RequireSession::with_device_binding).
///
/// The [guide](crate::device_binding) says what this protects against and what not, how to roll it
/// out, and which browsers know the protocol.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::{DeviceBinding, MemoryStore, SessionLayer, browser::Endpoints};
///
/// let binding = DeviceBinding::enforce().with_cookie_lifetime(Duration::from_secs(300))?;
/// let endpoints = Endpoints::at("/session")?.with_device_binding(binding);
/// let layer = SessionLayer::new(MemoryStore::new()).with_endpoints(endpoints);
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct DeviceBinding {
    pub(crate) enforces: bool,
    pub(crate) cookie_lifetime: Duration,
}

impl DeviceBinding {
    const DEFAULT_COOKIE_LIFETIME: Duration = Duration::from_secs(600);

    /// Binds sessions and refuses nothing. Events and metrics show what *enforce* would refuse, so
    /// start with this mode.
    pub const fn observe() -> Self {
        Self { enforces: false, cookie_lifetime: Self::DEFAULT_COOKIE_LIFETIME }
    }

    /// Treats a request of a bound session as having no session, unless it proves the device. The
    /// cookie is kept, and the browser can refresh it.
    pub const fn enforce() -> Self {
        Self { enforces: true, cookie_lifetime: Self::DEFAULT_COOKIE_LIFETIME }
    }

    /// How long a proof holds: ten minutes unless set. A stolen copy works for that long at most,
    /// and each browser in use sends one refresh in that time.
    ///
    /// If the lifetime is a minute or longer, the browser drops the cookie up to five seconds
    /// earlier. So none is in flight when it expires here.
    ///
    /// # Errors
    ///
    /// When it is under a second, which cookies cannot express, or over a day, which would protect
    /// nothing.
    pub fn with_cookie_lifetime(mut self, lifetime: Duration) -> Result<Self, Error> {
        const SECOND: Duration = Duration::from_secs(1);
        const DAY: Duration = Duration::from_secs(24 * 3600);
        if !(SECOND..=DAY).contains(&lifetime) {
            let message =
                "the lifetime of a bound cookie must be between a second and a day; ten minutes is usual";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.cookie_lifetime = lifetime;
        Ok(self)
    }
}
