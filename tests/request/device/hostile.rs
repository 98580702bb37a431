//! Hostile proofs (SPEC B8) get 400 or 403, bind nothing, and use up no challenge.

use axum::{
    body::Body,
    http::{HeaderValue, Request, StatusCode},
};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ring::hmac;
use serde_json::{Value, json};

use super::site;
use crate::common::{
    Browser, Reply, Site, SoftwareDevice,
    bound::{Bound, log_in, refresh, register, text},
    device::base64,
};

/// A proof, and what is wrong with it.
pub(super) type Hostile = (String, String);

pub(super) fn devices() -> [SoftwareDevice; 2] {
    [SoftwareDevice::es256(), SoftwareDevice::rs256()]
}

/// The header of a valid proof with these members changed.
pub(super) fn header(device: &SoftwareDevice, with_key: bool, changes: &Value) -> Value {
    let mut header = json!({"alg": device.algorithm(), "typ": "dbsc+jwt"});
    if with_key {
        header["jwk"] = device.jwk();
    }
    for (name, value) in changes.as_object().unwrap() {
        header[name] = value.clone();
    }
    header
}

/// An unsigned token, with this signature.
pub(super) fn token(header: &str, payload: &str, signature: &[u8]) -> String {
    format!("{}.{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()), base64(signature))
}

/// The result that every hostile proof must have.
pub(super) fn assert_refused(reply: &Reply, what: &str) {
    assert!(matches!(reply.status.as_u16(), 400 | 403), "{what}: {} {}", reply.status, reply.body);
    assert_eq!(reply.set_cookies(), [""; 0], "{what}");
    assert_eq!(text(&reply.headers, "cache-control"), Some("no-store"), "{what}");
}

/// Sends each to the registration of a session, and then a valid one.
pub(super) async fn try_to_register(
    device: &SoftwareDevice,
    hostile: impl AsyncFn(&Site, &str) -> Vec<Hostile>,
) {
    let site = site();
    let browser = site.browser();
    let challenge = log_in(&browser, "alice").await;
    for (what, proof) in hostile(&site, &challenge).await {
        assert_refused(&send(&browser, "/session/bind", &[], &[proof.as_bytes()]).await, &what);
        assert_eq!(browser.get("/bound").await.status, StatusCode::UNAUTHORIZED, "{what}");
    }
    assert_eq!(register(&browser, &device.register(&challenge)).await.status, StatusCode::OK);
    assert_eq!(browser.get("/bound").await.body, "bound");
}

/// Sends each to the refresh of a bound session, and then a valid one.
pub(super) async fn try_to_refresh(
    device: SoftwareDevice,
    hostile: impl AsyncFn(&Site, &SoftwareDevice, &str) -> Vec<Hostile>,
) {
    let site = site();
    let bound = Bound::new(&site, device).await;
    let challenge = bound.challenge().await;
    let id = [("sec-secure-session-id", &*bound.sid)];
    for (what, proof) in hostile(&site, &bound.device, &challenge).await {
        assert_refused(&send(&bound.browser, "/session/refresh", &id, &[proof.as_bytes()]).await, &what);
    }
    let reply = refresh(&bound.browser, &bound.sid, Some(&bound.device.refresh(&challenge))).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
    assert_eq!(reply.set_cookies().len(), 1);
}

/// Sends a request of the browser itself, with these proofs.
pub(super) async fn send(browser: &Browser, path: &str, headers: &[(&str, &str)], proofs: &[&[u8]]) -> Reply {
    let mut request = Request::post(path).header("sec-fetch-site", "same-origin");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    for proof in proofs {
        request = request.header("secure-session-response", HeaderValue::from_bytes(proof).unwrap());
    }
    browser.request(request.body(Body::empty()).unwrap()).await
}

/// Wrong in the header, whatever the key.
fn wrong_headers(device: &SoftwareDevice, with_key: bool, challenge: &str) -> Vec<Hostile> {
    let payload = json!({"jti": challenge}).to_string();
    let of = |changes: &Value| header(device, with_key, changes);
    let mut all = Vec::new();
    for alg in ["none", "None", "NONE", "HS256", "ES384", "PS256", "RS512", "EdDSA", "es256", "ES256 ", ""] {
        let header = of(&json!({"alg": alg})).to_string();
        all.push((format!("alg {alg}, unsigned"), token(&header, &payload, b"")));
        all.push((format!("alg {alg}"), device.sign_text(&header, &payload)));
    }
    let other = if device.algorithm() == "ES256" { "RS256" } else { "ES256" };
    for changes in [
        json!({"alg": other}),
        json!({"alg": null}),
        json!({"alg": 256}),
        json!({"alg": ["ES256"]}),
        json!({"typ": null}),
        json!({"typ": "JWT"}),
        json!({"typ": "DBSC+JWT"}),
        json!({"typ": "application/dbsc+jwt"}),
        json!({"typ": 1}),
        json!({"crit": ["exp"]}),
        json!({"crit": []}),
        json!({"crit": null}),
        json!({"crit": "b64", "b64": false}),
        json!({"jwk": "key"}),
        json!({"jwk": [device.jwk()]}),
        json!({"jwk": {}}),
    ] {
        all.push((format!("header with {changes}"), device.sign_text(&of(&changes).to_string(), &payload)));
    }
    // A symmetric algorithm, keyed with public values.
    let jwk = device.jwk();
    let public = |name: &str| Base64UrlUnpadded::decode_vec(jwk[name].as_str().unwrap_or_default()).unwrap();
    let point = [&[4], &*public("x"), &*public("y")].concat();
    let der = [&b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00"[..], &point].concat();
    let keys = [point, der, public("n"), jwk.to_string().into_bytes(), Vec::new()];
    for (number, key) in keys.iter().enumerate() {
        for alg in ["HS256", "ES256", "RS256"] {
            let header = of(&json!({"alg": alg})).to_string();
            let signed = format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()));
            let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes());
            all.push((format!("HMAC by key {number} as {alg}"), token(&header, &payload, tag.as_ref())));
        }
    }
    // Members that come twice.
    let good = of(&json!({})).to_string();
    for twice in ["\"alg\":\"none\"", "\"typ\":\"dbsc+jwt\"", "\"jwk\":null,\"jwk\":null", "\"crit\":null"] {
        let header = good.replacen('{', &format!("{{{twice},"), 1);
        all.push((format!("twice: {twice}"), device.sign_text(&header, &payload)));
    }
    for junk in ["", "[]", "null", "\"x\"", "{", &good[..good.len() - 1], &"[".repeat(4000)] {
        all.push((format!("header {junk}"), device.sign_text(junk, &payload)));
    }
    all
}

/// Wrong in the payload.
fn wrong_payloads(device: &SoftwareDevice, with_key: bool, challenge: &str) -> Vec<Hostile> {
    let header = header(device, with_key, &json!({})).to_string();
    let upper = challenge.to_uppercase();
    [
        String::new(),
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        json!({"jti": null}).to_string(),
        json!({"jti": 1}).to_string(),
        json!({"jti": [challenge]}).to_string(),
        json!({"jti": ""}).to_string(),
        json!({"jti": "A".repeat(challenge.len())}).to_string(),
        json!({"jti": upper}).to_string(),
        json!({"jti": format!("{challenge} ")}).to_string(),
        json!({"jti": format!("{challenge}=")}).to_string(),
        json!({"jti": &challenge[1..]}).to_string(),
        json!({"nonce": challenge}).to_string(),
        format!("{{\"jti\":\"{challenge}\",\"jti\":\"{challenge}\"}}"),
        format!("{{\"jti\":\"{challenge}\""),
        format!("{{\"jti\":\"{challenge}\"}} x"),
    ]
    .into_iter()
    .map(|payload| (format!("payload {payload}"), device.sign_text(&header, &payload)))
    .collect()
}

/// Malformed as a whole.
fn wrong_forms(good: &str) -> Vec<Hostile> {
    let parts: Vec<_> = good.split('.').collect();
    let [header, payload, signature] = [0, 1, 2].map(|n| parts[n]);
    let mut all: Vec<_> = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.."),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}.{signature}.{payload}.{signature}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{signature}=="),
        format!("{header}.{payload}.{}", Base64::encode_string(&[0xff; 64])),
        format!("{header}. {payload}.{signature}"),
        format!("{payload}.{header}.{signature}"),
        format!("{good}, {good}"),
        format!("({good})"),
        format!("\"{good}"),
        format!("\"{good}\" x"),
        format!("\"\\x{good}\""),
        format!(":{good}:"),
        json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
        "a".repeat(8193),
        format!("{header}.{payload}.{}", "A".repeat(1 << 20)),
        format!("\"{}\"", "\\\\".repeat(1 << 19)),
        format!("{good}\u{e9}"),
        format!("\"{good}\u{1f980}\""),
    ]
    .into_iter()
    .map(|proof| (format!("form {proof:.60}"), proof))
    .collect();
    all.extend((1..good.len()).step_by(11).map(|at| (format!("cut at {at}"), good[..at].to_owned())));
    all
}

/// Signed wrongly.
fn wrong_signatures(device: &SoftwareDevice, good: &str) -> Vec<Hostile> {
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let flipped = |at: usize| {
        let mut flipped = signature.clone();
        flipped[at] ^= 1;
        flipped
    };
    let half = signature.len() / 2;
    // ASN.1, as OpenSSL signs; JWS has both numbers side by side (RFC 7518, section 3.4).
    let number = |bytes: &[u8]| [&[2, u8::try_from(bytes.len() + 1).unwrap_or(127), 0], bytes].concat();
    let numbers = [number(&signature[..half]), number(&signature[half..])].concat();
    let der = [&[0x30, u8::try_from(numbers.len()).unwrap_or(127)], &*numbers].concat();
    let one = [vec![0; half - 1], vec![1]].concat();
    let others =
        [SoftwareDevice::es256(), SoftwareDevice::rs256()].map(|other| other.signature(signed.as_bytes()));
    let mut all = vec![
        ("no signature", Vec::new()),
        ("one byte less", signature[1..].to_vec()),
        ("one byte more", [&signature[..], &[0]].concat()),
        ("zero", vec![0; signature.len()]),
        ("all ones", vec![0xff; signature.len()]),
        ("r and s are 1", [one.clone(), one].concat()),
        ("the first bit", flipped(0)),
        ("the last bit", flipped(signature.len() - 1)),
        ("twice", signature.repeat(2)),
        ("of another message", device.signature(b"x")),
        ("by another key on P-256", others[0].clone()),
    ];
    if device.algorithm() == "ES256" {
        all.push(("ASN.1", der));
        all.push(("RSA", others[1].clone()));
    }
    all.into_iter()
        .map(|(what, bytes)| (format!("signature: {what}"), format!("{signed}.{}", base64(&bytes))))
        .collect()
}

/// With challenges that are valid for another purpose.
async fn wrong_challenges(site: &Site, device: &SoftwareDevice, with_key: bool) -> Vec<Hostile> {
    let other = Bound::new(site, SoftwareDevice::es256()).await;
    let unbound = site.browser();
    let offered = log_in(&unbound, "alice").await;
    let cookies = other.browser.cookie_header().unwrap();
    let value = |name: &str| {
        let pair = cookies.split("; ").find_map(|pair| pair.strip_prefix(name)).unwrap();
        pair.to_owned()
    };
    [
        ("a refresh of another session", other.challenge().await),
        ("a registration of another session", offered),
        ("another's bound cookie", value("__Host-id-bound=")),
        ("another's token", value("__Host-id=")),
        ("another's id", other.sid.clone()),
    ]
    .into_iter()
    .map(|(what, challenge)| {
        let header = header(device, with_key, &json!({}));
        (format!("challenge of {what}"), device.sign(&header, &json!({"jti": challenge})))
    })
    .collect()
}

#[tokio::test]
async fn b8_hostile_proofs_never_register_and_use_nothing_up() {
    for device in devices() {
        try_to_register(&device, async |site, challenge| {
            let good = device.register(challenge);
            let mut all = wrong_headers(&device, true, challenge);
            all.extend(wrong_payloads(&device, true, challenge));
            all.extend(wrong_forms(&good));
            all.extend(wrong_signatures(&device, &good));
            all.extend(wrong_challenges(site, &device, true).await);
            all.push(("without a key".to_owned(), device.refresh(challenge)));
            all
        })
        .await;
    }
}

#[tokio::test]
async fn b8_hostile_proofs_never_refresh_and_use_nothing_up() {
    for device in devices() {
        try_to_refresh(device, async |site, device, challenge| {
            let good = device.refresh(challenge);
            let mut all = wrong_headers(device, false, challenge);
            all.extend(wrong_payloads(device, false, challenge));
            all.extend(wrong_forms(&good));
            all.extend(wrong_signatures(device, &good));
            all.extend(wrong_challenges(site, device, false).await);
            let other = SoftwareDevice::es256();
            all.push(("another key, with it".to_owned(), other.register(challenge)));
            let foreign = header(device, false, &json!({"jwk": other.jwk()}));
            all.push(("the key of another".to_owned(), device.sign(&foreign, &json!({"jti": challenge}))));
            all
        })
        .await;
    }
}
