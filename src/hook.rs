//! Login hooks: the application's say in every login.

use std::{fmt, pin::Pin, sync::Arc};

use http::{HeaderMap, Method, Uri};

use crate::{
    Error, Policy, SessionId, Timestamp,
    policy::{Cap, Overrides, Refusal, open},
    record::{Facts, Metadata, Timing},
};

/// Runs in every login, before the session exists (SPEC A1): may shorten or lengthen it within the limits, attach
/// metadata, deny the login, or revoke the session.
///
/// Several hooks run in the order in which they were added; a later one sees what an earlier one did. After a denial or
/// a revocation no further one runs.
///
/// # Errors
///
/// An error fails the login: there is no session then.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::{Error, LoginContext, LoginHook};
///
/// /// Logins without a user agent last a quarter of an hour, at most.
/// struct ShortForRobots;
///
/// impl LoginHook for ShortForRobots {
///     async fn on_login(&self, login: &mut LoginContext<'_>) -> Result<(), Error> {
///         if login.facts().device.initial_user_agent.is_none() {
///             let deadline = login.now() + Duration::from_secs(900);
///             login.overrides().expires_at(deadline);
///             login.metadata().set("risk", "robot")?;
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait LoginHook: Send + Sync + 'static {
    /// A login is about to open a session.
    fn on_login(&self, login: &mut LoginContext<'_>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// [`LoginHook`] as a trait object can be.
pub(crate) trait DynLoginHook: Send + Sync + 'static {
    fn on_login<'a>(
        &'a self,
        login: &'a mut LoginContext<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;
}

impl<H: LoginHook> DynLoginHook for H {
    fn on_login<'a>(
        &'a self,
        login: &'a mut LoginContext<'_>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>> {
        Box::pin(LoginHook::on_login(self, login))
    }
}

/// What a login hook sees and may do.
#[derive(Debug)]
pub struct LoginContext<'a> {
    pub(crate) sid: SessionId,
    pub(crate) subject: Arc<str>,
    pub(crate) now: Timestamp,
    pub(crate) policy: &'a Policy,
    pub(crate) request: LoginRequest<'a>,
    pub(crate) facts: Facts,
    pub(crate) overrides: Overrides,
    pub(crate) refusal: Option<Refusal>,
    pub(crate) cap: Option<Cap>,
}

/// The request in which a login takes place.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct LoginRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target, before any router has taken a prefix from it.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Without the headers: the cookie is among them (SPEC H5).
impl fmt::Debug for LoginRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest")
            .field("method", self.method)
            .field("uri", self.uri)
            .finish_non_exhaustive()
    }
}

impl<'a> LoginContext<'a> {
    /// The id that the session will have.
    pub const fn sid(&self) -> SessionId {
        self.sid
    }

    /// The user who logs in.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The arrival of the request: when the session is created and authenticated.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The request in which the login takes place.
    pub const fn request(&self) -> LoginRequest<'a> {
        self.request
    }

    /// Device, clients, authentication methods and metadata, as they are so far.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The timing that the session would have as things stand, with both deadlines; a refusal when a deadline asked for
    /// is not in the future.
    pub fn timing(&self) -> Result<Timing, Refusal> {
        open(self.policy, self.now, &self.overrides).map(|opening| opening.timing)
    }

    /// The lifetimes and the mode, to override (L6, L7).
    pub const fn overrides(&mut self) -> &mut Overrides {
        &mut self.overrides
    }

    /// Metadata to attach.
    pub const fn metadata(&mut self) -> &mut Metadata {
        &mut self.facts.metadata
    }

    /// How many sessions this user may have, in place of the policy's cap (S9).
    pub const fn set_cap(&mut self, cap: Cap) {
        self.cap = Some(cap);
    }

    /// Denies the login, for a reason that the handler is told. The browser's earlier session stays.
    pub fn deny(&mut self, reason: impl Into<String>) {
        self.refusal = Some(Refusal::Denied(reason.into()));
    }

    /// Revokes the session: there is none after this login, and the browser's earlier one ends too.
    pub fn revoke(&mut self, reason: impl Into<String>) {
        self.refusal = Some(Refusal::Revoked(reason.into()));
    }
}
