//! Metrics whose values are read when Prometheus scrapes them.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};

/// A metric without labels.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub name: &'static str,
    pub help: &'static str,
    /// A counter or a gauge.
    pub kind: MetricType,
}

/// Metrics whose values are read together.
#[derive(Clone)]
pub(super) struct Scraped<const N: usize, F> {
    rows: [Row; N],
    descriptions: Vec<Desc>,
    read: F,
}

impl<const N: usize, F: Fn() -> Option<[f64; N]>> Scraped<N, F> {
    /// # Errors
    /// A name that is not a valid Prometheus name.
    pub(super) fn new(rows: [Row; N], read: F) -> prometheus::Result<Self> {
        let describe = |row: &Row| Desc::new(row.name.to_owned(), row.help.to_owned(), Vec::new(), HashMap::new());
        let descriptions = rows.iter().map(describe).collect::<prometheus::Result<_>>()?;
        Ok(Self { rows, descriptions, read })
    }
}

impl<const N: usize, F: Fn() -> Option<[f64; N]> + Send + Sync> Collector for Scraped<N, F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(values) = (self.read)() else { return Vec::new() };
        self.rows.iter().zip(values).map(|(row, value)| family(row, value)).collect()
    }
}

fn family(row: &Row, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    if row.kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    let mut family = MetricFamily::default();
    family.set_name(row.name.to_owned());
    family.set_help(row.help.to_owned());
    family.set_field_type(row.kind);
    family.set_metric(vec![metric]);
    family
}
