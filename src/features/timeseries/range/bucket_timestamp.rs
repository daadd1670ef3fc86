//! The timestamp that represents a bucket.

use serde::Deserialize;
use utoipa::ToSchema;

use crate::clock::UnixMillis;
use crate::features::timeseries::aggregate::{Bucket, Point, Slot};

/// Which time of a bucket is its timestamp.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = Stamp)]
#[serde(rename_all = "lowercase")]
pub(in crate::features::timeseries) enum BucketTimestamp {
    #[default]
    Start,
    /// The middle.
    Mid,
    /// The start of the next bucket.
    End,
}

impl BucketTimestamp {
    pub(super) fn point(self, slot: &Slot) -> Point {
        Point { timestamp: self.of(slot.bucket), number: slot.number }
    }

    /// The timestamp of a bucket. Timestamps start at 0: an earlier bucket is shown there with its length unchanged.
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
