//! The metrics of real-time channels.

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::telemetry::metrics::Metrics;

const GAP_REASONS: [&str; 2] = ["epoch", "trimmed"];
/// Seconds. The times of messages are whole milliseconds; a message is late after 50 of them.
const DELIVERY_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5];
const TRANSPORTS: &[&str] = &["websocket", "centrifugo", "sse"];

/// Handles of the metrics, looked up once.
#[derive(Clone, Debug)]
pub(super) struct PubSubMetrics {
    /// By namespace and outcome.
    pub published: IntCounterVec,
    /// By transport.
    pub delivered: IntCounterVec,
    /// By transport.
    pub connections: IntGaugeVec,
    pub subscriptions: IntGauge,
    pub channels: IntGauge,
    pub ring_bytes: IntGauge,
    /// From the publication of a message to its delivery to a client that was subscribed then, seconds.
    pub delivery: Histogram,
    /// Frames that are being written to sockets, bytes.
    pub backlog: IntGauge,
    /// By reason.
    pub gaps: IntCounterVec,
    pub skipped: IntCounter,
    pub holes: IntCounter,
    pub log_reads: IntCounter,
    pub foreign: IntCounter,
    /// By close code.
    pub closed: IntCounterVec,
}

impl PubSubMetrics {
    /// How many gaps clients were told of.
    pub(super) fn gaps(&self) -> u64 {
        GAP_REASONS.iter().map(|reason| self.gaps.with_label_values(&[reason]).get()).sum()
    }

    /// `namespaces` are the patterns of the configuration.
    pub(super) fn new<'a>(metrics: &Metrics, namespaces: impl Iterator<Item = &'a str>) -> Self {
        let single = |name: &str, help: &str| metrics.counter(name, help, &[]).with_label_values::<&str>(&[]);
        let delivery = metrics.histogram_in(
            "pubsub_delivery_seconds",
            "Time from the publication of a message to its delivery, for clients that were subscribed and receive all",
            &[],
            DELIVERY_BUCKETS,
        );
        let created = Self {
            delivery: delivery.with_label_values::<&str>(&[]),
            backlog: metrics.gauge("pubsub_backlog_bytes", "Frames that wait until WebSocket clients read them"),
            published: metrics.counter(
                "pubsub_published_total",
                "Messages by namespace and outcome: published, duplicate, superseded, refused, failed",
                &["namespace", "outcome"],
            ),
            delivered: metrics.counter("pubsub_delivered_total", "Messages that were sent to clients", &["transport"]),
            connections: metrics.gauges("pubsub_connections", "Open real-time connections", &["transport"]),
            subscriptions: metrics.gauge("pubsub_subscriptions", "Subscriptions of the clients of this replica"),
            channels: metrics.gauge("pubsub_channels", "Channels to which this replica is subscribed"),
            ring_bytes: metrics
                .gauge("pubsub_ring_bytes", "The newest messages of all channels that this replica keeps, bytes"),
            gaps: metrics.counter("pubsub_gaps_total", "Gaps that clients were told of, by reason", &["reason"]),
            skipped: single("pubsub_skipped_total", "Messages that conflation left out"),
            holes: single("pubsub_holes_total", "Messages that arrived without their predecessor"),
            log_reads: single("pubsub_log_reads_total", "Pages of the log that were read for clients that were behind"),
            foreign: single("pubsub_foreign_total", "Messages of other programs, which were dropped"),
            closed: metrics.counter("pubsub_closed_total", "Connections that the service closed, by code", &["code"]),
        };
        // Series that exist from the start show an increase from zero.
        for namespace in namespaces {
            created.published.with_label_values(&[namespace, "published"]);
        }
        for transport in TRANSPORTS {
            created.delivered.with_label_values(&[transport]);
            created.connections.with_label_values(&[transport]);
        }
        for reason in GAP_REASONS {
            created.gaps.with_label_values(&[reason]);
        }
        created.closed.with_label_values(&["1001"]);
        created
    }
}
