//! `[timeseries]`: families of series, limits and sizes.

use serde::Deserialize;

use super::series::{DuplicatePolicy, Labels, MAX_RETENTION_MS};
use crate::config::value::Span;
use crate::config::{FieldError, Section};
use crate::redis::BackendPreference;

/// The upper bound of `request_samples`, which the OpenAPI document states.
pub(super) const MAX_REQUEST_SAMPLES: usize = 10_000;

/// The upper bound of `max_points`, which the OpenAPI document states.
pub(super) const MAX_PAGE_POINTS: usize = 100_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeseriesConfig {
    pub backend: BackendPreference,
    /// Whether a write creates a missing series that belongs to no family.
    pub create_unknown: bool,
    /// The retention of series that belong to no family and do not define one; 0 keeps all samples.
    pub retention: Span,
    pub duplicate_policy: DuplicatePolicy,
    /// How long a series is kept after its last write at least, even if its retention is shorter.
    pub min_life: Span,
    pub chunk_samples: usize,
    pub batch_samples: usize,
    pub request_samples: usize,
    pub default_points: usize,
    pub max_points: usize,
    pub read_chunks: usize,
    pub scan_samples: usize,
    pub percentile_samples: usize,
    pub group_series: usize,
    pub group_points: usize,
    pub rollups: usize,
    pub rollup_samples: usize,
    pub streams: usize,
    pub buffer_samples: usize,
    pub max_refused: usize,
    pub families: Vec<FamilyConfig>,
    pub prom: PromConfig,
}

/// `[timeseries.prom]`: limits of `PromQL` queries.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromConfig {
    pub lookback: Span,
    pub series: usize,
    pub samples: usize,
    pub steps: usize,
    pub points: usize,
    pub window_samples: usize,
}

/// A family: series that their first sample creates.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FamilyConfig {
    /// A complete key, or a key prefix that ends with `*`.
    pub prefix: String,
    pub retention: Span,
    #[serde(default)]
    pub duplicate_policy: DuplicatePolicy,
    /// The labels of the series that a first sample creates.
    #[serde(default)]
    pub labels: Labels,
    /// The label that receives the part of the key after `prefix`.
    pub rest_label: Option<String>,
    /// Whether the part of the key after `prefix` consists of a measurement, a field and tags, as line protocol writes
    /// them.
    #[serde(default)]
    pub tagged: bool,
}

impl Section for TimeseriesConfig {
    const NAME: &'static str = "timeseries";

    fn validate(&self) -> Result<(), FieldError> {
        let within = |field: &'static str, value: usize, low: usize, high: usize| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(FieldError::new(field, format!("must be between {low} and {high}, got {value}")))
        };
        // The upper bounds keep script calls short: Redis serves no other client while a script runs.
        within("chunk_samples", self.chunk_samples, 16, 4_096)?;
        within("batch_samples", self.batch_samples, 1, 4_096)?;
        within("request_samples", self.request_samples, 1, MAX_REQUEST_SAMPLES)?;
        within("max_points", self.max_points, 1, MAX_PAGE_POINTS)?;
        within("default_points", self.default_points, 1, self.max_points)?;
        within("read_chunks", self.read_chunks, 2, 1_024)?;
        within("scan_samples", self.scan_samples, 1, 1 << 30)?;
        within("percentile_samples", self.percentile_samples, 1, 1 << 30)?;
        within("group_series", self.group_series, 1, 1 << 20)?;
        within("group_points", self.group_points, 1, 1 << 24)?;
        within("rollups", self.rollups, 0, 64)?;
        within("rollup_samples", self.rollup_samples, 1, 1 << 24)?;
        within("streams", self.streams, 1, 1_024)?;
        within("buffer_samples", self.buffer_samples, 1, 1 << 20)?;
        within("max_refused", self.max_refused, 0, 100_000)?;
        let short = |field: &'static str, span: Span| {
            if span.as_millis() <= MAX_RETENTION_MS {
                return Ok(());
            }
            Err(FieldError::new(field, "must be at most 100 years"))
        };
        short("retention", self.retention)?;
        short("min_life", self.min_life)?;
        let PromConfig { lookback, series, samples, steps, points, window_samples } = &self.prom;
        short("prom.lookback", *lookback)?;
        // The parser and the evaluation recurse into a query, so its length bounds their stacks.
        within("prom.series", *series, 1, 1 << 20)?;
        within("prom.samples", *samples, 1, 1 << 26)?;
        within("prom.steps", *steps, 1, 1 << 20)?;
        within("prom.points", *points, 1, 1 << 26)?;
        within("prom.window_samples", *window_samples, 1, 1 << 32)?;
        for family in &self.families {
            short("families", family.retention)?;
            let stem = family.prefix.strip_suffix('*').unwrap_or(&family.prefix);
            if stem.is_empty() || stem.contains('*') {
                let rule =
                    format!("prefix `{}` must be a complete key, or a key prefix that ends with `*`", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            let is_open = family.prefix.ends_with('*');
            let is_label = |label: &str| family.labels.with(label, "rest").is_some();
            if family.tagged && (!is_open || family.rest_label.is_some() || family.labels.iter().next().is_some()) {
                let rule = format!("`{}`: tagged requires a prefix that ends with `*`, and no labels", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            if family.rest_label.as_deref().is_some_and(|label| !is_open || !is_label(label)) {
                let rule = format!(
                    "`{}`: rest_label must be a label name, and requires a prefix that ends with `*`",
                    family.prefix
                );
                return Err(FieldError::new("families", rule));
            }
        }
        Ok(())
    }
}
