//! Metrics of warming.

use prometheus::{Counter, HistogramVec, IntCounterVec, IntGaugeVec};

use super::model::{Counts, Run, RunResult};
use crate::clock::UnixMillis;
use crate::telemetry::metrics::Metrics;

/// Buckets from a second to an hour, for the age of what is written.
const AGES: &[f64] = &[0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 1_800.0, 3_600.0];

#[derive(Clone, Debug)]
pub(super) struct WarmingMetrics {
    runs: IntCounterVec,
    keys: IntCounterVec,
    run_seconds: HistogramVec,
    fetch_seconds: HistogramVec,
    bytes: IntCounterVec,
    last_success: IntGaugeVec,
    staleness: HistogramVec,
    lookups: IntCounterVec,
    paused: IntGaugeVec,
    pub busy: Counter,
}

impl WarmingMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self {
            runs: metrics.counter("warming_runs_total", "Runs of warming tasks by result", &["task", "result"]),
            keys: metrics.counter("warming_keys_total", "Keys of runs by outcome", &["task", "outcome"]),
            run_seconds: metrics.histogram("warming_run_seconds", "Time of runs", &["task"]),
            fetch_seconds: metrics.histogram("warming_fetch_seconds", "Time of fetches from sources", &["source"]),
            bytes: metrics.counter("warming_bytes_total", "Bytes that were fetched and written", &["task"]),
            last_success: metrics.gauges(
                "warming_last_success_timestamp_seconds",
                "When a task last succeeded on this replica",
                &["task"],
            ),
            staleness: metrics.histogram_in(
                "warming_staleness_seconds",
                "From the change of a value in its source until it was written",
                &["task"],
                AGES,
            ),
            lookups: metrics.counter("warming_lookups_total", "Reads through GET /warming/values", &["task", "result"]),
            paused: metrics.gauges("warming_paused", "Whether a task is paused", &["task"]),
            busy: metrics.seconds("warming_busy_seconds_total", "Time that runs have computed"),
        }
    }

    /// Shows the metrics of a task before it runs.
    pub(super) fn introduce(&self, task: &str) {
        for result in [RunResult::Succeeded, RunResult::Partial, RunResult::Failed, RunResult::Stopped] {
            self.runs.with_label_values(&[task, result.label()]);
        }
        for result in ["hit", "miss", "absent", "stale", "failed"] {
            self.lookups.with_label_values(&[task, result]);
        }
        self.paused.with_label_values(&[task]);
        self.staleness.with_label_values(&[task]);
    }

    pub(super) fn looked_up(&self, task: &str, result: &str) {
        self.lookups.with_label_values(&[task, result]).inc();
    }

    pub(super) fn fetched(&self, source: &str, seconds: f64) {
        self.fetch_seconds.with_label_values(&[source]).observe(seconds);
    }

    pub(super) fn is_paused(&self, task: &str, is_paused: bool) {
        self.paused.with_label_values(&[task]).set(i64::from(is_paused));
    }

    /// Notes how old a value was when it was written, milliseconds.
    pub(super) fn wrote(&self, task: &str, age: UnixMillis) {
        let age = u32::try_from(age.max(0)).unwrap_or(u32::MAX);
        self.staleness.with_label_values(&[task]).observe(f64::from(age) / 1_000.0);
    }

    pub(super) fn ended(&self, run: &Run, seconds: f64) {
        let Run { task, counts, result: Some(result), .. } = run else { return };
        self.runs.with_label_values(&[task.as_str(), result.label()]).inc();
        self.run_seconds.with_label_values(&[task]).observe(seconds);
        let Counts { new, changed, unchanged, overtaken, absent, failed, bytes, .. } = *counts;
        let outcomes = [
            ("new", new),
            ("changed", changed),
            ("unchanged", unchanged),
            ("overtaken", overtaken),
            ("absent", absent),
            ("failed", failed),
        ];
        for (outcome, count) in outcomes {
            self.keys.with_label_values(&[task.as_str(), outcome]).inc_by(count);
        }
        self.bytes.with_label_values(&[task]).inc_by(bytes);
        if *result == RunResult::Succeeded {
            let at = run.ended.unwrap_or(run.started) / 1_000;
            self.last_success.with_label_values(&[task]).set(at);
        }
    }
}
