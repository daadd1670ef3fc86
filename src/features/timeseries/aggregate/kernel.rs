//! How the samples of one bucket become its number.

use super::super::series::Sample;
use super::super::window::Window;
use super::point::{Bucket, Number};
use crate::clock::UnixMillis;

/// The part of a bucket that lies in the window, for kernels that weigh by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edges {
    pub start: UnixMillis,
    pub end: UnixMillis,
}

impl Edges {
    /// Milliseconds, not below 0.
    pub(super) fn length(self) -> f64 {
        milliseconds(self.end - self.start)
    }
}

/// A length of time as a number.
#[expect(clippy::cast_precision_loss, reason = "times are below 2^53, and so are their distances")]
pub(super) fn milliseconds(length: i64) -> f64 {
    length as f64
}

/// The state of the bucket that is being filled. One kernel serves all buckets of a query, one after the other.
pub(super) trait Kernel: Send {
    /// The part of a bucket, which has a time in common with the window, that counts.
    fn edges(bucket: Bucket, window: Window) -> Edges {
        Edges { start: bucket.start.max(window.from), end: bucket.end.min(window.to) }
    }

    /// Begins a bucket; `before` is the newest sample before it.
    fn open(&mut self, edges: Edges, before: Option<Sample>);

    /// Adds samples of the bucket, ascending.
    fn add(&mut self, samples: &[Sample]);

    /// Ends the bucket, which has a sample at least; `after` is the oldest sample behind it.
    fn close(&mut self, after: Option<Sample>) -> Number;

    /// The number of a bucket without samples between two samples.
    fn bridge(&self, _edges: Edges, _before: Sample, _after: Sample) -> Number {
        Number::NONE
    }

    /// How many samples the open bucket keeps in memory.
    fn kept(&self) -> usize {
        0
    }
}

/// What becomes of values, whenever they were measured.
pub(super) trait Values: Default + Send {
    /// Adds the next value in time.
    fn add(&mut self, value: f64);

    /// Of one value at least.
    fn number(&self) -> Number;
}

/// A kernel that looks at values only.
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
