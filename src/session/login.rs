//! Logging in.

use std::{
    future::ready,
    pin::Pin,
    sync::{Arc, LazyLock},
    time::Duration,
};

use http::HeaderMap;

use super::{Outcome, Session};
use crate::{
    Error, ErrorKind, Mode, Timestamp,
    cookie::Token,
    events::EventKind,
    policy::{Overrides, Refusal, open},
    record::{AuthenticationMethod, Device, EndReason, Facts, LastSeen},
    request::new_record,
    settings::{LoginContext, LoginRequest, new_binding},
};

/// A login that is being put together; await it. See [`Session::login`].
#[derive(Debug)]
#[must_use = "await the login"]
pub struct Login<'a> {
    session: &'a Session,
    subject: Arc<str>,
    overrides: Overrides,
    facts: Facts,
    /// The first thing that was wrong with it.
    wrong: Option<Error>,
}

impl Session {
    /// Logs this user in: a new session with a new id, in place of the one that there is.
    ///
    /// The session is persistent unless [`Login::with_mode`] or the policy's default mode says
    /// otherwise. Mode and deadlines of one session can be set on the [`Login`] and by login hooks,
    /// and nowhere else: a call outside a login does not compile.
    ///
    /// The application says who the user is; checking a password or a token comes
    /// before. The data is kept when the same user or no user was logged in, and empty otherwise.
    /// The login hooks run here; the session is stored when the response goes out, unless that is a
    /// 5xx.
    ///
    /// # Errors
    ///
    /// When awaited: [`InvalidInput`](ErrorKind::InvalidInput) for a user that is empty, over 512
    /// bytes or with a zero byte, or an override of zero; the error of a login hook;
    /// [`Closed`](ErrorKind::Closed) after the response head was sent.
    ///
    /// # Example
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tower_tenure::{Error, Mode, Outcome, Session};
    ///
    /// async fn sign_in(session: &Session, user: &str, remember: bool) -> Result<bool, Error> {
    ///     let mode = if remember { Mode::Persistent } else { Mode::NonPersistent };
    ///     let login = session.login(user).with_mode(mode).with_idle_lifetime(Duration::from_secs(900));
    ///     Ok(login.await? == Outcome::Done)
    /// }
    /// ```
    pub fn login(&self, subject: impl Into<Arc<str>>) -> Login<'_> {
        Login {
            session: self,
            subject: subject.into(),
            overrides: Overrides::default(),
            facts: Facts::default(),
            wrong: None,
        }
    }
}

impl<'a> Login<'a> {
    /// The mode, for the session's life; the last call wins. Without it, the policy's default mode.
    pub fn with_mode(mut self, mode: Mode) -> Self {
        self.overrides.mode(mode);
        self
    }

    /// The absolute deadline of this session; the earliest of several wins. Above the limits it is
    /// clamped.
    pub fn with_expires_at(mut self, deadline: Timestamp) -> Self {
        self.overrides.expires_at(deadline);
        self
    }

    /// An upper bound for the absolute deadline: the identity provider's own session expiry.
    pub fn with_not_after(mut self, deadline: Timestamp) -> Self {
        self.overrides.not_after(deadline);
        self
    }

    /// The first idle deadline; the next interaction goes back to the idle lifetime. The earliest
    /// of several wins.
    pub fn with_idle_expires_at(mut self, deadline: Timestamp) -> Self {
        self.overrides.idle_expires_at(deadline);
        self
    }

    /// An idle lifetime for this session, for its life.
    pub fn with_idle_lifetime(mut self, lifetime: Duration) -> Self {
        let set = self.overrides.idle_lifetime(lifetime);
        self.note(set);
        self
    }

    /// A client application that takes part in the session, for its facts.
    pub fn with_client(mut self, client_id: impl Into<String>) -> Self {
        let client_id = client_id.into();
        if !self.facts.clients.contains(&client_id) {
            self.facts.clients.push(client_id);
        }
        self
    }

    /// How the user proved who they are, for the session's facts; RFC 8176 has the usual names,
    /// such as `pwd`.
    pub fn with_method(mut self, name: impl Into<String>) -> Self {
        let method = AuthenticationMethod::new(name, self.session.now());
        self.facts.authentication.push(method);
        self
    }

    /// An entry of metadata; see [`Metadata`](crate::record::Metadata) for what fits.
    pub fn with_metadata(mut self, key: &str, value: &str) -> Self {
        let set = self.facts.metadata.set(key, value);
        self.note(set);
        self
    }

    fn note(&mut self, result: Result<(), Error>) {
        self.wrong = self.wrong.take().or(result.err());
    }

    /// All that comes before the hooks.
    fn prepare(self) -> Result<Prepared<'a>, Error> {
        let Self { session, subject, overrides, mut facts, wrong } = self;
        drop(session.edit()?);
        if let Some(error) = wrong {
            return Err(error);
        }
        if subject.is_empty() || subject.len() > 512 || subject.contains('\0') {
            let message = "the name of a user must have 1 to 512 bytes, none of them zero";
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let inner = session.inner();
        let user_agent: Option<Arc<str>> = session.user_agent().map(Into::into);
        facts.device = Device {
            initial_ip: inner.ip,
            initial_user_agent: user_agent.clone(),
            last: LastSeen { ip: inner.ip, user_agent },
        };
        let token = Token::generate()?.with_tag(inner.config.engine.tag(inner.realm(), &subject));
        let headers = inner.headers.as_ref().unwrap_or(&NO_HEADERS);
        let context = LoginContext {
            sid: token.sid(),
            subject,
            now: inner.now,
            policy: &inner.policy,
            request: LoginRequest { method: &inner.method, uri: &inner.uri, headers },
            facts,
            overrides,
            refusal: None,
            cap: inner.policy.cap(),
        };
        Ok(Prepared { session, token, context })
    }
}

/// Where no hook runs, nothing keeps the headers of the request.
static NO_HEADERS: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// A login on its way through the hooks.
struct Prepared<'a> {
    session: &'a Session,
    token: Token,
    context: LoginContext<'a>,
}

impl Prepared<'_> {
    async fn run_hooks(&mut self) -> Result<(), Error> {
        for hook in &self.session.inner().config.hooks {
            hook.on_login(&mut self.context).await?;
            if self.context.refusal.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// All that comes after the hooks.
    fn plan(self) -> Result<Outcome, Error> {
        let Self { session, token, context } = self;
        let LoginContext { subject, facts, overrides, refusal, cap, .. } = context;
        let inner = session.inner();
        let (engine, realm) = (&inner.config.engine, &inner.realm().name);
        let opening = match refusal {
            Some(refusal) => Err(refusal),
            None => open(&inner.policy, inner.now, &overrides),
        };
        let opening = match opening {
            Ok(opening) => opening,
            Err(refusal) => {
                session.emit_refused(Some(&subject), &refusal);
                if matches!(refusal, Refusal::DeadlinePassed | Refusal::Revoked(_)) {
                    session.edit()?.request.plan_end(EndReason::Revoked);
                }
                return Ok(Outcome::Refused(refusal));
            }
        };
        for clamped in opening.clamped {
            engine.emit(inner.now, realm, Some(token.sid()), Some(&subject), EventKind::Clamped(clamped));
        }
        let mut record = new_record(&token, realm, opening.timing, Some(subject), facts);
        if let Some(device) = &inner.config.device {
            record.binding = Some(Arc::new(new_binding(device)?));
        }
        session.edit()?.request.plan_login(record, token, cap);
        Ok(Outcome::Done)
    }
}

impl<'a> IntoFuture for Login<'a> {
    type Output = Result<Outcome, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        // Prepared here, so that the future contains only what the hooks need. A box of more than a
        // kilobyte costs the allocator 700 more instructions.
        match self.prepare() {
            Ok(login) if login.session.inner().config.hooks.is_empty() => Box::pin(ready(login.plan())),
            Ok(mut login) => Box::pin(async move {
                login.run_hooks().await?;
                login.plan()
            }),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}
