//! `[timeseries]`: families of series, limits and sizes.

use serde::Deserialize;

use super::series::{DuplicatePolicy, Labels, MAX_RETENTION_MS};
use crate::config::value::Span;
use crate::config::{FieldError, Section};
use crate::redis::{BackendPreference, owned_elsewhere};

/// The upper bound of `request_samples`, which the OpenAPI document states.
pub(super) const MAX_REQUEST_SAMPLES: usize = 10_000;

/// The upper bound of `max_points`, which the OpenAPI document states.
pub(super) const MAX_PAGE_POINTS: usize = 100_000;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeseriesConfig {
    pub backend: BackendPreference,
    /// Whether a write creates a missing series that belongs to no family; the family `*` defines it.
    pub create_unknown: bool,
    /// The retention of series that belong to no family and do not define one; 0 keeps all samples.
    pub retention: Span,
    pub duplicate_policy: DuplicatePolicy,
    /// How far ahead of the clock samples may be, unless their family sets another limit.
    pub max_ahead: Span,
    /// Whether samples of families may be older than 2000, unless the family says otherwise.
    pub allow_before_2000: bool,
    pub request_samples: usize,
    pub max_points: usize,
    pub streams: usize,
    pub families: Vec<FamilyConfig>,
    pub prom: PromConfig,
}

/// `[timeseries.prom]`: limits of `PromQL` queries.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PromConfig {
    pub lookback: Span,
    pub samples: usize,
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
    /// How far ahead of the clock samples may be; the value of `[timeseries]` if absent.
    pub max_ahead: Option<Span>,
    /// Whether samples may be older than 2000; the value of `[timeseries]` if absent. If not, such a timestamp is taken for
    /// one in the wrong unit.
    pub allow_before_2000: Option<bool>,
}

impl FamilyConfig {
    /// The beginning of its keys, or its only key.
    pub(super) fn stem(&self) -> &str {
        self.prefix.strip_suffix('*').unwrap_or(&self.prefix)
    }

    /// Whether it defines the series that belong to no other family.
    pub(super) fn is_catch_all(&self) -> bool {
        self.prefix == "*"
    }

    /// Whether the stem is the start of longer keys.
    pub(super) fn is_open(&self) -> bool {
        self.prefix.ends_with('*')
    }
}

impl Section for TimeseriesConfig {
    const NAME: &'static str = "timeseries";

    fn validate(&self) -> Result<(), FieldError> {
        for (field, value, low, high) in [
            ("request_samples", self.request_samples, 1, MAX_REQUEST_SAMPLES),
            ("max_points", self.max_points, 1, MAX_PAGE_POINTS),
            ("streams", self.streams, 1, 1_024),
            ("prom.samples", self.prom.samples, 1, 1 << 26),
        ] {
            if !(low..=high).contains(&value) {
                return Err(FieldError::new(field, format!("must be between {low} and {high}, got {value}")));
            }
        }
        let short = |field: &'static str, span: Span| {
            if span.as_millis() <= MAX_RETENTION_MS {
                return Ok(());
            }
            Err(FieldError::new(field, "must be at most 100 years"))
        };
        short("retention", self.retention)?;
        short("max_ahead", self.max_ahead)?;
        short("prom.lookback", self.prom.lookback)?;
        for (at, family) in self.families.iter().enumerate() {
            short("families", family.retention)?;
            short("families", family.max_ahead.unwrap_or(self.max_ahead))?;
            if (family.stem().is_empty() && !family.is_catch_all()) || family.stem().contains('*') {
                let rule =
                    format!("prefix `{}` must be a complete key, or a key prefix that ends with `*`", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            if let Some(owned) = owned_elsewhere(family.stem(), Self::NAME).filter(|_| !family.is_catch_all()) {
                let rule = format!("the prefix `{}` overlaps `{owned}`, which holds no series", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            if self.families.iter().take(at).any(|earlier| earlier.prefix == family.prefix) {
                let rule = format!("the prefix `{}` must not be repeated", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            if let Some(label) = family.rest_label.as_deref().filter(|label| family.labels.get(label).is_some()) {
                let rule = format!("`{}`: labels must not contain the rest_label `{label}`", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            let is_label = |label: &str| family.labels.with(label, "rest").is_some();
            if family.tagged
                && (!family.is_open() || family.rest_label.is_some() || family.labels.iter().next().is_some())
            {
                let rule = format!("`{}`: tagged requires a prefix that ends with `*`, and no labels", family.prefix);
                return Err(FieldError::new("families", rule));
            }
            if family.rest_label.as_deref().is_some_and(|label| !family.is_open() || !is_label(label)) {
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
