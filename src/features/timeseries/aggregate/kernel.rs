//! Kernels: the computation of a bucket's number from its samples.

use super::super::series::Sample;
use super::super::window::Window;
use super::point::{Bucket, Number};
use crate::clock::UnixMillis;

/// The state of the open bucket. One kernel computes all buckets of a query, one after the other.
pub(in crate::features::timeseries) trait Kernel: Send {
    /// The part of a bucket that counts. The bucket and the window overlap.
    fn edges(&self, bucket: Bucket, window: Window) -> Bucket {
        Bucket { start: bucket.start.max(window.from), end: bucket.end.min(window.to) }
    }

    /// Opens a bucket, of which the part in `edges` counts; `before` is the newest sample before it.
    fn open(&mut self, edges: Bucket, before: Option<Sample>);

    /// Adds ascending samples of the bucket.
    fn add(&mut self, samples: &[Sample]);

    /// Closes the bucket, which has at least one sample; `after` is the oldest sample after it.
    fn close(&mut self, after: Option<Sample>) -> Number;

    /// The number of an empty bucket between two samples.
    fn bridge(&self, _edges: Bucket, _before: Sample, _after: Sample) -> Number {
        Number::NONE
    }

    /// How many samples the open bucket keeps in memory.
    fn kept(&self) -> usize {
        0
    }
}

/// Converts a duration in milliseconds to a float.
#[expect(clippy::cast_precision_loss, reason = "times and their distances are below 2^53")]
pub(super) fn milliseconds(length: i64) -> f64 {
    length as f64
}

/// The value at `time` on the line between two samples.
pub(super) fn value_at(time: UnixMillis, before: Sample, after: Sample) -> f64 {
    before.value + (after.value - before.value) * share(before.timestamp, time, after.timestamp)
}

/// The position of `time` between `from` and `to`: 0 at `from`, 1 at `to`.
pub(super) fn share(from: UnixMillis, time: UnixMillis, to: UnixMillis) -> f64 {
    milliseconds(time - from) / milliseconds(to - from)
}
