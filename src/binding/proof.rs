//! The signed token by which a device proves itself: a JWT of type `dbsc+jwt`.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use crate::record::DeviceKey;

/// RSA keys of 2048 to 4096 bits: ring refuses shorter ones, and longer ones would only cost time.
const MAX_MODULUS_BYTES: usize = 512;
const MAX_EXPONENT_BYTES: usize = 8;

/// What a device sent to prove itself. Nothing in it is to be trusted before
/// [`verify`](Self::verify).
#[derive(Clone, Debug)]
pub(crate) struct DeviceToken {
    algorithm: Algorithm,
    /// The public key that it carries; only the proof of a registration has one.
    pub(crate) key: Option<DeviceKey>,
    /// The challenge that it answers.
    pub(crate) challenge: String,
    /// Header and payload as they were sent: what is signed.
    signed: String,
    signature: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Algorithm {
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "RS256")]
    Rs256,
}

/// Why a proof cannot even be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(&'static str);

impl Malformed {
    pub(crate) const fn new(detail: &'static str) -> Self {
        Self(detail)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// RFC 7515, section 4. Serde refuses a member that comes twice.
#[derive(Deserialize)]
struct Header {
    alg: Algorithm,
    typ: String,
    jwk: Option<Jwk>,
    /// Extensions that must be understood (section 4.1.11): none is.
    #[serde(default)]
    crit: Unwanted,
}

/// RFC 7518, section 6. All members that a private or a symmetric key may have are named, to be
/// refused.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    alg: Option<Algorithm>,
    #[serde(default)]
    d: Unwanted,
    #[serde(default)]
    p: Unwanted,
    #[serde(default)]
    q: Unwanted,
    #[serde(default)]
    dp: Unwanted,
    #[serde(default)]
    dq: Unwanted,
    #[serde(default)]
    qi: Unwanted,
    #[serde(default)]
    oth: Unwanted,
    #[serde(default)]
    k: Unwanted,
}

/// A member that must not be there, not even as `null`.
#[derive(Clone, Copy, Default)]
struct Unwanted {
    is_there: bool,
}

impl<'de> Deserialize<'de> for Unwanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self { is_there: true })
    }
}

#[derive(Deserialize)]
struct Payload {
    jti: String,
}

impl DeviceToken {
    /// Reads a proof, without verifying it.
    ///
    /// # Errors
    ///
    /// When it is not a JWT of type `dbsc+jwt` with an algorithm that was offered, or carries a key
    /// that does not belong there.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        const NOT_A_JWT: Malformed = Malformed("the proof is not a signed JWT");
        let (signed, signature) = text.rsplit_once('.').ok_or(NOT_A_JWT)?;
        let (header, payload) =
            signed.split_once('.').filter(|(_, payload)| !payload.contains('.')).ok_or(NOT_A_JWT)?;
        let [header, payload, signature] = [header, payload, signature]
            .map(|part| Base64UrlUnpadded::decode_vec(part).map_err(|_| NOT_A_JWT));
        let header: Header = serde_json::from_slice(&header?)
            .map_err(|_| Malformed("the header of the proof needs alg (ES256 or RS256) and typ"))?;
        let payload: Payload = serde_json::from_slice(&payload?)
            .map_err(|_| Malformed("the payload of the proof needs the challenge as jti"))?;
        if header.typ != "dbsc+jwt" {
            return Err(Malformed("the type of the proof must be dbsc+jwt"));
        }
        if header.crit.is_there {
            return Err(Malformed("the proof has a critical extension"));
        }
        let key = header.jwk.map(|jwk| jwk.key(header.alg)).transpose()?;
        Ok(Self {
            algorithm: header.alg,
            key,
            challenge: payload.jti,
            signed: signed.to_owned(),
            signature: signature?,
        })
    }

    /// Whether it was signed by this key, with the algorithm of this key.
    pub(crate) fn verify(&self, key: &DeviceKey) -> bool {
        let message = self.signed.as_bytes();
        let verified = match (self.algorithm, key) {
            (Algorithm::Es256, DeviceKey::Es256 { x, y }) => {
                // SEC 1, section 2.3.3: an uncompressed point.
                let mut point = [4; 65];
                point[1..33].copy_from_slice(x);
                point[33..].copy_from_slice(y);
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, &self.signature)
            }
            (Algorithm::Rs256, DeviceKey::Rs256 { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, &self.signature)
            }
            _ => return false,
        };
        verified.is_ok()
    }
}

impl Jwk {
    /// The public key, if it is one of this algorithm and nothing else.
    fn key(self, algorithm: Algorithm) -> Result<DeviceKey, Malformed> {
        let private = [self.d, self.p, self.q, self.dp, self.dq, self.qi, self.oth, self.k];
        if private.iter().any(|member| member.is_there) {
            return Err(Malformed("the key of the proof has private members"));
        }
        if self.alg.is_some_and(|alg| alg != algorithm) {
            return Err(Malformed("the key of the proof is for another algorithm"));
        }
        let key = match algorithm {
            Algorithm::Es256 if self.kty == "EC" && self.crv.as_deref() == Some("P-256") => self.point(),
            Algorithm::Rs256 if self.kty == "RSA" => self.modulus(),
            _ => None,
        };
        key.ok_or(Malformed("the key of the proof is not a public key of its algorithm"))
    }

    fn point(&self) -> Option<DeviceKey> {
        let coordinate = |text: &Option<String>| decode(text.as_deref())?.try_into().ok();
        Some(DeviceKey::Es256 { x: coordinate(&self.x)?, y: coordinate(&self.y)? })
    }

    fn modulus(&self) -> Option<DeviceKey> {
        let number = |text: &Option<String>, longest| {
            decode(text.as_deref())
                .filter(|bytes| bytes.len() <= longest && bytes.first().is_some_and(|first| *first != 0))
        };
        let (n, e) = (number(&self.n, MAX_MODULUS_BYTES)?, number(&self.e, MAX_EXPONENT_BYTES)?);
        // A key that ring would refuse is no key of a session.
        let is_long_enough = n.len() >= 256 && (n.len() > 256 || n[0] & 0x80 != 0);
        is_long_enough.then(|| DeviceKey::Rs256 { n: n.into(), e: e.into() })
    }
}

fn decode(text: Option<&str>) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text?).ok()
}
