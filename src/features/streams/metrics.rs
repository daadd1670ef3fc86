//! The metrics of event streams.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::names::{ShortName, StreamName};
use super::scripts::Claimed;
use crate::telemetry::metrics::Metrics;

/// The most groups with gauges of their own.
const MAX_SHOWN: usize = 100;

#[derive(Clone, Debug)]
pub(super) struct StreamMetrics {
    /// By outcome.
    pub appends: IntCounterVec,
    pub appended: IntCounter,
    pub delivered: IntCounter,
    /// By what consumers did.
    pub settled: IntCounterVec,
    pub stale: IntCounter,
    pub buried: IntCounter,
    pub lost: IntCounter,
    /// By stream and group, as the last claim at this replica found them.
    lag: IntGaugeVec,
    pending: IntGaugeVec,
    dead: IntGaugeVec,
    shown: Arc<Mutex<HashSet<(StreamName, ShortName)>>>,
}

impl StreamMetrics {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let single = |name: &str, help: &str| metrics.counter(name, help, &[]).with_label_values::<&str>(&[]);
        let of_groups = |name: &str, help: &str| metrics.gauges(name, help, &["stream", "group"]);
        let created = Self {
            appends: metrics.counter(
                "streams_appends_total",
                "Appends by outcome: appended, duplicate, refused, failed (Redis did not do it, or the outcome is unknown)",
                &["outcome"],
            ),
            appended: single("streams_events_appended_total", "Appended events"),
            delivered: single("streams_events_delivered_total", "Events that were delivered to consumers"),
            settled: metrics.counter(
                "streams_events_settled_total",
                "Deliveries by what consumers did: acknowledged, returned, extended",
                &["how"],
            ),
            stale: single("streams_stale_receipts_total", "Receipts of earlier deliveries, with which nothing was done"),
            buried: single("streams_dead_letters_total", "Events that became dead letters"),
            lost: single("streams_lost_total", "Events that were trimmed before a group had them"),
            lag: of_groups("streams_group_lag", "Events that a group has not acknowledged"),
            pending: of_groups("streams_group_pending", "Events that are delivered and not acknowledged"),
            dead: of_groups("streams_group_dead", "Dead letters of a group"),
            shown: Arc::default(),
        };
        // Series that exist from the start show an increase from zero.
        for outcome in ["appended", "duplicate", "refused", "failed"] {
            created.appends.with_label_values(&[outcome]);
        }
        for how in ["acknowledged", "returned", "extended"] {
            created.settled.with_label_values(&[how]);
        }
        created
    }

    /// Notes what a claim found. Only the first groups have gauges, so that names of clients do not fill the memory.
    pub(super) fn note(&self, stream: &StreamName, group: &ShortName, claimed: &Claimed) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.delivered.inc_by(count(claimed.items.len()));
        self.buried.inc_by(claimed.buried);
        self.lost.inc_by(claimed.lost);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (stream.clone(), group.clone());
        if !shown.contains(&key) && (shown.len() >= MAX_SHOWN || !shown.insert(key)) {
            return;
        }
        drop(shown);
        let labels = [stream.as_str(), group.as_str()];
        for (gauge, number) in [(&self.lag, claimed.lag), (&self.pending, claimed.pending), (&self.dead, claimed.dead)]
        {
            gauge.with_label_values(&labels).set(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}
