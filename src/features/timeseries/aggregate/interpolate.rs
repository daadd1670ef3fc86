//! The straight line between two samples.

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::kernel::milliseconds;
use crate::features::timeseries::series::Sample;

/// The value at `time` on the line from one sample to a later one.
pub(super) fn value_at(time: UnixMillis, before: Sample, after: Sample) -> f64 {
    before.value + (after.value - before.value) * share(before.timestamp, time, after.timestamp)
}

/// The part of the way from `from` to `to`, which is later, that is behind at `time`.
pub(super) fn share(from: UnixMillis, time: UnixMillis, to: UnixMillis) -> f64 {
    milliseconds(time - from) / milliseconds(to - from)
}
