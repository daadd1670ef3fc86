//! A subset of Prometheus' query language over the series, for Grafana.
//!
//! Files, in reading order:
//! - `routes.rs`, `params.rs`: the HTTP operations and their parameters.
//! - `plan.rs`: validates a parsed query. An unsupported part is rejected by name before anything is read.
//! - `select.rs`: finds the selected series and reads their samples.
//! - `eval.rs`: evaluates the query for all steps, with `window.rs` (functions over ranges), `aggregation.rs` and
//!   `binary.rs` (operators), and the values of `value.rs`.
//! - `render.rs`, `error.rs`: responses and errors in the form of Prometheus.
//!
//! The semantics are those of Prometheus 3, from its documentation "Querying basics", "Operators" and "Functions". A
//! range excludes its start and includes its end. The metric name of a series is its label `__name__`, or else its key.

mod aggregation;
mod binary;
mod error;
mod eval;
mod params;
mod plan;
pub(super) mod render;
pub(super) mod routes;
mod select;
mod value;
mod window;

pub(super) use error::PromError;
pub(super) use params::{Parameters, Steps};
pub(super) use value::{Metric, Value};

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use promql_parser::label::Matcher;
use promql_parser::parser;

use super::config::PromConfig;
use super::index::SeriesIndex;
use super::range::{Budget, RangeReader};
use crate::clock::Clock;
use crate::features::timeseries::influx::influx_key::NAME_LABEL;
use crate::features::timeseries::series::valid_label_name;
use crate::lifecycle::offload::Offload;
use eval::Evaluation;
use plan::Plan;
use select::LIST_SERIES;

/// The longest query, bytes: queries of dashboards are shorter, and parsing takes time.
const MAX_QUERY: usize = 4_096;

/// The most points of one series in a response, as in Prometheus.
const STEPS: usize = 11_000;

/// Answers queries of Prometheus clients.
#[derive(Clone, Debug)]
pub(super) struct PromService {
    reader: RangeReader,
    index: SeriesIndex,
    config: Arc<PromConfig>,
    clock: Clock,
    offload: Offload,
}

/// Writes the response of a query.
type Render = fn(&Value, Steps) -> Vec<u8>;

/// How long a query waits for a thread: half of the default deadline.
const PATIENCE: Duration = Duration::from_secs(1);

impl PromService {
    pub(super) fn new(
        reader: RangeReader,
        index: SeriesIndex,
        config: PromConfig,
        clock: Clock,
        offload: Offload,
    ) -> Self {
        Self { reader, index, config: Arc::new(config), clock, offload }
    }

    /// Evaluates a query at one time.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn instant(&self, parameters: &Parameters, render: Render) -> Result<Vec<u8>, PromError> {
        let steps = Steps::one(parameters.time("time")?.unwrap_or_else(|| self.clock.now()));
        self.evaluate(parameters, steps, Plan::instant, render).await
    }

    /// Evaluates a query at every step of a window.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn range(&self, parameters: &Parameters, render: Render) -> Result<Vec<u8>, PromError> {
        let steps = parameters.steps(STEPS)?;
        self.evaluate(parameters, steps, Plan::new, render).await
    }

    async fn evaluate(
        &self,
        parameters: &Parameters,
        steps: Steps,
        plan: fn(&parser::Expr, i64) -> Result<Plan, PromError>,
        render: Render,
    ) -> Result<Vec<u8>, PromError> {
        let lookback = match parameters.duration("lookback_delta")? {
            Some(lookback) => lookback,
            None => i64::try_from(self.config.lookback.as_millis()).unwrap_or(i64::MAX),
        };
        let query = parameters.one("query")?.ok_or_else(|| PromError::bad("query", "is missing"))?;
        let plan = plan(&parse(query)?, lookback)?;
        // It lives as long as the samples.
        let budget = Budget::new(self.config.samples);
        let series = self.read(&plan.selections, steps, &budget).await?;
        // Up to a second of work, which must not block other requests.
        let evaluate = move || {
            let value = Evaluation::new(steps, &plan.selections, &series).result(&plan.root)?;
            Ok(render(&value, steps))
        };
        self.offload.run(PATIENCE, evaluate).await?
    }

    /// Lists the metrics of the series that match one of the selectors `match[]`, one for each series.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn series(&self, parameters: &Parameters) -> Result<Listed<Metric>, PromError> {
        let selectors = selectors(parameters)?;
        if selectors.is_empty() {
            return Err(PromError::bad("match[]", "is missing"));
        }
        // A series that matches several selectors counts once.
        let mut series = BTreeSet::new();
        for matchers in selectors {
            series.extend(self.find(&matchers).await?);
        }
        Ok(Listed::new(series.into_iter().map(|(metric, _)| metric), parameters.limit()?))
    }

    /// Lists the label names of all series, or of those that match `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn label_names(&self, parameters: &Parameters) -> Result<Listed<String>, PromError> {
        let (selectors, limit) = (selectors(parameters)?, parameters.limit()?.min(LIST_ITEMS));
        let mut names = BTreeSet::new();
        for matchers in &selectors {
            self.each(matchers, LIST_SERIES, |metric, _| names.extend(metric.into_keys())).await?;
        }
        if selectors.is_empty() {
            names.extend(self.index.label_names(limit + 1).await?);
            // Every series has a metric name, even if it has no labels.
            if !names.is_empty() || !self.index.keys_without(NAME_LABEL, 1).await?.is_empty() {
                names.insert(NAME_LABEL.to_owned());
            }
        }
        Ok(Listed::new(names, limit))
    }

    /// Lists the values of a label over all series, or over those that match `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn label_values(&self, label: &str, parameters: &Parameters) -> Result<Listed<String>, PromError> {
        if !valid_label_name(label) {
            return Err(PromError::bad("name", format!("must be a label name, got `{label}`")));
        }
        let (selectors, limit) = (selectors(parameters)?, parameters.limit()?.min(LIST_ITEMS));
        let mut values = BTreeSet::new();
        for matchers in &selectors {
            self.each(matchers, LIST_SERIES, |mut metric, _| values.extend(metric.remove(label))).await?;
        }
        if selectors.is_empty() {
            values.extend(self.index.label_values(label, limit + 1).await?);
            if label == NAME_LABEL {
                // The metric name of a series without the label is its key.
                values.extend(self.index.keys_without(NAME_LABEL, limit + 1).await?);
            }
        }
        Ok(Listed::new(values, limit))
    }
}

/// The most names or values in a response, as long as a client does not ask for fewer.
const LIST_ITEMS: usize = 100_000;

/// The items of a list.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub items: Vec<T>,
    /// Whether there are more items than the limit.
    pub truncated: bool,
}

impl<T> Listed<T> {
    fn new(items: impl IntoIterator<Item = T>, limit: usize) -> Self {
        let mut items = items.into_iter();
        Self { items: items.by_ref().take(limit).collect(), truncated: items.next().is_some() }
    }
}

/// The conditions of each selector `match[]`. `start` and `end` are validated but not used: all existing series are listed.
fn selectors(parameters: &Parameters) -> Result<Vec<Vec<Matcher>>, PromError> {
    parameters.time("start")?;
    parameters.time("end")?;
    let matchers = |text: &str| {
        let parser::Expr::VectorSelector(selector) = parse(text)? else {
            return Err(PromError::bad("match[]", format!("must be a selector, got `{text}`")));
        };
        plan::matchers(&selector)
    };
    parameters.all("match[]").map(matchers).collect()
}

fn parse(query: &str) -> Result<parser::Expr, PromError> {
    if query.len() > MAX_QUERY {
        return Err(PromError::bad("query", format!("must have at most {MAX_QUERY} bytes, got {}", query.len())));
    }
    parser::parse(query).map_err(|error| PromError::bad("invalid query:", &error))
}
