//! Exact percentiles: the values of a bucket are kept in memory until it is complete.
//!
//! The result is interpolated linearly between two ranks, so the median of an even number of values is the mean of the
//! middle two.
//!
//! Source: R. J. Hyndman, Y. Fan, "Sample Quantiles in Statistical Packages", The American Statistician 50 (1996),
//! definition 7.

use super::super::series::Sample;
use super::kernel::Kernel;
use super::point::{Bucket, Number};

/// A percentile in thousandths of a percent, below 100,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) struct Percentile(u32);

impl Percentile {
    pub(in crate::features::timeseries) const MEDIAN: Self = Self(50_000);

    pub(in crate::features::timeseries) const fn of_thousandths(thousandths: u32) -> Self {
        Self(thousandths)
    }

    /// The percentile of values; `None` if there are none. Reorders the values.
    pub(in crate::features::timeseries) fn of(self, values: &mut [f64]) -> Option<f64> {
        const WHOLE: usize = 100_000;
        // Integers, so that the rank of an existing value is exact.
        let rank = values.len().checked_sub(1)? * usize::try_from(self.0).ok()?;
        let (at, beyond) = (rank / WHOLE, rank % WHOLE);
        let (_, low, above) = values.select_nth_unstable_by(at, f64::total_cmp);
        let low = *low;
        if beyond == 0 {
            return Some(low);
        }
        let high = above.iter().copied().min_by(f64::total_cmp)?;
        #[expect(clippy::cast_precision_loss, reason = "below 100,000")]
        let share = beyond as f64 / WHOLE as f64;
        Some(low * (1.0 - share) + high * share)
    }
}

#[derive(Debug)]
pub(super) struct PercentileKernel {
    percentile: Percentile,
    values: Vec<f64>,
}

impl PercentileKernel {
    pub(super) fn new(percentile: Percentile) -> Self {
        Self { percentile, values: Vec::new() }
    }
}

impl Kernel for PercentileKernel {
    fn open(&mut self, _: Bucket, _: Option<Sample>) {
        self.values.clear();
    }

    fn add(&mut self, samples: &[Sample]) {
        self.values.extend(samples.iter().map(|sample| sample.value));
    }

    fn close(&mut self, _: Option<Sample>) -> Number {
        self.percentile.of(&mut self.values).map_or(Number::NONE, Number::Float)
    }

    fn kept(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(thousandths: u32, values: &[f64]) -> Option<f64> {
        Percentile::of_thousandths(thousandths).of(&mut values.to_vec())
    }

    #[test]
    fn ranks_are_met_exactly_and_interpolated_between() {
        let ranks: Vec<f64> = (0..=1_000_i32).rev().map(f64::from).collect();
        assert_eq!(of(99_900, &ranks), Some(999.0));
        assert_eq!(of(95_000, &ranks), Some(950.0));
        assert_eq!(of(0, &ranks), Some(0.0));
        assert_eq!(of(50_000, &[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(of(90_000, &[10.0, 20.0, 30.0]), Some(28.0));
        assert_eq!(of(99_999, &[7.0]), Some(7.0));
        assert_eq!(of(50_000, &[]), None);
        assert_eq!(of(50_000, &[f64::MIN, f64::MAX]), Some(0.0));
    }
}
