//! The calls to a store, and how they end.

use std::fmt;

use crate::{Error, ErrorKind};

/// The calls to a store, by the names of [`SessionStore`](crate::SessionStore)'s functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names of the functions")]
#[non_exhaustive]
pub enum Operation {
    Create,
    Load,
    Update,
    End,
    EndMany,
    Revoke,
    NotBefore,
    List,
    Sweep,
    Reschedule,
    Time,
}

impl Operation {
    #[cfg(feature = "metrics")]
    pub(crate) const ALL: [Self; 11] = [
        Self::Create,
        Self::Load,
        Self::Update,
        Self::End,
        Self::EndMany,
        Self::Revoke,
        Self::NotBefore,
        Self::List,
        Self::Sweep,
        Self::Reschedule,
        Self::Time,
    ];

    /// The function's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Load => "load",
            Self::Update => "update",
            Self::End => "end",
            Self::EndMany => "end_many",
            Self::Revoke => "revoke",
            Self::NotBefore => "not_before",
            Self::List => "list",
            Self::Sweep => "sweep",
            Self::Reschedule => "reschedule",
            Self::Time => "time",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a call to a store ended, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    Ok,
    Error,
    Timeout,
    #[cfg(feature = "metrics")]
    Cancelled,
}

#[cfg(feature = "metrics")]
impl CallOutcome {
    pub(crate) const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::Timeout, Self::Cancelled];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

impl<T> From<&Result<T, Error>> for CallOutcome {
    fn from(result: &Result<T, Error>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(error) if error.kind() == ErrorKind::Timeout => Self::Timeout,
            Err(_) => Self::Error,
        }
    }
}
