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

impl Series {
    /// Drops the metric name: a value that is computed from a metric is no longer that metric.
    pub(super) fn nameless(mut self) -> Self {
        self.metric.remove(NAME_LABEL);
        self
    }
}

/// The value of a part of a query at all steps.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::features::timeseries) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
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
    pub(super) fn of(&self, metric: &Metric) -> Metric {
        match self {
            Self::Only(labels) => labels
                .iter()
                .filter_map(|label| metric.get_key_value(label))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            Self::Without(labels) => {
                let mut rest = metric.clone();
                rest.retain(|name, _| name != NAME_LABEL && !labels.contains(name));
                rest
            }
        }
    }
}
