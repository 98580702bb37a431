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
    ReadSession(String),
    ChangeSession(String),
    RemoveSession(String),
    RevokeSession(String),
    ListSessionsOf(String),
    RemoveSessionsOf(String),
    RecentEvents,
}

impl Route {
    pub(super) const fn scope(&self) -> &'static str {
        match self {
            Self::ReadSettings | Self::ReadLimits => "read:tenant_settings",
            Self::ChangeSettings | Self::ChangeCap => "update:tenant_settings",
            Self::ListSessions | Self::ReadSession(_) | Self::ListSessionsOf(_) | Self::RecentEvents => {
                "read:sessions"
            }
            Self::ChangeSession(_) => "update:sessions",
            Self::RemoveSession(_) | Self::RevokeSession(_) | Self::RemoveSessionsOf(_) => "delete:sessions",
        }
    }
}

/// The route of a request. The path may begin with `/api/v2`, unless a router removed that prefix.
pub(super) fn route(method: &Method, path: &str) -> Result<Route, ApiError> {
    let path = path.strip_prefix("/api/v2").unwrap_or(path);
    let decoded = |segment: &str| match percent_decode_str(segment).decode_utf8() {
        Ok(id) if !id.is_empty() => Ok(Cow::into_owned(id)),
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
        ["sessions"] => ("GET, HEAD", (verb == "GET").then_some(Route::ListSessions)),
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
