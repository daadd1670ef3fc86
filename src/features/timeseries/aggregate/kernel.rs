//! Kernels: the computation of a bucket's number from its samples.

use super::super::series::Sample;
use super::super::window::Window;
use super::point::{Bucket, Number};
use crate::clock::UnixMillis;

/// The part of a bucket that is in the window, for kernels that weight by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edges {
    pub start: UnixMillis,
    pub end: UnixMillis,
}

impl Edges {
    /// Unix milliseconds, at least 0.
    pub(super) fn length(self) -> f64 {
        milliseconds(self.end - self.start)
    }
}

/// Converts a duration in milliseconds to a float.
#[expect(clippy::cast_precision_loss, reason = "times and their distances are below 2^53")]
pub(super) fn milliseconds(length: i64) -> f64 {
    length as f64
}

/// The state of the open bucket. One kernel computes all buckets of a query, one after the other.
pub(super) trait Kernel: Send {
    /// The part of a bucket that counts. The bucket and the window overlap.
    fn edges(bucket: Bucket, window: Window) -> Edges {
        Edges { start: bucket.start.max(window.from), end: bucket.end.min(window.to) }
    }

    /// Opens a bucket; `before` is the newest sample before it.
    fn open(&mut self, edges: Edges, before: Option<Sample>);

    /// Adds ascending samples of the bucket.
    fn add(&mut self, samples: &[Sample]);

    /// Closes the bucket, which has at least one sample; `after` is the oldest sample after it.
    fn close(&mut self, after: Option<Sample>) -> Number;

    /// The number of an empty bucket between two samples.
    fn bridge(&self, _edges: Edges, _before: Sample, _after: Sample) -> Number {
        Number::NONE
    }

    /// How many samples the open bucket keeps in memory.
    fn kept(&self) -> usize {
        0
    }
}

/// An aggregation of values that ignores their timestamps.
pub(super) trait Values: Default + Send {
    /// Adds the next value, in the order of time.
    fn add(&mut self, value: f64);

    /// The result for the added values, at least one.
    fn number(&self) -> Number;
}

/// A kernel that uses values only.
#[derive(Debug, Default)]
pub(super) struct Plain<V>(V);

impl<V: Values> Kernel for Plain<V> {
    fn open(&mut self, _: Edges, _: Option<Sample>) {
        self.0 = V::default();
    }

    fn add(&mut self, samples: &[Sample]) {
        for sample in samples {
            self.0.add(sample.value);
        }
    }

    fn close(&mut self, _: Option<Sample>) -> Number {
        self.0.number()
    }
}
