//! Incoming `Cookie` lines (SPEC C5), and outgoing `Set-Cookie` lines (C1).

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
};
use tower_tenure::{MemoryStore, Mode, Policy, SessionLayer, cookie::SessionCookie};

use super::{Target, filled, header_value, runtime};
use crate::common::{Reply, Site, usual_routes};

const NAME: &[u8] = b"__Host-id=";

/// One `Cookie` line for each line of the input. `\x01` is the token of a live session, and `\x02`
/// an unknown one.
pub(crate) fn header() -> Target {
    let (runtime, site) = (runtime(), Site::new());
    let cookie = runtime.block_on(site.log_in("alice")).cookie_header().expect("a cookie");
    let good = cookie.trim_start_matches("__Host-id=").to_owned();
    let other = "B".repeat(64);
    Box::new(move |bytes| {
        let lines: Vec<_> = bytes
            .split(|byte| *byte == b'\n')
            .map(|line| header_value(&filled(line, &[&good, &other])))
            .collect();
        let mut request = Request::get("/me").body(Body::empty()).expect("a request");
        for line in &lines {
            request.headers_mut().append(header::COOKIE, line.clone());
        }
        let reply = runtime.block_on(site.send(request));

        let values: Vec<_> = lines.iter().flat_map(|line| values(line.as_bytes())).collect();
        let mut tokens = Vec::new();
        for value in values.iter().filter(|value| is_token(value)) {
            if !tokens.contains(value) {
                tokens.push(*value);
            }
        }
        if tokens.iter().take(3).any(|token| *token == good.as_bytes()) {
            assert_eq!((reply.status, &*reply.body), (StatusCode::OK, "alice"));
            assert_eq!(reply.set_cookies(), [""; 0]);
        } else {
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
            let removes = !values.is_empty() && tokens.len() <= 3;
            assert_eq!((reply.set_cookies().len(), reply.removes_cookie()), (usize::from(removes), removes));
        }
        // The response does not reflect the unknown token.
        assert!(!format!("{reply:?}").contains(&other));
    })
}

/// The values under our name, parsed naively: a list separated by semicolons.
fn values(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| *byte == b';').filter_map(|pair| pair.trim_ascii().strip_prefix(NAME))
}

fn is_token(value: &[u8]) -> bool {
    value.len() == 64 && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
}

/// Settings of a cookie: a byte of flags, then name, domain and path, each on its own line.
pub(crate) fn set_cookie() -> Target {
    let runtime = runtime();
    Box::new(move |bytes| {
        let Some((flags, text)) = bytes.split_first() else { return };
        let Ok(text) = str::from_utf8(text) else { return };
        let mut texts = text.splitn(3, '\n');
        let name = texts.next().unwrap_or_default();
        let (domain, path) = (texts.next(), texts.next().unwrap_or("/"));
        let flag = |bit: u8| flags >> bit & 1 == 1;
        says_what_is_set(&runtime, name, domain.filter(|_| flag(0)), path, [flag(1), flag(2), flag(3)]);
    })
}

/// Any configuration is either refused (`false`), or gives a line with exactly these attributes.
pub(crate) fn says_what_is_set(
    runtime: &tokio::runtime::Runtime,
    name: &str,
    domain: Option<&str>,
    path: &str,
    [partitioned, insecure, persistent]: [bool; 3],
) -> bool {
    let mut builder =
        SessionCookie::builder(name.to_owned()).with_path(path.to_owned()).with_partitioned(partitioned);
    if let Some(domain) = domain {
        builder = builder.with_domain(domain.to_owned());
    }
    if insecure {
        builder = builder.with_insecure_http_development();
    }
    let Ok(cookie) = builder.build() else { return false };
    let mode = if persistent { Mode::Persistent } else { Mode::NonPersistent };
    let layer = SessionLayer::new(MemoryStore::new()).with_cookie(cookie);
    let layer = layer.with_policy(Policy::default().with_default_mode(mode));
    let site = Site::over(layer, usual_routes(), |layer| layer);
    let request = Request::builder().method(Method::POST).uri("/login/alice").body(Body::empty());
    let reply: Reply = runtime.block_on(site.send(request.expect("a request")));
    let lines = reply.set_cookies();
    assert_eq!(lines.len(), 1);
    let (set_name, token, mut said) =
        strictly(lines[0]).unwrap_or_else(|| panic!("not RFC 6265: {}", lines[0]));
    assert_eq!((set_name, token.len()), (name, 64));
    let dates = said.iter().filter(|(name, _)| matches!(*name, "Expires" | "Max-Age")).count();
    assert_eq!(dates, if persistent { 2 } else { 0 });
    said.retain(|(name, _)| !matches!(*name, "Expires" | "Max-Age"));
    // A leading dot of a domain is ignored (RFC 6265, section 5.2.3).
    let domain = domain.map(|domain| domain.strip_prefix('.').unwrap_or(domain));
    let mut expected = vec![("HttpOnly", None), ("SameSite", Some("Lax")), ("Path", Some(path))];
    expected.extend(domain.map(|domain| ("Domain", Some(domain))));
    expected.extend((!insecure).then_some(("Secure", None)));
    expected.extend(partitioned.then_some(("Partitioned", None)));
    said.sort_unstable();
    expected.sort_unstable();
    assert_eq!(said, expected);
    true
}

/// A name, and the value after its `=`, if there is one.
type Attribute<'a> = (&'a str, Option<&'a str>);

/// RFC 6265, section 4.1.1, strictly: name, value and attributes. `None` for a line outside this
/// grammar.
fn strictly(line: &str) -> Option<(&str, &str, Vec<Attribute<'_>>)> {
    let is_token = |text: &str| {
        let special = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || special(byte))
    };
    let is_octet = |byte| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    let mut parts = line.split("; ");
    let (name, value) = parts.next()?.split_once('=')?;
    if !is_token(name) || !value.bytes().all(is_octet) {
        return None;
    }
    let mut attributes = Vec::new();
    for part in parts {
        let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
        let is_plain =
            value.is_none_or(|value| value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';'));
        if !is_plain || attributes.iter().any(|(known, _)| *known == name) {
            return None;
        }
        attributes.push((name, value));
    }
    Some((name, value, attributes))
}
