//! Quantiles, as Prometheus defines them.

/// The quantile of values, interpolated linearly; sorts the values. Infinite for ranks outside of 0 to 1, NaN without
/// values.
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
    values.sort_unstable_by(f64::total_cmp);
    let place = rank * (values.len() - 1) as f64;
    let below = place.floor() as usize;
    let at = |at: usize| values.get(at.min(values.len() - 1)).copied().unwrap_or(f64::NAN);
    let weight = place - place.floor();
    at(below) * (1.0 - weight) + at(below + 1) * weight
}

#[cfg(test)]
mod tests {
    use super::*;

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
