//! Buckets of whole days, weeks and months in a time zone.
//!
//! Boundaries are local times: midnight, unless another anchor is given. A day has the length that it has in the zone,
//! for example 23, 24.5 or 25 hours when clocks change. If the zone skips a boundary, the boundary is the moment after
//! the gap; if a boundary occurs twice, the first one counts, as in RFC 5545.

use jiff::civil::{self, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::point::Bucket;
use crate::clock::UnixMillis;

/// The length of a calendar bucket: at least one unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Stride {
    Days(i32),
    /// Weeks start on Monday.
    Weeks(i32),
    Months(i32),
}

/// A calendar with a boundary at every multiple of a stride from an anchor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Calendar {
    zone: TimeZone,
    anchor: DateTime,
    stride: Stride,
}

impl Calendar {
    /// Strides count from `anchor`. Without one they count from 1 January 1970 in `zone`, and weeks from the Monday
    /// before.
    pub(in crate::features::timeseries) fn new(zone: TimeZone, stride: Stride, anchor: Option<UnixMillis>) -> Self {
        const EPOCH: DateTime = civil::date(1970, 1, 1).at(0, 0, 0, 0);
        const MONDAY: DateTime = civil::date(1969, 12, 29).at(0, 0, 0, 0);
        let usual = if matches!(stride, Stride::Weeks(_)) { MONDAY } else { EPOCH };
        let anchor = anchor.map_or(usual, |anchor| zone.to_datetime(timestamp(anchor)));
        Self { zone, anchor, stride }
    }

    /// The bucket that contains a time.
    pub(in crate::features::timeseries) fn bucket(&self, time: UnixMillis) -> Bucket {
        let index = self.index(time);
        Bucket { start: self.boundary(index), end: self.boundary(index + 1) }
    }

    /// Whether each bucket of `other` consists of whole buckets of this calendar.
    pub(super) fn divides(&self, other: &Self) -> bool {
        self.zone == other.zone
            && match (self.stride, other.stride) {
                (Stride::Days(1), _) => self.anchor.time() == other.anchor.time(),
                (Stride::Days(part), Stride::Days(whole))
                | (Stride::Weeks(part), Stride::Weeks(whole))
                | (Stride::Months(part), Stride::Months(whole)) => whole % part == 0 && self.anchor == other.anchor,
                _ => false,
            }
    }

    /// Whether every boundary is a midnight in UTC.
    pub(super) fn starts_at_midnight_in_utc(&self) -> bool {
        self.zone == TimeZone::UTC && self.anchor.time() == civil::Time::midnight()
    }

    /// The start of the bucket that is `count` buckets before the one that contains `time`.
    pub(in crate::features::timeseries) fn before(&self, time: UnixMillis, count: i64) -> UnixMillis {
        self.boundary(self.index(time).saturating_sub(count))
    }

    /// How many buckets there are from the boundary `start` to `end`.
    pub(in crate::features::timeseries) fn count(&self, start: UnixMillis, end: UnixMillis) -> i64 {
        self.index(end) - self.index(start)
    }

    /// The last boundary at or before a time, as a number of strides from the anchor.
    fn index(&self, time: UnixMillis) -> i64 {
        let local = self.zone.to_datetime(timestamp(time));
        let (distance, stride) = match self.stride {
            Stride::Days(days) => (days_between(self.anchor, local), i64::from(days)),
            Stride::Weeks(weeks) => (days_between(self.anchor, local), i64::from(weeks) * 7),
            Stride::Months(months) => (months_between(self.anchor, local), i64::from(months)),
        };
        let mut index = distance.div_euclid(stride);
        // The estimate is off by one if the time of day or the day of the month is before the anchor's, or if clocks
        // change.
        while self.boundary(index) > time {
            index -= 1;
        }
        while self.boundary(index + 1) <= time {
            index += 1;
        }
        index
    }

    /// The time of a boundary. A boundary outside the calendar's range is before or after all times.
    fn boundary(&self, index: i64) -> UnixMillis {
        let beyond = if index < 0 { UnixMillis::MIN } else { UnixMillis::MAX };
        let moment = || {
            let span = match self.stride {
                Stride::Days(days) => Span::new().try_days(index.checked_mul(i64::from(days))?).ok()?,
                Stride::Weeks(weeks) => Span::new().try_weeks(index.checked_mul(i64::from(weeks))?).ok()?,
                Stride::Months(months) => Span::new().try_months(index.checked_mul(i64::from(months))?).ok()?,
            };
            let local = self.anchor.checked_add(span).ok()?;
            self.zone.to_timestamp(local).ok()
        };
        moment().map_or(beyond, Timestamp::as_millisecond)
    }
}

/// Converts a time. The calendar ends with the year 9999; later times are in its last bucket.
fn timestamp(time: UnixMillis) -> Timestamp {
    let end = if time < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(time).unwrap_or(end)
}

fn days_between(from: DateTime, to: DateTime) -> i64 {
    i64::from((to.date() - from.date()).get_days())
}

fn months_between(from: DateTime, to: DateTime) -> i64 {
    let months = |time: DateTime| i64::from(time.year()) * 12 + i64::from(time.month());
    months(to) - months(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone")
    }

    fn at(text: &str) -> UnixMillis {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn hours(calendar: &Calendar, time: &str) -> f64 {
        let bucket = calendar.bucket(at(time));
        assert_eq!(calendar.bucket(bucket.start), bucket);
        assert_eq!(calendar.bucket(bucket.end - 1), bucket);
        assert_eq!(calendar.bucket(bucket.end).start, bucket.end);
        #[expect(clippy::cast_precision_loss, reason = "a few months")]
        let ms = (bucket.end - bucket.start) as f64;
        ms / 3_600_000.0
    }

    #[test]
    fn days_are_as_long_as_their_zone_has_them() {
        for (name, time, length) in [
            ("Asia/Bangkok", "2026-03-29T12:00:00Z", 24.0),
            ("Europe/Berlin", "2026-03-29T12:00:00Z", 23.0),
            ("Europe/Berlin", "2026-10-25T12:00:00Z", 25.0),
            ("Australia/Lord_Howe", "2026-04-05T06:00:00Z", 24.5),
            ("Australia/Lord_Howe", "2026-10-04T06:00:00Z", 23.5),
        ] {
            let calendar = Calendar::new(zone(name), Stride::Days(1), None);
            assert!((hours(&calendar, time) - length).abs() < 1e-9, "{name} {time}");
        }
    }

    #[test]
    fn months_quarters_and_weeks_begin_where_people_begin_them() {
        let bangkok = || zone("Asia/Bangkok");
        for (stride, time, start) in [
            (Stride::Months(1), "2026-02-28T18:00:00Z", "2026-02-28T17:00:00Z"),
            (Stride::Months(3), "2026-05-15T00:00:00Z", "2026-03-31T17:00:00Z"),
            (Stride::Months(12), "2026-05-15T00:00:00Z", "2025-12-31T17:00:00Z"),
            (Stride::Weeks(1), "2026-01-01T00:00:00Z", "2025-12-28T17:00:00Z"),
            (Stride::Weeks(2), "1969-12-30T00:00:00Z", "1969-12-28T17:00:00Z"),
            (Stride::Days(10), "1970-01-15T00:00:00Z", "1970-01-10T17:00:00Z"),
        ] {
            let calendar = Calendar::new(bangkok(), stride, None);
            assert_eq!(calendar.bucket(at(time)).start, at(start), "{stride:?}");
        }
    }

    #[test]
    fn a_billing_month_may_begin_on_any_day() {
        let anchor = at("2026-01-31T00:00:00+01:00");
        let calendar = Calendar::new(zone("Europe/Berlin"), Stride::Months(1), Some(anchor));
        for (time, start, end) in [
            ("2026-03-01T00:00:00Z", "2026-02-28T00:00:00+01:00", "2026-03-31T00:00:00+02:00"),
            ("2026-02-27T22:59:59Z", "2026-01-31T00:00:00+01:00", "2026-02-28T00:00:00+01:00"),
            ("2024-02-29T12:00:00Z", "2024-02-29T00:00:00+01:00", "2024-03-31T00:00:00+01:00"),
        ] {
            assert_eq!(calendar.bucket(at(time)), Bucket { start: at(start), end: at(end) }, "{time}");
        }
    }

    #[test]
    fn a_boundary_in_a_gap_or_a_fold_is_passed_once() {
        let berlin = Calendar::new(zone("Europe/Berlin"), Stride::Days(1), Some(at("2026-01-01T02:30:00+01:00")));
        assert_eq!(berlin.bucket(at("2026-03-29T12:00:00Z")).start, at("2026-03-29T03:30:00+02:00"));
        // 02:10 in winter time is after 02:30 in summer time.
        assert_eq!(berlin.bucket(at("2026-10-25T02:10:00+01:00")).start, at("2026-10-25T02:30:00+02:00"));
        // Samoa had no 30 December 2011.
        let apia = Calendar::new(zone("Pacific/Apia"), Stride::Days(1), None);
        let bucket = apia.bucket(at("2011-12-30T10:00:00Z"));
        assert_eq!((bucket.start, bucket.end), (at("2011-12-30T10:00:00Z"), at("2011-12-31T10:00:00Z")));
        assert_eq!(apia.bucket(bucket.start - 1).end, bucket.start);
    }

    #[test]
    fn the_calendar_ends_without_an_end() {
        let calendar = Calendar::new(TimeZone::UTC, Stride::Months(1), None);
        let last = calendar.bucket((1 << 53) - 1);
        assert_eq!((last.start, last.end), (at("9999-12-01T00:00:00Z"), UnixMillis::MAX));
        assert_eq!(calendar.before(0, i64::MAX), UnixMillis::MIN);
    }
}
