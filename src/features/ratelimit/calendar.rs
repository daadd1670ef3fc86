//! Days and months of a time zone as windows.
//!
//! Redis's clock decides in which window a call falls. The service only knows a window's bounds: the script refuses to
//! decide when it finds itself outside of them, and says what time it is. So a service whose own clock is wrong asks
//! twice at worst, and decides nothing by it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::strategy::BadStrategy;

/// What repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CalendarPeriod)]
pub(super) enum Period {
    Day,
    Month,
}

/// From `start` until before `end`, Unix microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub start: u64,
    pub end: u64,
}

/// The windows of one period and zone, and the one that Redis was last seen in.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    period: Period,
    zone: TimeZone,
    current: Arc<ArcSwap<Window>>,
}

impl Calendar {
    /// The first window is empty, so that Redis is asked for the time.
    ///
    /// # Errors
    /// When nobody knows the zone.
    pub(super) fn new(period: Period, zone: &str) -> Result<Self, BadStrategy> {
        let zone = TimeZone::get(zone)
            .map_err(|_| BadStrategy::new("zone", format!("`{zone}` is no time zone; write one like Asia/Bangkok")))?;
        Ok(Self { period, zone, current: Arc::new(ArcSwap::from_pointee(Window { start: 0, end: 0 })) })
    }

    /// The window in which Redis was last seen.
    pub(super) fn current(&self) -> Window {
        **self.current.load()
    }

    /// Makes the window around `now`, Unix microseconds of Redis's clock, the current one.
    ///
    /// # Errors
    /// When `now` is beyond the calendar: not before the year 9999.
    pub(super) fn move_to(&self, now: u64) -> Result<(), jiff::Error> {
        self.current.store(Arc::new(self.window(now)?));
        Ok(())
    }

    /// The longest that a window can be, milliseconds: an hour more than its days, for the end of summer time.
    pub(super) const fn longest_ms(&self) -> u64 {
        match self.period {
            Period::Day => 25 * 3_600_000,
            Period::Month => (31 * 24 + 1) * 3_600_000,
        }
    }

    fn window(&self, now: u64) -> Result<Window, jiff::Error> {
        let at = Timestamp::from_microsecond(i64::try_from(now).unwrap_or(i64::MAX))?.to_zoned(self.zone.clone());
        let (first, next) = match self.period {
            Period::Day => (at.clone(), at.checked_add(1.day())?),
            Period::Month => (at.first_of_month()?, at.first_of_month()?.checked_add(1.month())?),
        };
        Ok(Window { start: microseconds(&first.start_of_day()?), end: microseconds(&next.start_of_day()?) })
    }
}

/// Redis's clock is after 1970, and so are the windows around it but for hours.
fn microseconds(at: &Zoned) -> u64 {
    u64::try_from(at.timestamp().as_microsecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(period: Period, zone: &str, now: &str) -> (String, String) {
        let calendar = Calendar::new(period, zone).expect("a zone");
        let now: Timestamp = now.parse().expect("a time");
        calendar.move_to(u64::try_from(now.as_microsecond()).expect("after 1970")).expect("in the calendar");
        let text =
            |us: u64| Timestamp::from_microsecond(i64::try_from(us).expect("small")).expect("a time").to_string();
        let Window { start, end } = calendar.current();
        (text(start), text(end))
    }

    #[test]
    fn a_day_begins_at_midnight_of_its_zone() {
        let day = window(Period::Day, "Asia/Bangkok", "2026-03-01T16:59:59Z");
        assert_eq!(day, ("2026-02-28T17:00:00Z".into(), "2026-03-01T17:00:00Z".into()));
        let next = window(Period::Day, "Asia/Bangkok", "2026-03-01T17:00:00Z");
        assert_eq!(next.0, "2026-03-01T17:00:00Z");
    }

    #[test]
    fn a_month_ends_with_its_last_day() {
        let month = window(Period::Month, "Asia/Bangkok", "2024-02-29T16:59:59Z");
        assert_eq!(month, ("2024-01-31T17:00:00Z".into(), "2024-02-29T17:00:00Z".into()));
    }

    #[test]
    fn a_day_of_changing_clocks_has_23_or_25_hours() {
        let spring = window(Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z");
        assert_eq!(spring, ("2026-03-28T23:00:00Z".into(), "2026-03-29T22:00:00Z".into()));
        let autumn = window(Period::Day, "Europe/Berlin", "2026-10-25T12:00:00Z");
        assert_eq!(autumn, ("2026-10-24T22:00:00Z".into(), "2026-10-25T23:00:00Z".into()));
        // In Santiago midnight itself is skipped: the day begins at one o'clock.
        let chile = window(Period::Day, "America/Santiago", "2026-09-06T12:00:00Z");
        assert_eq!(chile.0, "2026-09-06T04:00:00Z");
    }

    #[test]
    fn a_zone_that_nobody_knows_is_refused() {
        assert_eq!(Calendar::new(Period::Day, "Mars/Olympus").expect_err("no zone").field, "zone");
    }
}
