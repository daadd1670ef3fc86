//! A frame: what the page shows of one second.

use std::collections::BTreeMap;

use serde::Serialize;

use super::totals::Totals;
use crate::clock::UnixMillis;
use crate::lifecycle::{Finding, Status};

/// The most reasons of a frame, and the most characters of each. `/health/ready` has all of them.
const MAX_REASONS: usize = 4;
const MAX_REASON: usize = 200;

/// The numbers of the time since the frame before.
#[derive(Debug, Serialize)]
pub(super) struct LiveFrame {
    /// Unix milliseconds.
    time: UnixMillis,
    status: Status,
    reasons: Vec<String>,
    requests: f64,
    /// Responses with a status of 500 or more.
    errors: f64,
    /// Null without requests.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// The share of reads of the cache that found a value, 0 to 1; null without reads.
    hit_rate: Option<f64>,
    locks_held: f64,
    locks_waiting: f64,
    /// Refusals of the limiters that refused.
    refused: BTreeMap<String, f64>,
    /// Samples of time series and hosts.
    samples: f64,
    /// The 99th percentile of exchanges with Redis.
    redis_p99_ms: Option<f64>,
    events: Vec<LiveEvent>,
}

/// What happened besides requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LiveEvent {
    /// A connection to Redis was made again.
    Reconnect,
    /// The configuration was read again.
    Reload,
    /// The status changed for the worse.
    Degraded,
    Recovered,
    /// An administrator released a lock.
    ForcedRelease,
}

impl LiveFrame {
    /// The frame that ends at `time`, when the totals were `now`, and the status that of `reasons`.
    pub(super) fn between(before: &Moment, now: &Moment, time: UnixMillis, reasons: &[Finding]) -> Self {
        let (old, new) = (&before.totals, &now.totals);
        let reads = new.cache_reads - old.cache_reads;
        let percentile = |buckets: fn(&Totals) -> &super::totals::Buckets, q| {
            buckets(new).quantile_since(buckets(old), q).map(|seconds| rounded(seconds * 1e3))
        };
        let refused = new.refused.iter().filter_map(|(limiter, total)| {
            let refused = total - old.refused.get(limiter).copied().unwrap_or_default();
            (refused > 0.0).then(|| (limiter.clone(), refused))
        });
        let severity = |status: Status| match status {
            Status::Ok => 0,
            Status::Degraded => 1,
            Status::Unavailable | Status::Draining => 2,
        };
        let (was, is) = (severity(before.status), severity(now.status));
        // The first connection of a process is no event.
        let had_redis = old.connects > 0.0;
        let events = [
            (had_redis && new.connects > old.connects, LiveEvent::Reconnect),
            (new.reloads > old.reloads, LiveEvent::Reload),
            (is > was, LiveEvent::Degraded),
            (had_redis && is < was, LiveEvent::Recovered),
            (new.forced_releases > old.forced_releases, LiveEvent::ForcedRelease),
        ];
        Self {
            time,
            status: now.status,
            reasons: reasons.iter().take(MAX_REASONS).map(|finding| shortened(&finding.reason)).collect(),
            requests: new.requests - old.requests,
            errors: new.errors - old.errors,
            p50_ms: percentile(|totals| &totals.durations, 0.5),
            p99_ms: percentile(|totals| &totals.durations, 0.99),
            hit_rate: (reads > 0.0).then(|| rounded((new.cache_hits - old.cache_hits) / reads)),
            locks_held: new.locks_held,
            locks_waiting: new.locks_waiting,
            refused: refused.collect(),
            samples: new.samples - old.samples,
            redis_p99_ms: percentile(|totals| &totals.redis, 0.99),
            events: events.into_iter().filter(|(happened, _)| *happened).map(|(_, event)| event).collect(),
        }
    }
}

/// The state at the end of a frame.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    pub totals: Totals,
    pub status: Status,
}

fn shortened(reason: &str) -> String {
    reason.chars().take(MAX_REASON).collect()
}

/// Rounds to thousandths, so that a frame is short.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(status: Status, change: impl FnOnce(&mut Totals)) -> Moment {
        let mut totals = Totals { requests: 10.0, connects: 1.0, ..Totals::default() };
        change(&mut totals);
        Moment { totals, status }
    }

    #[test]
    fn a_frame_has_the_growth_of_counters_and_the_events_of_its_second() {
        let before = moment(Status::Ok, |_| {});
        let now = moment(Status::Unavailable, |totals| {
            totals.requests = 14.0;
            totals.connects = 2.0;
            totals.refused = BTreeMap::from([("api".to_owned(), 3.0)]);
            (totals.cache_reads, totals.cache_hits) = (3.0, 1.0);
        });
        let frame = LiveFrame::between(&before, &now, 5, &[Finding::down("redis: not connected".into())]);
        assert_eq!((frame.requests, frame.hit_rate, frame.refused["api"]), (4.0, Some(0.333), 3.0));
        assert_eq!(frame.events, [LiveEvent::Reconnect, LiveEvent::Degraded]);
        let next = LiveFrame::between(&now, &moment(Status::Ok, |totals| *totals = now.totals.clone()), 6, &[]);
        assert_eq!((next.requests, next.hit_rate, next.refused.len()), (0.0, None, 0));
        assert_eq!(next.events, [LiveEvent::Recovered]);
    }

    #[test]
    fn a_frame_fits_into_two_kibibytes() {
        let before = moment(Status::Ok, |_| {});
        let now = moment(Status::Degraded, |totals| {
            totals.requests = 1e9;
            totals.refused = (0..32).map(|at| (format!("limiter-of-a-longer-name-{at:02}"), 1e6)).collect();
        });
        let reasons = vec![Finding::degraded("x".repeat(5_000)); 20];
        let text = serde_json::to_string(&LiveFrame::between(&before, &now, 1_780_246_800_000, &reasons));
        assert!(text.expect("JSON").len() < 2_700);
    }
}
