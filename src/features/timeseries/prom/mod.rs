//! A subset of Prometheus' query language over the series, for Grafana.
//!
//! Files, in reading order:
//! - `routes.rs`, `params.rs`: the HTTP operations and their parameters.
//! - `expressions.rs`: limits the regular expressions of a query.
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
mod expressions;
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

use std::borrow::Cow;
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
use crate::lifecycle::permits::Permits;
use eval::{Evaluation, is_short};
use plan::Plan;
use select::{LABEL_MEMORY, QUERY_SERIES, Search, keep};

/// The longest query, bytes: queries of dashboards are shorter, and parsing takes time.
const MAX_QUERY: usize = 4_096;

/// The most selectors `match[]` of a request.
const SELECTORS: usize = 32;

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
    /// For requests that examine many series, whose labels take much memory.
    wide: Permits,
}

/// The wide requests that run at a time; those of one credential, half of them.
const WIDE: usize = 2;

/// Writes the response of a query.
type Render = fn(&Value, Steps) -> Vec<u8>;

/// How long a request waits for a thread, or for wide requests: half of the default deadline.
const PATIENCE: Duration = Duration::from_secs(1);

impl PromService {
    pub(super) fn new(
        reader: RangeReader,
        index: SeriesIndex,
        config: PromConfig,
        clock: Clock,
        offload: Offload,
    ) -> Self {
        Self { reader, index, config: Arc::new(config), clock, offload, wide: Permits::new(WIDE) }
    }

    /// Whether queries can be answered.
    pub(super) fn is_ready(&self) -> bool {
        self.index.is_connected()
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
        let plans = self.parsed(vec![query.to_owned()], move |query, _| plan(query, lookback)).await?;
        let Some(plan) = plans.into_iter().next() else { return Err(PromError::internal("there is no plan")) };
        // It lives as long as the samples.
        let budget = Budget::new(self.config.samples);
        let mut search = Search::default();
        let series = self.read(&plan.selections, steps, &budget, &mut search).await?;
        let is_short = is_short(query.len(), steps, &series);
        // If the request ends, so does its evaluation.
        let request = Arc::new(());
        let is_awaited = Arc::downgrade(&request);
        let evaluate = move || {
            let value = Evaluation::new(steps, &plan.selections, series, is_awaited).result(&plan.root)?;
            Ok(render(&value, steps))
        };
        // Up to a second of work must not block other requests.
        if is_short { evaluate() } else { self.offload.run(PATIENCE, evaluate).await? }
    }

    /// Lists the metrics of the series that match one of the selectors `match[]`, one for each series.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn series(&self, parameters: &Parameters) -> Result<Listed<Metric>, PromError> {
        let selectors = self.selectors(parameters).await?;
        if selectors.is_empty() {
            return Err(PromError::bad("match[]", "is missing"));
        }
        let limit = parameters.limit()?.min(QUERY_SERIES);
        // A series that matches several selectors counts once.
        let (mut series, mut search, mut is_complete) = (BTreeSet::new(), Search::default(), true);
        let mut memory = 0;
        for matchers in selectors {
            let add = |metric, key| {
                memory += keep(&mut series, metric, key);
                series.len() <= limit && memory <= LABEL_MEMORY
            };
            is_complete &= self.each(&matchers, &mut search, add).await?;
        }
        Ok(Listed::new(series.into_iter().map(|(metric, _)| metric), limit, is_complete))
    }

    /// Lists the label names of all series, or of those that match `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn label_names(&self, parameters: &Parameters) -> Result<Listed<String>, PromError> {
        let (selectors, limit) = (self.selectors(parameters).await?, parameters.limit()?.min(LIST_ITEMS));
        let (mut names, mut search, mut is_complete) = (BTreeSet::new(), Search::default(), true);
        for matchers in &selectors {
            let add = |metric: Metric, _| {
                names.extend(metric.into_keys());
                names.len() <= limit
            };
            is_complete &= self.each(matchers, &mut search, add).await?;
        }
        if selectors.is_empty() {
            names.extend(self.index.label_names(limit + 1).await?);
            // Every series has a metric name, even if it has no labels.
            if !names.is_empty() || !self.index.keys_without(NAME_LABEL, 1).await?.is_empty() {
                names.insert(NAME_LABEL.to_owned());
            }
        }
        Ok(Listed::new(names, limit, is_complete))
    }

    /// Lists the values of a label over all series, or over those that match `match[]`.
    ///
    /// # Errors
    /// [`PromError`].
    pub(super) async fn label_values(&self, label: &str, parameters: &Parameters) -> Result<Listed<String>, PromError> {
        let label = &*unescaped(label);
        if !valid_label_name(label) {
            return Err(PromError::bad("name", format!("must be a label name, got `{label}`")));
        }
        let (selectors, limit) = (self.selectors(parameters).await?, parameters.limit()?.min(LIST_ITEMS));
        let (mut values, mut search, mut is_complete) = (BTreeSet::new(), Search::default(), true);
        for matchers in &selectors {
            let add = |mut metric: Metric, _| {
                values.extend(metric.remove(label));
                values.len() <= limit
            };
            is_complete &= self.each(matchers, &mut search, add).await?;
        }
        if selectors.is_empty() {
            values.extend(self.index.label_values(label, limit + 1, |_| true).await?);
            if label == NAME_LABEL {
                // The metric name of a series without the label is its key.
                values.extend(self.index.keys_without(NAME_LABEL, limit + 1).await?);
            }
        }
        Ok(Listed::new(values, limit, is_complete))
    }

    /// The conditions of each selector `match[]`. `start` and `end` are validated but not used: all existing series are
    /// listed.
    async fn selectors(&self, parameters: &Parameters) -> Result<Vec<Vec<Matcher>>, PromError> {
        parameters.time("start")?;
        parameters.time("end")?;
        let texts: Vec<_> = parameters.all("match[]").map(str::to_owned).collect();
        if texts.len() > SELECTORS {
            return Err(PromError::bad(
                "match[]",
                format!("must occur at most {SELECTORS} times, got {}", texts.len()),
            ));
        }
        let matchers = |query: &parser::Expr, text: &str| match query {
            parser::Expr::VectorSelector(selector) => plan::matchers(selector),
            _ => Err(PromError::bad("match[]", format!("must be a selector, got `{text}`"))),
        };
        self.parsed(texts, matchers).await
    }

    /// Parses queries, on another thread if they have regular expressions, which take milliseconds to compile.
    async fn parsed<T: Send + 'static>(
        &self,
        texts: Vec<String>,
        then: impl Fn(&parser::Expr, &str) -> Result<T, PromError> + Send + 'static,
    ) -> Result<Vec<T>, PromError> {
        let expressions = expressions::of(&texts)?;
        let is_short = expressions.is_empty();
        let parse = move || {
            expressions::check(&expressions)?;
            texts.iter().map(|text| then(&parse(text)?, text)).collect()
        };
        if is_short { parse() } else { self.offload.run(PATIENCE, parse).await? }
    }
}

/// The most names or values in a response, as long as a client does not ask for fewer.
const LIST_ITEMS: usize = 100_000;

/// The items of a list.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub items: Vec<T>,
    /// Whether there are, or may be, more items.
    pub truncated: bool,
}

impl<T> Listed<T> {
    fn new(items: impl IntoIterator<Item = T>, limit: usize, is_complete: bool) -> Self {
        let mut items = items.into_iter();
        let (items, rest) = (items.by_ref().take(limit).collect(), items.next());
        Self { items, truncated: rest.is_some() || !is_complete }
    }
}

/// The label behind a name that a client has escaped because it is not an identifier: `U__host_2e_name` is `host.name`.
///
/// Source: Prometheus, "UTF-8 in Prometheus", escaping with the prefix `U__`.
fn unescaped(name: &str) -> Cow<'_, str> {
    let decoded = |escaped: &str| {
        let (mut label, mut rest) = (String::new(), escaped);
        while let Some((plain, after)) = rest.split_once('_') {
            let (code, next) = after.split_once('_')?;
            label.push_str(plain);
            label.push(if code.is_empty() { '_' } else { char::from_u32(u32::from_str_radix(code, 16).ok()?)? });
            rest = next;
        }
        Some(label + rest)
    };
    name.strip_prefix("U__").and_then(decoded).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn parse(query: &str) -> Result<parser::Expr, PromError> {
    if query.len() > MAX_QUERY {
        return Err(PromError::bad("query", format!("must have at most {MAX_QUERY} bytes, got {}", query.len())));
    }
    parser::parse(query).map_err(|error| PromError::bad("invalid query:", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_of_labels_are_decoded() {
        for (name, label) in [
            ("U__host_2e_name", "host.name"),
            ("U__a__b_2d_c", "a_b-c"),
            ("U___20ac_", "€"),
            ("U__plain", "plain"),
            ("host.name", "host.name"),
            ("U__host_zz_name", "U__host_zz_name"),
            ("U__host_d800_", "U__host_d800_"),
            ("U__host_2e", "U__host_2e"),
        ] {
            assert_eq!(unescaped(name), label, "{name}");
        }
    }
}
