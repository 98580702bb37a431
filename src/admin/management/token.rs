//! Bearer tokens and their scopes.

use std::{collections::BTreeSet, fmt, pin::Pin};

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::response::ApiError;
use crate::Error;

/// Checks a bearer token and returns its scopes. An application implements it for its token issuer.
///
/// # Example
///
/// ```
/// use tower_tenure::{Error, management::{Scopes, TokenCheck}};
///
/// /// Accepts tokens that another service vouches for.
/// struct Introspection;
///
/// impl TokenCheck for Introspection {
///     async fn check(&self, token: &str) -> Result<Option<Scopes>, Error> {
///         // Ask it here (RFC 7662).
///         Ok((token.len() == 40).then(|| Scopes::of(["read:sessions"])))
///     }
/// }
/// ```
pub trait TokenCheck: Send + Sync + 'static {
    /// The scopes of a token; `None` when it is not valid.
    ///
    /// # Errors
    ///
    /// When the token cannot be checked; the request is answered 503.
    fn check(&self, token: &str) -> impl Future<Output = Result<Option<Scopes>, Error>> + Send;
}

type Checked<'a> = Pin<Box<dyn Future<Output = Result<Option<Scopes>, Error>> + Send + 'a>>;

/// [`TokenCheck`], object-safe.
pub(super) trait DynTokenCheck: Send + Sync {
    fn check<'a>(&'a self, token: &'a str) -> Checked<'a>;
}

impl<T: TokenCheck> DynTokenCheck for T {
    fn check<'a>(&'a self, token: &'a str) -> Checked<'a> {
        Box::pin(TokenCheck::check(self, token))
    }
}

/// The scopes of a token: `read:tenant_settings`, `update:tenant_settings`, `read:sessions`,
/// `update:sessions`, `delete:sessions`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Option<BTreeSet<String>>);

impl Scopes {
    /// All scopes.
    pub const fn all() -> Self {
        Self(None)
    }

    /// These scopes only.
    pub fn of(scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Some(scopes.into_iter().map(Into::into).collect()))
    }

    /// Whether the scope is included.
    pub fn contains(&self, scope: &str) -> bool {
        self.0.as_ref().is_none_or(|scopes| scopes.contains(scope))
    }
}

/// Fixed tokens, compared in constant time. Only their hashes are kept in memory.
///
/// # Example
///
/// ```
/// use tower_tenure::management::{Scopes, StaticTokens};
///
/// let tokens = StaticTokens::new()
///     .with("read-only-secret", Scopes::of(["read:sessions", "read:tenant_settings"]))
///     .with("root-secret", Scopes::all());
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct StaticTokens(Vec<([u8; 32], Scopes)>);

impl StaticTokens {
    /// No tokens yet: every request is refused.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a token.
    pub fn with(mut self, token: &str, scopes: Scopes) -> Self {
        self.0.push((Sha256::digest(token.as_bytes()).into(), scopes));
        self
    }
}

/// Without the hashes.
impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({})", self.0.len())
    }
}

impl TokenCheck for StaticTokens {
    async fn check(&self, token: &str) -> Result<Option<Scopes>, Error> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // Compares all of them, to take constant time.
        let mut found = u64::MAX;
        for (number, (known, _)) in (0..).zip(&self.0) {
            let is_it: Choice = known.ct_eq(&digest);
            found.conditional_assign(&number, is_it);
        }
        let known = usize::try_from(found).ok().and_then(|found| self.0.get(found));
        Ok(known.map(|(_, scopes)| scopes.clone()))
    }
}

/// The token of the only `Authorization` header (RFC 6750, section 2.1); never from the query or
/// the body.
pub(super) fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let mut lines = headers.get_all(header::AUTHORIZATION).iter();
    let line = match (lines.next(), lines.next()) {
        (None, _) => return Err(ApiError::no_token()),
        (Some(line), None) => line.to_str().map_err(|_| ApiError::bad_token())?,
        _ => return Err(ApiError::bad_token()),
    };
    let (scheme, token) = line.split_once(' ').unwrap_or((line, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(ApiError::no_token());
    }
    let token = token.trim();
    if token.is_empty() { Err(ApiError::bad_token()) } else { Ok(token) }
}
