//! The metrics that the page shows, as totals at one moment.

use std::collections::BTreeMap;

use prometheus::proto::{Metric, MetricFamily};

/// The most limiters of a frame: it has 2 KiB.
const MAX_LIMITERS: usize = 32;

/// Counters since the start of the process, and the current values of gauges.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Totals {
    pub requests: f64,
    pub errors: f64,
    pub durations: Buckets,
    pub cache_reads: f64,
    pub cache_hits: f64,
    pub locks_held: f64,
    pub locks_waiting: f64,
    /// Refusals by limiter.
    pub refused: BTreeMap<String, f64>,
    pub samples: f64,
    pub redis: Buckets,
    pub connects: f64,
    pub reloads: f64,
    pub forced_releases: f64,
}

/// A histogram: the count of each upper bound, cumulative.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Buckets(pub Vec<(f64, u64)>);

impl Totals {
    pub(super) fn of(families: &[MetricFamily]) -> Self {
        let mut totals = Self::default();
        for family in families {
            for metric in family.get_metric() {
                totals.add(family.name(), metric);
            }
        }
        totals
    }

    fn add(&mut self, family: &str, metric: &Metric) {
        let label =
            |name: &str| metric.get_label().iter().find(|pair| pair.name() == name).map_or("", |pair| pair.value());
        let count = metric.get_counter().get_value();
        match family {
            "http_requests_total" => {
                self.requests += count;
                if label("status").starts_with('5') {
                    self.errors += count;
                }
            }
            "http_request_duration_seconds" => self.durations.add(metric),
            "cache_operations_total" if label("operation") == "get" => match label("result") {
                "hit" | "stale" => {
                    self.cache_reads += count;
                    self.cache_hits += count;
                }
                "miss" => self.cache_reads += count,
                _ => {}
            },
            "lock_held" => self.locks_held += metric.get_gauge().get_value(),
            "lock_waiting" => self.locks_waiting += metric.get_gauge().get_value(),
            "lock_events_total" if label("event") == "forced" => self.forced_releases += count,
            "ratelimit_decisions_total" if label("decision") == "refused" => {
                let limiter = label("limiter");
                if let Some(refused) = self.refused.get_mut(limiter) {
                    *refused += count;
                } else if self.refused.len() < MAX_LIMITERS {
                    self.refused.insert(limiter.to_owned(), count);
                }
            }
            "timeseries_samples_total" if label("result") == "stored" => self.samples += count,
            "host_samples_total" if label("event") == "accepted" => self.samples += count,
            "redis_command_duration_seconds" => self.redis.add(metric),
            "redis_connects_total" => self.connects += count,
            "config_reloads_total" if label("result") == "applied" => self.reloads += count,
            _ => {}
        }
    }
}

impl Buckets {
    /// Adds the counts of a histogram; all histograms of a metric have the same bounds.
    fn add(&mut self, metric: &Metric) {
        let histogram = metric.get_histogram();
        let finite = histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite());
        let all = (f64::INFINITY, histogram.get_sample_count());
        let counts = finite.map(|bucket| (bucket.upper_bound(), bucket.cumulative_count())).chain([all]);
        for (at, (bound, count)) in counts.enumerate() {
            match self.0.get_mut(at) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((bound, count)),
            }
        }
    }

    /// The quantile `q` of what was counted since `before`; `None` if that is nothing. Within a bucket the values count as
    /// evenly distributed, as in the function `histogram_quantile` of Prometheus.
    pub(super) fn quantile_since(&self, before: &Self, q: f64) -> Option<f64> {
        let earlier = |at: usize| before.0.get(at).map_or(0, |(_, count)| *count);
        let grown: Vec<(f64, f64)> = self
            .0
            .iter()
            .enumerate()
            .map(|(at, (bound, count))| (*bound, float(count.saturating_sub(earlier(at)))))
            .collect();
        let total = grown.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
        let rank = q * total;
        let (mut lower, mut below) = (0.0, 0.0);
        for (bound, count) in grown {
            if count >= rank {
                // Beyond the last bound nothing is known but that bound.
                let is_open = bound.is_infinite() || count <= below;
                return Some(if is_open { lower } else { lower + (bound - lower) * (rank - below) / (count - below) });
            }
            (lower, below) = (bound, count);
        }
        Some(lower)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one second")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;

    #[test]
    fn quantiles_are_those_of_the_new_values() {
        let bounds = |counts: [u64; 3]| Buckets([0.1, 0.2, f64::INFINITY].into_iter().zip(counts).collect());
        let before = bounds([100, 100, 100]);
        assert_eq!(before.quantile_since(&before, 0.5), None);
        let quantile = |counts, q| bounds(counts).quantile_since(&before, q);
        assert_eq!(quantile([104, 104, 104], 0.5), Some(0.05));
        assert_eq!(quantile([102, 104, 104], 0.75), Some(0.150_000_000_000_000_02));
        assert_eq!(quantile([100, 100, 101], 0.99), Some(0.2), "beyond the last bound");
        assert_eq!(bounds([1, 1, 1]).quantile_since(&Buckets::default(), 1.0), Some(0.1));
    }

    #[test]
    fn totals_count_what_the_page_shows() {
        let metrics = Metrics::new();
        let requests = metrics.counter("cache_operations_total", "x", &["operation", "result"]);
        for (operation, result) in [("get", "hit"), ("get", "miss"), ("get", "error"), ("put", "ok")] {
            requests.with_label_values(&[operation, result]).inc();
        }
        let refused = metrics.counter("ratelimit_decisions_total", "x", &["limiter", "strategy", "decision"]);
        for limiter in 0..100 {
            refused.with_label_values(&[&format!("limiter-{limiter}"), "gcra", "refused"]).inc();
        }
        refused.with_label_values(&["limiter-0", "fixed_window", "refused"]).inc();
        metrics.gauge("lock_held", "x").set(3);
        let totals = Totals::of(&metrics.gather());
        assert_eq!((totals.cache_reads, totals.cache_hits, totals.locks_held), (2.0, 1.0, 3.0));
        assert_eq!((totals.refused.len(), totals.refused["limiter-0"]), (MAX_LIMITERS, 2.0));
    }
}
