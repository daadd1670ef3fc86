//! Rollups: statistics over all samples of an hour or a day, for each field.
//!
//! Even daily rollups are computed from the samples themselves, so that percentiles are exact. A percentile between two
//! ranks is interpolated linearly.
//!
//! Source: R. J. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50 (1996),
//! definition 7.

mod codec;

use serde::Serialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::sample::Sample;

/// Statistics of one field.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = HostFieldSummary)]
pub(in super::super) struct Summary {
    #[schema(example = 37.5)]
    pub avg: f64,
    #[schema(example = 12.25)]
    pub min: f64,
    #[schema(example = 91.0)]
    pub max: f64,
    #[schema(example = 80.5)]
    pub p95: f64,
    #[schema(example = 88.0)]
    pub p99: f64,
}

/// Statistics of one hour or one day.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Rollup {
    /// The first millisecond of the hour or the day.
    pub start: UnixMillis,
    /// The number of samples.
    pub count: u32,
    /// In the order of [`FIELDS`].
    pub fields: Vec<Summary>,
}

/// Collects the values of an hour or of a day, field by field: 8 bytes each.
#[derive(Debug)]
pub(in super::super) struct Collector {
    count: u32,
    columns: Vec<Vec<f64>>,
}

impl Collector {
    pub(in super::super) fn new() -> Self {
        Self { count: 0, columns: vec![Vec::new(); FIELDS.len()] }
    }

    /// Adds samples, which must not contain duplicates.
    pub(in super::super) fn add(&mut self, samples: &[Sample]) {
        for sample in samples {
            self.count += 1;
            for (field, column) in FIELDS.iter().zip(&mut self.columns) {
                column.push(field.value(sample));
            }
        }
    }

    /// The rollup of the samples; `None` if there are none.
    pub(in super::super) async fn finish(self, start: UnixMillis) -> Option<Rollup> {
        let mut fields = Vec::with_capacity(FIELDS.len());
        for mut column in self.columns {
            fields.push(summary(&mut column)?);
            // A day of frequent samples takes milliseconds for each field: let requests on this thread run in between.
            tokio::task::yield_now().await;
        }
        Some(Rollup { start, count: self.count, fields })
    }
}

/// The statistics of these values; reorders them.
fn summary(values: &mut [f64]) -> Option<Summary> {
    let min = values.iter().copied().min_by(f64::total_cmp)?;
    let max = values.iter().copied().max_by(f64::total_cmp)?;
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    // A sum has rounding errors, but a mean must be between minimum and maximum.
    let avg = mean.clamp(min, max);
    Some(Summary { avg, min, max, p95: percentile(95, values)?, p99: percentile(99, values)? })
}

fn percentile(percent: usize, values: &mut [f64]) -> Option<f64> {
    // Integers, so that an existing rank is hit exactly.
    let rank = values.len().checked_sub(1)? * percent;
    let (at, beyond) = (rank / 100, rank % 100);
    let (_, low, above) = values.select_nth_unstable_by(at, f64::total_cmp);
    let low = *low;
    if beyond == 0 {
        return Some(low);
    }
    let high = above.iter().copied().min_by(f64::total_cmp)?;
    #[expect(clippy::cast_precision_loss, reason = "below 100")]
    let share = beyond as f64 / 100.0;
    Some(low + (high - low) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_definition_7() {
        // The results of numpy.percentile.
        let mut values: Vec<f64> = (1..=10).rev().map(f64::from).collect();
        let found = summary(&mut values).expect("values");
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(near(found.p95, 9.55) && near(found.p99, 9.91), "{found:?}");
        assert_eq!((found.avg, found.min, found.max), (5.5, 1.0, 10.0));
        assert_eq!(percentile(95, &mut [7.0]), Some(7.0));
        assert_eq!(summary(&mut []), None);
    }

    #[test]
    fn a_mean_of_equal_values_is_that_value() {
        assert_eq!(summary(&mut [0.1; 3]).map(|found| found.avg), Some(0.1));
    }
}
