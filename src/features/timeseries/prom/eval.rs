//! Evaluates a plan for all steps of a query.

use std::collections::BTreeSet;
use std::sync::Weak;

use super::aggregation::aggregate;
use super::binary::arithmetic;
use super::error::PromError;
use super::params::Steps;
use super::plan::{Node, Selection};
use super::select::SelectedSeries;
use super::value::{Metric, Series, Value, nameless};
use super::window::SampleRange;
use crate::features::timeseries::series::Sample;

/// The most points of all series of one part of a query, 16 bytes each in memory.
const POINTS: usize = 1_000_000;

/// The most samples in the ranges of all steps together, so that the work of a query stays below about half a second.
const WINDOW_SAMPLES: usize = 50_000_000;

/// The most work of an evaluation that may run on a worker's own thread: about a millisecond.
const INLINE_WORK: usize = 100_000;

/// The work for the labels of a series, in samples.
const SERIES_WORK: usize = 200;

/// Whether the evaluation takes so little time that it may run on a worker's own thread. `nodes` is at least the number of
/// the plan's nodes.
pub(super) fn is_short(nodes: usize, steps: Steps, series: &[Vec<SelectedSeries>]) -> bool {
    let all = || series.iter().flatten();
    let of_each_step = all().map(SelectedSeries::length).sum::<usize>().saturating_add(nodes);
    let of_series = all().count().saturating_mul(SERIES_WORK);
    of_each_step.saturating_mul(steps.count).saturating_add(of_series) <= INLINE_WORK
}

/// The evaluation of a query.
#[derive(Debug)]
pub(super) struct Evaluation<'a> {
    steps: Steps,
    selections: &'a [Selection],
    /// The series of each selection, which one part of the query uses.
    series: Vec<Vec<SelectedSeries>>,
    /// The rest of [`WINDOW_SAMPLES`].
    window_samples: usize,
    /// Lives as long as the request waits for the result.
    request: Weak<()>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(
        steps: Steps,
        selections: &'a [Selection],
        series: Vec<Vec<SelectedSeries>>,
        request: Weak<()>,
    ) -> Self {
        Self { steps, selections, series, window_samples: WINDOW_SAMPLES, request }
    }

    /// Evaluates the whole query.
    ///
    /// # Errors
    /// `execution` if series cannot be combined, if several series of the result have the same labels, or if a limit is
    /// exceeded.
    pub(super) fn result(&mut self, root: &Node) -> Result<Value, PromError> {
        let value = self.value(root)?;
        match &value {
            Value::Scalar(_) => {}
            Value::Vector(series) => distinguishable(series.iter().map(|series| &series.metric))?,
            Value::Matrix(series) => distinguishable(series.iter().map(|(metric, _)| metric))?,
        }
        Ok(value)
    }

    fn value(&mut self, node: &Node) -> Result<Value, PromError> {
        Ok(match node {
            Node::Samples(selection) => Value::Matrix(self.samples(*selection)?),
            Node::Number(number) => Value::Scalar(vec![*number; self.steps.count]),
            Node::Latest(selection) => Value::Vector(self.latest(*selection)?),
            Node::Window { function, rank, selection, keeps_name } => {
                let rank = self.rank(rank.as_deref())?;
                let series = self.window(*function, &rank, *selection)?;
                Value::Vector(if *keeps_name { series } else { nameless(series)? })
            }
            Node::Aggregate { operator, rank, by, of } => {
                let rank = self.rank(rank.as_deref())?;
                match self.value(of)? {
                    Value::Vector(series) => Value::Vector(aggregate(*operator, by, series, &rank)),
                    Value::Scalar(_) | Value::Matrix(_) => {
                        return Err(PromError::execution("only series can be aggregated, not a number"));
                    }
                }
            }
            Node::Binary { operator, matching, left, right } => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                arithmetic(*operator, matching, left, right)?
            }
            Node::Negative(of) => match self.value(of)? {
                Value::Scalar(numbers) => Value::Scalar(numbers.into_iter().map(|number| -number).collect()),
                Value::Vector(series) => {
                    let negative = |mut series: Series| {
                        series.points.iter_mut().flatten().for_each(|value| *value = -*value);
                        series
                    };
                    Value::Vector(nameless(series.into_iter().map(negative).collect())?)
                }
                Value::Matrix(_) => return Err(PromError::unsupported("a range without a function")),
            },
        })
    }

    /// The parameter of a function at each step; 0 if it has none.
    fn rank(&mut self, node: Option<&Node>) -> Result<Vec<f64>, PromError> {
        match node.map(|node| self.value(node)).transpose()? {
            None => Ok(vec![0.0; self.steps.count]),
            Some(Value::Scalar(numbers)) => Ok(numbers),
            Some(Value::Vector(_) | Value::Matrix(_)) => {
                Err(PromError::execution("the parameter of a quantile must be a number"))
            }
        }
    }

    fn latest(&mut self, selection: usize) -> Result<Vec<Series>, PromError> {
        let (selection, series) = self.selected(selection)?;
        let series = series.into_iter().map(|series| {
            let point = |time| series.window(selection, time).last().map(|sample| sample.value);
            Series { points: self.steps.times().map(point).collect(), metric: series.metric }
        });
        Ok(series.collect())
    }

    fn samples(&mut self, selection: usize) -> Result<Vec<(Metric, Vec<Sample>)>, PromError> {
        let (selection, selected) = self.selected(selection)?;
        let of_series = |series: SelectedSeries| {
            let samples = series.window(selection, self.steps.start).to_vec();
            (series.metric, samples)
        };
        let series: Vec<_> = selected.into_iter().map(of_series).collect();
        if series.iter().map(|(_, samples)| samples.len()).sum::<usize>() > POINTS {
            return Err(PromError::execution(format!(
                "the query has more than {POINTS} points: select fewer series, or a shorter range"
            )));
        }
        Ok(series)
    }

    fn window(
        &mut self,
        function: fn(&SampleRange<'_>) -> Option<f64>,
        rank: &[f64],
        selection: usize,
    ) -> Result<Vec<Series>, PromError> {
        let (selection, selected) = self.selected(selection)?;
        let mut results = Vec::with_capacity(selected.len());
        for series in selected {
            let mut points = Vec::with_capacity(self.steps.count);
            for (time, &rank) in self.steps.times().zip(rank) {
                if self.request.strong_count() == 0 {
                    return Err(PromError::internal("the request has ended"));
                }
                let samples = series.window(selection, time);
                self.window_samples = self.window_samples.checked_sub(samples.len()).ok_or_else(|| {
                    PromError::execution(
                        "the ranges of all steps have too many samples: use shorter ranges or longer steps",
                    )
                })?;
                let range = SampleRange { samples, length: selection.range, end: time - selection.offset, rank };
                points.push(range.apply(function));
            }
            results.push(Series { metric: series.metric, points });
        }
        Ok(results)
    }

    fn selected(&mut self, index: usize) -> Result<(&'a Selection, Vec<SelectedSeries>), PromError> {
        let (Some(selection), Some(series)) = (self.selections.get(index), self.series.get_mut(index)) else {
            return Err(PromError::internal("a selection is missing"));
        };
        let series = std::mem::take(series);
        if series.len().saturating_mul(self.steps.count) > POINTS {
            return Err(PromError::execution(format!(
                "the query has more than {POINTS} points: select fewer series, or use longer steps"
            )));
        }
        Ok((selection, series))
    }
}

/// Checks that the labels of a result tell its series apart.
fn distinguishable<'a>(metrics: impl Iterator<Item = &'a Metric>) -> Result<(), PromError> {
    let mut known = BTreeSet::new();
    for metric in metrics {
        if !known.insert(metric) {
            let labels = serde_json::to_string(metric).unwrap_or_default();
            return Err(PromError::execution(format!(
                "several series have the labels {labels}: aggregate them, or give them different labels"
            )));
        }
    }
    Ok(())
}
