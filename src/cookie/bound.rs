//! The bound cookie: a second, short-lived one, by which a device proves itself (B4).

use std::{io::Write, time::Duration};

use http::HeaderMap;

use super::{SessionCookie, write::imf_fixdate};
use crate::Timestamp;

impl SessionCookie {
    /// The bound cookie beside this one: the same attributes, and `-bound` after the name.
    pub(crate) fn bound(&self) -> Self {
        match Self::new(&format!("{}-bound", self.name), &self.attributes, self.secure) {
            Ok(bound) => bound,
            Err(_) => unreachable!("the attributes are those of a cookie that exists"),
        }
    }

    /// The attributes as the instructions for the browser have them.
    pub(crate) fn attributes(&self) -> &str {
        self.attributes.trim_start_matches("; ")
    }

    /// Sets the bound cookie, which is valid for this long, until its value says so.
    ///
    /// The browser drops it up to five seconds earlier, and refreshes it. It counts from the moment
    /// at which it gets the cookie, and a request takes its time: one that it sends with the old
    /// cookie at the last moment must not arrive too late.
    pub(crate) fn issue_bound(
        &self,
        headers: &mut HeaderMap,
        value: &str,
        lifetime: Duration,
        now: Timestamp,
    ) {
        let (name, attributes) = (&self.name, &self.attributes);
        let seconds = lifetime.as_secs() - (lifetime.as_secs() / 60).min(5);
        let until = imf_fixdate((now + Duration::from_secs(seconds)).unix_seconds_ceil());
        let mut text = Vec::with_capacity(name.len() + value.len() + attributes.len() + 64);
        // Writing to a Vec cannot fail.
        let _ = write!(text, "{name}={value}{attributes}; Expires={until}; Max-Age={seconds}");
        self.set_text(headers, text);
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    /// The dates agree, as those of the session cookie (C2), and say so a little early.
    #[test]
    fn b4_the_bound_cookie_expires_a_little_before_its_value_does() {
        for (lifetime, max_age, expires) in
            [(600, 595, "00:09:55"), (60, 59, "00:00:59"), (59, 59, "00:00:59")]
        {
            let mut headers = HeaderMap::new();
            let lifetime = Duration::from_secs(lifetime);
            SessionCookie::default().bound().issue_bound(&mut headers, "x", lifetime, Timestamp::UNIX_EPOCH);
            let line = headers[header::SET_COOKIE].to_str().unwrap();
            let dates = format!("; Expires=Thu, 01 Jan 1970 {expires} GMT; Max-Age={max_age}");
            assert!(line.starts_with("__Host-id-bound=x; ") && line.ends_with(&dates), "{line}");
        }
    }
}
