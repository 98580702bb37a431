//! The handle that a handler gets.
//!
//! It holds the state of the request behind a lock that is never held across an await, and drives
//! it: what the state wants from the store is performed here, and the answers are handed back.

// data.rs      reading and writing values
// key.rs       typed keys for values
// login.rs     logging in, with overrides and hooks
// own.rs       the user's other sessions: listed and signed out
// summary.rs   a session as people see it in a list
// save.rs      the driver
// respond.rs   from the state to the response's headers
// device.rs    proofs of the device that the session is bound to
// watch.rs     the end of the session, for long responses
// recycle.rs   the allocation behind the handle, used again

mod data;
#[cfg(feature = "device-binding")]
mod device;
mod key;
mod login;
mod own;
mod recycle;
mod respond;
mod save;
mod summary;
mod watch;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, MutexGuard, PoisonError},
};

use http::{HeaderMap, HeaderValue, Method, Uri, header};

#[cfg(feature = "device-binding")]
pub(crate) use self::device::{ProofRefusal, Refreshed};
use self::recycle::State;
pub use self::{data::ValueFor, key::Key, login::Login, summary::SessionSummary, watch::UntilEnded};
pub use crate::request::{Outcome, SessionInfo};
use crate::{
    EndReason, Error, RequestHead, SessionId, Timestamp,
    cookie::{Candidates, SessionCookie, Token},
    engine::RealmState,
    record::{DeviceProof, PastSession, Timing},
    request::{CookieSent, RequestContext, Visit},
    settings::{LayerConfig, RequestPolicy},
};

/// The session of a request, as a handler uses it.
///
/// The layer puts it into the request's extensions; with feature `axum` it is an extractor. It is
/// there for a visitor without a session, too: reading then gives nothing, and the first write
/// starts an anonymous session.
///
/// Cheap to clone; clones are the same session of the same request. Changes are collected and
/// stored in one step after the handler has answered. If the handler [failed](crate::rules#h3),
/// data and logins are dropped, while logout and rotation still happen. [`Session::save`] stores at
/// once. After the response head is sent a change is an error.
///
/// # Example
///
/// ```
/// use tower_tenure::{Error, Key, Session};
///
/// const VISITS: Key<u32> = Key::new("visits");
///
/// fn greet(session: &Session) -> Result<String, Error> {
///     let visits = session.get(&VISITS)?.unwrap_or(0) + 1;
///     session.insert(&VISITS, &visits)?;
///     Ok(match session.subject() {
///         Some(user) => format!("hello {user}, visit {visits}"),
///         None => format!("hello stranger, visit {visits}"),
///     })
/// }
/// ```
#[derive(Clone)]
pub struct Session(Arc<recycle::Shared>);

/// Marks a request that a session layer skipped although one further out did not. There is no
/// session then: that of the outer layer is not the inner one's.
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    /// The cookie of the layer that skipped.
    pub(crate) cookie: Arc<str>,
}

pub(crate) struct Inner {
    config: Arc<LayerConfig>,
    /// The realm of this request, if it is not that of the layer.
    realm: Option<Arc<RealmState>>,
    policy: RequestPolicy,
    now: Timestamp,
    method: Method,
    uri: Uri,
    /// Only kept when login hooks may ask for them.
    headers: Option<HeaderMap>,
    ip: Option<IpAddr>,
    /// The session of a layer further out, with a cookie of another name.
    outer: Option<Session>,
    /// The host, if the browser would drop a cookie of this response (E14).
    loses_cookie: Option<Box<str>>,
}

impl Inner {
    fn realm(&self) -> &Arc<RealmState> {
        self.realm.as_ref().unwrap_or(&self.config.home)
    }

    /// The arrival, by the clock that all nodes share.
    fn shared_now(&self) -> Timestamp {
        self.config.engine.shared_time_as_known(self.now)
    }

    /// What the request is judged by.
    fn context(&self) -> RequestContext<'_> {
        let engine = &self.config.engine;
        RequestContext {
            now: self.now,
            shared_now: self.shared_now(),
            policy: &self.policy,
            realm: &self.realm().name,
            max_data: self.config.max_data,
            in_flight_window: self.config.in_flight_window(),
            wants_hints: !engine.store.in_process(),
        }
    }
}

impl Session {
    pub(crate) fn new(
        config: &Arc<LayerConfig>,
        realm: Option<Arc<RealmState>>,
        policy: RequestPolicy,
        now: Timestamp,
        head: RequestHead<'_>,
        candidates: &Candidates,
    ) -> Self {
        let ip = config.client_ip.as_ref().and_then(|ask| ask(head));
        let keep_longer = policy.resume_for().into();
        let inner = || Inner {
            realm,
            policy,
            now,
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: (!config.hooks.is_empty()).then(|| head.headers.clone()),
            ip,
            outer: head.extensions.get::<Self>().cloned(),
            loses_cookie: config.loses_cookie(head, candidates.brought),
            config: Arc::clone(config),
        };
        let user_agent = head.headers.get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
        let mut cookie = CookieSent::new(candidates.brought);
        if candidates.has_more {
            // One that was not examined may be live.
            cookie.keep();
        }
        Self(recycle::fill(inner, cookie, keep_longer, user_agent))
    }

    /// The response to this request removes no cookie.
    pub(crate) fn keep_cookie(&self) {
        self.state().request.keep_cookie();
    }

    /// Where the request came from.
    fn visit(&self) -> Visit<'_> {
        Visit { ip: self.inner().ip, user_agent: &self.0.user_agent, device: None }
    }

    /// The user agent, cut at 512 bytes.
    fn user_agent(&self) -> Option<&str> {
        self.visit().user_agent_text()
    }

    /// One coherent view of the session: logged in or anonymous; `None` when there is none.
    pub fn info(&self) -> Option<SessionInfo> {
        self.look().request.info()
    }

    /// The user who is logged in.
    pub fn subject(&self) -> Option<Arc<str>> {
        self.look().request.record()?.subject.clone()
    }

    /// Whether this user is logged in.
    pub fn is_of(&self, subject: &str) -> bool {
        self.look().request.record().is_some_and(|record| record.subject.as_deref() == Some(subject))
    }

    /// The public id.
    pub fn sid(&self) -> Option<SessionId> {
        Some(self.look().request.record()?.sid)
    }

    /// Why the session that this request's cookie led to is over; `None` when it is live, or
    /// nothing is known of it.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.past().map(|past| past.reason)
    }

    /// What is known of that session: enough to say "signed out after 15 minutes of inactivity".
    /// Kept for an hour after the end unless configured, and only for the holder of the token.
    pub fn past(&self) -> Option<PastSession> {
        self.look().request.past(self.inner().now)
    }

    /// The arrival of the request: the moment that everything is judged by.
    pub fn now(&self) -> Timestamp {
        self.inner().now
    }

    /// The request's target before any router took a prefix from it.
    pub(crate) fn uri(&self) -> &Uri {
        &self.inner().uri
    }

    /// The timing as it was before this request: what a route with tighter rules judges by.
    pub(crate) fn timing_on_arrival(&self) -> Option<Timing> {
        self.look().request.timing_on_arrival()
    }

    /// The name of the cookie that this session is read from.
    pub fn cookie_name(&self) -> &str {
        self.inner().config.cookie.name()
    }

    /// What the request proves of the device that the session is bound to.
    pub(crate) fn device(&self) -> DeviceProof {
        self.look().request.device()
    }

    pub(crate) fn cookie(&self) -> &SessionCookie {
        &self.inner().config.cookie
    }

    /// The session of another layer in the same stack, by its cookie's name. The session in the
    /// extensions is that of the innermost layer.
    pub fn named(&self, cookie: &str) -> Option<Self> {
        if self.cookie_name() == cookie {
            Some(self.clone())
        } else {
            self.inner().outer.as_ref()?.named(cookie)
        }
    }

    /// Ends the session. What was planned in this request is
    /// dropped; what comes after belongs to a new session.
    ///
    /// If the store fails, the response becomes a 503 and the cookie stays, so that no user
    /// believes in a logout that did not happen.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the response head was sent.
    pub fn logout(&self) -> Result<(), Error> {
        self.edit()?.request.plan_end(EndReason::SignedOut);
        Ok(())
    }

    /// Replaces the secret in the cookie; the sid and the deadlines stay.
    ///
    /// The old secret is honoured for the policy's grace, counted from this request's arrival, so
    /// that requests in flight do not fail. When the user's rights change, use
    /// [`Session::rotate_now`]. Of parallel rotations one wins; the others succeed without a new
    /// token. Without a session it does nothing. If the response is lost on its way to the browser,
    /// the new token is lost with it, and the user has to log in again once the grace is over.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the response head was sent,
    /// [`Random`](crate::ErrorKind::Random) without random bytes.
    pub fn rotate(&self) -> Result<(), Error> {
        self.plan_rotation(true)
    }

    /// Replaces the secret in the cookie, and honours the old one no more: for a change of rights.
    ///
    /// As [`Session::rotate`], but without the grace. A request that is in flight with the old
    /// secret finds no session; its response leaves the browser's new cookie alone.
    ///
    /// # Errors
    ///
    /// As [`Session::rotate`].
    pub fn rotate_now(&self) -> Result<(), Error> {
        self.plan_rotation(false)
    }

    fn plan_rotation(&self, has_grace: bool) -> Result<(), Error> {
        let mut state = self.edit()?;
        if let Some(sid) = state.request.rotatable() {
            state.request.plan_rotation(Token::renew(sid)?, has_grace);
        }
        Ok(())
    }

    fn inner(&self) -> &Inner {
        match &self.0.inner {
            Some(inner) => inner,
            None => unreachable!("only the recycler empties a handle, when no clone of it is left"),
        }
    }

    /// The state, for the middleware: not a look of the handler.
    fn state(&self) -> MutexGuard<'_, State> {
        // No code of the application runs under this lock, so a panic cannot leave the state
        // halfway.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        state.looked = true;
        state
    }

    /// The state, for a change.
    fn edit(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.look();
        state.request.check_open()?;
        Ok(state)
    }
}

/// Shows the sid, never a token or data.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.state().request.info();
        f.debug_struct("Session")
            .field("sid", &info.as_ref().map(|info| info.sid))
            .field("mode", &info.as_ref().map(|info| info.mode))
            .finish_non_exhaustive()
    }
}
