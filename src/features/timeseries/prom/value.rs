//! The values of an evaluation: numbers and series.

use std::collections::{BTreeMap, BTreeSet};

use super::error::PromError;
use crate::features::timeseries::influx::influx_key::NAME_LABEL;
use crate::features::timeseries::series::Sample;

/// The labels of a series, including the metric name as the label `__name__`.
pub(in crate::features::timeseries) type Metric = BTreeMap<String, String>;

/// A series with an optional number for each step. NaN counts as a number.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Series {
    pub metric: Metric,
    pub points: Vec<Option<f64>>,
}

/// Drops the metric names: a value that is computed from a metric is no longer that metric.
///
/// # Errors
/// `execution` if only their names told some of the series apart. Series that have had the same labels before are still
/// separate series, which an aggregation counts one by one.
pub(super) fn nameless(mut series: Vec<Series>) -> Result<Vec<Series>, PromError> {
    let distinct = |series: &[Series]| series.iter().map(|series| &series.metric).collect::<BTreeSet<_>>().len();
    let before = distinct(&series);
    for one in &mut series {
        one.metric.remove(NAME_LABEL);
    }
    if distinct(&series) < before {
        return Err(PromError::execution("vector cannot contain metrics with the same labelset"));
    }
    Ok(series)
}

/// The value of a part of a query at all steps.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    /// The samples of each series in a range.
    Matrix(Vec<(Metric, Vec<Sample>)>),
}

/// The labels that count when series are grouped or matched.
#[derive(Debug)]
pub(super) enum LabelSet {
    Only(Vec<String>),
    /// All labels except these and the metric name.
    Without(Vec<String>),
}

impl LabelSet {
    /// The part of a metric that counts.
    pub(super) fn of(&self, mut metric: Metric) -> Metric {
        match self {
            Self::Only(labels) => metric.retain(|name, _| labels.contains(name)),
            Self::Without(labels) => metric.retain(|name, _| name != NAME_LABEL && !labels.contains(name)),
        }
        metric
    }
}
