//! Linear interpolation between two samples.

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::kernel::milliseconds;
use crate::features::timeseries::series::Sample;

/// The value at `time` on the line between two samples.
pub(super) fn value_at(time: UnixMillis, before: Sample, after: Sample) -> f64 {
    before.value + (after.value - before.value) * share(before.timestamp, time, after.timestamp)
}

/// The position of `time` between `from` and `to`: 0 at `from`, 1 at `to`.
pub(super) fn share(from: UnixMillis, time: UnixMillis, to: UnixMillis) -> f64 {
    milliseconds(time - from) / milliseconds(to - from)
}
