//! Finds the session cookie in a request (C5).

use http::{HeaderMap, header};
use smallvec::SmallVec;

use super::SessionCookie;
use super::Token;
use crate::SessionId;

/// The values that a request has under the cookie's name.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// In place where there is one, as in most requests: this is moved on its way to the store.
    tokens: SmallVec<[Token; 1]>,
    /// Whether there was a cookie of this name at all, malformed ones included.
    pub(crate) brought: bool,
    /// Whether there were more well-formed values than are looked at.
    pub(crate) has_more: bool,
}

impl Candidates {
    /// How many well-formed values may reach the store. A browser legitimately sends at most two:
    /// one host-only and one of a parent domain, or two with different paths.
    pub(crate) const MAX: usize = 3;

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    fn add(&mut self, value: &[u8], is_wanted: impl Fn(SessionId) -> bool) {
        self.brought = true;
        let Some(token) = Token::parse(value) else { return };
        if !is_wanted(token.sid()) {
            self.has_more = true;
            return;
        }
        if self.tokens.iter().any(|known| known.same(&token)) {
            return;
        }
        if self.tokens.len() < Self::MAX { self.tokens.push(token) } else { self.has_more = true }
    }
}

impl SessionCookie {
    /// Reads every `Cookie` line and every duplicate, in their order (C5).
    ///
    /// Searches for the name rather than splitting at semicolons: a substring search scans a
    /// megabyte of other cookies in about ten microseconds, a parser in milliseconds. Allocates only
    /// for a second session cookie.
    pub(crate) fn read(&self, headers: &HeaderMap) -> Candidates {
        self.read_those(headers, |_| true)
    }

    /// The same, of certain sessions only.
    pub(crate) fn read_those(
        &self,
        headers: &HeaderMap,
        is_wanted: impl Fn(SessionId) -> bool,
    ) -> Candidates {
        let mut found = Candidates::default();
        self.each_value(headers, Token::CHARS, |value| found.add(value, &is_wanted));
        found
    }

    /// Hands over each value under the cookie's name that has this many characters, and an empty
    /// one for each other value.
    pub(crate) fn each_value(&self, headers: &HeaderMap, chars: usize, mut found: impl FnMut(&[u8])) {
        for line in headers.get_all(header::COOKIE) {
            let line = line.as_bytes();
            // Not `find_iter`, which copies the finder: 150 instructions for a usual line.
            let mut from = 0;
            while let Some(at) = self.finder.find(&line[from..]) {
                if let Some(value) = self.value_at(line, from + at, chars) {
                    found(value);
                }
                from += at + self.name.len();
            }
        }
    }

    /// The value of the cookie whose name is at `at`, if a cookie's name can be there.
    fn value_at<'a>(&self, line: &'a [u8], at: usize, chars: usize) -> Option<&'a [u8]> {
        let before = line[..at].trim_ascii_end();
        let after = line[at + self.name.len()..].strip_prefix(b"=")?;
        if !(before.is_empty() || before.ends_with(b";")) {
            return None;
        }
        // A longer or shorter value is malformed, and need not be read.
        let ended = |rest: &&[u8]| rest.trim_ascii_start().first().is_none_or(|byte| *byte == b';');
        let value = after.split_at_checked(chars).filter(|(_, rest)| ended(rest));
        Some(value.map_or(&[], |(value, _)| value))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const A: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn read(lines: &[&[u8]]) -> (usize, bool) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        let found = SessionCookie::default().read(&headers);
        let brought = found.brought;
        (found.tokens().len(), brought)
    }

    #[test]
    fn c5_every_line_and_every_duplicate_is_read_up_to_three() {
        let cookie = |first: char| format!("__Host-id={first}{}", &A[1..]);
        let (a, b, c, d) = (cookie('A'), cookie('B'), cookie('C'), cookie('D'));
        assert_eq!(read(&[]), (0, false));
        assert_eq!(read(&[b"other=1; more=2"]), (0, false));
        assert_eq!(read(&[a.as_bytes()]), (1, true));
        assert_eq!(read(&[format!("x=y;  {a} ; z=1").as_bytes()]), (1, true));
        assert_eq!(read(&[format!("{a}; {b}").as_bytes(), c.as_bytes()]), (3, true));
        assert_eq!(read(&[format!("{a};{a};{a}; {b}; {b}").as_bytes()]), (2, true), "copies count once");
        assert_eq!(read(&[format!("{a}; {b}; {c}; {d}").as_bytes()]), (3, true));
    }

    #[test]
    fn c5_malformed_values_are_seen_but_never_reach_the_store() {
        let long = format!("__Host-id={A}A");
        let short = format!("__Host-id={}", &A[1..]);
        let quoted = format!("__Host-id=\"{A}\"");
        let padded = format!("__Host-id={}=", &A[1..]);
        let standard = format!("__Host-id=+{}", &A[1..]);
        let lines: [&[u8]; 8] = [
            long.as_bytes(),
            short.as_bytes(),
            quoted.as_bytes(),
            padded.as_bytes(),
            standard.as_bytes(),
            b"__Host-id=",
            b"__Host-id=\xff\xfe",
            b"__Host-id=; a=b",
        ];
        for line in lines {
            assert_eq!(read(&[line]), (0, true), "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn c5_a_name_inside_something_else_is_not_ours() {
        for line in [
            "my__Host-id=",
            "__Host-idx=",
            "a=__Host-id=",
            "a=b __Host-id=",
            "__host-id=",
            "__Host-id =",
            "a=b\t__Host-id=",
        ] {
            assert_eq!(read(&[format!("{line}{A}").as_bytes()]), (0, false), "{line}");
        }
    }
}
