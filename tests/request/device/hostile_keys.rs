//! Hostile keys in the proof of a registration (SPEC B8).

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::{digest, signature::KeyPair};
use serde_json::{Value, json};

use super::hostile::{Hostile, header, token, try_to_register};
use crate::common::{SoftwareDevice, device::base64};

/// Proofs that are valid except for these members of the key.
fn with_keys(
    device: &SoftwareDevice,
    challenge: &str,
    keys: impl IntoIterator<Item = Value>,
) -> Vec<Hostile> {
    let proofs = keys.into_iter().map(|changes| {
        let mut jwk = device.jwk();
        for (name, value) in changes.as_object().unwrap() {
            if value == "absent" {
                jwk.as_object_mut().unwrap().remove(name);
            } else {
                jwk[name] = value.clone();
            }
        }
        let header = header(device, true, &json!({"jwk": jwk}));
        (format!("key with {changes:.80}"), device.sign(&header, &json!({"jti": challenge})))
    });
    proofs.collect()
}

/// Wrong for both key types.
fn wrong_members(device: &SoftwareDevice) -> Vec<Value> {
    let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
    let mut all: Vec<_> = private
        .into_iter()
        .flat_map(|name| [json!({name: "AQAB"}), json!({name: ""}), json!({name: null})])
        .collect();
    let (alg, kty) = if device.algorithm() == "ES256" { ("RS256", "RSA") } else { ("ES256", "EC") };
    all.extend([
        json!({"alg": alg}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"kty": kty}),
        json!({"kty": "oct", "k": "AQAB"}),
        json!({"kty": "OKP"}),
        json!({"kty": "absent"}),
        json!({"kty": 1}),
    ]);
    all
}

fn number(jwk: &Value, name: &str) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(jwk[name].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn b8_points_that_are_none_never_register() {
    let device = SoftwareDevice::es256();
    try_to_register(&device, async |_, challenge| {
        let jwk = device.jwk();
        let (x, y) = (number(&jwk, "x"), number(&jwk, "y"));
        let mut beside = y.clone();
        beside[31] ^= 1;
        let mut keys = wrong_members(&device);
        // RFC 7518, section 6.2.1.2: exactly 32 bytes, leading zeros included.
        for name in ["x", "y"] {
            let value = number(&jwk, name);
            keys.extend([
                json!({name: base64(&value[1..])}),
                json!({name: base64(&[&[0], &*value].concat())}),
                json!({name: base64(&[&*value, &[0]].concat())}),
                json!({name: base64(&[0; 32])}),
                json!({name: base64(&[0xff; 32])}),
                json!({name: ""}),
                json!({name: "absent"}),
                json!({name: 1}),
                json!({name: format!("{}=", base64(&value))}),
            ]);
        }
        keys.extend([
            json!({"y": base64(&beside)}),
            json!({"x": base64(&y), "y": base64(&x)}),
            json!({"x": base64(&[0; 32]), "y": base64(&[0; 32])}),
            json!({"crv": "P-384"}),
            json!({"crv": "P-521"}),
            json!({"crv": "secp256k1"}),
            json!({"crv": "Ed25519"}),
            json!({"crv": "p-256"}),
            json!({"crv": "absent"}),
        ]);
        with_keys(&device, challenge, keys)
    })
    .await;
}

#[tokio::test]
async fn b8_rsa_keys_that_are_short_long_or_weak_never_register() {
    let device = SoftwareDevice::rs256();
    try_to_register(&device, async |_, challenge| {
        let n = number(&device.jwk(), "n");
        assert_eq!(n.len(), 256);
        let changed = |at: usize, change: fn(u8) -> u8| {
            let mut changed = n.clone();
            changed[at] = change(changed[at]);
            base64(&changed)
        };
        let mut keys = wrong_members(&device);
        keys.extend([
            json!({"n": base64(&n[..128])}),
            json!({"n": base64(&n[..255])}),
            json!({"n": changed(0, |byte| byte & 0x7f)}), // 2047 bits
            json!({"n": changed(255, |byte| byte & 0xfe)}), // even
            json!({"n": base64(&[&[0], &*n].concat())}),
            json!({"n": base64(&n.repeat(2)), "e": "AQAB"}), // 4096 bits, of another key
            json!({"n": base64(&[&*n, &n, &[1]].concat())}), // 4104 bits
            json!({"n": base64(&n.repeat(4))}),
            json!({"n": base64(&[0; 256])}),
            json!({"n": ""}),
            json!({"n": "absent"}),
            json!({"n": 65537}),
            json!({"e": ""}),
            json!({"e": "absent"}),
            json!({"e": base64(&[0])}),
            json!({"e": base64(&[1])}),
            json!({"e": base64(&[2])}),
            json!({"e": base64(&[1, 0, 0])}),
            json!({"e": base64(&[0, 1, 0, 1])}),
            json!({"e": base64(&[0xff; 8])}),
            json!({"e": base64(&[1; 9])}),
            json!({"e": base64(&n)}),
        ]);
        let mut all = with_keys(&device, challenge, keys);
        all.push((
            "an exponent of one, which anybody can sign for".to_owned(),
            forged_for_one(&n, challenge),
        ));
        all
    })
    .await;
}

/// With the exponent 1 the signature is the padded digest itself (RFC 8017, section 9.2).
fn forged_for_one(n: &[u8], challenge: &str) -> String {
    let jwk = json!({"kty": "RSA", "n": base64(n), "e": base64(&[1])});
    let header = json!({"alg": "RS256", "typ": "dbsc+jwt", "jwk": jwk}).to_string();
    let payload = json!({"jti": challenge}).to_string();
    let signed = format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()));
    let digest = digest::digest(&digest::SHA256, signed.as_bytes());
    let info = b"\x30\x31\x30\x0d\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01\x05\x00\x04\x20";
    let tail = [&[0], &info[..], digest.as_ref()].concat();
    let padding = vec![0xff; n.len() - tail.len() - 2];
    token(&header, &payload, &[&[0, 1], &*padding, &tail].concat())
}

/// A key that is replaced after signing, in either direction.
#[tokio::test]
async fn b8_a_key_that_did_not_sign_never_registers() {
    for device in super::hostile::devices() {
        try_to_register(&device, async |_, challenge| {
            let (other, payload) = (SoftwareDevice::es256(), json!({"jti": challenge}));
            let proof = device.register(challenge);
            let (_, rest) = proof.split_once('.').unwrap();
            let swapped = header(&device, true, &json!({"jwk": other.jwk()}));
            let theirs = json!({"alg": other.algorithm(), "typ": "dbsc+jwt", "jwk": other.jwk()});
            vec![
                ("swapped".to_owned(), format!("{}.{rest}", base64(swapped.to_string().as_bytes()))),
                ("signed by the other".to_owned(), other.sign(&header(&device, true, &json!({})), &payload)),
                ("with the key of the other".to_owned(), device.sign(&theirs, &payload)),
            ]
        })
        .await;
    }
}

/// Each ECDSA signature has a second valid form (`s` and `n - s`). Both prove the device.
#[tokio::test]
async fn b4_both_forms_of_an_ecdsa_signature_are_accepted() {
    // The order of the curve (FIPS 186-5).
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let device = SoftwareDevice::es256();
    let SoftwareDevice::Es256(key) = &device else { unreachable!() };
    assert_eq!(key.public_key().as_ref().len(), 65);
    let site = super::site();
    let bound = crate::common::bound::Bound::new(&site, device).await;
    let proof = bound.device.refresh(&bound.challenge().await);
    let (signed, signature) = proof.rsplit_once('.').unwrap();
    let mut signature = Base64UrlUnpadded::decode_vec(signature).unwrap();
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i16::from(ORDER[at]) - i16::from(signature[32 + at]) - borrow;
        borrow = i16::from(difference < 0);
        signature[32 + at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    let other = format!("{signed}.{}", base64(&signature));
    for proof in [&proof, &other] {
        let reply = crate::common::bound::refresh(&bound.browser, &bound.sid, Some(proof)).await;
        assert_eq!(reply.status, axum::http::StatusCode::OK);
    }
}
