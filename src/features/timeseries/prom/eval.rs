//! Evaluates a plan for all steps of a query.

use std::collections::BTreeSet;

use super::aggregation::aggregate;
use super::binary::arithmetic;
use super::error::PromError;
use super::params::Steps;
use super::plan::Node;
use super::select::{Selected, SelectedSeries};
use super::value::{Metric, Series, Value, nameless};
use super::window::WindowFunction;

/// The most points of all series of one part of a query, 16 bytes each in memory.
const POINTS: usize = 1_000_000;

/// The most samples in the ranges of all steps together, so that the work of a query stays below about half a second.
const WINDOW_SAMPLES: usize = 50_000_000;

#[derive(Debug)]
pub(super) struct Evaluation<'a> {
    steps: Steps,
    selected: &'a [Selected],
    /// The rest of [`WINDOW_SAMPLES`].
    window_samples: usize,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(steps: Steps, selected: &'a [Selected]) -> Self {
        Self { steps, selected, window_samples: WINDOW_SAMPLES }
    }

    /// # Errors
    /// `execution` if series cannot be combined, or if a limit is exceeded.
    pub(super) fn run(mut self, root: &Node) -> Result<Value, PromError> {
        self.value(root)
    }

    fn value(&mut self, node: &Node) -> Result<Value, PromError> {
        Ok(match node {
            Node::Number(number) => Value::Scalar(vec![*number; self.steps.count]),
            Node::Latest(selection) => Value::Vector(self.latest(*selection)?),
            Node::Window { function, rank, selection } => {
                let rank = self.rank(rank.as_deref())?;
                Value::Vector(self.window(*function, &rank, *selection)?)
            }
            Node::Aggregate { operator, rank, by, of } => {
                let rank = self.rank(rank.as_deref())?;
                match self.value(of)? {
                    Value::Vector(series) => Value::Vector(aggregate(*operator, by, &series, &rank)),
                    Value::Scalar(_) => {
                        return Err(PromError::execution("only series can be aggregated, not a number"));
                    }
                }
            }
            Node::Binary { operator, matching, left, right } => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                unambiguous(arithmetic(*operator, matching, left, right)?)?
            }
            Node::Negative(of) => match self.value(of)? {
                Value::Scalar(numbers) => Value::Scalar(numbers.into_iter().map(|number| -number).collect()),
                Value::Vector(series) => {
                    let negative = |series: Series| Series {
                        points: series.points.into_iter().map(|value| value.map(|value| -value)).collect(),
                        metric: nameless(series.metric),
                    };
                    unambiguous(Value::Vector(series.into_iter().map(negative).collect()))?
                }
            },
        })
    }

    /// The parameter of a function at each step; 0 if it has none.
    fn rank(&mut self, node: Option<&Node>) -> Result<Vec<f64>, PromError> {
        match node.map(|node| self.value(node)).transpose()? {
            None => Ok(vec![0.0; self.steps.count]),
            Some(Value::Scalar(numbers)) => Ok(numbers),
            Some(Value::Vector(_)) => Err(PromError::execution("the parameter of a quantile must be a number")),
        }
    }

    fn latest(&self, selection: usize) -> Result<Vec<Series>, PromError> {
        let selected = self.selected(selection)?;
        let series = selected.series.iter().map(|series| {
            let point = |time| selected.window(series, time).last().map(|sample| sample.value);
            Series { metric: series.metric.clone(), points: self.steps.times().map(point).collect() }
        });
        Ok(series.collect())
    }

    fn window(&mut self, function: WindowFunction, rank: &[f64], selection: usize) -> Result<Vec<Series>, PromError> {
        let selected = self.selected(selection)?;
        let mut results = Vec::with_capacity(selected.series.len());
        for series in &selected.series {
            let points = self.windows_of(function, rank, selected, series)?;
            // The last value is a value of the metric, so it keeps the metric's name.
            let metric = series.metric.clone();
            let metric = if function == WindowFunction::Last { metric } else { nameless(metric) };
            results.push(Series { metric, points });
        }
        match unambiguous(Value::Vector(results))? {
            Value::Vector(series) => Ok(series),
            Value::Scalar(_) => Ok(Vec::new()),
        }
    }

    fn windows_of(
        &mut self,
        function: WindowFunction,
        rank: &[f64],
        selected: &Selected,
        series: &SelectedSeries,
    ) -> Result<Vec<Option<f64>>, PromError> {
        let mut points = Vec::with_capacity(self.steps.count);
        for (time, rank) in self.steps.times().zip(rank) {
            let samples = selected.window(series, time);
            self.window_samples = self.window_samples.checked_sub(samples.len()).ok_or_else(|| {
                PromError::execution(
                    "the ranges of all steps have too many samples: use shorter ranges or longer steps",
                )
            })?;
            points.push(function.of(samples, selected.range, time - selected.offset, *rank));
        }
        Ok(points)
    }

    fn selected(&self, selection: usize) -> Result<&'a Selected, PromError> {
        let selected = self.selected.get(selection).ok_or_else(|| PromError::internal("a selection is missing"))?;
        if selected.series.len().saturating_mul(self.steps.count) > POINTS {
            return Err(PromError::execution(format!(
                "the query has more than {POINTS} points: select fewer series, or use longer steps"
            )));
        }
        Ok(selected)
    }
}

/// Checks that series differ after their metric names were dropped.
fn unambiguous(value: Value) -> Result<Value, PromError> {
    if let Value::Vector(series) = &value {
        let metrics: BTreeSet<&Metric> = series.iter().map(|series| &series.metric).collect();
        if metrics.len() < series.len() {
            return Err(PromError::execution("vector cannot contain metrics with the same labelset"));
        }
    }
    Ok(value)
}
