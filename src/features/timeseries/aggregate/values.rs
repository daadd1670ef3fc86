//! Aggregations that use values only.

use super::kernel::Values;
use super::point::{Candle, Number};
use super::summation::Sum;

impl Values for Sum {
    fn add(&mut self, value: f64) {
        Self::add(self, value);
    }

    fn number(&self) -> Number {
        Number::Float(self.value())
    }
}

#[derive(Debug, Default)]
pub(super) struct Count(u64);

impl Values for Count {
    fn add(&mut self, _: f64) {
        self.0 += 1;
    }

    fn number(&self) -> Number {
        Number::Count(self.0)
    }
}

#[derive(Debug, Default)]
pub(super) struct Avg {
    sum: Sum,
    count: u64,
}

impl Values for Avg {
    fn add(&mut self, value: f64) {
        self.sum.add(value);
        self.count += 1;
    }

    fn number(&self) -> Number {
        Number::Float(mean(self.sum, self.count))
    }
}

/// The mean of `count` values with the given sum; NaN if `count` is 0.
#[expect(clippy::cast_precision_loss, reason = "no series has 2^53 samples")]
pub(in crate::features::timeseries) fn mean(sum: Sum, count: u64) -> f64 {
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

#[derive(Debug, Default)]
pub(super) struct Min(Extent);

impl Values for Min {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn number(&self) -> Number {
        Number::Float(self.0.min)
    }
}

#[derive(Debug, Default)]
pub(super) struct Max(Extent);

impl Values for Max {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn number(&self) -> Number {
        Number::Float(self.0.max)
    }
}

#[derive(Debug, Default)]
pub(super) struct Range(Extent);

impl Values for Range {
    fn add(&mut self, value: f64) {
        self.0.add(value);
    }

    fn number(&self) -> Number {
        Number::Float(self.0.max - self.0.min)
    }
}

#[derive(Debug, Default)]
pub(super) struct First(Option<f64>);

impl Values for First {
    fn add(&mut self, value: f64) {
        self.0.get_or_insert(value);
    }

    fn number(&self) -> Number {
        self.0.map_or(Number::NONE, Number::Float)
    }
}

#[derive(Debug, Default)]
pub(super) struct Last(f64);

impl Values for Last {
    fn add(&mut self, value: f64) {
        self.0 = value;
    }

    fn number(&self) -> Number {
        Number::Float(self.0)
    }
}

#[derive(Debug, Default)]
pub(super) struct Ohlc(Option<Candle>);

impl Values for Ohlc {
    fn add(&mut self, value: f64) {
        let new = Candle { open: value, high: value, low: value, close: value, volume: None };
        let candle = self.0.get_or_insert(new);
        candle.high = candle.high.max(value);
        candle.low = candle.low.min(value);
        candle.close = value;
    }

    fn number(&self) -> Number {
        self.0.map_or(Number::NONE, Number::Candle)
    }
}
