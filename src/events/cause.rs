//! The causes of an error, as one line.

use std::{error::Error, fmt};

/// All sources of an error, outermost first, with `: ` between them.
#[derive(Debug)]
pub(crate) struct Causes<'a>(&'a (dyn Error + 'static));

impl<'a> Causes<'a> {
    /// `None` for an error without a source.
    pub(crate) fn of(error: &'a dyn Error) -> Option<Self> {
        error.source().map(Self)
    }
}

/// Errors that repeat their source at the end of their own text are common; that source is left
/// out.
impl fmt::Display for Causes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = self.0.to_string();
        f.write_str(&said)?;
        let mut next = self.0.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            next = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Layered(&'static str, Option<Box<Layered>>);

    impl fmt::Display for Layered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Layered {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|source| source as _)
        }
    }

    #[test]
    fn o3_the_whole_chain_is_shown_without_repeating_itself() {
        let refused = Layered("connection refused", None);
        let connect = Layered("db error: connection refused", Some(Box::new(refused)));
        let pool = Layered("no connection from the pool", Some(Box::new(connect)));
        let error = crate::Error::store(pool);
        let causes = Causes::of(&error).unwrap().to_string();
        assert_eq!(causes, "no connection from the pool: db error: connection refused");
        assert!(Causes::of(&crate::Error::new(crate::ErrorKind::Timeout, "late")).is_none());
    }
}
