//! The timestamp that represents a bucket.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::{Bucket, Point, Slot};

/// The time of a bucket that is its timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Stamp)]
#[serde(rename_all = "lowercase")]
pub(in crate::features::timeseries) enum BucketTimestamp {
    #[default]
    Start,
    /// The middle of the bucket.
    Mid,
    /// The start of the next bucket.
    End,
}

impl BucketTimestamp {
    pub(super) fn point(self, slot: &Slot) -> Point {
        Point { timestamp: self.of(slot.bucket), number: slot.number }
    }

    /// The timestamp of a bucket. Timestamps start at 0, so a bucket that starts earlier is moved to 0 with its length
    /// unchanged.
    fn of(self, bucket: Bucket) -> UnixMillis {
        let Bucket { start, end } = bucket;
        start.max(0)
            + match self {
                Self::Start => 0,
                Self::Mid => (end - start) / 2,
                Self::End => end - start,
            }
    }
}
