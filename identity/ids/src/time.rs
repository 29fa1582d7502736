//! Time as whole milliseconds since 1970-01-01T00:00:00Z, and days of the proleptic Gregorian calendar.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, NaiveDate, SecondsFormat};
use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// This moment moved by `seconds` (negative: earlier), saturating.
    pub const fn plus_secs(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    /// The UTC day that contains this moment.
    pub const fn date(self) -> Date {
        Date(self.0.div_euclid(86_400_000) as i32)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds, UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::from_timestamp_millis(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true)),
            None => write!(f, "@{}ms", self.0),
        }
    }
}

/// Why a text is not a moment.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error(
    "this is not a moment: expected RFC 3339 such as `2026-05-31T23:59:59Z`, or a day, which means its first moment in UTC"
)]
pub struct TimestampRefused;

impl FromStr for Timestamp {
    type Err = TimestampRefused;

    /// RFC 3339 with any offset, cut to milliseconds, or `YYYY-MM-DD` for the first moment of that day in UTC.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(day) = text.parse::<Date>() {
            return Ok(Self(i64::from(day.as_days()) * 86_400_000));
        }
        let moment = DateTime::parse_from_rfc3339(text).map_err(|_| TimestampRefused)?;
        Ok(Self(moment.timestamp_millis()))
    }
}

/// A calendar day, counted from 1970-01-01 (day 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Date(i32);

/// Why a text is not a day.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a date: expected `YYYY-MM-DD`")]
pub struct DateRefused {
    text: String,
}

impl Date {
    /// From days since 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// This day moved by `days`, saturating.
    pub const fn plus_days(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// Year, month (1–12) and day of month (1–31).
    pub fn ymd(self) -> (i32, u32, u32) {
        use chrono::Datelike;
        let day = NaiveDate::from_epoch_days(self.0).unwrap_or(if self.0 < 0 {
            NaiveDate::MIN
        } else {
            NaiveDate::MAX
        });
        (day.year(), day.month(), day.day())
    }

    /// From year, month and day of month; `None` where the calendar has no such day.
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        NaiveDate::from_ymd_opt(year, month, day).map(|day| Self(day.to_epoch_days()))
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl FromStr for Date {
    type Err = DateRefused;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || DateRefused { text: text.to_owned() };
        let shape = text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| refused())?;
        if shape { Ok(Self(day.to_epoch_days())) } else { Err(refused()) }
    }
}

impl From<Date> for String {
    fn from(date: Date) -> Self {
        date.to_string()
    }
}

impl TryFrom<String> for Date {
    type Error = DateRefused;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// The machine's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that moves only when told to; clones share one hand. For tests and for replaying the past.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self(Arc::new(AtomicI64::new(start.0)))
    }

    /// Moves the hand forward by `millis`.
    pub fn advance_millis(&self, millis: u32) {
        self.0.fetch_add(i64::from(millis), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_and_parses_days() {
        for (text, days) in
            [("1970-01-01", 0), ("1969-12-31", -1), ("2017-02-28", 17_225), ("2000-02-29", 11_016)]
        {
            assert_eq!(text.parse(), Ok(Date::from_days(days)));
            assert_eq!(Date::from_days(days).to_string(), text);
        }
        for text in ["2017-02-29", "17-02-01", "2017-2-1", "+2017-02-01", ""] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }

    #[test]
    fn moments_parse() {
        for (text, millis) in [
            ("2017-01-01T11:53:26.000Z", 1_483_271_606_000),
            ("2017-01-01T16:53:26+05:00", 1_483_271_606_000),
            ("1970-01-02", 86_400_000),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(millis)), "{text}");
        }
        for text in ["", "2017-01-01 11:53", "2017-13-01", "yesterday"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_belongs_to_its_utc_day() {
        assert_eq!(Timestamp::from_millis(-1).date().to_string(), "1969-12-31");
        assert_eq!(Timestamp::from_millis(1_483_271_606_000).to_string(), "2017-01-01T11:53:26.000Z");
    }
}
