//! A request to one of the endpoints: how it is judged, and its response.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::{LogoutRefusal, device::DeviceCall, own::OwnCall, status::status};
use crate::{
    Error, RequestHead, RequireSession, Session, SessionId, policy::Activity, require, web::Problem,
};

/// A request to one of the endpoints.
#[derive(Debug)]
pub(crate) enum Call {
    Status,
    Extend,
    Logout(AfterLogout),
    Device(DeviceCall),
    Own(OwnCall),
    WrongMethod(&'static str),
    CrossSite,
}

#[derive(Debug)]
pub(crate) struct AfterLogout {
    pub(super) redirect: Result<Option<String>, LogoutRefusal>,
    pub(super) clear_site_data: bool,
}

impl Call {
    pub(crate) const fn activity(&self) -> Activity {
        match self {
            Self::Extend => Activity::Interaction,
            Self::Own(call) => call.activity(),
            _ => Activity::Passive,
        }
    }

    /// Whether a page of another site must not ask for it.
    pub(super) fn needs_same_origin(&self, head: RequestHead<'_>) -> bool {
        match self {
            Self::Status => false,
            // A page of another site cannot send the headers of the protocol, so what browsers
            // leave out here need not be there. What is there must be right.
            Self::Device(_) => {
                ["sec-fetch-site", "origin"].iter().any(|name| head.headers.contains_key(*name))
            }
            _ => true,
        }
    }

    /// Whether it brings a proof of the device, and so needs none beside it.
    pub(crate) const fn proves_device(&self) -> bool {
        matches!(self, Self::Device(_))
    }

    /// Whether it has to do with this session. A refresh names one. What is refused without a look
    /// at the session does not load it, so its time does not say whether somebody is signed in.
    pub(crate) fn is_about(&self, sid: SessionId) -> bool {
        match self {
            Self::Device(call) => call.is_about(sid),
            Self::CrossSite => false,
            _ => true,
        }
    }

    /// Whether a dead cookie stays. The browser holds requests back until it has an answer to a
    /// refresh, and their responses say why the session is over (E3).
    pub(crate) const fn leaves_cookie(&self) -> bool {
        match self {
            Self::Device(call) => call.is_refresh(),
            _ => false,
        }
    }

    /// Whether the request fails if its interaction cannot be recorded: it is there for nothing
    /// else.
    pub(crate) const fn touch_must_succeed(&self) -> bool {
        matches!(self, Self::Extend)
    }

    /// The response, once what the call does is stored.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(crate) async fn respond(self, session: &Session) -> Result<Response<Bytes>, Error> {
        Ok(match self {
            Self::Own(call) => call.respond(session).await?,
            Self::Device(call) => call.respond(session).await?,
            Self::Status => {
                session.conclude().await?;
                status(session)
            }
            Self::Extend => {
                session.conclude().await?;
                let anybody = RequireSession::new().with_anonymous();
                require::refuse(session, &anybody).unwrap_or_else(|| status(session))
            }
            Self::Logout(after) => {
                session.logout()?;
                session.conclude().await?;
                after.respond()
            }
            Self::WrongMethod(allow) => {
                session.conclude().await?;
                wrong_method(allow)
            }
            Self::CrossSite => {
                session.conclude().await?;
                cross_site()
            }
        })
    }
}

fn wrong_method(allow: &'static str) -> Response<Bytes> {
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").into_response();
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

fn cross_site() -> Response<Bytes> {
    let detail = "The request must come from a page of the same origin. Sec-Fetch-Site or Origin says otherwise, or is missing.";
    require::denied("cross_site", None, detail);
    Problem::new(StatusCode::FORBIDDEN, "Cross-site request refused").with_detail(detail).into_response()
}

impl AfterLogout {
    fn respond(self) -> Response<Bytes> {
        let mut response = match self.redirect {
            Err(refusal) => Problem::new(StatusCode::BAD_REQUEST, "Signed out, but not redirected")
                .with_detail(refusal.to_string())
                .into_response(),
            Ok(location) => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NO_CONTENT;
                if let Some(Ok(location)) = location.map(HeaderValue::try_from) {
                    *response.status_mut() = StatusCode::SEE_OTHER;
                    response.headers_mut().insert(header::LOCATION, location);
                }
                response
            }
        };
        if self.clear_site_data {
            let everything = HeaderValue::from_static("\"cache\", \"cookies\", \"storage\"");
            response.headers_mut().insert("clear-site-data", everything);
        }
        response
    }
}
