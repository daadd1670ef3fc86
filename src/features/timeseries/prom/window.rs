//! Functions over the samples in a range, such as `rate`.

use super::super::aggregate::{Moments, Sum};
use super::super::series::Sample;
use super::quantile::quantile;
use crate::clock::UnixMillis;

/// A function over the samples in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WindowFunction {
    Rate,
    Increase,
    Avg,
    Min,
    Max,
    Sum,
    Count,
    Last,
    Stddev,
    Stdvar,
    Present,
    /// Has the rank as its parameter.
    Quantile,
}

impl WindowFunction {
    pub(super) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "rate" => Self::Rate,
            "increase" => Self::Increase,
            "avg_over_time" => Self::Avg,
            "min_over_time" => Self::Min,
            "max_over_time" => Self::Max,
            "sum_over_time" => Self::Sum,
            "count_over_time" => Self::Count,
            "last_over_time" => Self::Last,
            "stddev_over_time" => Self::Stddev,
            "stdvar_over_time" => Self::Stdvar,
            "present_over_time" => Self::Present,
            "quantile_over_time" => Self::Quantile,
            _ => return None,
        })
    }

    /// The result for the samples in (`end` - `range`, `end`]. Only quantiles use `rank`.
    #[expect(clippy::cast_precision_loss, reason = "a number of samples in memory")]
    pub(super) fn of(self, samples: &[Sample], range: i64, end: UnixMillis, rank: f64) -> Option<f64> {
        let (first, last) = (samples.first()?, samples.last()?);
        let values = || samples.iter().map(|sample| sample.value);
        Some(match self {
            Self::Rate => extrapolated(samples, *first, *last, range, end)? / (range as f64 / 1_000.0),
            Self::Increase => extrapolated(samples, *first, *last, range, end)?,
            Self::Avg => sum(values()) / samples.len() as f64,
            Self::Min => values().fold(f64::INFINITY, f64::min),
            Self::Max => values().fold(f64::NEG_INFINITY, f64::max),
            Self::Sum => sum(values()),
            Self::Count => samples.len() as f64,
            Self::Last => last.value,
            Self::Stddev => moments(values()).var_p().sqrt(),
            Self::Stdvar => moments(values()).var_p(),
            Self::Present => 1.0,
            Self::Quantile => quantile(rank, &mut values().collect::<Vec<_>>()),
        })
    }
}

fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.for_each(|value| sum.add(value));
    sum.value()
}

fn moments(values: impl Iterator<Item = f64>) -> Moments {
    let mut moments = Moments::default();
    values.for_each(|value| moments.add(value));
    moments
}

/// The increase of a counter in a range, extrapolated from its samples to the ends of the range.
///
/// The increase between the first and the last sample counts a smaller value as a reset to 0. It is extrapolated to an
/// end of the range if that end is less than 1.1 mean distances away from the outermost sample, and else by half of the
/// mean distance. At the start it is not extrapolated to a time at which the counter would have been below 0.
///
/// Source: Prometheus' documentation of `rate`, and the behaviour of its version 3.
#[expect(clippy::cast_precision_loss, reason = "durations are below 2^53 ms")]
fn extrapolated(samples: &[Sample], first: Sample, last: Sample, range: i64, end: UnixMillis) -> Option<f64> {
    let gaps = samples.len().checked_sub(1).filter(|gaps| *gaps > 0)?;
    let mut rise = last.value - first.value;
    for pair in samples.windows(2) {
        if let [before, after] = pair
            && after.value < before.value
        {
            rise += before.value;
        }
    }
    let covered = (last.timestamp - first.timestamp) as f64;
    let distance = covered / gaps as f64;
    let reach = |space: f64| if space >= distance * 1.1 { distance / 2.0 } else { space };
    let mut before = reach((first.timestamp - (end - range)) as f64);
    let after = reach((end - last.timestamp) as f64);
    if rise > 0.0 && first.value >= 0.0 {
        before = before.min(covered * (first.value / rise));
    }
    Some(rise * ((covered + before + after) / covered))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(pairs: &[(i64, f64)]) -> Vec<Sample> {
        pairs.iter().map(|&(timestamp, value)| Sample { timestamp, value }).collect()
    }

    fn of(function: WindowFunction, pairs: &[(i64, f64)], range: i64, end: i64) -> Option<f64> {
        function.of(&samples(pairs), range, end, 0.5)
    }

    #[test]
    fn a_rise_is_carried_on_to_the_ends_of_the_range() {
        // Every 15 s by 30 from 100 on: the range (0, 60] has samples at 15, 30, 45 and 60 s.
        let steady = [(15_000, 130.0), (30_000, 160.0), (45_000, 190.0), (60_000, 220.0)];
        assert_eq!(of(WindowFunction::Increase, &steady, 60_000, 60_000), Some(120.0));
        assert_eq!(of(WindowFunction::Rate, &steady, 60_000, 60_000), Some(2.0));
        // The next sample was expected long ago, so only half a distance is extrapolated at the end: 7.5 s of 60 s.
        assert_eq!(of(WindowFunction::Increase, &steady, 105_000, 105_000), Some(90.0 * 1.5));
        // The counter cannot have been below 0: a rise of 5 is half a distance, 5 s.
        assert_eq!(of(WindowFunction::Increase, &[(10_000, 5.0), (20_000, 15.0)], 20_000, 20_000), Some(15.0));
        assert_eq!(of(WindowFunction::Rate, &[(10_000, 5.0)], 20_000, 20_000), None);
    }

    #[test]
    fn a_fall_is_a_reset() {
        let reset = [(10_000, 50.0), (20_000, 60.0), (30_000, 5.0), (40_000, 15.0)];
        // 10 before the reset and 15 after it; a third of 30 s more before the first sample.
        assert_eq!(of(WindowFunction::Increase, &reset, 40_000, 40_000), Some(25.0 * (40.0 / 30.0)));
    }

    #[test]
    fn values_over_time_are_those_of_the_range() {
        let values = [(1, 4.0), (2, 1.0), (3, 3.0), (4, 2.0)];
        for (function, expected) in [
            (WindowFunction::Avg, 2.5),
            (WindowFunction::Min, 1.0),
            (WindowFunction::Max, 4.0),
            (WindowFunction::Sum, 10.0),
            (WindowFunction::Count, 4.0),
            (WindowFunction::Last, 2.0),
            (WindowFunction::Stdvar, 1.25),
            (WindowFunction::Stddev, 1.25_f64.sqrt()),
            (WindowFunction::Present, 1.0),
            (WindowFunction::Quantile, 2.5),
        ] {
            assert_eq!(of(function, &values, 10, 10), Some(expected), "{function:?}");
            assert_eq!(of(function, &[], 10, 10), None);
        }
    }
}
