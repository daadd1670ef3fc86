//! Intervals of candles: which ones Redis stores, and which ones follow from those.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::tape::MINUTE;

pub(super) const DAY: i64 = 86_400_000;

/// The length of a candle. A day begins at midnight in the zone `market.timezone`, the others at multiples of their length
/// in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = MarketResolution)]
pub(super) enum Resolution {
    #[serde(rename = "1m")]
    OneMinute,
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "15m")]
    Quarter,
    #[serde(rename = "30m")]
    HalfHour,
    #[serde(rename = "1h")]
    Hour,
    #[serde(rename = "4h")]
    FourHours,
    #[serde(rename = "1d")]
    Day,
}

/// A series of candles that Redis stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Minutes,
    Quarters,
    Days,
}

/// The candles of one hash, from `begin` to before `end`, Unix milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Period {
    /// The digits of its date: a day for minutes, a month for quarters of an hour, a year for days.
    pub name: String,
    pub begin: UnixMillis,
    pub end: UnixMillis,
}

impl Resolution {
    pub(super) const ALL: [Self; 7] =
        [Self::OneMinute, Self::FiveMinutes, Self::Quarter, Self::HalfHour, Self::Hour, Self::FourHours, Self::Day];

    /// The stored candles from which those of this length follow.
    pub(super) fn stored(self) -> Stored {
        match self {
            Self::OneMinute | Self::FiveMinutes | Self::HalfHour => Stored::Minutes,
            Self::Quarter | Self::Hour | Self::FourHours => Stored::Quarters,
            Self::Day => Stored::Days,
        }
    }

    /// The length in minutes; a day may have more or fewer.
    pub(super) fn minutes(self) -> i64 {
        match self {
            Self::OneMinute => 1,
            Self::FiveMinutes => 5,
            Self::Quarter => 15,
            Self::HalfHour => 30,
            Self::Hour => 60,
            Self::FourHours => 240,
            Self::Day => 1_440,
        }
    }

    /// The beginning of the interval that contains a time.
    pub(super) fn start(self, time: UnixMillis, zone: &TimeZone) -> UnixMillis {
        match self {
            Self::Day => midnight(date(time, zone), zone),
            _ => time - time.rem_euclid(self.minutes() * MINUTE),
        }
    }

    /// The beginning of the first interval that does not begin before a time.
    pub(super) fn next_start(self, time: UnixMillis, zone: &TimeZone) -> UnixMillis {
        match self.start(time, zone) {
            start if start == time => start,
            // A day has at most 25 hours.
            start if self == Self::Day => self.start(start + 26 * 60 * MINUTE, zone),
            start => start + self.minutes() * MINUTE,
        }
    }
}

/// Reads TradingView's names: minutes, or `D` or `1D`.
impl FromStr for Resolution {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let name = if name == "D" { "1D" } else { name };
        let known = Self::ALL.into_iter().find(|resolution| resolution.udf_name() == name);
        known.ok_or_else(|| "must be 1, 5, 15, 30, 60, 240 or 1D".to_owned())
    }
}

impl Resolution {
    /// TradingView's name.
    pub(super) fn udf_name(self) -> String {
        if self == Self::Day { "1D".to_owned() } else { self.minutes().to_string() }
    }
}

impl Stored {
    pub(super) const ALL: [Self; 3] = [Self::Minutes, Self::Quarters, Self::Days];

    /// The name of the series in its keys.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minutes => "1m",
            Self::Quarters => "15m",
            Self::Days => "1d",
        }
    }

    pub(super) fn resolution(self) -> Resolution {
        match self {
            Self::Minutes => Resolution::OneMinute,
            Self::Quarters => Resolution::Quarter,
            Self::Days => Resolution::Day,
        }
    }

    /// How long candles are kept after the end of their period, milliseconds: 8 days, 400 days, 11 years.
    pub(super) fn retention(self) -> i64 {
        match self {
            Self::Minutes => 8 * DAY,
            Self::Quarters => 400 * DAY,
            Self::Days => 11 * 366 * DAY,
        }
    }

    /// The period that contains a time.
    pub(super) fn period(self, time: UnixMillis, zone: &TimeZone) -> Period {
        let zone = if self == Self::Days { zone } else { &TimeZone::UTC };
        let date = date(time, zone);
        let (year, month, day) = (date.year(), date.month(), date.day());
        let (first, last, name) = match self {
            Self::Minutes => (date, date, format!("{year:04}{month:02}{day:02}")),
            Self::Quarters => (date.first_of_month(), date.last_of_month(), format!("{year:04}{month:02}")),
            Self::Days => (date.first_of_year(), date.last_of_year(), format!("{year:04}")),
        };
        Period { name, begin: midnight(first, zone), end: midnight(last.tomorrow().unwrap_or(last), zone) }
    }
}

/// The date of a time; times beyond the calendar, which ends with the year 9999, get its last date.
fn date(time: UnixMillis, zone: &TimeZone) -> Date {
    zone.to_datetime(Timestamp::from_millisecond(time).unwrap_or(Timestamp::MAX)).date()
}

/// The beginning of a date. If the zone skips midnight, this is the moment after the gap.
fn midnight(date: Date, zone: &TimeZone) -> UnixMillis {
    date.to_zoned(zone.clone()).map_or(0, |midnight| midnight.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> UnixMillis {
        text.parse::<Timestamp>().expect(text).as_millisecond()
    }

    #[test]
    fn a_day_is_that_of_the_zone() {
        let bangkok = TimeZone::get("Asia/Bangkok").expect("a zone");
        let (midnight, next) = (ms("2026-01-01T17:00:00Z"), ms("2026-01-02T17:00:00Z"));
        for (time, start) in [(midnight, midnight), (next - 1, midnight), (next, next)] {
            assert_eq!(Resolution::Day.start(time, &bangkok), start);
        }
        assert_eq!(Resolution::Day.next_start(midnight + 1, &bangkok), next);
        let period = Stored::Days.period(ms("2025-12-31T18:00:00Z"), &bangkok);
        assert_eq!((period.name.as_str(), period.begin), ("2026", ms("2025-12-31T17:00:00Z")));
        // Clocks change: 23 and 25 hours.
        let berlin = TimeZone::get("Europe/Berlin").expect("a zone");
        for (time, next) in
            [("2026-03-28T23:30:00Z", "2026-03-29T22:00:00Z"), ("2026-10-24T22:00:01Z", "2026-10-25T23:00:00Z")]
        {
            assert_eq!(Resolution::Day.next_start(ms(time), &berlin), ms(next));
        }
    }

    #[test]
    fn periods_contain_whole_intervals() {
        let zone = TimeZone::UTC;
        let time = ms("2024-02-29T23:59:59.999Z");
        let named = Stored::ALL.map(|stored| stored.period(time, &zone));
        assert_eq!(named.each_ref().map(|period| period.name.as_str()), ["20240229", "202402", "2024"]);
        for (stored, period) in Stored::ALL.into_iter().zip(named) {
            assert!((period.begin..period.end).contains(&time));
            for resolution in Resolution::ALL.into_iter().filter(|resolution| resolution.stored() == stored) {
                for edge in [period.begin, period.end] {
                    assert_eq!(resolution.start(edge, &zone), edge, "{resolution:?}");
                }
            }
        }
    }

    #[test]
    fn a_start_is_not_before_its_time() {
        let zone = TimeZone::UTC;
        for resolution in Resolution::ALL {
            let start = ms("2026-01-02T00:00:00Z");
            assert_eq!(resolution.next_start(start, &zone), start);
            assert_eq!(resolution.next_start(start - 1, &zone), start);
            assert_eq!(resolution.udf_name().parse(), Ok(resolution));
        }
    }
}
