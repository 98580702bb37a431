//! The endpoints by which a browser binds a session to its device, and proves the device again.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use super::{Call, json_bytes, origin::one};
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

    /// The method that `bind` and `refresh` allow, and the call if the method is that one.
    pub(super) fn route(self, name: &str, head: RequestHead<'_>) -> Option<(&'static str, Option<Call>)> {
        let _ = self.0?;
        let endpoint = if name == "bind" { DeviceCall::register } else { DeviceCall::refresh };
        Some(("POST", (head.method == Method::POST).then(|| Call::Device(endpoint(head)))))
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
        let sid = one(head, "sec-secure-session-id").and_then(|id| binding::session_id(id.as_bytes()));
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
    const HEADER: &str = "secure-session-response";
    let unreadable = Malformed::new("Secure-Session-Response must be one string or token");
    let text = one(head, HEADER).and_then(|text| binding::text(text.as_bytes())).ok_or(unreadable);
    head.headers.contains_key(HEADER).then(|| text.and_then(|text| DeviceToken::parse(&text)))
}

fn registered(token: &DeviceToken, session: &Session) -> Response<Bytes> {
    let mut response = json_bytes(Bytes::new());
    match session.registered_device(token, response.headers_mut()) {
        Ok(instructions) => *response.body_mut() = instructions.into(),
        Err(refusal) => return refused(refusal, session),
    }
    response
}

fn refreshed(token: Option<&DeviceToken>, session: &Session) -> Response<Bytes> {
    let mut response = json_bytes(Bytes::new());
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
