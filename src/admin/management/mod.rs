//! The management API: settings and sessions over HTTP (feature `management`).
//!
//! It is compatible on the wire with the session part of Auth0's Management API: set another base
//! URL in its clients.
//!
//! | call | scope | answer |
//! |---|---|---|
//! | `GET /tenants/settings` | `read:tenant_settings` | the lifetimes in force, in hours; `fields`, `include_fields` |
//! | `PATCH /tenants/settings` | `update:tenant_settings` | the same, after a change on every node |
//! | `GET /sessions/{id}` | `read:sessions` | the session |
//! | `PATCH /sessions/{id}` | `update:sessions` | the session with new `session_metadata` |
//! | `DELETE /sessions/{id}` | `delete:sessions` | 202, also if there is no such session |
//! | `POST /sessions/{id}/revoke` | `delete:sessions` | 202, or 404 |
//! | `GET /users/{id}/sessions` | `read:sessions` | a page of the user's sessions; `take`, `from` |
//! | `DELETE /users/{id}/sessions` | `delete:sessions` | 202; `except` names one session that stays |
//!
//! These calls are additions:
//!
//! | call | scope | answer |
//! |---|---|---|
//! | `GET /sessions` | `read:sessions` | a page of all sessions; `user`, `q` (a part of the user's name), `take`, `from` |
//! | `DELETE /sessions` | `delete:sessions` | 202; signs everybody out, with the body `{"everybody": true}` |
//! | `GET`, `PUT /tenants/session-limits` | as for the settings | the limits of the lifetimes, and the cap on a user's sessions |
//! | `GET /caller` | none | whose token it is: `name`, and those of the `scopes` above that it has |
//! | `GET /session-events` | `read:sessions` | the latest events, newest first, if they are [kept](Management::with_recent_events) |
//!
//! A session's expiry times are those under the settings in force, also before its next request.
//! Additions: `device.description`, a readable device such as "Firefox on Windows", and
//! `device.bound`, whether the session is bound to that device.
//!
//! The settings that the official API has and this one does not use, such as `friendly_name` or
//! `flags`, are kept and given back. So an exported tenant imports here and comes back unchanged.
//! Objects in them merge as RFC 7396 says, and null removes.

mod body;
mod official;
mod query;
mod response;
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

pub use self::token::{Caller, Scopes, StaticTokens, TokenCheck};
use self::{
    query::{Cursor, Query},
    response::{ApiError, json as respond},
    route::Route,
    token::DynTokenCheck,
};
use crate::{
    Error, ErrorKind, SessionId, Sessions, SharedPolicy, events::RecentEvents, policy::PolicySettings,
    record::Record,
};

/// The management API as a tower service: nest it in a router under `/api/v2`, or serve it with
/// hyper. Cheap to clone.
///
/// Changed settings are kept in the store and in force on every node within two seconds. A
/// revocation binds the very next request. Every response is JSON, errors too; while the store is
/// unavailable it is 503.
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
/// let tokens = StaticTokens::new().with("Zp4nW7sJd1Hb6Gua", Scopes::all())?;
/// let management = Management::new(layer.sessions(), policy, tokens).nested();
///
/// let app: axum::Router = axum::Router::new().nest_service("/api/v2", management);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Management {
    sessions: Sessions,
    policy: SharedPolicy,
    tokens: Arc<dyn DynTokenCheck>,
    events: Option<RecentEvents>,
    is_nested: bool,
}

/// How many sessions a search scans for one page. Then it returns what it found, and where to
/// continue.
const MAX_SCANNED: usize = 2000;

impl Management {
    /// An API over these sessions and settings, for clients with a valid token.
    pub fn new(sessions: Sessions, policy: SharedPolicy, tokens: impl TokenCheck) -> Self {
        Self { sessions, policy, tokens: Arc::new(tokens), events: None, is_nested: false }
    }

    /// Also serves the latest events of this node, which `events` has observed.
    #[must_use]
    pub fn with_recent_events(mut self, events: RecentEvents) -> Self {
        self.events = Some(events);
        self
    }

    /// Accepts only paths without `/api/v2`, for a router that removes this prefix. Without this
    /// setting the prefix is optional, so a path that has it twice behind such a router would be
    /// accepted.
    #[must_use]
    pub const fn nested(mut self) -> Self {
        self.is_nested = true;
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
        Box::pin(async move { Ok(management.respond(request).await.unwrap_or_else(ApiError::into_response)) })
    }
}

/// A page of sessions.
#[derive(Serialize)]
struct PageBody {
    sessions: Vec<session::Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

type ApiResult = Result<Response<Full<Bytes>>, ApiError>;

impl Management {
    async fn respond<B>(&self, request: Request<B>) -> ApiResult
    where
        B: Body,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let path = if self.is_nested { path } else { route::without_prefix(path) };
        let call = route::route(&head.method, path)?;
        let caller = self.authorize(token::bearer(&head.headers)?, call.scope()).await?;
        let by = caller.name();
        let query = Query::read(head.uri.query());
        let body = body::object(&head.headers, body);
        match call {
            Route::ReadSettings => self.settings(&query),
            Route::ChangeSettings => {
                let changes = tenant::Changes::read(&body.await?)?;
                self.change(by, |settings| changes.apply(settings)).await?;
                self.settings(&query)
            }
            Route::ReadLimits => Ok(self.limits()),
            Route::ChangeCap => {
                let cap = tenant::read_cap(&body.await?)?;
                let change = |settings: &mut PolicySettings| {
                    settings.cap = cap;
                    Ok(())
                };
                self.change(by, change).await?;
                Ok(self.limits())
            }
            Route::ListSessions => self.search(&query).await,
            Route::SignEverybodyOut => {
                session::check_everybody(&body.await?)?;
                self.sessions.revoke_everybody_by(by).await.map_err(store_unavailable)?;
                Ok(accepted())
            }
            Route::ListSessionsOf(user) => self.list(Some(&user), query.from()?, query.take()?).await,
            Route::ReadSession(id) => {
                let record = self.sessions.find(sid(&id)?).await.map_err(store_unavailable)?;
                self.one(record.as_ref())
            }
            Route::ChangeSession(id) => {
                let metadata = session::metadata(&body.await?)?;
                let record =
                    self.sessions.replace_metadata(sid(&id)?, metadata).await.map_err(store_unavailable)?;
                self.one(record.as_ref())
            }
            Route::RemoveSession(id) => {
                if let Ok(sid) = sid(&id) {
                    self.sessions.revoke(sid).await.map_err(store_unavailable)?;
                }
                Ok(accepted())
            }
            Route::RevokeSession(id) => match self.sessions.revoke(sid(&id)?).await {
                Ok(true) => Ok(accepted()),
                Ok(false) => Err(ApiError::no_such_session()),
                Err(error) => Err(store_unavailable(error)),
            },
            Route::RemoveSessionsOf(user) => {
                let except = query.get("except")?.map(str::parse).transpose();
                let except = except.map_err(|_| ApiError::query("Expected the id of a session", "except"))?;
                self.sessions.revoke_all_by(by, &user, except).await.map_err(store_unavailable)?;
                Ok(accepted())
            }
            Route::ReadCaller => {
                let scopes: Vec<_> =
                    token::SCOPES.into_iter().filter(|scope| caller.scopes().contains(scope)).collect();
                Ok(respond(StatusCode::OK, &json!({ "name": by, "scopes": scopes })))
            }
            Route::RecentEvents => {
                let take = query.take()?;
                let events = self.events.as_ref().map(|events| events.latest(take)).unwrap_or_default();
                Ok(respond(StatusCode::OK, &json!({ "events": events })))
            }
        }
    }

    async fn authorize(&self, token: &str, scope: Option<&str>) -> Result<Caller, ApiError> {
        match self.tokens.check(token).await {
            Ok(Some(caller)) => match scope.filter(|scope| !caller.scopes().contains(scope)) {
                None => Ok(caller),
                Some(missing) => Err(ApiError::missing_scope(missing)),
            },
            Ok(None) => Err(ApiError::bad_token()),
            Err(error) => Err(store_unavailable(error)),
        }
    }

    /// Changes the settings on every node, and emits an event for each that is another now.
    async fn change(
        &self,
        by: Option<&str>,
        change: impl Fn(&mut PolicySettings) -> Result<(), ApiError> + Send + Sync,
    ) -> Result<(), ApiError> {
        let (mut shown, mut refusal) = (None, None);
        let configured = self.policy.live().load();
        // Called again when another node was quicker: the last call counts.
        let changed = self.policy.change(|settings| {
            let before = tenant::all(configured, settings);
            if let Err(error) = change(settings) {
                refusal = Some(error);
                return Err(Error::new(ErrorKind::InvalidInput, "the settings are refused"));
            }
            shown = Some((before, tenant::all(configured, settings)));
            Ok(())
        });
        let changed = changed.await;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        changed.map_err(store_unavailable)?;
        if let Some((before, after)) = shown {
            self.sessions.report_changes(by, &before, &after);
        }
        Ok(())
    }

    /// Reads the policy in memory: no lock, no store call.
    fn settings(&self, query: &Query) -> ApiResult {
        let settings = tenant::write(self.policy.live().load(), &self.policy.settings(), query.fields()?);
        Ok(respond(StatusCode::OK, &settings))
    }

    fn limits(&self) -> Response<Full<Bytes>> {
        respond(StatusCode::OK, &tenant::write_limits(self.policy.live().load()))
    }

    async fn list(&self, user: Option<&str>, from: Option<Cursor>, take: usize) -> ApiResult {
        let page = self.sessions.records(user, from, take).await.map_err(store_unavailable)?;
        Ok(self.page(&page.sessions, page.next))
    }

    /// All sessions, those of a user, or those whose user name contains a text.
    async fn search(&self, query: &Query) -> ApiResult {
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
            let page = self.sessions.records(None, from, BATCH).await.map_err(store_unavailable)?;
            // Count the whole page: sessions that it left out because they are over were scanned,
            // too.
            searched += BATCH;
            for record in page.sessions {
                if is_wanted(&record) {
                    found.push(record);
                    if found.len() > take {
                        found.truncate(take);
                        let last = found.last().map(|last| (last.timing.created_at, last.sid));
                        return Ok(self.page(&found, last));
                    }
                }
            }
            from = page.next;
            if from.is_none() || searched >= MAX_SCANNED {
                return Ok(self.page(&found, from));
            }
        }
    }

    fn page(&self, records: &[Record], next: Option<Cursor>) -> Response<Full<Bytes>> {
        let policy = self.policy.live().load();
        let sessions = records.iter().map(|record| session::Session::new(record, &policy)).collect();
        respond(StatusCode::OK, &PageBody { sessions, next: next.map(query::write_cursor) })
    }

    fn one(&self, record: Option<&Record>) -> ApiResult {
        let record = record.ok_or_else(ApiError::no_such_session)?;
        Ok(respond(StatusCode::OK, &session::Session::new(record, &self.policy.live().load())))
    }
}

fn accepted() -> Response<Full<Bytes>> {
    respond(StatusCode::ACCEPTED, &Value::Object(serde_json::Map::new()))
}

/// A malformed id answers 404.
fn sid(id: &str) -> Result<SessionId, ApiError> {
    id.parse().map_err(|_| ApiError::no_such_session())
}

/// Hides the cause from the client; an event has reported it.
fn store_unavailable(_: Error) -> ApiError {
    ApiError::store_unavailable()
}
