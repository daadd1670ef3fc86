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

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use promql_parser::parser;

use super::config::PromConfig;
use super::index::SeriesIndex;
use super::range::RangeReader;
use crate::clock::Clock;
use eval::Evaluation;
use plan::Plan;

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
}

impl PromService {
    pub(super) fn new(reader: RangeReader, index: SeriesIndex, config: PromConfig, clock: Clock) -> Self {
        Self { reader, index, config: Arc::new(config), clock }
    }

    /// Evaluates a query at one time.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn instant(&self, parameters: &Parameters) -> Result<(Value, Steps), PromError> {
        let steps = Steps::one(parameters.time("time")?.unwrap_or_else(|| self.clock.now()));
        Ok((self.evaluate(parameters, steps).await?, steps))
    }

    /// Evaluates a query at every step of a window.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn range(&self, parameters: &Parameters) -> Result<(Value, Steps), PromError> {
        let steps = parameters.steps(STEPS)?;
        Ok((self.evaluate(parameters, steps).await?, steps))
    }

    async fn evaluate(&self, parameters: &Parameters, steps: Steps) -> Result<Value, PromError> {
        let lookback = match parameters.duration("lookback_delta")? {
            Some(lookback) => lookback,
            None => i64::try_from(self.config.lookback.as_millis()).unwrap_or(i64::MAX),
        };
        let query = parameters.one("query")?.ok_or_else(|| PromError::bad("query", "is missing"))?;
        let plan = Plan::new(&parse(query)?, lookback)?;
        let series = self.read(&plan.selections, steps).await?;
        // Up to a second of work, which must not block other requests.
        let evaluated =
            tokio::task::spawn_blocking(move || Evaluation::new(steps, &plan.selections, &series).value(&plan.root));
        evaluated.await.map_err(|_| PromError::internal("the evaluation failed"))?
    }

    /// Lists the metrics that match one of the selectors `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn series(&self, parameters: &Parameters) -> Result<Vec<Metric>, PromError> {
        if parameters.all("match[]").next().is_none() {
            return Err(PromError::bad("match[]", "is missing"));
        }
        let mut metrics = self.matching(parameters).await?;
        metrics.truncate(parameters.limit()?);
        Ok(metrics)
    }

    /// Lists the label names of all series, or of those that match `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn label_names(&self, parameters: &Parameters) -> Result<Vec<String>, PromError> {
        let metrics = self.matching(parameters).await?;
        let names: BTreeSet<&String> = metrics.iter().flat_map(BTreeMap::keys).collect();
        Ok(names.into_iter().take(parameters.limit()?).cloned().collect())
    }

    /// Lists the values of a label over all series, or over those that match `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn label_values(&self, label: &str, parameters: &Parameters) -> Result<Vec<String>, PromError> {
        let metrics = self.matching(parameters).await?;
        let values: BTreeSet<&String> = metrics.iter().filter_map(|metric| metric.get(label)).collect();
        Ok(values.into_iter().take(parameters.limit()?).cloned().collect())
    }

    /// The metrics that match a selector; all without selectors. `start` and `end` are validated but not used: all
    /// existing series are listed.
    async fn matching(&self, parameters: &Parameters) -> Result<Vec<Metric>, PromError> {
        parameters.time("start")?;
        parameters.time("end")?;
        let mut metrics = BTreeSet::new();
        let mut selectors = parameters.all("match[]").peekable();
        if selectors.peek().is_none() {
            metrics.extend(self.find(&[]).await?.into_iter().map(|(metric, _)| metric));
        }
        for text in selectors {
            let parser::Expr::VectorSelector(selector) = parse(text)? else {
                return Err(PromError::bad("match[]", format!("must be a selector, got `{text}`")));
            };
            let matchers = plan::matchers(&selector)?;
            metrics.extend(self.find(&matchers).await?.into_iter().map(|(metric, _)| metric));
        }
        Ok(metrics.into_iter().collect())
    }
}

fn parse(query: &str) -> Result<parser::Expr, PromError> {
    if query.len() > MAX_QUERY {
        return Err(PromError::bad("query", format!("must have at most {MAX_QUERY} bytes, got {}", query.len())));
    }
    parser::parse(query).map_err(|error| PromError::bad("invalid query:", &error))
}
