//! Points in time, as they are handed in.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::id::InvalidId;

/// Milliseconds since 1970-01-01 UTC. Written in documents as RFC 3339 with `Z`, such as `2026-11-21T08:00:00Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

/// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can write.
const LAST_MILLISECOND: u64 = 253_402_300_799_999;

impl Timestamp {
    /// A time from milliseconds since 1970; times after the year 9999 are cut to its end.
    pub fn from_unix_milliseconds(milliseconds: u64) -> Self {
        Self(milliseconds.min(LAST_MILLISECOND))
    }

    /// A time from whole seconds since 1970.
    pub fn from_unix_seconds(seconds: u64) -> Self {
        Self::from_unix_milliseconds(seconds.saturating_mul(1000))
    }

    /// Milliseconds since 1970.
    pub fn unix_milliseconds(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970, rounded down.
    pub fn unix_seconds(self) -> u64 {
        self.0 / 1000
    }

    /// The same time without its fraction of a second, as documents write it.
    pub fn whole_seconds(self) -> Self {
        Self(self.0 / 1000 * 1000)
    }

    /// This time and `duration` more; ends at the year 9999.
    pub fn plus(self, duration: Duration) -> Self {
        Self::from_unix_milliseconds(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// The same moment by a clock that stepped by so many milliseconds since it was noted.
    pub fn stepped(self, by_ms: i64) -> Self {
        Self::from_unix_milliseconds(self.0.saturating_add_signed(by_ms))
    }

    /// That much earlier, at most the beginning of time.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self::from_unix_milliseconds(self.unix_milliseconds().saturating_sub(milliseconds))
    }

    /// The time that passed since `earlier`; zero when `earlier` lies ahead, because clocks step back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|t| t.format(&Rfc3339).ok())
            .ok_or(fmt::Error)?;
        f.write_str(&text)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = || InvalidId::new("time", "RFC 3339 in UTC after 1970, such as 2026-11-21T08:00:00Z", text);
        if !text.ends_with('Z') {
            return Err(wrong());
        }
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| wrong())?;
        u64::try_from(time.unix_timestamp_nanos() / 1_000_000).map(Self).map_err(|_| wrong())
    }
}

impl TryFrom<String> for Timestamp {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_what_it_writes() {
        for text in ["2026-11-21T08:00:00Z", "1970-01-01T00:00:00Z", "2026-11-21T08:00:00.25Z"] {
            assert_eq!(text.parse::<Timestamp>().expect("valid").to_string(), text);
        }
        for bad in ["", "2026-11-21", "2026-11-21T08:00:00+01:00", "1969-12-31T23:59:59Z", "2026-13-01T00:00:00Z"] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
