//! From method and path to a route.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::response::ApiError;

/// The route of a request, with its percent-decoded ids.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    ReadSettings,
    ChangeSettings,
    ReadLimits,
    ChangeCap,
    ListSessions,
    SignEverybodyOut,
    ReadSession(String),
    ChangeSession(String),
    RemoveSession(String),
    RevokeSession(String),
    ListSessionsOf(String),
    RemoveSessionsOf(String),
    RecentEvents,
    ReadCaller,
}

impl Route {
    /// The scope that it needs, if any.
    pub(super) const fn scope(&self) -> Option<&'static str> {
        Some(match self {
            Self::ReadCaller => return None,
            Self::ReadSettings | Self::ReadLimits => "read:tenant_settings",
            Self::ChangeSettings | Self::ChangeCap => "update:tenant_settings",
            Self::ListSessions | Self::ReadSession(_) | Self::ListSessionsOf(_) | Self::RecentEvents => {
                "read:sessions"
            }
            Self::ChangeSession(_) => "update:sessions",
            Self::RemoveSession(_)
            | Self::RevokeSession(_)
            | Self::RemoveSessionsOf(_)
            | Self::SignEverybodyOut => "delete:sessions",
        })
    }
}

/// Where the API is, unless a router removed this prefix.
const PREFIX: &str = "/api/v2";

/// The path without the prefix. Only whole segments count: `/api/v2foo` does not begin with it.
pub(super) fn without_prefix(path: &str) -> &str {
    let rest = path.strip_prefix(PREFIX).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    rest.unwrap_or(path)
}

/// The route of a request, by its path without the prefix.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, ApiError> {
    let decoded = |segment: &str| match percent_decode_str(segment).decode_utf8() {
        // No id contains NUL, and not every store could look one up.
        Ok(id) if !id.is_empty() && !id.contains('\0') => Ok(Cow::into_owned(id)),
        _ => Err(ApiError::no_such_route()),
    };
    let segments: Vec<_> = path.split('/').skip(1).collect();
    // HEAD is a GET whose body the server omits.
    let verb = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let (allow, call) = match segments.as_slice() {
        ["tenants", "settings"] => match verb {
            "GET" => ("", Some(Route::ReadSettings)),
            "PATCH" => ("", Some(Route::ChangeSettings)),
            _ => ("GET, HEAD, PATCH", None),
        },
        ["tenants", "session-limits"] => match verb {
            "GET" => ("", Some(Route::ReadLimits)),
            "PUT" => ("", Some(Route::ChangeCap)),
            _ => ("GET, HEAD, PUT", None),
        },
        ["sessions"] => match verb {
            "GET" => ("", Some(Route::ListSessions)),
            "DELETE" => ("", Some(Route::SignEverybodyOut)),
            _ => ("GET, HEAD, DELETE", None),
        },
        ["caller"] => ("GET, HEAD", (verb == "GET").then_some(Route::ReadCaller)),
        ["session-events"] => ("GET, HEAD", (verb == "GET").then_some(Route::RecentEvents)),
        ["sessions", id] => {
            let id = decoded(id)?;
            match verb {
                "GET" => ("", Some(Route::ReadSession(id))),
                "PATCH" => ("", Some(Route::ChangeSession(id))),
                "DELETE" => ("", Some(Route::RemoveSession(id))),
                _ => ("GET, HEAD, PATCH, DELETE", None),
            }
        }
        ["sessions", id, "revoke"] => {
            let id = decoded(id)?;
            ("POST", (verb == "POST").then_some(Route::RevokeSession(id)))
        }
        ["users", id, "sessions"] => {
            let id = decoded(id)?;
            match verb {
                "GET" => ("", Some(Route::ListSessionsOf(id))),
                "DELETE" => ("", Some(Route::RemoveSessionsOf(id))),
                _ => ("GET, HEAD, DELETE", None),
            }
        }
        _ => return Err(ApiError::no_such_route()),
    };
    call.ok_or_else(|| ApiError::wrong_method(allow))
}
