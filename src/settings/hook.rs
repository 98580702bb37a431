//! Login hooks: code of the application that runs in every login.

use std::{fmt, pin::Pin, sync::Arc};

use http::{HeaderMap, Method, Uri};

use crate::{
    Error, Policy, SessionId, Timestamp,
    policy::{Cap, Overrides, Refusal, open},
    record::{Facts, Metadata, Timing},
};

/// Runs in every login, before the session exists.
///
/// It may shorten or lengthen the session within the limits, attach metadata, cap the user's
/// sessions, deny the login, or revoke the session.
///
/// Several hooks run in the order in which they were added; a later one sees what an earlier one
/// did. After a denial or a revocation no further hook runs.
///
/// # Errors
///
/// An error fails the login; no session is created.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::{Error, LoginContext, LoginHook};
///
/// /// Logins without a user agent last at most 15 minutes.
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
    /// Runs when a login is about to open a session.
    fn on_login(&self, login: &mut LoginContext<'_>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What a closure for [`SessionLayer::with_login_hook_fn`](crate::SessionLayer::with_login_hook_fn)
/// returns: `Box::pin(async move { … })`.
pub type LoginHookFuture<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// A closure as a hook.
pub(crate) struct HookFn<F>(pub(crate) F);

impl<F> LoginHook for HookFn<F>
where
    F: for<'a> Fn(&'a mut LoginContext<'_>) -> LoginHookFuture<'a> + Send + Sync + 'static,
{
    fn on_login(&self, login: &mut LoginContext<'_>) -> impl Future<Output = Result<(), Error>> + Send {
        (self.0)(login)
    }
}

/// [`LoginHook`], object-safe.
pub(crate) trait DynLoginHook: Send + Sync + 'static {
    fn on_login<'a>(&'a self, login: &'a mut LoginContext<'_>) -> LoginHookFuture<'a>;
}

impl<H: LoginHook> DynLoginHook for H {
    fn on_login<'a>(&'a self, login: &'a mut LoginContext<'_>) -> LoginHookFuture<'a> {
        Box::pin(LoginHook::on_login(self, login))
    }
}

/// What a login hook can read and change.
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
    /// The request target, before a router removes a prefix.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Omits the headers, which contain the cookie (H5).
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

    /// Device, clients, authentication methods and metadata so far.
    pub const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The timing that the session would have now, with both deadlines.
    ///
    /// # Errors
    ///
    /// The refusal, when a requested deadline is not in the future.
    pub fn timing(&self) -> Result<Timing, Refusal> {
        open(self.policy, self.now, &self.overrides).map(|opening| opening.timing)
    }

    /// The overrides of lifetimes and mode.
    pub const fn overrides(&mut self) -> &mut Overrides {
        &mut self.overrides
    }

    /// Metadata to attach.
    pub const fn metadata(&mut self) -> &mut Metadata {
        &mut self.facts.metadata
    }

    /// Sets how many sessions this user may have, in place of the policy's cap.
    pub const fn set_cap(&mut self, cap: Cap) {
        self.cap = Some(cap);
    }

    /// Denies the login; the handler gets the reason. The browser's earlier session stays.
    pub fn deny(&mut self, reason: impl Into<String>) {
        self.refusal = Some(Refusal::Denied(reason.into()));
    }

    /// Revokes the session: the login opens none, and the browser's earlier session ends.
    pub fn revoke(&mut self, reason: impl Into<String>) {
        self.refusal = Some(Refusal::Revoked(reason.into()));
    }
}
