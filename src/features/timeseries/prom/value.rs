//! The values of an evaluation: numbers and series.

use std::collections::BTreeMap;

use crate::features::timeseries::influx::influx_key::NAME_LABEL;

/// The labels of a series, including the metric name as the label `__name__`.
pub(in crate::features::timeseries) type Metric = BTreeMap<String, String>;

/// A series with an optional number for each step. NaN counts as a number.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Series {
    pub metric: Metric,
    pub points: Vec<Option<f64>>,
}

/// The value of a part of a query at all steps.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
}

/// Drops the metric name: a value that is computed from a metric is no longer that metric.
pub(super) fn nameless(mut metric: Metric) -> Metric {
    metric.remove(NAME_LABEL);
    metric
}
