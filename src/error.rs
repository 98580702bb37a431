//! The crate's one error type.

use std::{borrow::Cow, error, fmt};

/// Why something failed.
///
/// An error means that a part failed or was used wrongly. A refusal by policy, such as a login over
/// the cap, is a value. The text never contains a token or session data.
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
    /// A setting is wrong; the message says how to correct it.
    Configuration,
    /// An argument is wrong, for example a lifetime of zero.
    InvalidInput,
    /// A session value could not be written as JSON, or not be read as the requested type.
    Data,
    /// The store failed, so the state of the session is unknown.
    Store,
    /// The store did not answer within the timeout, two seconds unless configured.
    Timeout,
    /// The operating system returned no random bytes.
    Random,
    /// The response head is already sent, so this request can change nothing any more.
    Closed,
    /// A login was refused; see [`Outcome::accepted`](crate::Outcome::accepted).
    Refused,
    /// The data of a session would exceed the limit; nothing was changed.
    TooLarge,
    /// The session ended while the request was in flight; nothing was written.
    Ended,
}

impl Error {
    /// An error of this kind. The message should be lower case, without a full stop, and must
    /// contain no secrets.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// A failed store call; backends wrap their driver's errors in it.
    ///
    /// The source is logged, so it must not quote session data, as errors of JSON or SQL decoders
    /// may.
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

    /// Whether the backend failed or did not answer, as opposed to a mistake by the caller.
    pub const fn is_store_failure(&self) -> bool {
        matches!(self.kind, ErrorKind::Store | ErrorKind::Timeout)
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
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
