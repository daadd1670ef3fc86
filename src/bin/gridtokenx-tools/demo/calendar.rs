//! Days in a time zone without daylight saving time.

use gridtokenx_redis::clock::UnixMillis;

pub(super) const DAY_MS: UnixMillis = 86_400_000;

/// A time zone, and how far it is ahead of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Calendar {
    /// The name in the time zone database.
    pub zone: &'static str,
    offset_ms: UnixMillis,
}

pub(super) const UTC: Calendar = Calendar { zone: "UTC", offset_ms: 0 };
/// The zone of the simulated meters.
pub(super) const BANGKOK: Calendar = Calendar { zone: "Asia/Bangkok", offset_ms: 7 * 3_600_000 };

impl Calendar {
    /// The start of the local day that contains `moment`.
    pub(super) fn midnight(self, moment: UnixMillis) -> UnixMillis {
        moment - self.since_midnight(moment)
    }

    /// The local hour of the day, 0.0..24.0.
    pub(super) fn hour(self, moment: UnixMillis) -> f64 {
        let seconds = i32::try_from(self.since_midnight(moment) / 1_000).unwrap_or_default();
        f64::from(seconds) / 3_600.0
    }

    /// The local date; a time outside the calendar is shown as a number.
    pub(super) fn date(self, moment: UnixMillis) -> String {
        match jiff::Timestamp::from_millisecond(moment.saturating_add(self.offset_ms)) {
            Ok(moment) => moment.strftime("%Y-%m-%d").to_string(),
            Err(_) => moment.to_string(),
        }
    }

    fn since_midnight(self, moment: UnixMillis) -> UnixMillis {
        moment.saturating_add(self.offset_ms).rem_euclid(DAY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_in_bangkok_begins_seven_hours_before_the_day_in_utc() {
        // 2026-06-01T00:00:00Z.
        let moment = 1_780_272_000_000;
        assert_eq!(UTC.midnight(moment + 1), moment);
        assert_eq!(BANGKOK.midnight(moment), moment - 7 * 3_600_000);
        assert!((BANGKOK.hour(moment) - 7.0).abs() < 1e-9);
        assert_eq!(BANGKOK.date(moment + 17 * 3_600_000), "2026-06-02");
        assert_eq!(UTC.date(moment + 17 * 3_600_000), "2026-06-01");
    }
}
