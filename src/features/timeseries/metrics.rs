//! The metrics of the time series, with their handles prepared at start.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramTimer, IntCounter};

use super::FEATURE;
use crate::redis::LuaScript;
use crate::telemetry::metrics::Metrics;

/// How old samples are when they are stored, seconds: from the next second to a meter that was offline for a week.
const LAG_BUCKETS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 3_600.0, 86_400.0, 604_800.0];

#[derive(Clone, Debug)]
pub(super) struct TimeseriesMetrics {
    /// Samples that changed their series.
    pub stored: IntCounter,
    /// Samples that were accepted without a change, for example because they were already stored.
    pub unchanged: IntCounter,
    pub refused: IntCounter,
    /// Refused samples that were too far ahead of the clock.
    too_new: IntCounter,
    /// Refused samples of a time before 2000.
    wrong_unit: IntCounter,
    /// Sealed chunks that were packed.
    pub packed: IntCounter,
    /// Packed chunks that were unpacked for a write or a deletion.
    pub unpacked: IntCounter,
    lag: Histogram,
    scripts: Arc<[(&'static str, Histogram)]>,
}

impl TimeseriesMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let samples = metrics.counter("timeseries_samples_total", "Samples by result", &["result"]);
        let implausible = metrics.counter(
            "timeseries_implausible_samples_total",
            "Samples that were refused for their timestamp: too far ahead of the clock, or before 2000",
            &["reason"],
        );
        let chunks =
            metrics.counter("timeseries_chunks_total", "Sealed chunks that were packed or unpacked", &["change"]);
        let scripts = metrics.histogram(
            "timeseries_script_duration_seconds",
            "Duration of a script call; the appends of one pipeline count as one call",
            &["script"],
        );
        let lag = metrics.histogram_in(
            "timeseries_lag_seconds",
            "How old the newest sample of a batch was when the batch was stored",
            &[],
            LAG_BUCKETS,
        );
        Self {
            lag: lag.with_label_values::<&str>(&[]),
            stored: samples.with_label_values(&["stored"]),
            unchanged: samples.with_label_values(&["unchanged"]),
            refused: samples.with_label_values(&["refused"]),
            too_new: implausible.with_label_values(&["too_new"]),
            wrong_unit: implausible.with_label_values(&["wrong_unit"]),
            packed: chunks.with_label_values(&["packed"]),
            unpacked: chunks.with_label_values(&["unpacked"]),
            scripts: FEATURE
                .scripts
                .iter()
                .map(|script| (script.name, scripts.with_label_values(&[script.name])))
                .collect(),
        }
    }

    /// Counts samples by result.
    pub(super) fn count(&self, stored: usize, unchanged: usize, refused: usize) {
        for (counter, number) in [(&self.stored, stored), (&self.unchanged, unchanged), (&self.refused, refused)] {
            counter.inc_by(u64::try_from(number).unwrap_or(u64::MAX));
        }
    }

    /// Counts refused samples that were too far ahead of the clock, and those of a time before 2000.
    pub(super) fn count_times(&self, too_new: usize, wrong_unit: usize) {
        for (counter, number) in [(&self.too_new, too_new), (&self.wrong_unit, wrong_unit)] {
            counter.inc_by(u64::try_from(number).unwrap_or(u64::MAX));
        }
    }

    /// Records how old the newest sample of a stored batch is, milliseconds; a clock ahead of the service's counts as 0.
    pub(super) fn record_lag(&self, millis: i64) {
        self.lag.observe(Duration::from_millis(u64::try_from(millis).unwrap_or_default()).as_secs_f64());
    }

    /// Starts a timer that observes the time until it is dropped.
    pub(super) fn time(&self, script: &LuaScript) -> Option<HistogramTimer> {
        let (_, histogram) = self.scripts.iter().find(|(name, _)| *name == script.name)?;
        Some(histogram.start_timer())
    }
}
