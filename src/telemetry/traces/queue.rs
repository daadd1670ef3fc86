//! The bounded queue of finished spans, which counts the spans that it drops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor};
use prometheus::IntCounter;

use crate::telemetry::metrics::Metrics;

/// The most finished spans that wait; each takes about a kilobyte.
const CAPACITY: usize = 4_096;
/// The most spans of one export.
const BATCH: usize = 512;

/// The SDK's batching thread behind a queue that counts the spans it drops; the SDK does not report its own losses.
pub(super) fn bounded(exporter: impl SpanExporter + 'static, interval: Duration, metrics: &Metrics) -> Bounded {
    let spans = metrics.counter("otlp_spans_total", "Finished spans by outcome", &["outcome"]);
    let waiting = Arc::new(AtomicUsize::new(0));
    let exporter = Counted {
        inner: exporter,
        waiting: Arc::clone(&waiting),
        exported: spans.with_label_values(&["exported"]),
        failed: spans.with_label_values(&["failed"]),
    };
    let limits = BatchConfigBuilder::default()
        .with_max_queue_size(CAPACITY)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(interval)
        .build();
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(limits).build();
    Bounded { inner, waiting, dropped: spans.with_label_values(&["dropped"]) }
}

#[derive(Debug)]
pub(super) struct Bounded {
    inner: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < CAPACITY {
            self.inner.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts the spans that leave the queue, and whether the collector accepted them.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    waiting: Arc<AtomicUsize>,
    exported: IntCounter,
    failed: IntCounter,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
        let taken = self.inner.export(batch).await;
        let counter = if taken.is_ok() { &self.exported } else { &self.failed };
        counter.inc_by(spans as u64);
        taken
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
