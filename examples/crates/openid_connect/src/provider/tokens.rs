//! Signed tokens (JWT, RS256).

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE};
use openidconnect::{
    JsonWebKey, JsonWebKeyId, PrivateSigningKey,
    core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm, CoreRsaPrivateSigningKey},
};
use serde_json::{Value, json};
use tower_tenure::Timestamp;

/// A public test key. It is in PKCS #1, and `openidconnect` needs PEM.
const KEY: &[u8] = include_bytes!("../../../../../tests/common/rsa_key.der");
const KEY_ID: &str = "1";
const ALGORITHM: CoreJwsSigningAlgorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;

pub(crate) struct Tokens(CoreRsaPrivateSigningKey);

impl Tokens {
    pub(crate) fn new() -> Result<Self, String> {
        let lines: Vec<_> = KEY.chunks(48).map(|line| BASE64_STANDARD.encode(line)).collect();
        let lines = lines.join("\n");
        let pem = format!("-----BEGIN RSA PRIVATE KEY-----\n{lines}\n-----END RSA PRIVATE KEY-----\n");
        CoreRsaPrivateSigningKey::from_pem(&pem, Some(JsonWebKeyId::new(KEY_ID.to_owned()))).map(Self)
    }

    pub(crate) fn keys(&self) -> CoreJsonWebKeySet {
        CoreJsonWebKeySet::new(vec![self.0.as_verification_key()])
    }

    /// A token with these claims, valid for two minutes.
    pub(crate) fn sign(&self, kind: &str, mut claims: Value, now: Timestamp) -> String {
        claims["iat"] = now.unix_seconds_floor().into();
        claims["exp"] = (now.unix_seconds_floor() + 120).into();
        let head = json!({ "alg": "RS256", "typ": kind, "kid": KEY_ID });
        let text = format!("{}.{}", URL_SAFE.encode(head.to_string()), URL_SAFE.encode(claims.to_string()));
        let signature = self.0.sign(&ALGORITHM, text.as_bytes()).expect("the key fits the algorithm");
        format!("{text}.{}", URL_SAFE.encode(signature))
    }

    /// The session of a token that was signed here, even after its expiry.
    pub(crate) fn sid_of(&self, token: &str) -> Option<String> {
        let (text, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE.decode(signature).ok()?;
        self.0.as_verification_key().verify_signature(&ALGORITHM, text.as_bytes(), &signature).ok()?;
        let claims: Value = serde_json::from_slice(&URL_SAFE.decode(text.split_once('.')?.1).ok()?).ok()?;
        Some(claims["sid"].as_str()?.to_owned())
    }
}
