//! Days and months of a time zone as windows.
//!
//! Redis's clock decides which window a call belongs to. The service knows only the bounds of a window: if Redis's time is
//! outside them, the script decides nothing and returns its time. A service whose clock is wrong therefore makes a second
//! call, and no wrong decision.

use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::InvalidField;

/// The unit of a calendar window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LimitCalendarPeriod)]
pub(in crate::features::ratelimit) enum Period {
    Day,
    Month,
}

/// The windows of one period and zone, and the current one. A window is a range of Unix microseconds.
#[derive(Clone, Debug)]
pub(in crate::features::ratelimit) struct Calendar {
    period: Period,
    zone: TimeZone,
    current: Arc<ArcSwap<Range<u64>>>,
}

impl Calendar {
    /// The first window is empty, so that the first call returns the time of Redis.
    ///
    /// # Errors
    /// If the time zone database does not contain the zone.
    pub(in crate::features::ratelimit) fn new(period: Period, zone: &str) -> Result<Self, InvalidField> {
        let zone = TimeZone::get(zone).map_err(|_| {
            InvalidField::new("zone", format!("must be an IANA time zone such as Asia/Bangkok, got `{zone}`"))
        })?;
        Ok(Self { period, zone, current: Arc::new(ArcSwap::from_pointee(0..0)) })
    }

    /// The period and the zone, such as `day-Asia/Bangkok`.
    pub(in crate::features::ratelimit) fn name(&self) -> String {
        let period = match self.period {
            Period::Day => "day",
            Period::Month => "month",
        };
        format!("{period}-{}", self.zone.iana_name().unwrap_or_default())
    }

    /// The window that contained Redis's time at the last update.
    pub(in crate::features::ratelimit) fn current(&self) -> Range<u64> {
        Range::clone(&self.current.load())
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

    fn window(&self, now: u64) -> Result<Range<u64>, jiff::Error> {
        let at = Timestamp::from_microsecond(i64::try_from(now).unwrap_or(i64::MAX))?.to_zoned(self.zone.clone());
        let (first, next) = match self.period {
            Period::Day => (at.clone(), at.checked_add(1.day())?),
            Period::Month => (at.first_of_month()?, at.first_of_month()?.checked_add(1.month())?),
        };
        Ok(microseconds(&first.start_of_day()?)..microseconds(&next.start_of_day()?))
    }
}

/// The period and the zone. The current window is not a part of the rule.
impl Hash for Calendar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.period, self.zone.iana_name()).hash(state);
    }
}

/// Redis's clock is after 1970, so its windows are as well, apart from a few hours.
fn microseconds(at: &Zoned) -> u64 {
    u64::try_from(at.timestamp().as_microsecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_a_day_or_month_of_its_zone() {
        for (period, zone, now, start, end) in [
            (Period::Day, "Asia/Bangkok", "2026-03-01T16:59:59Z", "2026-02-28T17:00:00Z", "2026-03-01T17:00:00Z"),
            (Period::Day, "Asia/Bangkok", "2026-03-01T17:00:00Z", "2026-03-01T17:00:00Z", "2026-03-02T17:00:00Z"),
            (Period::Month, "Asia/Bangkok", "2024-02-29T16:59:59Z", "2024-01-31T17:00:00Z", "2024-02-29T17:00:00Z"),
            // Days of 23 and of 25 hours.
            (Period::Day, "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
            (Period::Day, "Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            // In Santiago midnight itself is skipped: the day begins at one o'clock.
            (Period::Day, "America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"),
        ] {
            let us = |text: &str| {
                let at: Timestamp = text.parse().expect("a time");
                u64::try_from(at.as_microsecond()).expect("after 1970")
            };
            let calendar = Calendar::new(period, zone).expect("a zone");
            calendar.move_to(us(now)).expect("in the calendar");
            assert_eq!(calendar.current(), us(start)..us(end), "{zone} at {now}");
        }
    }

    #[test]
    fn an_unknown_zone_is_rejected() {
        assert_eq!(Calendar::new(Period::Day, "Mars/Olympus").expect_err("no zone").field, "zone");
    }
}
