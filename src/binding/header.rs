//! The structured header fields of the protocol (RFC 9651).

use sfv::{
    Item, ItemSerializer, KeyRef, List, ListEntry, ListSerializer, Parser, StringRef, key_ref, token_ref,
};

use crate::SessionId;

/// The longest value that is read: a proof with an RSA key of 4096 bits has about 2,300 bytes.
const MAX_BYTES: usize = 8192;

/// `Secure-Session-Registration`: offers to bind the session, at this path.
pub(crate) fn registration_header(path: &str, challenge: &str) -> Option<String> {
    let mut list = ListSerializer::new();
    let mut algorithms = list.inner_list();
    let _ = algorithms.bare_item(token_ref("ES256"));
    let _ = algorithms.bare_item(token_ref("RS256"));
    let _ = algorithms
        .finish()
        .parameter(key_ref("path"), StringRef::from_str(path).ok()?)
        .parameter(key_ref("challenge"), StringRef::from_str(challenge).ok()?);
    list.finish()
}

/// `Secure-Session-Challenge`: asks for a proof with this challenge.
pub(crate) fn challenge_header(challenge: &str, sid: SessionId) -> Option<String> {
    let item = ItemSerializer::new().bare_item(StringRef::from_str(challenge).ok()?);
    Some(item.parameter(key_ref("id"), StringRef::from_str(&sid.to_string()).ok()?).finish())
}

/// The text of a header: a structured string or token, as the draft has it, or bare text, as
/// Chromium sends it. `None` for anything else.
pub(crate) fn text(value: &[u8]) -> Option<String> {
    let value = std::str::from_utf8(value).ok().filter(|value| value.len() <= MAX_BYTES)?.trim_ascii();
    if value.starts_with('"') {
        let item: Item = Parser::new(value).parse().ok()?;
        return item.bare_item.as_string().map(|text| text.as_str().to_owned());
    }
    let bare = value.split(';').next().unwrap_or_default().trim_ascii_end();
    let is_plain = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain.then(|| bare.to_owned())
}

/// The session that a `Sec-Secure-Session-Id` names.
pub(crate) fn session_id(value: &[u8]) -> Option<SessionId> {
    text(value)?.parse().ok()
}

/// Why the browser says that it skipped the refresh of this session (`Secure-Session-Skipped`).
pub(crate) fn skipped(value: &[u8], sid: SessionId) -> Option<&'static str> {
    const SESSION: &KeyRef = key_ref("session_identifier");
    let list: List = Some(value)
        .filter(|value| value.len() <= MAX_BYTES)
        .and_then(|value| Parser::new(value).parse().ok())?;
    let about = |item: &Item| {
        let named = item.params.get(SESSION).and_then(|named| named.as_string());
        named.is_none_or(|named| named.as_str().parse().is_ok_and(|named: SessionId| named == sid))
    };
    list.iter().find_map(|entry| match entry {
        ListEntry::Item(item) if about(item) => Some(match item.bare_item.as_token()?.as_str() {
            "unreachable" => "unreachable",
            "server_error" => "server_error",
            "quota_exceeded" => "quota_exceeded",
            _ => "other",
        }),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid() -> SessionId {
        SessionId::from_bytes([0xfb; 16])
    }

    #[test]
    fn b2_the_offer_is_a_list_with_path_and_challenge() {
        let header = registration_header("/session/bind", "abc-_").unwrap();
        assert_eq!(header, r#"(ES256 RS256);path="/session/bind";challenge="abc-_""#);
        let quoted = registration_header("/a\"b", "c").unwrap();
        assert!(quoted.contains(r#"path="/a\"b""#), "{quoted}");
    }

    #[test]
    fn b5_the_challenge_names_its_session() {
        let header = challenge_header("abc", sid()).unwrap();
        assert_eq!(header, format!(r#""abc";id="{}""#, sid()));
    }

    #[test]
    fn rfc9651_strings_tokens_and_bare_text_are_read_and_anything_else_is_not() {
        let read = |value: &str| text(value.as_bytes());
        for value in ["\"eyJ.a-b_c\"", "eyJ.a-b_c", " eyJ.a-b_c ", "eyJ.a-b_c;x=1", "\"eyJ.a-b_c\";x=1"] {
            assert_eq!(read(value).as_deref(), Some("eyJ.a-b_c"), "{value}");
        }
        assert_eq!(read(r#""a\"b\\c""#).as_deref(), Some(r#"a"b\c"#));
        for value in ["", "\"", "\"a", "\"a\\x\"", "\"a\" b", "a b", ";", "\"\u{e9}\"", "a\u{7f}"] {
            assert_eq!(read(value), None, "{value:?}");
        }
        assert_eq!(read(&"a".repeat(MAX_BYTES + 1)), None);
        assert_eq!(text(b"\xff"), None);
    }

    #[test]
    fn b5_an_id_is_read_quoted_and_bare_and_junk_is_none() {
        let id = sid().to_string();
        assert_eq!(session_id(id.as_bytes()), Some(sid()));
        assert_eq!(session_id(format!("\"{id}\"").as_bytes()), Some(sid()));
        assert_eq!(session_id(b"nonsense"), None);
    }

    #[test]
    fn b1_a_skipped_refresh_is_counted_by_its_reason() {
        let id = sid();
        let read = |value: &str| skipped(value.as_bytes(), id);
        assert_eq!(read(&format!("unreachable;session_identifier=\"{id}\"")), Some("unreachable"));
        assert_eq!(read("server_error"), Some("server_error"));
        assert_eq!(read("quota_exceeded;x"), Some("quota_exceeded"));
        assert_eq!(read("something_new"), Some("other"));
        assert_eq!(read("unreachable;session_identifier=\"another\""), None);
        let both = format!("server_error;session_identifier=\"x\", unreachable;session_identifier=\"{id}\"");
        assert_eq!(read(&both), Some("unreachable"));
        for junk in ["", "\"unreachable\"", "unreachable;", "(a b)", "\u{1f980}"] {
            assert_eq!(read(junk), None, "{junk}");
        }
    }
}
