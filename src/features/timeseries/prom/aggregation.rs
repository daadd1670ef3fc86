//! Aggregation operators, such as `sum by (zone)`.

use std::collections::BTreeMap;

use super::super::aggregate::Sum;
use super::quantile::quantile;
use super::value::{Metric, Series, nameless};

/// An operator that aggregates the values of a group of series at each step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    /// Has the rank as its parameter.
    Quantile,
}

impl Operator {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "sum" => Self::Sum,
            "avg" => Self::Avg,
            "min" => Self::Min,
            "max" => Self::Max,
            "count" => Self::Count,
            "quantile" => Self::Quantile,
            _ => return None,
        })
    }

    /// The result for the values of one step; `None` if there are none.
    #[expect(clippy::cast_precision_loss, reason = "a number of series in memory")]
    fn of(self, values: &mut [f64], rank: f64) -> Option<f64> {
        let first = *values.first()?;
        let count = values.len() as f64;
        // The minimum and the maximum ignore NaN.
        let best = |better: fn(f64, f64) -> f64| values.iter().copied().fold(first, better);
        let mut sum = Sum::default();
        Some(match self {
            Self::Sum | Self::Avg => {
                for value in values.iter() {
                    sum.add(*value);
                }
                // Infinite terms make the compensation NaN, so they need a plain sum.
                let total = if sum.value().is_nan() { values.iter().sum() } else { sum.value() };
                if self == Self::Sum { total } else { total / count }
            }
            Self::Min => best(f64::min),
            Self::Max => best(f64::max),
            Self::Count => count,
            Self::Quantile => quantile(rank, values),
        })
    }
}

/// The labels that aggregated series keep.
#[derive(Debug)]
pub(super) enum By {
    Only(Vec<String>),
    Without(Vec<String>),
}

impl By {
    fn group_of(&self, metric: &Metric) -> Metric {
        match self {
            Self::Only(labels) => labels
                .iter()
                .filter_map(|label| metric.get_key_value(label))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            Self::Without(labels) => {
                let mut group = nameless(metric.clone());
                group.retain(|name, _| !labels.contains(name));
                group
            }
        }
    }
}

/// Aggregates series by groups; `rank` has a value for each step.
pub(super) fn aggregate(operator: Operator, by: &By, series: &[Series], rank: &[f64]) -> Vec<Series> {
    let mut groups: BTreeMap<Metric, Vec<&Series>> = BTreeMap::new();
    for one in series {
        groups.entry(by.group_of(&one.metric)).or_default().push(one);
    }
    let aggregated = groups.into_iter().map(|(metric, members)| {
        let mut values = Vec::with_capacity(members.len());
        let points = rank.iter().enumerate().map(|(step, rank)| {
            values.clear();
            values.extend(members.iter().filter_map(|member| member.points.get(step).copied().flatten()));
            operator.of(&mut values, *rank)
        });
        Series { points: points.collect(), metric }
    });
    aggregated.collect()
}
