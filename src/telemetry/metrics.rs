//! The metrics registry and the metrics of HTTP itself.
//!
//! Names follow the platform's dashboards. The first request of a route creates the handles of its metrics and later
//! ones reuse them, so a request only adds to atomics, and a route that is never called has no samples.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Counter, Encoder, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::disk;
use super::process;
use super::scrape::Scraped;
pub use super::scrape::{Labels, Row, family};

/// Request durations, seconds: from the fastest read over a shared connection to beyond the request deadline.
/// Fewer than those of other durations: a replica that has answered on every route has some 200 such histograms.
const ROUTE_BUCKETS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 2.5];
const DURATION_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Where every metric of the process is registered.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    pub http: HttpMetrics,
    /// Directories whose free space is shown, by what they hold.
    directories: Arc<Mutex<Vec<(&'static str, PathBuf)>>>,
}

impl Metrics {
    pub fn new() -> Self {
        let registry = Registry::new();
        let http = HttpMetrics::new(&registry);
        let metrics = Self { registry, http, directories: Arc::default() };
        let build = metrics.gauges("build_info", "Always 1; the label is the running version", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics.on_scrape(process::ROWS, process::read);
        let directories = Arc::clone(&metrics.directories);
        metrics.on_scrape_labelled(disk::ROWS, &["dir"], move || {
            disk::read(&directories.lock().unwrap_or_else(PoisonError::into_inner))
        });
        metrics
    }

    /// Shows the free space of the file system that holds a directory; `content` names what the directory holds.
    pub fn watch_directory(&self, content: &'static str, directory: PathBuf) {
        self.directories.lock().unwrap_or_else(PoisonError::into_inner).push((content, directory));
    }

    /// A counter with labels, registered under `name`.
    pub fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        register(&self.registry, counter_vec(name, help, labels))
    }

    /// A counter of seconds, registered under `name`.
    pub fn seconds(&self, name: &str, help: &str) -> Counter {
        register(&self.registry, Counter::new(name, help))
    }

    /// A histogram of seconds with labels, registered under `name`.
    pub fn histogram(&self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        self.histogram_in(name, help, labels, DURATION_BUCKETS)
    }

    /// A histogram of seconds with labels and the given buckets, registered under `name`.
    pub fn histogram_in(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        register(&self.registry, histogram_vec(name, help, labels, buckets))
    }

    /// A gauge with labels, registered under `name`.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        register(&self.registry, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A gauge, registered under `name`.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        register(&self.registry, gauge(name, help))
    }

    /// Metrics whose values `read` returns when they are rendered; `None` leaves them out.
    pub fn on_scrape<const N: usize>(
        &self,
        rows: [Row; N],
        read: impl Fn() -> Option<[f64; N]> + Clone + Send + Sync + 'static,
    ) {
        let unlabelled = move || {
            let values = read();
            std::array::from_fn(|row| {
                let value = values.as_ref().and_then(|values| values.get(row).copied());
                value.map(|value| (Labels::new(), value)).into_iter().collect()
            })
        };
        register(&self.registry, Scraped::new(rows, &[], unlabelled));
    }

    /// Metrics with these labels, whose samples `read` returns for each row when they are rendered.
    pub fn on_scrape_labelled<const N: usize>(
        &self,
        rows: [Row; N],
        labels: &[&str],
        read: impl Fn() -> [Vec<(Labels, f64)>; N] + Clone + Send + Sync + 'static,
    ) {
        register(&self.registry, Scraped::new(rows, labels, read));
    }

    /// Every metric with its current samples.
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// Prometheus text, format 0.0.4.
///
/// # Errors
/// A metric without samples.
pub fn render(families: &[MetricFamily]) -> Result<Vec<u8>, prometheus::Error> {
    let mut text = Vec::new();
    TextEncoder::new().encode(families, &mut text)?;
    Ok(text)
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The metrics of HTTP itself.
#[derive(Clone, Debug)]
pub struct HttpMetrics {
    requests: IntCounterVec,
    durations: HistogramVec,
    pub in_flight: IntGauge,
    /// Requests whose client disconnected before the answer.
    pub aborted: IntCounter,
    pub panics: IntCounter,
    /// Problems that were returned, by their code.
    pub problems: IntCounterVec,
    pub connections: IntGauge,
}

impl HttpMetrics {
    fn new(registry: &Registry) -> Self {
        Self {
            requests: register(
                registry,
                counter_vec("http_requests_total", "Requests answered", &["method", "route", "status"]),
            ),
            durations: register(
                registry,
                histogram_vec(
                    "http_request_duration_seconds",
                    "Time until the response head was ready",
                    // The methods of a route share one: histograms are most of a scrape.
                    &["route"],
                    ROUTE_BUCKETS,
                ),
            ),
            in_flight: register(registry, gauge("http_requests_in_flight", "Requests in progress")),
            aborted: register(
                registry,
                counter("http_requests_aborted_total", "Requests whose client disconnected before the answer"),
            ),
            panics: register(registry, counter("http_panics_total", "Handlers that panicked")),
            problems: register(registry, counter_vec("http_problems_total", "Problems returned, by code", &["code"])),
            connections: register(registry, gauge("http_connections", "Open client connections")),
        }
    }

    /// The metrics of one route; the first request creates them.
    pub fn route(&self, method: &'static str, path: &'static str) -> RouteMetrics {
        RouteMetrics { http: self.clone(), method, path, handles: OnceLock::new() }
    }

    /// Counts an answer to a path or method that no route serves. The path is not a label, since clients choose it.
    pub fn record_unrouted(&self, status: StatusCode) {
        self.requests.with_label_values(&["", "", status.as_str()]).inc();
    }
}

/// 100 to 599.
const STATUS_CODES: usize = 500;

/// The metrics of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    http: HttpMetrics,
    method: &'static str,
    path: &'static str,
    handles: OnceLock<RouteHandles>,
}

/// The samples of a route that was called.
#[derive(Debug)]
struct RouteHandles {
    by_status: Box<[OnceLock<IntCounter>]>,
    duration: Histogram,
}

impl RouteMetrics {
    pub fn record(&self, status: StatusCode, elapsed: Duration) {
        let handles = self.handles.get_or_init(|| self.create());
        handles.duration.observe(elapsed.as_secs_f64());
        if let Some(slot) = handles.by_status.get(usize::from(status.as_u16()).wrapping_sub(100)) {
            slot.get_or_init(|| self.http.requests.with_label_values(&[self.method, self.path, status.as_str()])).inc();
        }
    }

    #[cold]
    fn create(&self) -> RouteHandles {
        RouteHandles {
            by_status: (0..STATUS_CODES).map(|_| OnceLock::new()).collect(),
            duration: self.http.durations.with_label_values(&[self.path]),
        }
    }
}

/// Names and labels are constants in source: a clash is a programming error that the first test finds.
#[expect(clippy::expect_used, reason = "only at start, and only for names that are constants in source")]
fn register<C: Collector + Clone + 'static>(registry: &Registry, created: prometheus::Result<C>) -> C {
    let collector = created.expect("a metric's name and labels are valid");
    registry.register(Box::new(collector.clone())).expect("a metric is registered once");
    collector
}

fn counter_vec(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn histogram_vec(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> prometheus::Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
}

fn counter(name: &str, help: &str) -> prometheus::Result<IntCounter> {
    IntCounter::new(name, help)
}

fn gauge(name: &str, help: &str) -> prometheus::Result<IntGauge> {
    IntGauge::new(name, help)
}
