//! Samples of a time window, page by page.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::super::error::HostsError;
use super::super::model::{HostId, RangeAnswer};
use super::super::sample::{MAX_AHEAD, SampleId};
use super::super::service::{Found, HostService};
use super::super::store::history::Order;
use super::super::tenancy::AccessScope;
use crate::clock::{MAX_TIMESTAMP, UnixMillis};
use crate::http::times::QueryTime;

/// The longest window, milliseconds: 90 days.
const MAX_SPAN: i64 = 90 * 24 * 3_600_000;
/// The length of the window if no start is given, milliseconds: a day.
const DEFAULT_SPAN: i64 = 24 * 3_600_000;

/// The start of the next page. It includes the window, so that relative times are resolved once for all pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Cursor {
    from: UnixMillis,
    to: UnixMillis,
    /// The last sample of the previous page.
    after: SampleId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}-{:x}-{:x}", self.from, self.to, self.after.timestamp, self.after.seq)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| {
            let is_hex = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            if is_hex { i64::from_str_radix(digits, 16).ok() } else { None }
        };
        let numbers: Option<Vec<i64>> = text.split('-').map(number).collect();
        match numbers.as_deref() {
            Some(&[from, to, timestamp, seq]) if from <= timestamp && timestamp <= to && to <= MAX_TIMESTAMP => {
                Ok(Self { from, to, after: SampleId { timestamp, seq: seq.unsigned_abs() } })
            }
            _ => Err("must be the next_cursor of a previous page"),
        }
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl HostService {
    /// A page of the samples of a window, or of the window of the cursor, oldest first.
    ///
    /// # Errors
    /// [`HostsError::Query`] for a window that is empty or too long, [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(in super::super) async fn range(
        &self,
        scope: &AccessScope,
        id: &HostId,
        start: Option<QueryTime>,
        end: Option<QueryTime>,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<RangeAnswer, HostsError> {
        let (from, to) = match cursor {
            Some(Cursor { from, to, .. }) => (from, to),
            None => match self.window(start, end, DEFAULT_SPAN)? {
                (from, to) if to - from > MAX_SPAN + MAX_AHEAD => {
                    return Err(invalid_start("must not be more than 90 days before endTime"));
                }
                window => window,
            },
        };
        let after = cursor.map(|cursor| cursor.after);
        let begin = after.map_or(from, |after| after.timestamp);
        let Found { id, host } = self.host_for_reading(scope, id).await?;
        // Samples of the cursor's own millisecond are read again.
        let mut wanted = limit + 1;
        let (mut metrics, source) = loop {
            let (mut metrics, source) =
                self.samples(host.as_deref(), &id, begin..=to, Order::Ascending, wanted).await?;
            let read = metrics.len();
            metrics.retain(|sample| after.is_none_or(|after| sample.id() > after));
            let repeated = read - metrics.len();
            if metrics.len() > limit || read < wanted {
                break (metrics, source);
            }
            wanted = limit + 1 + repeated.max(wanted);
        };
        let truncated = metrics.len() > limit;
        metrics.truncate(limit);
        let last = metrics.last().filter(|_| truncated);
        let next_cursor = last.map(|sample| Cursor { from, to, after: sample.id() }.to_string());
        Ok(RangeAnswer { count: metrics.len(), metrics, truncated, next_cursor, source })
    }

    /// The requested window, both ends included. Without a start it is `default_span` milliseconds long.
    pub(super) fn window(
        &self,
        start: Option<QueryTime>,
        end: Option<QueryTime>,
        default_span: i64,
    ) -> Result<(UnixMillis, UnixMillis), HostsError> {
        let now = self.clock.now();
        let to = end.map_or(now + MAX_AHEAD, |end| end.resolve(now));
        let from = start.map_or((to.min(now) - default_span).max(0), |start| start.resolve(now));
        if from > to { Err(invalid_start("must not be after endTime")) } else { Ok((from, to)) }
    }
}

/// The rule that the parameter `startTime` breaks.
pub(super) fn invalid_start(rule: impl Into<String>) -> HostsError {
    HostsError::Query { name: "startTime", rule: rule.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor { from: 0, to: MAX_TIMESTAMP, after: SampleId { timestamp: 7, seq: 1 << 52 } };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "1", "1-2-3-4-5", "2-3-1-0", "1-2-+1-0", "1-2-g-0", "0-fffffffffffffff-1-0", "1--2-3"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
