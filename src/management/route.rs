//! What a method and a path ask for.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::answer::Refusal;

/// What is asked for. Ids are as they were sent, decoded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call {
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

impl Call {
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

/// What a request asks for. The path may begin with `/api/v2`, or a router has taken that away.
pub(super) fn route(method: &Method, path: &str) -> Result<Call, Refusal> {
    let path = path.strip_prefix("/api/v2").unwrap_or(path);
    let decoded = |segment: &str| match percent_decode_str(segment).decode_utf8() {
        Ok(id) if !id.is_empty() => Ok(Cow::into_owned(id)),
        _ => Err(Refusal::no_such_route()),
    };
    let segments: Vec<_> = path.split('/').skip(1).collect();
    // HEAD is a GET whose body the server leaves out.
    let verb = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let (allow, call) = match segments.as_slice() {
        ["tenants", "settings"] => match verb {
            "GET" => ("", Some(Call::ReadSettings)),
            "PATCH" => ("", Some(Call::ChangeSettings)),
            _ => ("GET, HEAD, PATCH", None),
        },
        ["tenants", "session-limits"] => match verb {
            "GET" => ("", Some(Call::ReadLimits)),
            "PUT" => ("", Some(Call::ChangeCap)),
            _ => ("GET, HEAD, PUT", None),
        },
        ["sessions"] => ("GET, HEAD", (verb == "GET").then_some(Call::ListSessions)),
        ["session-events"] => ("GET, HEAD", (verb == "GET").then_some(Call::RecentEvents)),
        ["sessions", id] => {
            let id = decoded(id)?;
            match verb {
                "GET" => ("", Some(Call::ReadSession(id))),
                "PATCH" => ("", Some(Call::ChangeSession(id))),
                "DELETE" => ("", Some(Call::RemoveSession(id))),
                _ => ("GET, HEAD, PATCH, DELETE", None),
            }
        }
        ["sessions", id, "revoke"] => {
            let id = decoded(id)?;
            ("POST", (verb == "POST").then_some(Call::RevokeSession(id)))
        }
        ["users", id, "sessions"] => {
            let id = decoded(id)?;
            match verb {
                "GET" => ("", Some(Call::ListSessionsOf(id))),
                "DELETE" => ("", Some(Call::RemoveSessionsOf(id))),
                _ => ("GET, HEAD, DELETE", None),
            }
        }
        _ => return Err(Refusal::no_such_route()),
    };
    call.ok_or_else(|| Refusal::wrong_method(allow))
}
