//! The crate's one error type.

use std::{borrow::Cow, error, fmt};

/// Why something failed.
///
/// A refusal by policy (a login over the cap, a session that has ended) is a value, not an error; an error means that a
/// part failed or was used wrongly. Its text never holds a token or session data (SPEC H5).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

/// The kinds of [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting is wrong; the message says the mend.
    Configuration,
    /// An argument is wrong, for example a lifetime of zero.
    InvalidInput,
    /// A session value could not be written as JSON, or not read as the type asked for.
    Data,
    /// The store failed. Nothing is known about the session.
    Store,
    /// The store did not answer within the time budget (SPEC S6).
    Timeout,
    /// The operating system gave no random bytes.
    Random,
    /// The response head is already sent, so nothing can be changed for this request any more (SPEC H4).
    Closed,
    /// A login was refused; see [`Outcome::accepted`](crate::Outcome::accepted).
    Refused,
    /// The data of a session would exceed the limit; nothing was changed (S13).
    TooLarge,
    /// The session ended while the request was in flight; nothing was written (SPEC S4).
    Ended,
}

impl Error {
    /// An error of this kind; the message is lower case, without a full stop, and free of secrets.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A failed store call. What backends should wrap their driver's errors in. The source is logged, so it must not quote
    /// session data; that of a JSON or SQL decoder may.
    ///
    /// # Example
    ///
    /// ```
    /// use std::error::Error as _;
    /// use tower_tenure::{Error, ErrorKind};
    ///
    /// let error = Error::store(std::io::Error::other("disk on fire"));
    /// assert_eq!(error.kind(), ErrorKind::Store);
    /// assert_eq!(error.to_string(), "the session store failed");
    /// assert_eq!(error.source().unwrap().to_string(), "disk on fire");
    /// ```
    pub fn store(source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        Self {
            kind: ErrorKind::Store,
            message: "the session store failed".into(),
            source: Some(source.into()),
        }
    }

    /// The kind, to match on.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the backend failed or did not answer, as opposed to a mistake of the caller.
    pub const fn is_store_failure(&self) -> bool {
        matches!(self.kind, ErrorKind::Store | ErrorKind::Timeout)
    }

    #[must_use]
    pub(crate) fn because(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
