//! The instructions to the browser, as JSON.

use serde::Serialize;

use crate::SessionId;

#[derive(Serialize)]
struct Instructions<'a> {
    session_identifier: String,
    refresh_url: &'a str,
    scope: Scope,
    credentials: [Credential<'a>; 1],
}

#[derive(Serialize)]
struct Scope {
    /// Only this origin: a cookie with the prefix `__Host-` goes nowhere else.
    include_site: bool,
    scope_specification: [(); 0],
}

#[derive(Serialize)]
struct Credential<'a> {
    r#type: &'static str,
    name: &'a str,
    /// Exactly those of the `Set-Cookie` line, or the browser does not recognise the cookie.
    attributes: &'a str,
}

/// The session instructions: refresh this bound cookie at this path.
pub(crate) fn instructions(sid: SessionId, refresh_path: &str, name: &str, attributes: &str) -> Vec<u8> {
    let instructions = Instructions {
        session_identifier: sid.to_string(),
        refresh_url: refresh_path,
        scope: Scope { include_site: false, scope_specification: [] },
        credentials: [Credential { r#type: "cookie", name, attributes }],
    };
    serde_json::to_vec(&instructions).unwrap_or_default()
}

/// The answer that makes the browser forget the binding.
pub(crate) const fn continue_false() -> &'static [u8] {
    br#"{"continue": false}"#
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b4_the_instructions_are_those_of_the_draft() {
        let sid = SessionId::from_bytes([1; 16]);
        let json = instructions(sid, "/session/refresh", "__Host-id-bound", "HttpOnly; Secure; Path=/");
        let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let expected = serde_json::json!({
            "session_identifier": sid.to_string(),
            "refresh_url": "/session/refresh",
            "scope": {"include_site": false, "scope_specification": []},
            "credentials": [
                {"type": "cookie", "name": "__Host-id-bound", "attributes": "HttpOnly; Secure; Path=/"}
            ],
        });
        assert_eq!(value, expected);
    }
}
