//! The parameters that define the buckets of a query: `bucket` (their length), `tz` (their time zone) and `align` (where
//! they start).

use std::str::FromStr;

use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer, de};

use super::super::aggregate::{Calendar, Grid, Stride};
use super::super::error::Violation;
use super::super::series::MAX_TIMESTAMP;
use crate::clock::UnixMillis;
use crate::config::value::{Span, Zone};
use crate::http::times::{QueryTime, text_or_integer};

/// A bucket length: `15m` and `1h` are elapsed time; `1d`, `2w`, `1mo` and `1y` are calendar units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum BucketLength {
    /// Milliseconds, at least 1.
    Elapsed(i64),
    Calendar(Stride),
}

impl BucketLength {
    /// The maximum number of calendar units. The calendar ends with the year 9999, so longer buckets have no use.
    const MAX_UNITS: i32 = 9_999;

    /// The grid of such buckets. They start at `anchor` (Unix milliseconds), or else at the usual boundaries of the
    /// zone, such as midnight or the first of the month.
    ///
    /// # Errors
    /// [`Violation`] if the buckets do not divide a local day.
    pub(in crate::features::timeseries) fn grid(
        self,
        zone: Option<&Zone>,
        anchor: Option<UnixMillis>,
    ) -> Result<Grid, Violation> {
        const DAY: i64 = 86_400_000;
        /// 29 December 1969, a Monday.
        const MONDAY: UnixMillis = -3 * DAY;
        let elapsed = |width, usual| Grid::Elapsed { width, anchor: anchor.unwrap_or(usual) };
        if matches!(self, Self::Elapsed(width) if zone.is_some() && anchor.is_none() && DAY % width != 0) {
            let rule = "must divide 24 hours if it is elapsed time and `tz` is given";
            return Err(Violation::new("bucket", rule));
        }
        // All days have the same length in UTC.
        let zone = zone.filter(|zone| zone.0 != TimeZone::UTC);
        Ok(match (self, zone) {
            (Self::Elapsed(width), Some(Zone(zone))) if anchor.is_none() => {
                Grid::within_day(Calendar::new(zone.clone(), Stride::Days(1), None), width)
            }
            (Self::Elapsed(width), _) => elapsed(width, 0),
            (Self::Calendar(Stride::Days(days)), None) => elapsed(DAY * i64::from(days), 0),
            (Self::Calendar(Stride::Weeks(weeks)), None) => elapsed(7 * DAY * i64::from(weeks), MONDAY),
            (Self::Calendar(stride), zone) => {
                let zone = zone.map_or(TimeZone::UTC, |zone| zone.0.clone());
                Grid::Calendar(Calendar::new(zone, stride, anchor))
            }
        })
    }
}

impl FromStr for BucketLength {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let stride = match unit {
            "d" => Stride::Days,
            "w" => Stride::Weeks,
            "mo" => Stride::Months,
            "y" => |years| Stride::Months(12 * years),
            "ms" | "s" | "m" | "h" => {
                let span: Span = text.parse()?;
                return match i64::try_from(span.as_millis()) {
                    Ok(ms @ 1..=MAX_TIMESTAMP) => Ok(Self::Elapsed(ms)),
                    _ => Err(format!("must be between 1 and {MAX_TIMESTAMP} ms, got `{text}`")),
                };
            }
            _ => {
                return Err(format!("must be an integer and a unit (ms, s, m, h, d, w, mo or y), got `{text}`"));
            }
        };
        match number.parse() {
            Ok(count @ 1..=Self::MAX_UNITS) => Ok(Self::Calendar(stride(count))),
            _ => Err(format!("must be between 1 and {} days, weeks, months or years, got `{text}`", Self::MAX_UNITS)),
        }
    }
}

impl<'de> Deserialize<'de> for BucketLength {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A time at which a bucket starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Align {
    /// The start of the window.
    Start,
    /// The end of the window.
    End,
    /// Unix milliseconds, of any sign.
    At(UnixMillis),
    /// RFC 3339, `now`, or a time relative to now.
    Time(QueryTime),
}

impl FromStr for Align {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            _ => match text.parse::<i64>() {
                Ok(ms) if (-MAX_TIMESTAMP..=MAX_TIMESTAMP).contains(&ms) && !text.starts_with('+') => Ok(Self::At(ms)),
                Ok(_) => Err(format!("must be between -{MAX_TIMESTAMP} and {MAX_TIMESTAMP}, got {text}")),
                Err(_) => text.parse().map(Self::Time).map_err(|error| format!("{error}, or `start` or `end`")),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Align {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text_or_integer(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_has_a_number_and_a_unit() {
        for (text, length) in [
            ("1ms", BucketLength::Elapsed(1)),
            ("15m", BucketLength::Elapsed(900_000)),
            ("36h", BucketLength::Elapsed(129_600_000)),
            ("1d", BucketLength::Calendar(Stride::Days(1))),
            ("2w", BucketLength::Calendar(Stride::Weeks(2))),
            ("3mo", BucketLength::Calendar(Stride::Months(3))),
            ("1y", BucketLength::Calendar(Stride::Months(12))),
            ("9999y", BucketLength::Calendar(Stride::Months(119_988))),
        ] {
            assert_eq!(text.parse(), Ok(length), "{text}");
        }
    }

    #[test]
    fn a_bucket_is_neither_empty_nor_endless() {
        for bad in
            ["0s", "0d", "15", "", "-1h", "1.5d", "1M", "1 d", "mo", "10000y", "99999999999d", "9007199254740992ms"]
        {
            assert!(bad.parse::<BucketLength>().is_err(), "{bad}");
        }
    }

    #[test]
    fn zones_have_names_of_the_database() {
        for good in ["Asia/Bangkok", "Europe/Berlin", "Australia/Lord_Howe", "UTC"] {
            assert!(good.parse::<Zone>().is_ok(), "{good}");
        }
        for bad in
            ["", "Asia/Bangkokk", "+07:00", "../../etc/passwd", "/etc/localtime", "posixrules\0", &"x".repeat(999)]
        {
            assert!(bad.parse::<Zone>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_alignment_is_an_end_or_a_time() {
        for (text, align) in [
            ("start", Align::Start),
            ("end", Align::End),
            ("0", Align::At(0)),
            ("-25200000", Align::At(-25_200_000)),
            ("-24h", Align::Time(QueryTime::Ago(86_400_000))),
            ("2026-01-15T00:00:00+07:00", Align::Time(QueryTime::At(1_768_410_000_000))),
            ("2026-01-15", Align::Time(QueryTime::At(1_768_435_200_000))),
        ] {
            assert_eq!(text.parse(), Ok(align), "{text}");
        }
        for bad in ["", "begin", "1.5", "+5", "9007199254740992", "-9007199254740992", "2026-13-01"] {
            assert!(bad.parse::<Align>().is_err(), "{bad}");
        }
    }
}
