//! Sums and moments of many numbers, without the rounding errors that plain loops accumulate.

/// A compensated sum: its error does not grow with the number of terms.
///
/// Source: A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen", ZAMM 54 (1974), the
/// improved Kahan-Babuška algorithm.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::features::timeseries) struct Sum {
    sum: f64,
    compensation: f64,
}

impl Sum {
    pub(in crate::features::timeseries) fn add(&mut self, term: f64) {
        let sum = self.sum + term;
        let lost = if self.sum.abs() >= term.abs() { (self.sum - sum) + term } else { (term - sum) + self.sum };
        self.sum = sum;
        self.compensation += lost;
    }

    /// The sum; not finite if it overflows.
    pub(in crate::features::timeseries) fn value(self) -> f64 {
        self.sum + self.compensation
    }
}

/// Mean and variance in one pass.
///
/// Source: B. P. Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4
/// (1962).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::features::timeseries) struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    pub(in crate::features::timeseries) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - self.mean;
        self.mean += delta / self.count;
        self.squares += delta * (value - self.mean);
    }

    /// The variance of a population: the mean squared distance from the mean.
    pub(in crate::features::timeseries) fn var_p(self) -> f64 {
        self.squares / self.count
    }

    /// The sample variance; 0 for a single value.
    pub(in crate::features::timeseries) fn var_s(self) -> f64 {
        if self.count > 1.0 { self.squares / (self.count - 1.0) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_terms_survive_large_ones() {
        let mut sum = Sum::default();
        for term in [1.0, 1e100, 1.0, -1e100] {
            sum.add(term);
        }
        assert_eq!(sum.value().to_bits(), 2.0_f64.to_bits());
    }

    #[test]
    fn a_million_tenths_are_a_hundred_thousand() {
        let mut sum = Sum::default();
        for _ in 0..1_000_000 {
            sum.add(0.1);
        }
        assert_eq!(sum.value().to_bits(), 100_000.0_f64.to_bits());
    }

    #[test]
    fn the_variance_does_not_suffer_from_an_offset() {
        let mut moments = Moments::default();
        for value in [4.0, 7.0, 13.0, 16.0] {
            moments.add(1e9 + value);
        }
        assert!((moments.var_p() - 22.5).abs() < 1e-9, "{}", moments.var_p());
        assert!((moments.var_s() - 30.0).abs() < 1e-9, "{}", moments.var_s());
    }
}
