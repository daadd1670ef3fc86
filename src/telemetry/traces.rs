//! Traces over OTLP, for the requests that are sampled.

use axum::extract::Request;
use axum::http::HeaderValue;
use tracing::{Span, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::registry::LookupSpan;

/// The exporter behind the subscriber.
#[derive(Debug)]
pub struct Traces {}

impl Traces {
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        tracing_subscriber::layer::Identity::new()
    }
}

/// Decides per request whether it is traced.
#[derive(Clone, Debug, Default)]
pub struct RequestTraces {}

impl RequestTraces {
    /// A span for a sampled request.
    pub fn start(&self, _request: &Request, _route: Option<&'static str>, _id: &HeaderValue) -> Option<Span> {
        None
    }
}
