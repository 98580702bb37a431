//! Bearer tokens and their scopes.

use std::{collections::BTreeSet, fmt, pin::Pin, sync::Arc};

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::response::ApiError;
use crate::{Error, ErrorKind};

/// Checks a bearer token and says whose it is. An application implements it for its token issuer.
///
/// # Example
///
/// ```
/// use tower_tenure::{Error, management::{Caller, Scopes, TokenCheck}};
///
/// /// Accepts tokens that another service vouches for.
/// struct Introspection;
///
/// impl TokenCheck for Introspection {
///     async fn check(&self, token: &str) -> Result<Option<Caller>, Error> {
///         // Ask it here (RFC 7662).
///         let scopes = Scopes::of(["read:sessions"]);
///         Ok((token.len() == 40).then(|| Caller::new(scopes).with_name("reports")))
///     }
/// }
/// ```
pub trait TokenCheck: Send + Sync + 'static {
    /// The caller with this token; `None` when it is not valid.
    ///
    /// # Errors
    ///
    /// When the token cannot be checked; the request is answered 503.
    fn check(&self, token: &str) -> impl Future<Output = Result<Option<Caller>, Error>> + Send;
}

type Checked<'a> = Pin<Box<dyn Future<Output = Result<Option<Caller>, Error>> + Send + 'a>>;

/// [`TokenCheck`], object-safe.
pub(super) trait DynTokenCheck: Send + Sync {
    fn check<'a>(&'a self, token: &'a str) -> Checked<'a>;
}

impl<T: TokenCheck> DynTokenCheck for T {
    fn check<'a>(&'a self, token: &'a str) -> Checked<'a> {
        Box::pin(TokenCheck::check(self, token))
    }
}

/// All scopes that the API asks for.
pub(super) const SCOPES: [&str; 5] =
    ["read:tenant_settings", "update:tenant_settings", "read:sessions", "update:sessions", "delete:sessions"];

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

/// Who calls the API: what the token allows, and a name for events and the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Caller {
    scopes: Scopes,
    name: Option<Arc<str>>,
}

impl Caller {
    /// A caller without a name.
    pub const fn new(scopes: Scopes) -> Self {
        Self { scopes, name: None }
    }

    /// With a name, such as that of an administrator or a script: see
    /// [`Event::by`](crate::events::Event::by).
    pub fn with_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What the caller may do.
    pub const fn scopes(&self) -> &Scopes {
        &self.scopes
    }

    /// The name, if there is one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

impl From<Scopes> for Caller {
    fn from(scopes: Scopes) -> Self {
        Self::new(scopes)
    }
}

/// Fixed tokens, compared in constant time. Only their hashes are kept in memory.
///
/// # Example
///
/// ```
/// use tower_tenure::management::{Caller, Scopes, StaticTokens};
///
/// let tokens = StaticTokens::new()
///     .with("3Qv9fC0mXr2Lk8Ty", Scopes::of(["read:sessions", "read:tenant_settings"]))?
///     .with("Zp4nW7sJd1Hb6Gua", Caller::new(Scopes::all()).with_name("deployment"))?;
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct StaticTokens(Vec<([u8; 32], Caller)>);

impl StaticTokens {
    /// No tokens yet: every request is refused.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The minimum length of a token, in characters.
    pub const MIN_LENGTH: usize = 16;

    /// Adds a token of a [`Caller`], or of a caller without a name, given by its [`Scopes`].
    ///
    /// # Errors
    ///
    /// When it has fewer than [`StaticTokens::MIN_LENGTH`] characters, since it could be guessed,
    /// or a character that a header cannot carry.
    pub fn with(mut self, token: &str, caller: impl Into<Caller>) -> Result<Self, Error> {
        if token.len() < Self::MIN_LENGTH || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message = "a management token needs 16 characters or more, of visible ASCII; generate one, for example by `openssl rand -hex 24`";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        self.0.push((Sha256::digest(token.as_bytes()).into(), caller.into()));
        Ok(self)
    }
}

/// Without the hashes.
impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StaticTokens({})", self.0.len())
    }
}

impl TokenCheck for StaticTokens {
    async fn check(&self, token: &str) -> Result<Option<Caller>, Error> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        // Compares all of them, to take constant time.
        let mut found = u64::MAX;
        for (number, (known, _)) in (0..).zip(&self.0) {
            let is_it: Choice = known.ct_eq(&digest);
            found.conditional_assign(&number, is_it);
        }
        let known = usize::try_from(found).ok().and_then(|found| self.0.get(found));
        Ok(known.map(|(_, caller)| caller.clone()))
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
