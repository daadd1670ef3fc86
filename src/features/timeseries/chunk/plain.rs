//! Plain chunks: the form that scripts read and write.
//!
//! A record has 16 bytes, big-endian: the timestamp as a signed 64-bit integer with its sign bit flipped, so that the bytes of
//! timestamps sort like the timestamps, and the 64 bits of the value (IEEE 754). A plain chunk is one byte for the version,
//! then records in ascending order of distinct timestamps.

use super::super::series::Sample;
use super::super::window::Window;
use super::{ChunkError, from_ordered, ordered};

/// The length of a record.
pub const RECORD: usize = 16;

pub(super) const VERSION: u8 = 1;

/// Appends the record of a sample.
pub fn encode(sample: Sample, out: &mut Vec<u8>) {
    out.extend_from_slice(&ordered(sample.timestamp));
    out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
}

/// Encodes ascending samples as a plain chunk.
pub fn plain_chunk(samples: &[Sample]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + samples.len() * RECORD);
    bytes.push(VERSION);
    for sample in samples {
        encode(*sample, &mut bytes);
    }
    bytes
}

fn decode_record(record: &[u8; RECORD]) -> Sample {
    let bits = u128::from_be_bytes(*record);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a record")]
    let (timestamp, value) = ((bits >> 64) as u64, bits as u64);
    Sample { timestamp: from_ordered(timestamp), value: f64::from_bits(value) }
}

/// Decodes one record.
///
/// # Errors
/// [`ChunkError::Torn`] if the bytes are not one record.
pub fn decode(bytes: &[u8]) -> Result<Sample, ChunkError> {
    bytes.try_into().map(decode_record).map_err(|_| ChunkError::Torn(bytes.len()))
}

/// See [`super::read`]; `records` are the bytes after the version.
pub(super) fn read(records: &[u8], window: Window, out: &mut Vec<Sample>) -> Result<(i64, i64), ChunkError> {
    let (records, torn) = records.as_chunks::<RECORD>();
    let ([first, ..], [.., last], []) = (records, records, torn) else { return Err(ChunkError::Torn(torn.len())) };
    let start = records.partition_point(|record| decode_record(record).timestamp < window.from);
    let end = records.partition_point(|record| decode_record(record).timestamp <= window.to);
    out.extend(records.get(start..end).unwrap_or_default().iter().map(decode_record));
    Ok((decode_record(first).timestamp, decode_record(last).timestamp))
}
