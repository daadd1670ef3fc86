//! Reads the values of conditions from the metrics.

use std::collections::{BTreeMap, HashMap, VecDeque};

use prometheus::proto::{MetricFamily, MetricType};

use super::conditions::{Condition, Limit};
use crate::clock::UnixMillis;

/// The time over which the growth of a counter counts, milliseconds.
const WINDOW: i64 = 60_000;
/// The number of earlier values of a counter that are kept.
const STEPS: i64 = 12;
/// The most subjects of one condition.
const MAX_SUBJECTS: usize = 100;

/// The value of a condition for one subject.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub condition: usize,
    /// The values of the labels that name the subject.
    pub subject: String,
    pub value: f64,
}

/// Whether a value is beyond its limit, back within it, or in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    Over,
    Between,
    Under,
}

impl Limit {
    pub(super) fn range(self, value: f64) -> Range {
        let (is_over, is_under) = match self {
            Self::Above(fire, clear) => (value > fire, value <= clear),
            Self::Below(fire, clear) => (value < fire, value >= clear),
            Self::Beyond(fire, clear) => (value.abs() > fire, value.abs() <= clear),
            Self::Rise(fire) => (value >= fire, value <= 0.0),
        };
        if is_over {
            Range::Over
        } else if is_under {
            Range::Under
        } else {
            Range::Between
        }
    }

    pub(super) const fn threshold(self) -> f64 {
        match self {
            Self::Above(fire, _) | Self::Below(fire, _) | Self::Beyond(fire, _) | Self::Rise(fire) => fire,
        }
    }
}

/// Remembers counters, to see how much they grow.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// By condition and subject: values of a counter and their times, oldest first.
    counters: HashMap<(usize, String), VecDeque<(UnixMillis, f64)>>,
    has_read: bool,
}

impl Reader {
    /// The readings of all conditions.
    pub(super) fn read(
        &mut self,
        conditions: &[Condition],
        families: &[MetricFamily],
        now: UnixMillis,
    ) -> Vec<Reading> {
        let by_name: HashMap<&str, &MetricFamily> = families.iter().map(|family| (family.name(), family)).collect();
        let samples = |name: &str| by_name.get(name).copied();
        let mut readings = Vec::new();
        for (at, condition) in conditions.iter().enumerate() {
            let divisors = condition.of.map(|of| sums(condition, samples(of)));
            for (subject, sum) in sums(condition, samples(condition.metric)).into_iter().take(MAX_SUBJECTS) {
                let value = match (&divisors, condition.limit) {
                    (_, Limit::Rise(_)) => self.growth((at, subject.clone()), sum, now),
                    (Some(divisors), _) => match divisors.get(&subject) {
                        Some(divisor) if *divisor > 0.0 => sum / divisor,
                        _ => continue,
                    },
                    (None, _) => sum,
                };
                readings.push(Reading { condition: at, subject, value });
            }
        }
        self.has_read = true;
        readings
    }

    /// How much a counter has grown within the window. A counter that appears after the first reading was 0 before.
    fn growth(&mut self, counter: (usize, String), value: f64, now: UnixMillis) -> f64 {
        let first = if self.has_read { 0.0 } else { value };
        let values = self.counters.entry(counter).or_insert_with(|| VecDeque::from([(now, first)]));
        while values.len() > 1 && values.get(1).is_some_and(|(at, _)| now - at >= WINDOW) {
            values.pop_front();
        }
        let before = values.front().map_or(first, |(_, before)| *before);
        // A lower value is that of a server or process that has restarted.
        if value < before {
            values.clear();
            values.push_back((now, 0.0));
            return value;
        }
        if values.back().is_none_or(|(at, _)| now - at >= WINDOW / STEPS) {
            values.push_back((now, value));
        }
        value - before
    }
}

/// The sum of the samples of each subject.
fn sums(condition: &Condition, family: Option<&MetricFamily>) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    let Some(family) = family else { return sums };
    let is_counter = family.get_field_type() == MetricType::COUNTER;
    for sample in family.get_metric() {
        let label = |name: &str| {
            let pair = sample.get_label().iter().find(|pair| pair.name() == name);
            pair.map(|pair| pair.value().to_owned()).unwrap_or_default()
        };
        if !(condition.matching)(&label) {
            continue;
        }
        let parts: Vec<String> =
            condition.subject.iter().map(|name| label(name)).filter(|part| !part.is_empty()).collect();
        let value = if is_counter { sample.get_counter().get_value() } else { sample.get_gauge().get_value() };
        *sums.entry(parts.join(" ")).or_insert(0.0) += value;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::conditions;
    use super::*;
    use crate::telemetry::metrics::{Labels, Row, family};

    fn evictions(value: f64) -> Vec<MetricFamily> {
        let labels: Labels = vec![("store", "state".to_owned()), ("node", String::new())];
        family(&Row::counter("redis_evicted_keys_total", "x"), vec![(labels, value)]).into_iter().collect()
    }

    #[test]
    fn growth_counts_within_a_minute_and_survives_a_restart_of_the_counter() {
        let conditions = conditions::all(0);
        let mut reader = Reader::default();
        let mut value = |at, total| reader.read(&conditions, &evictions(total), at).first().expect("a reading").value;
        let values =
            [(0, 5.0), (5_000, 5.0), (10_000, 8.0), (30_000, 8.0), (69_000, 8.0), (75_000, 8.0), (80_000, 2.0)];
        let grown: Vec<f64> = values.into_iter().map(|(at, total)| value(at, total)).collect();
        assert_eq!(grown, [0.0, 0.0, 3.0, 3.0, 3.0, 0.0, 2.0]);
    }

    #[test]
    fn a_ratio_needs_its_divisor() {
        let conditions = conditions::all(0);
        let labels: Labels = vec![("store", "state".to_owned())];
        let gauge = |name, value| family(&Row::gauge(name, "x"), vec![(labels.clone(), value)]).expect("a family");
        let used = gauge("redis_memory_used_bytes", 90.0);
        let read =
            |limit| Reader::default().read(&conditions, &[used.clone(), gauge("redis_memory_max_bytes", limit)], 0);
        assert_eq!(read(0.0), []);
        let reading = read(100.0).pop().expect("a reading");
        assert_eq!((reading.subject.as_str(), reading.value), ("state", 0.9));
        assert_eq!(conditions[reading.condition].limit.range(reading.value), Range::Over);
    }

    #[test]
    fn limits_have_room_between_firing_and_clearing() {
        use Range::{Between, Over, Under};
        let ranges = |limit: Limit, values: [f64; 3]| values.map(|value| limit.range(value));
        assert_eq!(ranges(Limit::Above(0.85, 0.8), [0.86, 0.82, 0.8]), [Over, Between, Under]);
        assert_eq!(ranges(Limit::Below(0.1, 0.12), [0.09, 0.11, 0.12]), [Over, Between, Under]);
        assert_eq!(ranges(Limit::Beyond(1.0, 0.5), [-2.0, -0.7, 0.5]), [Over, Between, Under]);
        assert_eq!(ranges(Limit::Rise(10.0), [10.0, 3.0, 0.0]), [Over, Between, Under]);
    }
}
