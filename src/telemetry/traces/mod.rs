//! Traces over OTLP, for the requests that are sampled.
//!
//! A sampled request stands in the thread's OpenTelemetry context while it is worked on: a Redis command hangs its
//! span below it there, and a log line takes its ids from there. Any other request costs one look at its
//! `traceparent`, and without a collector one branch. Finished spans wait in a bounded queue for a thread of their
//! own, so a slow or dead collector costs spans, which are counted, and never a request's time.

mod collector;
mod queue;
mod request;
mod traceparent;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};

pub use request::{ClientSpan, RequestSpan, RequestTraces, TraceIds, client_span, current_ids};

use crate::config::log::TelemetryConfig;
use crate::telemetry::metrics::Metrics;
use collector::CollectorClient;

/// The way of spans to the collector; without one, nothing.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    exporting: Option<Exporting>,
}

#[derive(Clone, Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    sample_ratio: f64,
    export_timeout: Duration,
}

/// Why traces cannot be exported as configured.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("telemetry.otlp_endpoint: the system's certificate authorities cannot be read")]
    Authorities(#[source] std::io::Error),
    #[error("telemetry.otlp_endpoint")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

impl Traces {
    /// Starts the exporting thread when `telemetry.otlp_endpoint` names a collector; does not connect yet.
    ///
    /// # Errors
    /// [`TracesError`] when the address is none, or needs TLS on a machine without authorities.
    pub fn start(config: &TelemetryConfig, metrics: &Metrics) -> Result<Self, TracesError> {
        if config.otlp_endpoint.is_empty() {
            return Ok(Self::default());
        }
        let export_timeout = config.export_timeout.duration();
        let endpoint = format!("{}/v1/traces", config.otlp_endpoint.trim_end_matches('/'));
        let client = CollectorClient::new(&endpoint, export_timeout).map_err(TracesError::Authorities)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .with_endpoint(endpoint)
            .with_timeout(export_timeout)
            .build()
            .map_err(TracesError::Exporter)?;
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            // Decided per request, before anything is allocated.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .with_span_processor(queue::bounded(exporter, config.export_interval.duration(), metrics))
            .build();
        Ok(Self { exporting: Some(Exporting { provider, sample_ratio: config.sample_ratio, export_timeout }) })
    }

    /// What the edge asks for every request.
    pub fn requests(&self) -> RequestTraces {
        self.exporting.as_ref().map_or_else(RequestTraces::default, |exporting| {
            RequestTraces::new(exporting.provider.tracer(env!("CARGO_PKG_NAME")), exporting.sample_ratio)
        })
    }

    /// Sends what still waits, for at most `limit` and `telemetry.export_timeout`; afterwards nothing is traced.
    pub async fn stop(&self, limit: Duration) {
        let Some(Exporting { provider, export_timeout, .. }) = self.exporting.clone() else { return };
        let limit = limit.min(export_timeout);
        // The SDK waits by blocking, and a second signal must still be heard meanwhile.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the collector did not take the last spans in time");
        }
    }
}
