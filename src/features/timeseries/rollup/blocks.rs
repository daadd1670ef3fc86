//! The stored form of a rollup's buckets: blocks, packed like chunks of samples, with the start of a bucket as the timestamp.
//!
//! A block holds the buckets that begin in a range of fixed length. So the start of a bucket determines its block, and
//! replacing some buckets replaces the blocks that contain them.

use super::super::chunk::{self, ChunkError};
use super::super::rollup_rule::RollupRule;
use super::super::series::Sample;
use crate::clock::UnixMillis;

/// The approximate number of buckets in a block.
const BUCKETS: i64 = 256;

/// The blocks of one rollup.
#[derive(Clone, Debug)]
pub struct Blocks {
    id: String,
    /// The length of the range of a block, milliseconds.
    pub span: i64,
}

impl Blocks {
    pub fn of(rule: &RollupRule) -> Self {
        // All buckets are about equally long.
        let bucket = rule.grid.clone().bucket(0);
        let length = bucket.end.saturating_sub(bucket.start).max(1);
        Self { id: rule.spec.id(), span: length.saturating_mul(BUCKETS) }
    }

    /// The start of the block that contains the buckets that begin at `time`.
    pub fn start(&self, time: UnixMillis) -> UnixMillis {
        time - time.rem_euclid(self.span)
    }

    /// The starts of the blocks from `from` until `until`, excluded.
    pub fn starts(&self, from: UnixMillis, until: UnixMillis) -> impl Iterator<Item = UnixMillis> + use<> {
        let span = self.span;
        std::iter::successors(Some(self.start(from)), move |start| start.checked_add(span))
            .take_while(move |start| *start < until)
    }

    /// The field of the hash that holds a block.
    pub fn field(&self, start: UnixMillis) -> String {
        format!("{}@{start}", self.id)
    }

    /// The field of the hash that holds the start of the oldest block.
    pub fn oldest_field(&self) -> String {
        self.id.clone()
    }
}

/// Encodes a block; no buckets are no bytes.
///
/// # Errors
/// [`ChunkError`].
pub fn encode(buckets: &[Sample]) -> Result<Vec<u8>, ChunkError> {
    if buckets.is_empty() {
        return Ok(Vec::new());
    }
    let plain = chunk::plain_chunk(buckets);
    Ok(chunk::pack(&plain)?.unwrap_or(plain))
}

#[cfg(test)]
mod tests {
    use super::super::super::rollup_rule::RollupSpec;
    use super::super::super::window::Window;
    use super::*;

    fn blocks(bucket: &str) -> Blocks {
        let spec =
            RollupSpec { bucket: bucket.to_owned(), agg: "sum".to_owned(), tz: None, align: None, retention_ms: None };
        Blocks::of(&RollupRule::new(spec).expect("a rule"))
    }

    #[test]
    fn buckets_before_1970_have_blocks_too() {
        let blocks = blocks("10ms");
        assert_eq!(
            (blocks.start(-1), blocks.start(0), blocks.start(2_559), blocks.start(2_560)),
            (-2_560, 0, 0, 2_560)
        );
        assert_eq!(blocks.starts(2_559, 5_121).collect::<Vec<_>>(), [0, 2_560, 5_120]);
        assert_eq!((blocks.field(2_560), blocks.oldest_field()), ("sum:10ms@2560".to_owned(), "sum:10ms".to_owned()));
    }

    #[test]
    fn every_number_is_decoded_to_the_same_bits() {
        let buckets: Vec<Sample> = [0.1, f64::INFINITY, -0.0, f64::NAN]
            .into_iter()
            .zip((0..).step_by(10))
            .map(|(value, timestamp)| Sample { timestamp, value })
            .collect();
        let mut back = Vec::new();
        chunk::read(&encode(&buckets).expect("bytes"), Window { from: 10, to: 100 }, &mut back).expect("buckets");
        let bits = |buckets: &[Sample]| buckets.iter().map(|b| (b.timestamp, b.value.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&buckets[1..]));
        assert!(encode(&[]).expect("bytes").is_empty());
    }
}
