//! Variances and standard deviations.

use crate::features::timeseries::aggregate::kernel::{Edges, Kernel};
use crate::features::timeseries::aggregate::name::Spread;
use crate::features::timeseries::aggregate::point::Number;
use crate::features::timeseries::aggregate::summation::Moments;
use crate::features::timeseries::series::Sample;

/// The kernel of variances and standard deviations.
#[derive(Debug)]
pub(super) struct SpreadKernel {
    spread: Spread,
    moments: Moments,
}

impl SpreadKernel {
    pub(super) fn new(spread: Spread) -> Self {
        Self { spread, moments: Moments::default() }
    }
}

impl Kernel for SpreadKernel {
    fn open(&mut self, _: Edges, _: Option<Sample>) {
        self.moments = Moments::default();
    }

    fn add(&mut self, samples: &[Sample]) {
        for sample in samples {
            self.moments.add(sample.value);
        }
    }

    fn close(&mut self, _: Option<Sample>) -> Number {
        Number::Float(self.spread.of(self.moments))
    }
}

impl Spread {
    pub(in crate::features::timeseries) fn of(self, moments: Moments) -> f64 {
        match self {
            Self::StdP => moments.var_p().sqrt(),
            Self::StdS => moments.var_s().sqrt(),
            Self::VarP => moments.var_p(),
            Self::VarS => moments.var_s(),
        }
    }
}
