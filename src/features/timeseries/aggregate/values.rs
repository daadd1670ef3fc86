//! Aggregations that use values only.

use super::super::series::Sample;
use super::kernel::Kernel;
use super::point::{Bucket, Candle, Number};
use super::summation::{Moments, Sum};

/// A kernel that ignores timestamps: `add` adds a value to the state, in the order of time, and `number` turns the
/// state into the result.
pub(super) struct Values<S, A, N> {
    initial: S,
    state: S,
    add: A,
    number: N,
}

impl<S: Copy, A: Fn(&mut S, f64), N: Fn(S) -> Number> Values<S, A, N> {
    pub(super) fn new(initial: S, add: A, number: N) -> Self {
        Self { initial, state: initial, add, number }
    }
}

impl<S: Copy + Send, A: Fn(&mut S, f64) + Send, N: Fn(S) -> Number + Send> Kernel for Values<S, A, N> {
    fn open(&mut self, _: Bucket, _: Option<Sample>) {
        self.state = self.initial;
    }

    fn add(&mut self, samples: &[Sample]) {
        for sample in samples {
            (self.add)(&mut self.state, sample.value);
        }
    }

    fn close(&mut self, _: Option<Sample>) -> Number {
        (self.number)(self.state)
    }
}

/// The mean of `count` values with the given sum; NaN if `count` is 0.
#[expect(clippy::cast_precision_loss, reason = "no series has 2^53 samples")]
pub(super) fn mean(sum: Sum, count: u64) -> f64 {
    sum.value() / count as f64
}

/// The smallest and the largest value.
#[derive(Clone, Copy, Debug)]
pub(in crate::features::timeseries) struct Extent {
    pub min: f64,
    pub max: f64,
}

impl Default for Extent {
    fn default() -> Self {
        Self { min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Extent {
    pub(in crate::features::timeseries) fn add(&mut self, value: f64) {
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }
}

/// The values that several statistics need, in one pass.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::features::timeseries) struct Summary {
    pub count: u64,
    pub sum: Sum,
    pub extent: Extent,
    pub moments: Moments,
}

impl Summary {
    pub(in crate::features::timeseries) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum.add(value);
        self.extent.add(value);
        self.moments.add(value);
    }

    /// NaN without values.
    pub(in crate::features::timeseries) fn mean(&self) -> f64 {
        mean(self.sum, self.count)
    }
}

/// Adds a price to a candle, which the first price creates.
pub(super) fn add_price(candle: &mut Option<Candle>, price: f64) {
    let new = Candle { open: price, high: price, low: price, close: price, volume: None };
    let candle = candle.get_or_insert(new);
    candle.high = candle.high.max(price);
    candle.low = candle.low.min(price);
    candle.close = price;
}
