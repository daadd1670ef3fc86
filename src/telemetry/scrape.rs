//! Metrics whose values are read when Prometheus scrapes them.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

/// The name, the meaning and the kind of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub help: &'static str,
    /// A counter or a gauge.
    pub kind: MetricType,
}

impl Row {
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::COUNTER }
    }

    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: MetricType::GAUGE }
    }
}

/// The labels of a sample, as names and values.
pub type Labels = Vec<(&'static str, String)>;

/// Metrics whose values are read together.
#[derive(Clone)]
pub(super) struct Scraped<const N: usize, F> {
    rows: [Row; N],
    descriptions: Vec<Desc>,
    read: F,
}

impl<const N: usize, F: Fn() -> [Vec<(Labels, f64)>; N]> Scraped<N, F> {
    /// `labels` are the names of the labels of all samples.
    ///
    /// # Errors
    /// A name that is not a valid Prometheus name.
    pub(super) fn new(rows: [Row; N], labels: &[&str], read: F) -> prometheus::Result<Self> {
        let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
        let describe = |row: &Row| Desc::new(row.name.to_owned(), row.help.to_owned(), labels.clone(), HashMap::new());
        let descriptions = rows.iter().map(describe).collect::<prometheus::Result<_>>()?;
        Ok(Self { rows, descriptions, read })
    }
}

impl<const N: usize, F: Fn() -> [Vec<(Labels, f64)>; N] + Send + Sync> Collector for Scraped<N, F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.rows.iter().zip((self.read)()).filter_map(|(row, samples)| family(row, samples)).collect()
    }
}

/// A metric with its samples; `None` without any.
pub fn family(row: &Row, samples: Vec<(Labels, f64)>) -> Option<MetricFamily> {
    if samples.is_empty() {
        return None;
    }
    let mut family = MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.help.to_owned());
    family.set_field_type(row.kind);
    family.set_metric(samples.into_iter().map(|(labels, value)| metric(row.kind, labels, value)).collect());
    Some(family)
}

fn metric(kind: MetricType, labels: Labels, value: f64) -> Metric {
    let mut metric = Metric::default();
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let pair = |(name, value): (&str, String)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    };
    metric.set_label(labels.into_iter().map(pair).collect());
    metric
}
