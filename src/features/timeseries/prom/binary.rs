//! Binary operators: arithmetic between numbers and series.

use std::collections::HashMap;

use super::error::PromError;
use super::value::{LabelSet, Metric, Series, Value, nameless};

/// An arithmetic operator.
pub(super) fn operator(name: &str) -> Option<fn(f64, f64) -> f64> {
    Some(match name {
        "+" => |left, right| left + right,
        "-" => |left, right| left - right,
        "*" => |left, right| left * right,
        "/" => |left, right| left / right,
        "%" => |left, right| left % right,
        "^" => f64::powf,
        _ => return None,
    })
}

/// # Errors
/// `execution` if several series of one side match the same series, or if only their names tell series apart.
pub(super) fn arithmetic(
    operator: fn(f64, f64) -> f64,
    matching: &LabelSet,
    left: Value,
    right: Value,
) -> Result<Value, PromError> {
    Ok(match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            Value::Scalar(left.into_iter().zip(right).map(|(left, right)| operator(left, right)).collect())
        }
        (Value::Vector(left), Value::Scalar(right)) => {
            Value::Vector(nameless(left.into_iter().map(|series| with(series, &right, operator)).collect())?)
        }
        (Value::Scalar(left), Value::Vector(right)) => {
            let reversed = |value, other| operator(other, value);
            Value::Vector(nameless(right.into_iter().map(|series| with(series, &left, reversed)).collect())?)
        }
        (Value::Vector(left), Value::Vector(right)) => Value::Vector(between(operator, matching, left, right)?),
        (Value::Matrix(_), _) | (_, Value::Matrix(_)) => {
            return Err(PromError::unsupported("a range without a function"));
        }
    })
}

fn with(series: Series, others: &[f64], of: impl Fn(f64, f64) -> f64) -> Series {
    let points = series.points.into_iter().zip(others).map(|(value, other)| value.map(|value| of(value, *other)));
    Series { points: points.collect(), metric: series.metric }
}

fn between(
    operator: fn(f64, f64) -> f64,
    matching: &LabelSet,
    left: Vec<Series>,
    right: Vec<Series>,
) -> Result<Vec<Series>, PromError> {
    let mut partners: HashMap<Metric, Vec<Option<f64>>> = HashMap::new();
    for Series { metric, points } in right {
        if partners.insert(matching.of(metric), points).is_some() {
            return Err(ambiguous("right"));
        }
    }
    let mut results = Vec::new();
    for Series { metric, points } in left {
        let metric = matching.of(metric);
        let Some(partner) = partners.get_mut(&metric) else { continue };
        // A matched partner is taken, so an empty one means a second match.
        let partner = std::mem::take(partner);
        if partner.is_empty() {
            return Err(ambiguous("left"));
        }
        let points = points.into_iter().zip(partner).map(|(left, right)| Some(operator(left?, right?)));
        results.push(Series { points: points.collect(), metric });
    }
    Ok(results)
}

fn ambiguous(side: &str) -> PromError {
    PromError::execution(format!(
        "several series on the {side} side match the same series: add labels to `on`, or aggregate first"
    ))
}
