//! A session bound to a device, as a browser binds one.

#[path = "../../tests/common/device.rs"]
mod device;

use http::{HeaderValue, Method, header, response::Parts};

pub(crate) use self::device::SoftwareDevice;
use super::{Serve, issued, request};

/// Logs in and binds the session. Returns both cookies, as the text after `__Host-id=`. `None` if
/// no binding is offered.
pub(crate) fn bind(device: &SoftwareDevice, serve: &mut Serve) -> Option<String> {
    let login = serve(request(Method::POST, "/login", None));
    let offer = text(&login, "secure-session-registration")?;
    let challenge = offer.split("challenge=\"").nth(1)?.split('"').next()?;
    let token = issued(&login)?;
    let mut bind = request(Method::POST, "/session/bind", Some(&token));
    bind.headers_mut().insert("secure-session-response", value(&device.register(challenge)));
    let bound = serve(bind);
    assert_eq!(bound.status, 200, "the device is registered");
    let cookie = text(&bound, header::SET_COOKIE.as_str())?;
    Some(format!("{token}; {}", cookie.split(';').next()?))
}

/// Two well-formed cookies without a session.
pub(super) fn made_up() -> String {
    format!("{}; __Host-id-bound={}", super::made_up(), "A".repeat(54))
}

pub(crate) fn text<'a>(response: &'a Parts, name: &str) -> Option<&'a str> {
    response.headers.get(name)?.to_str().ok()
}

pub(crate) fn value(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).expect("visible ASCII")
}
