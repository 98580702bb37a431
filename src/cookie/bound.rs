//! The bound cookie: a second, short-lived one, by which a device proves itself (B4).

use std::{io::Write, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{SessionCookie, write::imf_fixdate};
use crate::{Error, Timestamp};

impl SessionCookie {
    /// The bound cookie beside this one: the same attributes, and `-bound` after the name.
    pub(crate) fn bound(&self) -> Result<Self, Error> {
        Self::new(&format!("{}-bound", self.name), &self.attributes, self.secure)
    }

    /// The attributes as the instructions for the browser have them.
    pub(crate) fn attributes(&self) -> &str {
        self.attributes.trim_start_matches("; ")
    }

    /// Hands over each value of a bound cookie that has this many characters, and an empty one for
    /// each other value.
    pub(crate) fn read_bound(&self, headers: &HeaderMap, chars: usize, found: impl FnMut(&[u8])) {
        self.each_value(headers, chars, found);
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
        match HeaderValue::from_maybe_shared(Bytes::from(text)) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.set(headers, value);
            }
            Err(_) => unreachable!("name, value and attributes are visible ASCII"),
        }
    }
}
