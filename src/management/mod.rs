//! The management API (feature `management`): settings and sessions over HTTP, for administrators and their tools.
//!
//! Compatible on the wire with the session part of Auth0's Management API, so that its clients work by another base URL.
//!
//! | call | scope | answer |
//! |---|---|---|
//! | `GET /tenants/settings` | `read:tenant_settings` | lifetimes in hours, as they are in force; `fields`, `include_fields` |
//! | `PATCH /tenants/settings` | `update:tenant_settings` | the same, changed on every node (M2) |
//! | `GET /sessions/{id}` | `read:sessions` | the session |
//! | `PATCH /sessions/{id}` | `update:sessions` | with new `session_metadata` |
//! | `DELETE /sessions/{id}` | `delete:sessions` | 202, gone or not |
//! | `POST /sessions/{id}/revoke` | `delete:sessions` | 202, or 404 |
//! | `GET /users/{id}/sessions` | `read:sessions` | a page of them; `take`, `from` |
//! | `DELETE /users/{id}/sessions` | `delete:sessions` | 202; all but one with `except` |
//!
//! and beyond it:
//!
//! | call | scope | answer |
//! |---|---|---|
//! | `GET /sessions` | `read:sessions` | a page of all; `user`, `q` (a part of the user's name), `take`, `from` |
//! | `GET`, `PUT /tenants/session-limits` | as for the settings | what caps the lifetimes, and how many sessions a user may have (S9) |
//! | `GET /session-events` | `read:sessions` | the latest, newest first, if they are [kept](Management::with_recent_events) |
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`Management`], the service |
//! | `route.rs`, `query.rs`, `body.rs` | what a request asks for |
//! | `token.rs` | who may: [`TokenCheck`], [`StaticTokens`], [`Scopes`] (M1) |
//! | `tenant.rs`, `session.rs` | settings and sessions as they are written |
//! | `answer.rs` | answers, and how they say no |

mod answer;
mod body;
mod query;
mod route;
mod session;
mod tenant;
mod token;

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};
use tower::Service;

pub use self::token::{Scopes, StaticTokens, TokenCheck};
use self::{
    answer::{Refusal, json as answer},
    query::{Cursor, Query},
    route::Call,
    token::DynTokenCheck,
};
use crate::{Error, SessionId, Sessions, SharedPolicy, events::RecentEvents, record::Record};

/// The management API (SPEC M1–M3), as a tower service: nest it in a router under `/api/v2`, or serve it by hyper.
///
/// What it changes of the settings is kept in the store and in force on every node within two seconds; what it revokes is
/// seen by the very next request. Every answer is JSON, a refusal too; while the store is away it is 503.
///
/// # Example
///
/// ```
/// use tower_tenure::{
///     MemoryStore, Policy, SessionLayer, SharedPolicy,
///     management::{Management, Scopes, StaticTokens},
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_tenure::Error> {
/// let store = MemoryStore::new();
/// let policy = SharedPolicy::open(store.clone(), Policy::default()).await?;
/// let layer = SessionLayer::new(store).with_policy(policy.live());
/// let tokens = StaticTokens::new().with("a long random secret", Scopes::all());
/// let management = Management::new(layer.sessions(), policy, tokens);
///
/// let app: axum::Router = axum::Router::new().nest_service("/api/v2", management);
/// # Ok(())
/// # }
/// ```
///
/// Cheap to clone.
#[derive(Clone)]
pub struct Management {
    sessions: Sessions,
    policy: SharedPolicy,
    tokens: Arc<dyn DynTokenCheck>,
    events: Option<RecentEvents>,
}

/// How many sessions a search looks through for one page, before it gives back what it has found and where to go on.
const MOST_SEARCHED: usize = 2000;

impl Management {
    /// An API over these sessions and settings, for whoever holds a token that is good.
    pub fn new(sessions: Sessions, policy: SharedPolicy, tokens: impl TokenCheck) -> Self {
        Self { sessions, policy, tokens: Arc::new(tokens), events: None }
    }

    /// Shows the events that this one has observed, too: those of this node, the latest of them.
    #[must_use]
    pub fn with_recent_events(mut self, events: RecentEvents) -> Self {
        self.events = Some(events);
        self
    }
}

impl fmt::Debug for Management {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Management").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl<B> Service<Request<B>> for Management
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let management = self.clone();
        Box::pin(async move { Ok(management.answer(request).await.unwrap_or_else(Refusal::into_response)) })
    }
}

/// A page of sessions.
#[derive(Serialize)]
struct Sheet {
    sessions: Vec<session::Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

type Answer = Result<Response<Full<Bytes>>, Refusal>;

impl Management {
    async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let call = route::route(&head.method, head.uri.path())?;
        self.authorize(token::bearer(&head.headers)?, call.scope()).await?;
        let query = Query::read(head.uri.query());
        let body = body::object(&head.headers, body);
        match call {
            Call::ReadSettings => self.settings(&query),
            Call::ChangeSettings => {
                let changes = tenant::Changes::read(&body.await?)?;
                self.policy.change(|settings| changes.apply(settings)).await.map_err(away)?;
                self.settings(&query)
            }
            Call::ReadLimits => Ok(self.limits()),
            Call::ChangeCap => {
                let cap = tenant::read_cap(&body.await?)?;
                let change = |settings: &mut crate::policy::PolicySettings| {
                    settings.cap = cap;
                    Ok(())
                };
                self.policy.change(change).await.map_err(away)?;
                Ok(self.limits())
            }
            Call::ListSessions => self.search(&query).await,
            Call::ListSessionsOf(user) => self.list(Some(&user), query.from()?, query.take()?).await,
            Call::ReadSession(id) => {
                let record = self.sessions.load(sid(&id)?).await.map_err(away)?;
                one(record.as_ref())
            }
            Call::ChangeSession(id) => {
                let metadata = session::metadata(&body.await?)?;
                let record = self.sessions.set_metadata(sid(&id)?, metadata).await.map_err(away)?;
                one(record.as_ref())
            }
            Call::RemoveSession(id) => {
                if let Ok(sid) = sid(&id) {
                    self.sessions.revoke(sid).await.map_err(away)?;
                }
                Ok(accepted())
            }
            Call::RevokeSession(id) => match self.sessions.revoke(sid(&id)?).await {
                Ok(true) => Ok(accepted()),
                Ok(false) => Err(Refusal::no_such_session()),
                Err(error) => Err(away(error)),
            },
            Call::RemoveSessionsOf(user) => {
                let except = query.get("except")?.map(str::parse).transpose();
                let except = except.map_err(|_| Refusal::query("Expected the id of a session", "except"))?;
                self.sessions.revoke_all(&user, except).await.map_err(away)?;
                Ok(accepted())
            }
            Call::RecentEvents => {
                let take = query.take()?;
                let events = self.events.as_ref().map(|events| events.latest(take)).unwrap_or_default();
                Ok(answer(StatusCode::OK, &json!({ "events": events })))
            }
        }
    }

    async fn authorize(&self, token: &str, scope: &str) -> Result<(), Refusal> {
        match self.tokens.check(token).await {
            Ok(Some(scopes)) if scopes.contains(scope) => Ok(()),
            Ok(Some(_)) => Err(Refusal::lacks(scope)),
            Ok(None) => Err(Refusal::bad_token()),
            Err(error) => Err(away(error)),
        }
    }

    /// Read on the way: no lock, no call to the store.
    fn settings(&self, query: &Query) -> Answer {
        let settings = tenant::write(self.policy.live().load(), &self.policy.settings(), query.fields()?);
        Ok(answer(StatusCode::OK, &settings))
    }

    fn limits(&self) -> Response<Full<Bytes>> {
        answer(StatusCode::OK, &tenant::write_limits(self.policy.live().load()))
    }

    async fn list(&self, user: Option<&str>, from: Option<Cursor>, take: usize) -> Answer {
        let page = self.sessions.list(user, from, take).await.map_err(away)?;
        Ok(sheet(&page.sessions, page.next))
    }

    /// All sessions, those of a user, or those whose user's name contains a text.
    async fn search(&self, query: &Query) -> Answer {
        let (mut from, take) = (query.from()?, query.take()?);
        let user = query.get("user")?.filter(|user| !user.is_empty());
        let wanted = query.get("q")?.map(str::to_lowercase).filter(|text| !text.is_empty());
        let Some(wanted) = wanted.filter(|_| user.is_none()) else {
            return self.list(user, from, take).await;
        };
        let is_wanted = |record: &Record| {
            let user = record.subject.as_deref().unwrap_or_default().to_lowercase();
            user.contains(&wanted)
                || record.sid.to_string() == query.get("q").ok().flatten().unwrap_or_default()
        };
        let (mut found, mut searched) = (Vec::new(), 0);
        loop {
            const BATCH: usize = 200;
            let page = self.sessions.list(None, from, BATCH).await.map_err(away)?;
            // A page counts whole: also what it did not show because it is over was looked at.
            searched += BATCH;
            for record in page.sessions {
                if is_wanted(&record) {
                    found.push(record);
                    if found.len() > take {
                        found.truncate(take);
                        let last = found.last().map(|last| (last.timing.created_at, last.sid));
                        return Ok(sheet(&found, last));
                    }
                }
            }
            from = page.next;
            if from.is_none() || searched >= MOST_SEARCHED {
                return Ok(sheet(&found, from));
            }
        }
    }
}

fn sheet(records: &[Record], next: Option<Cursor>) -> Response<Full<Bytes>> {
    let sessions = records.iter().map(Into::into).collect();
    answer(StatusCode::OK, &Sheet { sessions, next: next.map(query::write_cursor) })
}

fn one(record: Option<&Record>) -> Answer {
    let session: session::Session = record.ok_or_else(Refusal::no_such_session)?.into();
    Ok(answer(StatusCode::OK, &session))
}

fn accepted() -> Response<Full<Bytes>> {
    answer(StatusCode::ACCEPTED, &Value::Object(serde_json::Map::new()))
}

/// What is no id of ours is no session either.
fn sid(id: &str) -> Result<SessionId, Refusal> {
    id.parse().map_err(|_| Refusal::no_such_session())
}

/// What goes wrong behind the API is for its operator's eyes: it was told as an event.
fn away(_: Error) -> Refusal {
    Refusal::store_is_away()
}
