//! Aggregation operators, such as `sum by (zone)`.

use std::collections::BTreeMap;

use super::super::aggregate::Sum;
use super::value::{LabelSet, Metric, Series};
use super::window::quantile;

/// The operator that aggregates the values of a group of series at one step: at least one value, and the parameter of
/// the operator.
#[expect(clippy::cast_precision_loss, reason = "a number of series in memory")]
pub(super) fn operator(name: &str) -> Option<fn(&mut [f64], f64) -> f64> {
    Some(match name {
        "sum" => |values, _| sum(values),
        "avg" => |values, _| sum(values) / values.len() as f64,
        // The minimum and the maximum ignore NaN.
        "min" => |values, _| values.iter().copied().fold(f64::NAN, f64::min),
        "max" => |values, _| values.iter().copied().fold(f64::NAN, f64::max),
        "count" => |values, _| values.len() as f64,
        "quantile" => |values, rank| quantile(rank, values),
        _ => return None,
    })
}

fn sum(values: &[f64]) -> f64 {
    let mut sum = Sum::default();
    for value in values {
        sum.add(*value);
    }
    // Infinite terms make the compensation NaN, so they need a plain sum.
    if sum.value().is_nan() { values.iter().sum() } else { sum.value() }
}

/// Aggregates series by groups; `rank` has a value for each step.
pub(super) fn aggregate(
    operator: fn(&mut [f64], f64) -> f64,
    by: &LabelSet,
    series: Vec<Series>,
    rank: &[f64],
) -> Vec<Series> {
    let mut groups: BTreeMap<Metric, Vec<Vec<Option<f64>>>> = BTreeMap::new();
    for Series { metric, points } in series {
        groups.entry(by.of(metric)).or_default().push(points);
    }
    let aggregated = groups.into_iter().map(|(metric, members)| {
        let mut values = Vec::with_capacity(members.len());
        let points = rank.iter().enumerate().map(|(step, rank)| {
            values.clear();
            values.extend(members.iter().filter_map(|member| member.get(step).copied().flatten()));
            (!values.is_empty()).then(|| operator(&mut values, *rank))
        });
        Series { points: points.collect(), metric }
    });
    aggregated.collect()
}
