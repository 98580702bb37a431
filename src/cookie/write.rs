//! Sets and removes the cookie in a response (C2, C3, C4, C8).

use std::{
    io::Write,
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use httpdate::HttpDate;

use super::SessionCookie;
use super::Token;
use crate::{Timestamp, record::Mode};

/// RFC 6265bis, section 5.5: browsers cap a cookie's life at 400 days.
const LONGEST: Duration = Duration::from_secs(400 * 24 * 3600);

const EXPIRES: &str = "; Expires=";
const DATE_CHARS: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();
const MAX_AGE: &str = "; Max-Age=";
/// 400 days are 34,560,000 seconds.
const SECONDS_CHARS: usize = 8;

impl SessionCookie {
    /// Sets the cookie in a response: with `Expires` and `Max-Age` if persistent, else with neither
    /// (C2).
    pub(crate) fn issue(
        &self,
        headers: &mut HeaderMap,
        token: &Token,
        mode: Mode,
        deadline: Timestamp,
        now: Timestamp,
    ) {
        let room = self.name.len() + 1 + Token::CHARS + self.attributes.len();
        let dates = EXPIRES.len() + DATE_CHARS + MAX_AGE.len() + SECONDS_CHARS;
        let mut text = Vec::with_capacity(room + if mode == Mode::Persistent { dates } else { 0 });
        text.extend_from_slice(self.name.as_bytes());
        text.push(b'=');
        token.write_to(&mut text);
        text.extend_from_slice(self.attributes.as_bytes());
        if mode == Mode::Persistent {
            let now = now.unix_seconds_floor();
            let expires = expires(deadline).min(now.saturating_add_unsigned(LONGEST.as_secs()));
            let max_age = expires.saturating_sub(now).max(0);
            // Writing to a Vec cannot fail.
            let _ = write!(text, "{EXPIRES}{}{MAX_AGE}{max_age}", imf_fixdate(expires));
        }
        self.set_text(headers, text);
    }

    /// Sets the cookie by a line that has a secret in it.
    pub(super) fn set_text(&self, headers: &mut HeaderMap, text: Vec<u8>) {
        match HeaderValue::from_maybe_shared(Bytes::from(text)) {
            Ok(mut value) => {
                value.set_sensitive(true); // Debug must not print it, HPACK must not index it
                self.set(headers, value);
            }
            Err(_) => unreachable!("name, value and attributes are visible ASCII"),
        }
    }

    /// Removes the cookie from the browser, with the attributes that set it (C4).
    pub(crate) fn remove(&self, headers: &mut HeaderMap) {
        self.set(headers, self.removal.clone());
    }

    fn set(&self, headers: &mut HeaderMap, value: HeaderValue) {
        self.drop_ours(headers);
        headers.append(header::SET_COOKIE, value);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        drop_other_cache_controls(headers);
    }

    /// Removes `Set-Cookie` lines of this name, also those of the handler; others stay (C3).
    fn drop_ours(&self, headers: &mut HeaderMap) {
        let ours = |value: &HeaderValue| {
            // Browsers drop white space around the name (RFC 6265bis, section 5.6).
            let rest = value.as_bytes().trim_ascii_start().strip_prefix(self.name.as_bytes());
            rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
        };
        if headers.get_all(header::SET_COOKIE).iter().any(ours)
            && let header::Entry::Occupied(entry) = headers.entry(header::SET_COOKIE)
        {
            let (name, values) = entry.remove_entry_mult();
            let others: Vec<_> = values.filter(|value| !ours(value)).collect();
            for value in others {
                headers.append(&name, value);
            }
        }
    }
}

/// Removes the headers by which a cache in front decides in place of `Cache-Control`: targeted ones
/// (RFC 9213: `CDN-Cache-Control`, and those of one vendor that end like it), and their forerunners.
fn drop_other_cache_controls(headers: &mut HeaderMap) {
    const FORERUNNERS: [&str; 3] = ["surrogate-control", "edge-control", "x-accel-expires"];
    let is_one = |name: &&HeaderName| {
        name.as_str().ends_with("cdn-cache-control") || FORERUNNERS.contains(&name.as_str())
    };
    let found: Vec<HeaderName> = headers.keys().filter(is_one).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// The second at which the browser drops the cookie: the deadline rounded up, so the cookie never
/// dies before the session.
const fn expires(deadline: Timestamp) -> i64 {
    deadline.unix_seconds_ceil()
}

/// Adds `Cookie` to `Vary` (C8).
pub(crate) fn varies_by_cookie(headers: &mut HeaderMap) {
    let mut entry = match headers.entry(header::VARY) {
        header::Entry::Vacant(entry) => {
            entry.insert(HeaderValue::from_static("cookie"));
            return;
        }
        header::Entry::Occupied(entry) => entry,
    };
    let mut names = entry.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    if names
        .any(|name| matches!(name.trim_ascii(), b"*") || name.trim_ascii().eq_ignore_ascii_case(b"cookie"))
    {
        return;
    }
    let mut merged = Vec::new();
    for line in entry.iter() {
        merged.extend_from_slice(line.as_bytes());
        merged.extend_from_slice(b", ");
    }
    merged.extend_from_slice(b"cookie");
    let merged = HeaderValue::from_maybe_shared(Bytes::from(merged));
    entry.insert(merged.unwrap_or(HeaderValue::from_static("*")));
}

/// RFC 9110, section 5.6.7: `Sun, 06 Nov 1994 08:49:37 GMT`, clamped to the years it can represent.
pub(super) fn imf_fixdate(unix_seconds: i64) -> HttpDate {
    const LAST_OF_9999: u64 = 253_402_300_799;
    let seconds = u64::try_from(unix_seconds).unwrap_or(0).min(LAST_OF_9999);
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c2_dates_are_imf_fixdates_and_no_year_panics() {
        assert_eq!(imf_fixdate(784_111_777).to_string(), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(imf_fixdate(i64::MIN).to_string(), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf_fixdate(i64::MAX).to_string(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn c8_vary_is_merged_not_repeated() {
        let vary = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::VARY, HeaderValue::from_static(line));
            }
            varies_by_cookie(&mut headers);
            headers.get_all(header::VARY).iter().map(|v| v.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(vary(&[]), ["cookie"]);
        assert_eq!(vary(&["Accept"]), ["Accept, cookie"]);
        assert_eq!(vary(&["accept", "origin"]), ["accept, origin, cookie"]);
        assert_eq!(vary(&["*"]), ["*"]);
        assert_eq!(vary(&["Accept , COOKIE"]), ["Accept , COOKIE"]);
    }
}
