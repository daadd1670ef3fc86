//! What a part of a query is while it is evaluated.

use std::collections::BTreeMap;

use crate::features::timeseries::influx::influx_key::NAME_LABEL;

/// Names and values of a series; the metric's name is the label `__name__`.
pub(in crate::features::timeseries) type Metric = BTreeMap<String, String>;

/// A number for each step, where there is one. NaN is a number here.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) struct Series {
    pub metric: Metric,
    pub points: Vec<Option<f64>>,
}

/// The values of a part of a query at all steps.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
}

/// What is calculated from a metric is not that metric any more.
pub(super) fn nameless(mut metric: Metric) -> Metric {
    metric.remove(NAME_LABEL);
    metric
}
