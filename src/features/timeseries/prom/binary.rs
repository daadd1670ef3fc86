//! Binary operators: arithmetic between numbers and series.

use std::collections::HashMap;

use super::error::PromError;
use super::value::{Metric, Series, Value, nameless};

/// An arithmetic operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Power,
}

impl Operator {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "+" => Self::Add,
            "-" => Self::Subtract,
            "*" => Self::Multiply,
            "/" => Self::Divide,
            "%" => Self::Modulo,
            "^" => Self::Power,
            _ => return None,
        })
    }

    fn of(self, left: f64, right: f64) -> f64 {
        match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Modulo => left % right,
            Self::Power => left.powf(right),
        }
    }
}

/// The labels by which the series of both sides are matched.
#[derive(Debug)]
pub(super) enum Matching {
    On(Vec<String>),
    Ignoring(Vec<String>),
}

impl Matching {
    /// The labels that both sides have in common, which are also the labels of the result.
    fn signature(&self, metric: &Metric) -> Metric {
        let mut common = match self {
            Self::On(_) => metric.clone(),
            Self::Ignoring(_) => nameless(metric.clone()),
        };
        common.retain(|name, _| match self {
            Self::On(labels) => labels.contains(name),
            Self::Ignoring(labels) => !labels.contains(name),
        });
        common
    }
}

/// # Errors
/// `execution` if several series of one side match the same series.
pub(super) fn arithmetic(
    operator: Operator,
    matching: &Matching,
    left: Value,
    right: Value,
) -> Result<Value, PromError> {
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            Value::Scalar(left.into_iter().zip(right).map(|(left, right)| operator.of(left, right)).collect())
        }
        (Value::Vector(left), Value::Scalar(right)) => Value::Vector(
            left.into_iter().map(|series| with(series, &right, |value, other| operator.of(value, other))).collect(),
        ),
        (Value::Scalar(left), Value::Vector(right)) => Value::Vector(
            right.into_iter().map(|series| with(series, &left, |value, other| operator.of(other, value))).collect(),
        ),
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(between(operator, matching, left, &right)?),
    })
}

fn with(series: Series, others: &[f64], of: impl Fn(f64, f64) -> f64) -> Series {
    let points = series.points.into_iter().zip(others).map(|(value, other)| value.map(|value| of(value, *other)));
    Series { points: points.collect(), metric: nameless(series.metric) }
}

fn between(
    operator: Operator,
    matching: &Matching,
    left: Vec<Series>,
    right: &[Series],
) -> Result<Vec<Series>, PromError> {
    let mut partners: HashMap<Metric, &Series> = HashMap::new();
    for series in right {
        if partners.insert(matching.signature(&series.metric), series).is_some() {
            return Err(ambiguous("right"));
        }
    }
    let mut results = Vec::new();
    for series in left {
        let signature = matching.signature(&series.metric);
        // A matched partner is replaced below, so an empty one means a second match.
        let Some(partner) = partners.get_mut(&signature) else { continue };
        if partner.points.is_empty() {
            return Err(ambiguous("left"));
        }
        let points = series.points.iter().zip(&partner.points);
        let points = points.map(|(left, right)| Some(operator.of((*left)?, (*right)?))).collect();
        *partner = &MATCHED;
        results.push(Series { metric: signature, points });
    }
    Ok(results)
}

/// The replacement of a series that is already matched.
static MATCHED: Series = Series { metric: Metric::new(), points: Vec::new() };

fn ambiguous(side: &str) -> PromError {
    PromError::execution(format!(
        "several series on the {side} side match the same series: add labels to `on`, or aggregate first"
    ))
}
