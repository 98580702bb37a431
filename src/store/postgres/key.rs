//! Names of session data as PostgreSQL takes them: without NUL.

use std::borrow::Cow;

/// Writes a NUL as two letters, and the first of these as two, too.
pub(super) fn escape(name: &str) -> Cow<'_, str> {
    if name.contains(['\0', '\u{1}']) {
        name.replace('\u{1}', "\u{1}1").replace('\0', "\u{1}0").into()
    } else {
        name.into()
    }
}

/// Undoes [`escape`].
pub(super) fn unescape(name: &str) -> Cow<'_, str> {
    if name.contains('\u{1}') {
        name.replace("\u{1}0", "\0").replace("\u{1}1", "\u{1}").into()
    } else {
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_name_comes_back_and_two_stay_two(one in "[\0\u{1}01a]{0,6}", other in "[\0\u{1}01a]{0,6}") {
            let escaped = escape(&one);
            prop_assert!(!escaped.contains('\0'));
            prop_assert_eq!(unescape(&escaped), one.as_str());
            prop_assert_eq!(escape(&other) == escaped, one == other);
        }
    }
}
