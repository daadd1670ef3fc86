//! The increase of a counter: a cumulative meter that can wrap around, and that restarts at 0 if it is replaced.
//!
//! The counter is interpolated linearly between its samples. The increase of a bucket is the rise of this line from the
//! start of the bucket to its end. So the days of a month add up to the month, whatever timestamps the samples have,
//! and a reading at midnight ends one day and starts the next. Before the first and after the last sample there is no
//! increase.
//!
//! If a value is smaller than a share of the previous one, the counter was reset and has counted up from 0. With `wrap`, such
//! a step is treated as a wrap instead if the increase over the end of the register is at most half of the register. A
//! larger increase more likely comes from a replaced meter. A smaller fall is noise or a correction of the reading: the line
//! falls, so the next rise is not counted twice.

use super::super::series::Sample;
use super::super::window::Window;
use super::kernel::{Kernel, milliseconds, share};
use super::point::{Bucket, Number};
use super::summation::Sum;

/// The register of a counter: what a fall of its value means.
#[derive(Clone, Copy, Debug)]
pub(in crate::features::timeseries) struct Register {
    /// The value at which the register starts again at 0.
    pub wrap: Option<f64>,
    /// The share of the previous value below which a value means that the counter was reset; above 0, at most 1.
    pub reset_below: f64,
}

impl Default for Register {
    fn default() -> Self {
        Self { wrap: None, reset_below: 0.9 }
    }
}

impl Register {
    /// Whether the counter was reset, or wrapped, between two samples.
    pub(in crate::features::timeseries) fn is_reset(self, from: f64, to: f64) -> bool {
        to < from && !(from > 0.0 && to >= from * self.reset_below)
    }

    /// The increase from one sample to the next.
    fn step(self, from: f64, to: f64) -> f64 {
        if !self.is_reset(from, to) {
            return to - from;
        }
        match self.wrap {
            Some(wrap) if from < wrap && wrap - from + to <= wrap / 2.0 => wrap - from + to,
            _ => to.max(0.0),
        }
    }
}

#[derive(Debug)]
pub(super) struct Counter {
    per_second: bool,
    register: Register,
    edges: Bucket,
    before: Option<Sample>,
    last: Option<Sample>,
    /// The increase before the last reset or wrap in this bucket.
    total: Sum,
    /// The value of the counter at the start of the bucket, or after the last reset or wrap.
    base: f64,
    /// The time from which the increase counts.
    since: i64,
}

impl Counter {
    pub(super) fn new(per_second: bool, register: Register) -> Self {
        let edges = Bucket { start: 0, end: 0 };
        Self { per_second, register, edges, before: None, last: None, total: Sum::default(), base: 0.0, since: 0 }
    }

    /// The increase from one sample to the next.
    fn step(&self, from: f64, to: f64) -> f64 {
        self.register.step(from, to)
    }

    fn answer(&self, increase: f64, from: i64, to: i64) -> Number {
        Number::Float(if self.per_second { increase / (milliseconds(to - from) / 1_000.0) } else { increase })
    }
}

impl Kernel for Counter {
    /// If a window includes the last millisecond of a bucket, the bucket counts up to its end.
    fn edges(&self, bucket: Bucket, window: Window) -> Bucket {
        let end = if window.to >= bucket.end - 1 { bucket.end } else { window.to };
        Bucket { start: bucket.start.max(window.from), end }
    }

    fn open(&mut self, edges: Bucket, before: Option<Sample>) {
        *self = Self { edges, before, ..Self::new(self.per_second, self.register) };
    }

    fn add(&mut self, samples: &[Sample]) {
        let Some(&first) = samples.first() else { return };
        if self.last.is_none() {
            (self.since, self.base) = match self.before {
                Some(before) => {
                    let inside = 1.0 - share(before.timestamp, self.edges.start, first.timestamp);
                    (self.edges.start, first.value - self.step(before.value, first.value) * inside)
                }
                None => (first.timestamp, first.value),
            };
        }
        let mut last = self.last.unwrap_or(first);
        for &sample in samples {
            if sample.value < last.value {
                self.total.add(last.value - self.base);
                self.base = sample.value - self.step(last.value, sample.value);
            }
            last = sample;
        }
        self.last = Some(last);
    }

    fn close(&mut self, after: Option<Sample>) -> Number {
        let Some(last) = self.last else { return Number::NONE };
        let mut increase = self.total;
        let until = match after {
            Some(after) if self.edges.end > last.timestamp => {
                let inside = share(last.timestamp, self.edges.end, after.timestamp);
                increase.add(self.step(last.value, after.value) * inside);
                self.edges.end
            }
            _ => last.timestamp,
        };
        increase.add(last.value - self.base);
        self.answer(increase.value(), self.since, until)
    }

    fn bridge(&self, edges: Bucket, before: Sample, after: Sample) -> Number {
        let whole = milliseconds(after.timestamp - before.timestamp);
        let increase = self.step(before.value, after.value) * (milliseconds(edges.end - edges.start) / whole);
        self.answer(increase, edges.start, edges.end)
    }
}
