//! The endpoints by which a browser binds a session to its device, and proves the device again.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{Call, Scheme, is_same_origin};

use crate::{
    Error, RequestHead, RequireSession, Session, SessionId,
    binding::{self, DeviceBinding, DeviceToken, Malformed},
    require,
    session::{ProofRefusal, Refreshed},
    settings::DeviceConfig,
    web::Problem,
};

/// The two endpoints, if the layer binds sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DeviceEndpoints(Option<DeviceBinding>);

impl DeviceEndpoints {
    pub(super) const fn new(binding: DeviceBinding) -> Self {
        Self(Some(binding))
    }

    pub(super) fn config(self, base: &str) -> Option<DeviceConfig> {
        self.0.map(|binding| DeviceConfig::new(binding, format!("{base}/bind"), format!("{base}/refresh")))
    }

    /// The endpoint that a request calls, by the rest of its path.
    pub(super) fn route(self, rest: &str, head: RequestHead<'_>, scheme: Scheme) -> Option<Call> {
        let endpoint = match rest {
            "bind" => DeviceCall::register,
            "refresh" => DeviceCall::refresh,
            _ => return None,
        };
        let _ = self.0?;
        // A page of another site cannot send the headers of the protocol, so what browsers leave out
        // here need not be there. What is there must be right.
        let says_where_from =
            ["sec-fetch-site", "origin"].iter().any(|name| head.headers.contains_key(*name));
        let is_cross_site = says_where_from && !is_same_origin(head, scheme);
        Some(match *head.method {
            Method::POST if is_cross_site => Call::CrossSite,
            Method::POST => Call::Device(endpoint(head)),
            _ => Call::WrongMethod("POST"),
        })
    }
}

/// A request to one of the two endpoints.
#[derive(Debug)]
pub(crate) enum DeviceCall {
    Register(Result<DeviceToken, Malformed>),
    Refresh {
        /// The session that the browser names.
        sid: Option<SessionId>,
        token: Option<Result<DeviceToken, Malformed>>,
    },
}

impl DeviceCall {
    fn register(head: RequestHead<'_>) -> Self {
        let missing = Malformed::new("Secure-Session-Response is missing");
        Self::Register(token(head).unwrap_or(Err(missing)))
    }

    fn refresh(head: RequestHead<'_>) -> Self {
        // Without this header the request is not one of the protocol. A page of another site cannot
        // send it, so it cannot find out by the answer whether somebody is signed in.
        let mut values = head.headers.get_all("sec-secure-session-id").iter();
        let (value, more) = (values.next(), values.next());
        let sid = value.filter(|_| more.is_none()).and_then(|value| binding::session_id(value.as_bytes()));
        Self::Refresh { sid, token: token(head) }
    }

    /// Whether this may be the session: a refresh names one.
    pub(super) fn is_about(&self, session: SessionId) -> bool {
        match self {
            Self::Register { .. } => true,
            Self::Refresh { sid, .. } => *sid == Some(session),
        }
    }

    pub(super) const fn is_refresh(&self) -> bool {
        matches!(self, Self::Refresh { .. })
    }

    /// The response, once what the call does is stored.
    pub(super) async fn respond(self, session: &Session) -> Result<Response<Bytes>, Error> {
        Ok(match self {
            Self::Register(Ok(token)) => match session.register_device(&token) {
                Ok(()) => {
                    session.conclude().await?;
                    registered(&token, session)
                }
                Err(refusal) => {
                    session.conclude().await?;
                    refused(refusal, session)
                }
            },
            Self::Register(Err(malformed)) => {
                session.conclude().await?;
                unreadable(malformed, session)
            }
            Self::Refresh { sid, token } => {
                session.conclude().await?;
                match (sid, token.transpose()) {
                    (None, _) => bad_request("Sec-Secure-Session-Id is missing or malformed"),
                    (Some(_), Err(malformed)) => unreadable(malformed, session),
                    (Some(_), Ok(token)) => refreshed(token.as_ref(), session),
                }
            }
        })
    }
}

/// The proof that a request carries.
fn token(head: RequestHead<'_>) -> Option<Result<DeviceToken, Malformed>> {
    let mut values = head.headers.get_all("secure-session-response").iter();
    let (first, more) = (values.next()?, values.next());
    let text = binding::text(first.as_bytes()).filter(|_| more.is_none());
    let unreadable = Malformed::new("Secure-Session-Response must be one string or token");
    Some(text.ok_or(unreadable).and_then(|text| DeviceToken::parse(&text)))
}

fn registered(token: &DeviceToken, session: &Session) -> Response<Bytes> {
    let mut response = json(Bytes::new());
    match session.registered_device(token, response.headers_mut()) {
        Ok(instructions) => *response.body_mut() = instructions.into(),
        Err(refusal) => return refused(refusal, session),
    }
    response
}

fn refreshed(token: Option<&DeviceToken>, session: &Session) -> Response<Bytes> {
    let mut response = json(Bytes::new());
    match session.refresh_device(token, response.headers_mut()) {
        // The instructions stay as they are.
        Refreshed::Renewed => {
            response.headers_mut().remove(header::CONTENT_TYPE);
        }
        Refreshed::Forgotten => *response.body_mut() = Bytes::from_static(binding::continue_false()),
        Refreshed::Undecided => return not_now(),
        Refreshed::Challenged => {
            if token.is_none() {
                let detail = "The browser has to prove the device of the session.";
                require::denied("proof_needed", session.sid(), detail);
            }
            *response.status_mut() = StatusCode::FORBIDDEN;
        }
    }
    response
}

fn refused(refusal: ProofRefusal, session: &Session) -> Response<Bytes> {
    if refusal == ProofRefusal::NoSession
        && let Some(response) = require::refuse(session, &RequireSession::new())
    {
        return response;
    }
    session.emit_proof_refused(refusal.as_str());
    Problem::new(StatusCode::FORBIDDEN, "Proof refused").with_detail(refusal.detail()).into_response()
}

fn unreadable(malformed: Malformed, session: &Session) -> Response<Bytes> {
    // Anybody can send junk. Observers hear of it only if it comes with a session.
    if session.sid().is_some() {
        session.emit_proof_refused("malformed");
    } else {
        require::denied("malformed_proof", None, malformed.as_str());
    }
    bad_request(malformed.as_str())
}

/// Browsers take this for "later", and keep the key: without it the user would be locked out of a
/// session that is live.
fn not_now() -> Response<Bytes> {
    let detail = "The session cannot be judged just now. Please try again.";
    require::denied("not_now", None, detail);
    let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "Try again");
    let mut response = problem.with_detail(detail).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn bad_request(detail: &'static str) -> Response<Bytes> {
    Problem::new(StatusCode::BAD_REQUEST, "Malformed proof").with_detail(detail).into_response()
}

fn json(body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
