//! Arbitrary input in the headers of the protocol causes no panic, no 5xx, no binding and no proof
//! (SPEC B8).
//!
//! `TENURE_SEARCH=100 cargo test --release --all-features --test request device::fuzz` searches a
//! hundred times longer.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode},
};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};
use serde_json::json;
use tokio::runtime::Runtime;
use tower_tenure::{DeviceBinding, MemoryStore};

use super::GRACE;
use crate::common::{
    Browser, Reply, Site, SoftwareDevice,
    bound::{Bound, log_in, site_over},
    device::base64,
    search,
};

fn cases(base: u32) -> Config {
    Config { failure_persistence: None, ..Config::with_cases(search::cases(base)) }
}

/// A bound session that is no longer proven, and a session that can be bound.
struct Stack {
    runtime: Runtime,
    site: Site,
    bound: Bound,
    /// The cookies of the bound session without its bound cookie.
    thief: Browser,
    offered: Browser,
    challenges: [String; 2],
}

impl Stack {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (site, bound, offered, challenges) = runtime.block_on(async {
            let site = site_over(MemoryStore::new(), DeviceBinding::enforce());
            let bound = Bound::new(&site, SoftwareDevice::es256()).await;
            site.clock.advance(GRACE);
            let offered = site.browser();
            let challenges = [log_in(&offered, "bob").await, bound.challenge().await];
            (site, bound, offered, challenges)
        });
        let thief = bound.without_bound_cookie();
        Self { runtime, site, bound, thief, offered, challenges }
    }

    fn send(&self, browser: &Browser, path: &str, headers: &[(&'static str, Vec<u8>)]) -> Reply {
        let mut request = Request::builder().method(Method::POST).uri(path).body(Body::empty()).unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_bytes(value).unwrap();
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        self.runtime.block_on(browser.request(request))
    }

    /// Checks that what was sent had no effect.
    fn is_as_before(&self) -> bool {
        self.runtime.block_on(async {
            self.thief.get("/me").await.reason().as_deref() == Some("unproven")
                && self.bound.browser.get("/me").await.body == "alice"
                && self.offered.get("/me").await.body == "bob"
                && self.offered.get("/bound").await.status == StatusCode::UNAUTHORIZED
                && self.site.live(None).await == 2
        })
    }
}

fn for_a_header(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.retain(|byte| HeaderValue::from_bytes(&[*byte]).is_ok());
    bytes
}

/// Fragments of valid inputs, and random bytes.
fn bytes(known: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => select(vec![
            "\"", "\\", "\\\"", ";", "; ", ",", ", ", "(", ")", ":", "?1", "=", ".", "..", "-1", "1.5", "@1", " ", "\t", "*",
            "unreachable", "server_error", "quota_exceeded", ";session_identifier=", "session_identifier", "eyJ", "e30", "null",
            "%\"f0\"", "🦀", "AAAAAAAA", "__Host-id-bound=",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        3 => select(known).prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..8),
        1 => (any::<u8>(), 0_usize..9000).prop_map(|(byte, times)| vec![byte; times]),
    ];
    vec(piece, 0..8).prop_map(|pieces| for_a_header(pieces.concat()))
}

/// JSON like that of a valid proof, with one or two members changed.
fn json_near(good: serde_json::Value) -> impl Strategy<Value = String> {
    let names: Vec<String> = ["alg", "typ", "jwk", "crit", "jti", "kty", "crv", "x", "y", "n", "e", "d", "k"]
        .map(Into::into)
        .into();
    let value = prop_oneof![
        Just(json!(null)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<bool>().prop_map(|flag| json!(flag)),
        "[ -~]{0,20}".prop_map(|text| json!(text)),
        vec(any::<u8>(), 0..600).prop_map(|bytes| json!(base64(&bytes))),
        vec(any::<u8>(), 32..33).prop_map(|bytes| json!(base64(&bytes))),
        select(vec!["none", "ES256", "RS256", "HS256", "dbsc+jwt", "EC", "RSA", "P-256"])
            .prop_map(|text| json!(text)),
        Just(json!({"kty": "EC", "crv": "P-256", "x": "", "y": ""})),
        Just(json!([])),
    ];
    vec((select(names), value, any::<bool>()), 1..3).prop_map(move |changes| {
        let mut json = good.clone();
        for (name, value, inside) in changes {
            match json.get_mut("jwk").filter(|jwk| inside && jwk.is_object()) {
                Some(jwk) => jwk[&name] = value,
                None => json[&name] = value,
            }
        }
        json.to_string()
    })
}

/// Changes text in one place.
fn mutated(good: String) -> impl Strategy<Value = String> {
    (0..good.len(), any::<u8>(), 0_u8..4).prop_filter_map("no change", move |(at, byte, how)| {
        let mut bytes = good.clone().into_bytes();
        let byte =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=\"+/"[usize::from(byte) % 69];
        match how {
            0 => drop(bytes.remove(at)),
            1 => bytes.insert(at, byte),
            2 => bytes[at] = byte,
            _ => bytes.truncate(at),
        }
        let changed = String::from_utf8(bytes).unwrap();
        (changed != good).then_some(changed)
    })
}

#[test]
fn whatever_is_sent_as_a_proof_binds_and_proves_nothing() {
    let stack = Stack::new();
    let device = SoftwareDevice::es256();
    let [register, refresh] = stack.challenges.clone();
    let own = &stack.bound.device;
    let known = vec![
        device.register(&refresh),
        own.refresh(&register),
        device.refresh(&refresh),
        stack.bound.sid.clone(),
    ];
    let header = json!({"alg": "ES256", "typ": "dbsc+jwt", "jwk": device.jwk()});
    let payloads = [&register, &refresh].map(|challenge| json!({"jti": challenge}));
    // Signed by a key that is neither the session's nor the one in the header.
    let forged = (json_near(header), json_near(payloads[0].clone()), any::<bool>()).prop_map(
        |(header, payload, own_key)| {
            let signer = if own_key { SoftwareDevice::es256() } else { SoftwareDevice::rs256() };
            signer.sign_text(&header, &payload).into_bytes()
        },
    );
    // A valid proof with one character changed is refused: no two encodings are equivalent. The
    // base64 decoder refuses nonzero trailing bits.
    let proof = prop_oneof![
        2 => bytes(known),
        2 => forged,
        2 => prop_oneof![mutated(device.register(&register)), mutated(own.refresh(&refresh))].prop_map(String::into_bytes),
    ];
    let id = prop_oneof![3 => Just(stack.bound.sid.clone().into_bytes()), 1 => bytes(vec![stack.bound.sid.clone()])];
    proptest!(cases(400), |(proof in proof, id in id, at_bind in any::<bool>(), quoted in any::<bool>())| {
        let proof = if quoted { for_a_header([b"\"", &*proof, b"\""].concat()) } else { for_a_header(proof) };
        let reply = if at_bind {
            stack.send(&stack.offered, "/session/bind", &[("secure-session-response", proof)])
        } else {
            stack.send(&stack.thief, "/session/refresh", &[("sec-secure-session-id", id), ("secure-session-response", proof)])
        };
        // A change in an ignored part, such as a parameter after the proof, leaves the proof valid.
        prop_assert!(!reply.status.is_server_error(), "{reply:?}");
        prop_assert!(matches!(reply.status.as_u16(), 200 | 400 | 403), "{reply:?}");
        prop_assert!(reply.status != StatusCode::OK || reply.body.contains("\"continue\": false"), "{reply:?}");
        prop_assert_eq!(reply.set_cookies(), [""; 0]);
    });
    assert!(stack.is_as_before());
}

#[test]
fn whatever_is_sent_as_a_bound_cookie_or_a_skipped_refresh_proves_nothing() {
    let stack = Stack::new();
    let cookies = stack.bound.browser.cookie_header().unwrap();
    let stamp = cookies.split("__Host-id-bound=").nth(1).unwrap();
    let session = stack.thief.cookie_header().unwrap();
    let value = prop_oneof![
        2 => mutated(stamp.to_owned()).prop_map(String::into_bytes),
        1 => "[A-Za-z0-9_-]{54}".prop_map(String::into_bytes),
        1 => bytes(vec![stack.challenges[0].clone(), stack.challenges[1].clone()]),
    ];
    proptest!(cases(600), |(values in vec(value, 1..6), skipped in vec(bytes(vec![stack.bound.sid.clone()]), 0..3))| {
        let mut header = session.clone().into_bytes();
        for value in values {
            header.extend(b"; __Host-id-bound=");
            header.extend(for_a_header(value));
        }
        let mut headers = vec![("cookie", header)];
        headers.extend(skipped.into_iter().map(|value| ("secure-session-skipped", value)));
        let mut request = Request::get("/me").body(Body::empty()).unwrap();
        for (name, value) in headers {
            request.headers_mut().append(name, HeaderValue::from_bytes(&value).unwrap());
        }
        let reply = stack.runtime.block_on(stack.site.send(request));
        prop_assert_eq!(reply.reason(), Some("unproven".to_owned()));
        prop_assert_eq!(reply.set_cookies(), [""; 0]);
    });
    assert!(stack.is_as_before());
}
