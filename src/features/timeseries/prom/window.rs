//! Functions over the samples in a range, such as `rate`.

use super::super::aggregate::{Moments, Register, Sum};
use super::super::series::Sample;
use crate::clock::UnixMillis;

/// The input of a function: the samples in a range.
#[derive(Clone, Copy, Debug)]
pub(super) struct SampleRange<'a> {
    pub samples: &'a [Sample],
    /// The length of the range in milliseconds. The range excludes its start and includes its end.
    pub length: i64,
    pub end: UnixMillis,
    /// The parameter of a quantile.
    pub rank: f64,
}

impl SampleRange<'_> {
    /// The result of a function; `None` without samples.
    pub(super) fn apply(&self, function: fn(&Self) -> Option<f64>) -> Option<f64> {
        if self.samples.is_empty() { None } else { function(self) }
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        self.samples.iter().map(|sample| sample.value)
    }
}

/// The function with this name, for ranges with at least one sample.
#[expect(clippy::cast_precision_loss, reason = "a number of samples in memory")]
pub(super) fn function(name: &str) -> Option<fn(&SampleRange<'_>) -> Option<f64>> {
    Some(match name {
        "rate" => |range| Some(extrapolated(range)? / (range.length as f64 / 1_000.0)),
        "increase" => extrapolated,
        "avg_over_time" => |range| Some(sum(range.values()) / range.samples.len() as f64),
        "min_over_time" => |range| Some(range.values().fold(f64::INFINITY, f64::min)),
        "max_over_time" => |range| Some(range.values().fold(f64::NEG_INFINITY, f64::max)),
        "sum_over_time" => |range| Some(sum(range.values())),
        "count_over_time" => |range| Some(range.samples.len() as f64),
        "last_over_time" => |range| range.values().last(),
        "stddev_over_time" => |range| Some(moments(range.values()).var_p().sqrt()),
        "stdvar_over_time" => |range| Some(moments(range.values()).var_p()),
        "present_over_time" => |_| Some(1.0),
        "quantile_over_time" => |range| Some(quantile(range.rank, &mut range.values().collect::<Vec<_>>())),
        _ => return None,
    })
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
/// The increase between the first and the last sample counts a reset to 0 as [`Register`] does: unlike in Prometheus, a value
/// that is only a little smaller is a correction of the reading. The increase is extrapolated to an
/// end of the range if that end is less than 1.1 mean distances away from the outermost sample, and else by half of the
/// mean distance. At the start it is not extrapolated to a time at which the counter would have been below 0.
///
/// Source: Prometheus' documentation of `rate`, and the behaviour of its version 3.
#[expect(clippy::cast_precision_loss, reason = "durations are below 2^53 ms")]
fn extrapolated(range: &SampleRange<'_>) -> Option<f64> {
    let (first, last) = (range.samples.first()?, range.samples.last()?);
    let gaps = range.samples.len().checked_sub(1).filter(|gaps| *gaps > 0)?;
    let mut rise = last.value - first.value;
    for pair in range.samples.windows(2) {
        if let [before, after] = pair
            && Register::default().is_reset(before.value, after.value)
        {
            rise += before.value;
        }
    }
    let covered = (last.timestamp - first.timestamp) as f64;
    let distance = covered / gaps as f64;
    let reach = |space: f64| if space >= distance * 1.1 { distance / 2.0 } else { space };
    let mut before = reach((first.timestamp - (range.end - range.length)) as f64);
    let after = reach((range.end - last.timestamp) as f64);
    if rise > 0.0 && first.value >= 0.0 {
        before = before.min(covered * (first.value / rise));
    }
    Some(rise * ((covered + before + after) / covered))
}

/// The quantile of values, interpolated linearly; changes their order. Infinite for ranks outside of 0 to 1, NaN without
/// values. Its work is proportional to the number of values, as the limits of a query assume.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index in memory"
)]
pub(super) fn quantile(rank: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || rank.is_nan() {
        return f64::NAN;
    }
    if rank < 0.0 {
        return f64::NEG_INFINITY;
    }
    if rank > 1.0 {
        return f64::INFINITY;
    }
    let last = values.len() - 1;
    let place = rank * last as f64;
    let weight = place - place.floor();
    let (_, below, greater) = values.select_nth_unstable_by((place.floor() as usize).min(last), f64::total_cmp);
    let above = greater.iter().copied().min_by(f64::total_cmp).unwrap_or(*below);
    *below * (1.0 - weight) + above * weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, pairs: &[(i64, f64)], length: i64, end: i64) -> Option<f64> {
        let samples: Vec<Sample> = pairs.iter().map(|&(timestamp, value)| Sample { timestamp, value }).collect();
        SampleRange { samples: &samples, length, end, rank: 0.5 }.apply(function(name).expect(name))
    }

    #[test]
    fn a_rise_is_carried_on_to_the_ends_of_the_range() {
        // Every 15 s by 30 from 100 on: the range (0, 60] has samples at 15, 30, 45 and 60 s.
        let steady = [(15_000, 130.0), (30_000, 160.0), (45_000, 190.0), (60_000, 220.0)];
        assert_eq!(of("increase", &steady, 60_000, 60_000), Some(120.0));
        assert_eq!(of("rate", &steady, 60_000, 60_000), Some(2.0));
        // The next sample was expected long ago, so only half a distance is extrapolated at the end: 7.5 s of 60 s.
        assert_eq!(of("increase", &steady, 105_000, 105_000), Some(90.0 * 1.5));
        // The counter cannot have been below 0: a rise of 5 is half a distance, 5 s.
        assert_eq!(of("increase", &[(10_000, 5.0), (20_000, 15.0)], 20_000, 20_000), Some(15.0));
        assert_eq!(of("rate", &[(10_000, 5.0)], 20_000, 20_000), None);
    }

    #[test]
    fn a_fall_is_a_reset() {
        let reset = [(10_000, 50.0), (20_000, 60.0), (30_000, 5.0), (40_000, 15.0)];
        // 10 before the reset and 15 after it; a third of 30 s more before the first sample.
        assert_eq!(of("increase", &reset, 40_000, 40_000), Some(25.0 * (40.0 / 30.0)));
    }

    #[test]
    fn a_small_fall_is_not_a_reset() {
        let corrected = [(10_000, 1_010.0), (20_000, 1_009.5), (30_000, 1_011.0), (40_000, 1_012.0)];
        assert_eq!(of("increase", &corrected, 40_000, 40_000), Some(2.0 * (40.0 / 30.0)));
    }

    #[test]
    fn values_over_time_are_those_of_the_range() {
        let values = [(1, 4.0), (2, 1.0), (3, 3.0), (4, 2.0)];
        for (function, expected) in [
            ("avg_over_time", 2.5),
            ("min_over_time", 1.0),
            ("max_over_time", 4.0),
            ("sum_over_time", 10.0),
            ("count_over_time", 4.0),
            ("last_over_time", 2.0),
            ("stdvar_over_time", 1.25),
            ("stddev_over_time", 1.25_f64.sqrt()),
            ("present_over_time", 1.0),
            ("quantile_over_time", 2.5),
        ] {
            assert_eq!(of(function, &values, 10, 10), Some(expected), "{function}");
            assert_eq!(of(function, &[], 10, 10), None, "{function}");
        }
    }

    #[test]
    fn quantiles_lie_between_the_values() {
        for (rank, expected) in
            [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (1.0, 4.0), (-0.1, f64::NEG_INFINITY), (1.1, f64::INFINITY)]
        {
            assert_eq!(quantile(rank, &mut [4.0, 1.0, 3.0, 2.0]).to_bits(), f64::to_bits(expected), "{rank}");
        }
        assert!(quantile(f64::NAN, &mut [1.0]).is_nan() && quantile(0.5, &mut []).is_nan());
    }
}
