//! `[log]` and `[telemetry]`: log lines and traces.

use serde::Deserialize;

use super::value::Span;
use super::{FieldError, Section};

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Pretty,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// A level (`info`) or a filter (`info,gridtokenx_redis::redis=debug`).
    pub level: String,
    pub format: LogFormat,
}

impl Section for LogConfig {
    const NAME: &'static str = "log";
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The collector's base address for OTLP over HTTP; empty switches traces off.
    pub otlp_endpoint: String,
    /// The share of requests without a `traceparent` that start a trace: 0.0 to 1.0.
    pub sample_ratio: f64,
    /// How long a finished span may wait until a batch is sent.
    pub export_interval: Span,
    pub service_name: String,
}

impl Section for TelemetryConfig {
    const NAME: &'static str = "telemetry";

    fn validate(&self) -> Result<(), FieldError> {
        let has_scheme = ["http://", "https://"].iter().any(|scheme| self.otlp_endpoint.starts_with(scheme));
        if !self.otlp_endpoint.is_empty() && !has_scheme {
            return Err(FieldError::new("otlp_endpoint", "must start with http:// or https://"));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(FieldError::new("sample_ratio", "must be between 0.0 and 1.0"));
        }
        Ok(())
    }
}
