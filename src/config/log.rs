//! `[log]` and `[telemetry]`: log lines and traces.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

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

/// The words for levels; everything else in a filter is the name of a target.
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

impl Section for LogConfig {
    const NAME: &'static str = "log";

    fn validate(&self) -> Result<(), FieldError> {
        for directive in self.level.split(',') {
            let (target, level) = directive.rsplit_once('=').map_or((None, directive), |(of, level)| (Some(of), level));
            let is_level = LEVELS.iter().any(|known| level.eq_ignore_ascii_case(known));
            // A target without a level logs everything of it; a word that is neither would silence the service.
            let is_target = target.is_none() && (level.contains("::") || level.starts_with(env!("CARGO_CRATE_NAME")));
            if !is_level && !is_target {
                let levels = LEVELS.join(", ");
                return Err(FieldError::new("level", format!("`{level}` is not a level; the levels are {levels}")));
            }
        }
        match EnvFilter::try_new(&self.level) {
            Ok(_) => Ok(()),
            Err(error) => Err(FieldError::new("level", format!("`{}`: {error}", self.level))),
        }
    }
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
        FieldError::reject_zero([("export_interval", self.export_interval.as_millis() == 0)])?;
        let has_scheme = ["http://", "https://"].iter().any(|scheme| self.otlp_endpoint.starts_with(scheme));
        if !self.otlp_endpoint.is_empty() && !has_scheme {
            return Err(FieldError::new("otlp_endpoint", "must start with http:// or https://"));
        }
        if self.service_name.is_empty() {
            return Err(FieldError::new("service_name", "must not be empty"));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(FieldError::new("sample_ratio", "must be between 0.0 and 1.0"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_the_known_words() {
        let check = |level: &str| LogConfig { level: level.to_owned(), format: LogFormat::Json }.validate().is_ok();
        for good in
            ["info", "WARN", "off", "info,gridtokenx_redis::redis=debug", "warn,hyper=off", "gridtokenx_redis", "a::b"]
        {
            assert!(check(good), "{good}");
        }
        for bad in [
            "warning",
            "",
            "info,",
            "verbose",
            "3",
            "fatal",
            "info,hyper=warning",
            "hyper=",
            "info,a[b=debug",
            "info,a::b=debug,=info",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }
}
