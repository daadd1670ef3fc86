//! How a rollup's buckets are kept: in blocks, packed as chunks of samples are, the bucket's start as the timestamp.
//!
//! A block holds the buckets that begin in one stretch of time. So the block of a bucket is known by its start, and
//! replacing some buckets replaces the blocks they lie in.

use super::super::aggregate::Grid;
use super::super::chunk::{self, ChunkError};
use super::super::rollup_rule::Rule;
use super::super::series::Sample;
use super::super::window::Window;
use crate::clock::UnixMillis;

/// About how many buckets a block has.
const BUCKETS: i64 = 256;

/// The blocks of one rollup.
#[derive(Clone, Debug)]
pub(super) struct Blocks {
    id: String,
    /// Milliseconds from one block to the next.
    pub span: i64,
}

impl Blocks {
    pub(super) fn of(rule: &Rule) -> Self {
        Self { id: rule.text.id(), span: nominal_length(&mut rule.grid.clone()).saturating_mul(BUCKETS) }
    }

    /// Where the block begins that has the buckets which begin at a time.
    pub(super) fn start(&self, time: UnixMillis) -> UnixMillis {
        time - time.rem_euclid(self.span)
    }

    /// The starts of the blocks from one time to another one, not included.
    pub(super) fn starts(&self, from: UnixMillis, until: UnixMillis) -> impl Iterator<Item = UnixMillis> + use<> {
        let span = self.span;
        std::iter::successors(Some(self.start(from)), move |start| start.checked_add(span))
            .take_while(move |start| *start < until)
    }

    /// The field that a block is kept under.
    pub(super) fn field(&self, start: UnixMillis) -> String {
        format!("{}@{start}", self.id)
    }

    /// The field that the start of the oldest block is kept under.
    pub(super) fn oldest_field(&self) -> String {
        self.id.clone()
    }
}

/// Any of a grid's buckets is about as long as every other.
fn nominal_length(grid: &mut Grid) -> i64 {
    let bucket = grid.bucket(0);
    bucket.end.saturating_sub(bucket.start).max(1)
}

/// The bytes of a block; none when there are no buckets.
///
/// # Errors
/// [`ChunkError`].
pub(super) fn encode(buckets: &[Sample]) -> Result<Vec<u8>, ChunkError> {
    if buckets.is_empty() {
        return Ok(Vec::new());
    }
    let plain = chunk::plain_chunk(buckets);
    Ok(chunk::pack(&plain)?.unwrap_or(plain))
}

/// Appends a block's buckets that begin in a window.
///
/// # Errors
/// [`ChunkError`].
pub(super) fn decode(bytes: &[u8], window: Window, out: &mut Vec<Sample>) -> Result<(), ChunkError> {
    chunk::read(bytes, window, out).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::super::super::rollup_rule::RuleText;
    use super::*;

    fn blocks(bucket: &str) -> Blocks {
        let text =
            RuleText { bucket: bucket.to_owned(), agg: "sum".to_owned(), tz: None, align: None, retention_ms: None };
        Blocks::of(&Rule::new(text).expect("a rule"))
    }

    #[test]
    fn a_bucket_has_its_block_also_before_1970() {
        let blocks = blocks("10ms");
        assert_eq!(
            (blocks.start(-1), blocks.start(0), blocks.start(2_559), blocks.start(2_560)),
            (-2_560, 0, 0, 2_560)
        );
        assert_eq!(blocks.starts(2_559, 5_121).collect::<Vec<_>>(), [0, 2_560, 5_120]);
        assert_eq!((blocks.field(2_560), blocks.oldest_field()), ("sum:10ms@2560".to_owned(), "sum:10ms".to_owned()));
    }

    #[test]
    fn numbers_come_back_also_those_that_are_none() {
        let buckets: Vec<Sample> = [0.1, f64::INFINITY, -0.0, f64::NAN]
            .into_iter()
            .zip((0..).step_by(10))
            .map(|(value, timestamp)| Sample { timestamp, value })
            .collect();
        let mut back = Vec::new();
        decode(&encode(&buckets).expect("bytes"), Window { from: 10, to: 100 }, &mut back).expect("buckets");
        let bits = |buckets: &[Sample]| buckets.iter().map(|b| (b.timestamp, b.value.to_bits())).collect::<Vec<_>>();
        assert_eq!(bits(&back), bits(&buckets[1..]));
        assert!(encode(&[]).expect("bytes").is_empty());
    }
}
