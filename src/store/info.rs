//! What a store is, for logs and metrics.

use std::{borrow::Cow, fmt};

/// What a store is and where it is, for events and metrics. It contains no secret.
///
/// # Example
///
/// ```
/// use tower_tenure::store::StoreInfo;
///
/// let info = StoreInfo::new("dynamo").with_address("eu-central-1/sessions");
/// assert_eq!(info.to_string(), "dynamo at eu-central-1/sessions");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct StoreInfo {
    kind: &'static str,
    address: Cow<'static, str>,
}

impl StoreInfo {
    /// A kind of store, in one lower-case word: the label `store` of the metrics.
    pub const fn new(kind: &'static str) -> Self {
        Self { kind, address: Cow::Borrowed("") }
    }

    /// Where the store is: host and port, or a file. It must not contain a password.
    pub fn with_address(self, address: impl Into<Cow<'static, str>>) -> Self {
        Self { address: address.into(), ..self }
    }

    /// The kind: `memory`, `sqlite`, `postgres`, `redis`, or what a custom store calls itself.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// Where it is; empty if there is nothing to say.
    pub fn address(&self) -> &str {
        &self.address
    }
}

/// `redis at cache.example:6379`, or the kind alone.
impl fmt::Display for StoreInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        if self.address.is_empty() { Ok(()) } else { write!(f, " at {}", self.address) }
    }
}
