//! A device with a key, like that of a browser, which signs what a test passes to it.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::missing_panics_doc,
    reason = "shared: what is dead differs from crate to crate"
)]

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::{
    rand::SystemRandom,
    rsa,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

/// A device with a key.
#[derive(Debug)]
pub enum SoftwareDevice {
    Es256(Box<EcdsaKeyPair>),
    Rs256(Box<RsaKeyPair>),
}

impl SoftwareDevice {
    /// A new key on the curve P-256.
    pub fn es256() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Es256(Box::new(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()))
    }

    /// The fixed RSA key of the tests, because generating one takes seconds.
    pub fn rs256() -> Self {
        Self::Rs256(Box::new(RsaKeyPair::from_der(include_bytes!("rsa_key.der")).unwrap()))
    }

    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Es256(_) => "ES256",
            Self::Rs256(_) => "RS256",
        }
    }

    /// The public key as a JWK.
    pub fn jwk(&self) -> Value {
        match self {
            Self::Es256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)})
            }
            Self::Rs256(key) => {
                let public: rsa::PublicKeyComponents<Vec<u8>> = key.public().into();
                json!({"kty": "RSA", "n": base64(&public.n), "e": base64(&public.e)})
            }
        }
    }

    /// The proof of a registration, which includes the public key.
    pub fn register(&self, challenge: &str) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "dbsc+jwt", "jwk": self.jwk()});
        self.sign(&header, &json!({"jti": challenge}))
    }

    /// The proof of a refresh.
    pub fn refresh(&self, challenge: &str) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "dbsc+jwt"});
        self.sign(&header, &json!({"jti": challenge}))
    }

    /// A token with any header and payload, signed by this key.
    pub fn sign(&self, header: &Value, payload: &Value) -> String {
        self.sign_text(&header.to_string(), &payload.to_string())
    }

    /// The same for texts that need not be JSON.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", base64(header.as_bytes()), base64(payload.as_bytes()));
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", base64(&signature))
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => key.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
        }
    }
}

pub fn base64(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}
