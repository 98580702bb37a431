//! A moment, to the millisecond.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{
    OffsetDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

/// A moment in time, in whole milliseconds since the Unix epoch.
///
/// Every store keeps milliseconds exactly, so a timestamp comes back from a store unchanged.
/// Arithmetic saturates and never panics.
///
/// In JSON it is text as in RFC 3339, with milliseconds and in UTC. In binary formats it is the
/// number of milliseconds, as it is in JSON outside of the years 0 to 9999. From JSON it reads
/// both.
///
/// # Example
///
/// ```
/// use std::time::Duration;
/// use tower_tenure::Timestamp;
///
/// let start = Timestamp::from_unix_millis(1_700_000_000_000);
/// let later = start + Duration::from_secs(90);
/// assert_eq!(later.since(start), Duration::from_secs(90));
/// assert_eq!(start.since(later), Duration::ZERO);
/// assert_eq!(start.to_string(), "2023-11-14T22:13:20.000Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

const ISO_8601: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

impl Timestamp {
    /// The Unix epoch, 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    const YEAR_0: i64 = -62_167_219_200_000;
    const YEAR_10000: i64 = 253_402_300_800_000;

    /// The moment this many milliseconds after the Unix epoch (before it, when negative).
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded towards the past.
    pub const fn unix_seconds_floor(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole seconds since the Unix epoch, rounded towards the future.
    pub const fn unix_seconds_ceil(self) -> i64 {
        let up = if self.0.rem_euclid(1000) == 0 { 0 } else { 1 };
        self.unix_seconds_floor() + up
    }

    /// This many milliseconds later; saturates at the end of representable time.
    pub(crate) const fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add_unsigned(millis))
    }

    /// How long ago `earlier` was; zero when it was not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Saturates at the end of representable time.
impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Saturates at the beginning of representable time.
impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Rounds down to the millisecond.
impl From<OffsetDateTime> for Timestamp {
    fn from(moment: OffsetDateTime) -> Self {
        let millis = moment.unix_timestamp_nanos().div_euclid(1_000_000);
        Self(i64::try_from(millis).unwrap_or(if millis < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// Clamped to the years from -9999 to 9999.
impl From<Timestamp> for OffsetDateTime {
    fn from(moment: Timestamp) -> Self {
        Self::from_unix_timestamp_nanos(i128::from(moment.0) * 1_000_000).unwrap_or(if moment.0 < 0 {
            time::PrimitiveDateTime::MIN.assume_utc()
        } else {
            time::PrimitiveDateTime::MAX.assume_utc()
        })
    }
}

/// ISO 8601 with milliseconds, in UTC: `2023-11-14T22:13:20.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&OffsetDateTime::from(*self).format(ISO_8601).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Text has no other years, and what is read back must be the same.
        if serializer.is_human_readable() && (Self::YEAR_0..Self::YEAR_10000).contains(&self.0) {
            serializer.collect_str(self)
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Millis(i64),
            Text(String),
        }
        if !deserializer.is_human_readable() {
            return i64::deserialize(deserializer).map(Self);
        }
        match Form::deserialize(deserializer)? {
            Form::Millis(millis) => Ok(Self(millis)),
            Form::Text(text) => {
                let moment = OffsetDateTime::parse(&text, &Rfc3339);
                moment.map(Self::from).map_err(|_| de::Error::custom("not a moment as in RFC 3339"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_time_neither_panic_nor_wrap() {
        for millis in [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX] {
            let moment = Timestamp::from_unix_millis(millis);
            assert!(moment + Duration::MAX >= moment);
            assert!(moment - Duration::MAX <= moment);
            let _ = moment.since(Timestamp::UNIX_EPOCH);
            let _ = moment.to_string();
        }
    }

    #[test]
    fn seconds_round_to_the_named_side_also_before_the_epoch() {
        for (millis, floor, ceil) in
            [(0, 0, 0), (1, 0, 1), (999, 0, 1), (1000, 1, 1), (-1, -1, 0), (-1000, -1, -1)]
        {
            let moment = Timestamp::from_unix_millis(millis);
            assert_eq!((moment.unix_seconds_floor(), moment.unix_seconds_ceil()), (floor, ceil));
        }
    }

    #[test]
    fn json_has_text_and_is_read_back_also_from_milliseconds() {
        let moment = Timestamp::from_unix_millis(1_700_000_000_123);
        let json = serde_json::to_string(&moment).unwrap();
        assert_eq!(json, "\"2023-11-14T22:13:20.123Z\"");
        for text in [&*json, "1700000000123", "\"2023-11-14T23:13:20.123+01:00\""] {
            assert_eq!(serde_json::from_str::<Timestamp>(text).unwrap(), moment, "{text}");
        }
        for millis in [
            i64::MIN,
            Timestamp::YEAR_0 - 1,
            Timestamp::YEAR_0,
            -1,
            Timestamp::YEAR_10000 - 1,
            Timestamp::YEAR_10000,
            i64::MAX,
        ] {
            let moment = Timestamp::from_unix_millis(millis);
            let json = serde_json::to_string(&moment).unwrap();
            assert_eq!(serde_json::from_str::<Timestamp>(&json).unwrap(), moment, "{json}");
        }
        for wrong in ["\"yesterday\"", "\"\"", "1.5", "null"] {
            assert!(serde_json::from_str::<Timestamp>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_calendar_form_comes_back_to_the_millisecond() {
        for millis in [-1, 0, 1, 1_700_000_000_123] {
            let moment = Timestamp::from_unix_millis(millis);
            assert_eq!(Timestamp::from(OffsetDateTime::from(moment)), moment);
        }
    }
}
