//! The grid of a query: where its buckets start.

use super::calendar::Calendar;
use super::point::Bucket;
use crate::clock::UnixMillis;

/// The length of a day in UTC, milliseconds.
const DAY: i64 = 86_400_000;

/// A rule that assigns a bucket to every time.
#[derive(Clone, Debug)]
pub(in crate::features::timeseries) enum Grid {
    /// A single bucket.
    Whole(Bucket),
    /// A bucket starts at every multiple of `width` (milliseconds, at least 1) from `anchor` (Unix milliseconds, of any
    /// sign).
    Elapsed { width: i64, anchor: UnixMillis },
    /// A bucket starts at every multiple of `width` from local midnight. The last bucket of a day ends with the day.
    WithinDay { days: Calendar, width: i64, day: Bucket },
    /// Buckets are whole days, weeks or months.
    Calendar(Calendar),
}

impl Grid {
    /// Buckets within the days of a zone; `width` divides 24 hours.
    pub(in crate::features::timeseries) fn within_day(days: Calendar, width: i64) -> Self {
        Self::WithinDay { days, width, day: Bucket { start: 0, end: 0 } }
    }

    /// Whether both grids assign the same bucket to every time. A grid with a single bucket equals none.
    pub(in crate::features::timeseries) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Elapsed { width, .. }, Self::Elapsed { width: others, .. }) => {
                width == others && self.divides(other)
            }
            (Self::WithinDay { width, days, .. }, Self::WithinDay { width: others, days: other_days, .. }) => {
                width == others && days == other_days
            }
            (Self::Calendar(calendar), Self::Calendar(other)) => calendar == other,
            _ => false,
        }
    }

    /// Whether each bucket of `other` consists of whole buckets of this grid.
    pub(in crate::features::timeseries) fn divides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Whole(_), _) => false,
            (_, Self::Whole(_)) => true,
            (Self::Elapsed { width, anchor }, Self::Elapsed { width: longer, anchor: other }) => {
                longer % width == 0 && (other - anchor) % width == 0
            }
            (Self::Elapsed { width, anchor }, Self::Calendar(other)) => {
                DAY % width == 0 && anchor % width == 0 && other.starts_at_midnight_in_utc()
            }
            (Self::WithinDay { width, days, .. }, Self::WithinDay { width: longer, days: other, .. }) => {
                longer % width == 0 && days == other
            }
            (Self::WithinDay { days, .. }, Self::Calendar(other)) => days.divides(other),
            (Self::Calendar(calendar), Self::Calendar(other)) => calendar.divides(other),
            _ => false,
        }
    }

    /// The bucket that contains a time.
    pub(in crate::features::timeseries) fn bucket(&mut self, time: UnixMillis) -> Bucket {
        match self {
            Self::Whole(bucket) => *bucket,
            Self::Elapsed { width, anchor } => {
                let start = time - (time - *anchor).rem_euclid(*width);
                Bucket { start, end: start + *width }
            }
            Self::WithinDay { days, width, day } => {
                // Most times are in the same day as the previous one.
                if !(day.start..day.end).contains(&time) {
                    *day = days.bucket(time);
                }
                let start = time - (time - day.start).rem_euclid(*width);
                Bucket { start, end: (start + *width).min(day.end) }
            }
            Self::Calendar(calendar) => calendar.bucket(time),
        }
    }

    /// The start of a bucket that is about `count` buckets before the one that contains `time`, or a little earlier.
    pub(in crate::features::timeseries) fn before(&mut self, time: UnixMillis, count: i64) -> UnixMillis {
        match self {
            Self::Whole(bucket) => bucket.start,
            Self::Elapsed { width, .. } | Self::WithinDay { width, .. } => {
                // No sample has a timestamp below 0.
                let earlier = time.saturating_sub(width.saturating_mul(count));
                self.bucket(earlier.max(0)).start
            }
            Self::Calendar(calendar) => calendar.before(time, count),
        }
    }

    /// About how many buckets there are between the boundaries `start` and `end`.
    pub(in crate::features::timeseries) fn count(&self, start: UnixMillis, end: UnixMillis) -> i64 {
        match self {
            Self::Whole(_) => 0,
            Self::Elapsed { width, .. } | Self::WithinDay { width, .. } => (end - start) / width,
            Self::Calendar(calendar) => calendar.count(start, end),
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::calendar::Stride;
    use super::*;

    #[test]
    fn a_bucket_may_begin_before_time() {
        for anchor in [-3, 7, 17] {
            let mut grid = Grid::Elapsed { width: 10, anchor };
            assert_eq!(grid.bucket(0), Bucket { start: -3, end: 7 }, "{anchor}");
            assert_eq!(grid.bucket(7), Bucket { start: 7, end: 17 }, "{anchor}");
            assert_eq!(grid.before(27, 2), 7, "{anchor}");
        }
    }

    #[test]
    fn equal_parts_of_a_day_divide_the_months_of_utc_only() {
        let month = |name: &str, anchor| {
            let zone = TimeZone::get(name).expect("a zone");
            Grid::Calendar(Calendar::new(zone, Stride::Months(1), anchor))
        };
        for (width, anchor, other, divides) in [
            (DAY, 0, month("UTC", None), true),
            (DAY / 24, 0, month("UTC", None), true),
            (DAY, -3 * DAY, month("UTC", Some(14 * DAY)), true),
            (DAY, DAY / 2, month("UTC", None), false),
            (7 * DAY, -3 * DAY, month("UTC", None), false),
            (420_000, 0, month("UTC", None), false),
            (DAY, 0, month("UTC", Some(DAY / 2)), false),
            (DAY, 0, month("Asia/Bangkok", None), false),
        ] {
            assert_eq!(Grid::Elapsed { width, anchor }.divides(&other), divides, "{width} {anchor} {other:?}");
        }
    }

    #[test]
    fn hours_begin_with_the_local_day_and_end_with_it() {
        const HOUR: i64 = 3_600_000;
        let grid = |name: &str, width| {
            let days = Calendar::new(TimeZone::get(name).expect("a zone"), Stride::Days(1), None);
            Grid::within_day(days, width)
        };
        // India is five and a half hours ahead of UTC.
        assert_eq!(grid("Asia/Kolkata", HOUR).bucket(0), Bucket { start: -HOUR / 2, end: HOUR / 2 });
        // The day has 23 hours, so its last quarter has five.
        let midnight = 1_774_738_800_000;
        let mut berlin = grid("Europe/Berlin", 6 * HOUR);
        assert_eq!(berlin.bucket(midnight), Bucket { start: midnight, end: midnight + 6 * HOUR });
        let last = Bucket { start: midnight + 18 * HOUR, end: midnight + 23 * HOUR };
        assert_eq!(berlin.bucket(midnight + 22 * HOUR), last);
        assert_eq!(berlin.bucket(last.end), Bucket { start: last.end, end: last.end + 6 * HOUR });
    }
}
