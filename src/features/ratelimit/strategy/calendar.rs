//! Days and months of a time zone as windows.
//!
//! Redis's clock decides which window a call belongs to. The service knows only the bounds of a window: if Redis's time is
//! outside them, the script decides nothing and returns its time. A service whose clock is wrong therefore makes a second
//! call, and no wrong decision.

use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::InvalidStrategy;

/// The unit of a calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CalendarPeriod)]
pub(in crate::features::ratelimit) enum Period {
    Day,
    Month,
}

/// The half-open interval from `start` to `end`, Unix microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::ratelimit) struct Window {
    pub start: u64,
    pub end: u64,
}

/// The windows of one period and zone, and the current one.
#[derive(Clone, Debug)]
pub(in crate::features::ratelimit) struct Calendar {
    period: Period,
    zone: TimeZone,
    current: Arc<ArcSwap<Window>>,
}

impl Calendar {
    /// The first window is empty, so that the first call returns the time of Redis.
    ///
    /// # Errors
    /// If the time zone database does not contain the zone.
    pub(in crate::features::ratelimit) fn new(period: Period, zone: &str) -> Result<Self, InvalidStrategy> {
        let zone = TimeZone::get(zone).map_err(|_| {
            InvalidStrategy::new("zone", format!("must be an IANA time zone such as Asia/Bangkok, got `{zone}`"))
        })?;
        Ok(Self { period, zone, current: Arc::new(ArcSwap::from_pointee(Window { start: 0, end: 0 })) })
    }

    /// The window that contained Redis's time at the last update.
    pub(in crate::features::ratelimit) fn current(&self) -> Window {
        **self.current.load()
    }

    /// Makes the window that contains `now` the current one. `now` is in Unix microseconds of Redis's clock.
    ///
    /// # Errors
    /// If `now` is outside the calendar, which ends in the year 9999.
    pub(in crate::features::ratelimit) fn move_to(&self, now: u64) -> Result<(), jiff::Error> {
        self.current.store(Arc::new(self.window(now)?));
        Ok(())
    }

    /// The longest possible window in milliseconds: one hour more than its days, for the end of summer time.
    pub(in crate::features::ratelimit) const fn longest_ms(&self) -> u64 {
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

/// Redis's clock is after 1970, so its windows are as well, apart from a few hours.
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
