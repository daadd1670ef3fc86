//! Traces of sampled requests, exported over OTLP.
//!
//! While a sampled request is being processed, its span is in the thread's OpenTelemetry context. Redis commands create
//! their spans below it, and log lines take its ids. For any other request the service reads `traceparent`, and without a
//! collector not even that. Finished spans wait in a bounded queue for an exporting thread, so a slow or unavailable
//! collector loses spans, which are counted, and delays no request.

mod collector;
mod queue;
mod request;

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

/// The longest time for one request to the collector, including the last one at shutdown.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// The export of spans; without a collector it does nothing.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    exporting: Option<Exporting>,
}

#[derive(Clone, Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    sample_ratio: f64,
}

/// Why traces cannot be exported as configured.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("telemetry.otlp_endpoint: the system's certificate authorities cannot be read")]
    Authorities(#[source] std::io::Error),
    #[error("telemetry.otlp_endpoint is not the address of a collector")]
    Exporter(#[source] opentelemetry_otlp::ExporterBuildError),
}

impl Traces {
    /// Starts the exporting thread if `telemetry.otlp_endpoint` is set. It does not connect yet.
    ///
    /// # Errors
    /// [`TracesError`] if the address is invalid, or needs TLS on a machine without certificate authorities.
    pub fn start(config: &TelemetryConfig, metrics: &Metrics) -> Result<Self, TracesError> {
        if config.otlp_endpoint.is_empty() {
            return Ok(Self::default());
        }
        let endpoint = format!("{}/v1/traces", config.otlp_endpoint.trim_end_matches('/'));
        let client = CollectorClient::new(&endpoint, EXPORT_TIMEOUT).map_err(TracesError::Authorities)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_http_client(client)
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_TIMEOUT)
            .build()
            .map_err(TracesError::Exporter)?;
        let resource = Resource::builder()
            .with_service_name(config.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            // The service decides for each request, before it allocates anything.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .with_span_processor(queue::bounded(exporter, config.export_interval.duration(), metrics))
            .build();
        Ok(Self { exporting: Some(Exporting { provider, sample_ratio: config.sample_ratio }) })
    }

    /// The part that the middleware calls for every request.
    pub fn requests(&self) -> RequestTraces {
        self.exporting.as_ref().map_or_else(RequestTraces::default, |exporting| {
            RequestTraces::new(exporting.provider.tracer(env!("CARGO_PKG_NAME")), exporting.sample_ratio)
        })
    }

    /// Exports the queued spans, for at most `limit`, and at most 5 s. Afterwards no request is traced.
    pub async fn stop(&self, limit: Duration) {
        let Some(Exporting { provider, .. }) = self.exporting.clone() else { return };
        let limit = limit.min(EXPORT_TIMEOUT);
        // The SDK blocks while it waits, and the runtime must still react to a second signal.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the collector did not accept the last spans in time");
        }
    }
}
