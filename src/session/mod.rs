//! The handle that a handler gets.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Session`] and what a page shows of it (H1, H2) |
//! | `data.rs` | reading and writing values (H2, S3) |
//! | `login.rs` | [`Login`]: logging in, with overrides and hooks (L3, L6, L7, A1) |
//! | `state.rs` | what a request knows and plans |
//! | `commit.rs` | from the plan to one call to the store, and back (H3, S4, S5) |
//! | `respond.rs` | from the state to the response's headers (C3, C4, C8) |
//! | `watch.rs` | the end of the session, for long responses (H4) |
//! | `recycle.rs` | the allocation behind the handle, used again |

mod commit;
mod data;
mod login;
mod recycle;
mod respond;
mod state;
mod watch;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{HeaderMap, HeaderValue, Method, Uri, header};

pub(crate) use self::respond::Answered;
use self::state::State;
pub use self::{
    login::{Login, Outcome},
    watch::UntilEnded,
};
use crate::{
    EndReason, Error, Mode, Policy, RequestHead, SessionId, Timestamp,
    engine::{Arrival, RealmState},
    record::{Facts, LastSeen, PastSession, Timing},
    settings::LayerConfig,
    token::Token,
};

/// The session of a request, as a handler uses it (SPEC H1, H2).
///
/// The layer puts it into the request's extensions; with feature `axum` it is an extractor. It is always there, also
/// for a visitor without a session: reading then gives nothing, and the first write starts an anonymous session.
///
/// Cheap to clone; clones are the same session of the same request. Changes are collected and stored in one step after
/// the handler has answered, unless it answered with a 5xx: then data and logins are dropped, while logout and rotation
/// still happen (H3). [`Session::save`] stores at once. After the response head is sent a change is an error (H4).
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

/// Marks a request that a session layer skipped although one further out did not. There is no session then: that of the outer
/// layer is not the inner one's (C9).
#[derive(Clone, Debug)]
pub(crate) struct Skipped {
    /// The cookie of the layer that skipped.
    pub(crate) cookie: Arc<str>,
}

pub(crate) struct Inner {
    config: Arc<LayerConfig>,
    /// The realm of this request, if it is not that of the layer.
    realm: Option<Arc<RealmState>>,
    policy: Policy,
    now: Timestamp,
    method: Method,
    uri: Uri,
    /// Only kept when login hooks may ask for them.
    headers: Option<HeaderMap>,
    ip: Option<IpAddr>,
    /// The session of a layer further out, with a cookie of another name (C9).
    outer: Option<Session>,
    /// Whether the handler looked at the session, so that the response depends on it (C8).
    looked: AtomicBool,
}

/// What a page needs to show of a session: one coherent view (SPEC H2).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SessionInfo {
    /// The public id.
    pub sid: SessionId,
    /// The user; absent for an anonymous session.
    pub subject: Option<Arc<str>>,
    /// Whether the cookie survives a restart of the browser.
    pub mode: Mode,
    /// When the session was created.
    pub created_at: Timestamp,
    /// When its user logged in; absent for an anonymous session.
    pub authenticated_at: Option<Timestamp>,
    /// The last interaction: this request, or the last recorded one if this one is passive or not due to be recorded.
    pub last_interaction_at: Timestamp,
    /// When it is over if nothing happens.
    pub idle_expires_at: Timestamp,
    /// When it is over in any case.
    pub expires_at: Timestamp,
    /// Device, clients, authentication methods and metadata.
    pub facts: Arc<Facts>,
}

impl Inner {
    fn realm(&self) -> &Arc<RealmState> {
        self.realm.as_ref().unwrap_or(&self.config.home)
    }
}

impl SessionInfo {
    fn new(sid: SessionId, subject: Option<Arc<str>>, timing: &Timing, facts: Arc<Facts>) -> Self {
        Self {
            sid,
            subject,
            mode: timing.mode,
            created_at: timing.created_at,
            authenticated_at: timing.authenticated_at,
            last_interaction_at: timing.last_interaction_at,
            idle_expires_at: timing.idle_expires_at(),
            expires_at: timing.expires_at(),
            facts,
        }
    }

    /// The nearer of both deadlines.
    pub fn deadline(&self) -> Timestamp {
        self.idle_expires_at.min(self.expires_at)
    }
}

impl Session {
    pub(crate) fn new(
        config: &Arc<LayerConfig>,
        realm: Option<Arc<RealmState>>,
        policy: Policy,
        now: Timestamp,
        head: RequestHead<'_>,
        brought: bool,
    ) -> Self {
        let inner = Inner {
            realm,
            policy,
            now,
            method: head.method.clone(),
            uri: head.uri.clone(),
            headers: (!config.hooks.is_empty()).then(|| head.headers.clone()),
            ip: config.client_ip.as_ref().and_then(|ask| ask(head)),
            outer: head.extensions.get::<Self>().cloned(),
            looked: AtomicBool::new(false),
            config: Arc::clone(config),
        };
        let user_agent = head.headers.get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
        Self(recycle::fill(inner, brought, user_agent))
    }

    /// Takes what the request's cookies led to.
    pub(crate) fn arrive(&self, arrival: Arrival) {
        let ip = self.inner().ip;
        self.state().arrive(arrival, self.keep_longer(), |known| {
            let known_agent = known.user_agent.as_deref();
            // First as bytes, which as a rule settles it.
            let same = known_agent.unwrap_or_default().as_bytes() == self.0.user_agent
                || known_agent == self.user_agent();
            (!same || known.ip != ip).then(|| LastSeen { ip, user_agent: self.user_agent().map(Into::into) })
        });
    }

    /// The user agent, cut at 512 bytes.
    fn user_agent(&self) -> Option<&str> {
        let text = Some(&*self.0.user_agent).filter(|text| !text.is_empty() && text.is_ascii())?;
        std::str::from_utf8(text).ok()
    }

    /// One coherent view of the session: logged in or anonymous; `None` when there is none.
    pub fn info(&self) -> Option<SessionInfo> {
        self.look().info()
    }

    /// The user who is logged in.
    pub fn subject(&self) -> Option<Arc<str>> {
        self.info()?.subject
    }

    /// The public id.
    pub fn sid(&self) -> Option<SessionId> {
        Some(self.info()?.sid)
    }

    /// Why the session that this request's cookie led to is over; `None` when it is live, or nothing is known of it.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.past().map(|past| past.reason)
    }

    /// What is known of that session: enough to say "signed out after 15 minutes of inactivity" (SPEC E3). Kept for an hour
    /// after the end, unless the layer is told otherwise, and told only to who holds the token.
    pub fn past(&self) -> Option<PastSession> {
        self.look().past(self.inner().now)
    }

    /// The arrival of the request: the moment that everything is judged by (SPEC L10).
    pub fn now(&self) -> Timestamp {
        self.inner().now
    }

    /// The request's target before any router took a prefix from it.
    pub(crate) fn uri(&self) -> &Uri {
        &self.inner().uri
    }

    /// The timing as it was before this request: what a route with tighter rules judges by (E2).
    pub(crate) fn timing_on_arrival(&self) -> Option<Timing> {
        self.look().timing_on_arrival()
    }

    /// The name of the cookie that this session is read from.
    pub fn cookie_name(&self) -> &str {
        self.inner().config.cookie.name()
    }

    /// The session of another layer in the same stack, by its cookie's name (SPEC C9). The session in the extensions is
    /// that of the innermost layer.
    pub fn named(&self, cookie: &str) -> Option<Self> {
        if self.cookie_name() == cookie {
            Some(self.clone())
        } else {
            self.inner().outer.as_ref()?.named(cookie)
        }
    }

    /// Ends the session: after this the visitor is nobody. What was planned in this request is dropped; what comes after
    /// belongs to a new session.
    ///
    /// If the store fails, the response becomes a 503 and the cookie stays, so nobody believes in a logout that did not
    /// happen (SPEC S6).
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the response head was sent.
    pub fn logout(&self) -> Result<(), Error> {
        self.edit()?.plan_end(EndReason::SignedOut);
        Ok(())
    }

    /// Replaces the secret in the cookie, for instance when rights change; the sid and the deadlines stay (SPEC C6).
    ///
    /// The old secret is honoured for the policy's grace, counted from this request's arrival. Of parallel rotations one
    /// wins; the others succeed without a new token. Without a session it does nothing. A response that is lost on its way
    /// to the browser takes the new token with it, and the session is out of reach once the grace is over.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after the response head was sent, [`Random`](crate::ErrorKind::Random)
    /// without random bytes.
    pub fn rotate(&self) -> Result<(), Error> {
        let mut state = self.edit()?;
        if let Some(sid) = state.rotatable() {
            state.plan_rotation(Token::renew(sid)?);
        }
        Ok(())
    }

    fn inner(&self) -> &Inner {
        match &self.0.inner {
            Some(inner) => inner,
            None => unreachable!("only the recycler empties a handle, when nobody holds it"),
        }
    }

    /// The state, for the middleware: not a look of the handler.
    fn state(&self) -> MutexGuard<'_, State> {
        // No code of the application runs under this lock, so a panic can not leave the state halfway.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) -> MutexGuard<'_, State> {
        self.inner().looked.store(true, Ordering::Relaxed);
        self.state()
    }

    /// The state, for a change.
    fn edit(&self) -> Result<MutexGuard<'_, State>, Error> {
        let state = self.look();
        state.check_open()?;
        Ok(state)
    }
}

/// Shows the sid, never a token or data (SPEC H5).
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.state().info();
        f.debug_struct("Session")
            .field("sid", &info.as_ref().map(|info| info.sid))
            .field("mode", &info.as_ref().map(|info| info.mode))
            .finish_non_exhaustive()
    }
}
