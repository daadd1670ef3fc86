//! Plain records: what scripts read and write.
//!
//! A record is 16 bytes: the timestamp as a signed 64-bit integer with its sign bit flipped, so that the bytes of any two
//! timestamps order as the timestamps do, then the value's 64 bits (IEEE 754), both big-endian. A plain chunk is one
//! byte of version, then its records in ascending order of distinct timestamps.

use super::super::series::Sample;
use super::super::window::Window;
use super::{ChunkError, Ends, from_ordered, ordered};

/// The length of a record.
pub(in crate::features::timeseries) const RECORD: usize = 16;

pub(super) const VERSION: u8 = 1;

/// Appends a sample's record.
pub(in crate::features::timeseries) fn encode(sample: Sample, out: &mut Vec<u8>) {
    out.extend_from_slice(&ordered(sample.timestamp));
    out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
}

/// The plain chunk of ascending samples.
pub(in crate::features::timeseries) fn plain_chunk(samples: &[Sample]) -> Vec<u8> {
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

/// Reads one record.
///
/// # Errors
/// [`ChunkError::Torn`] when the length is not that of a record.
pub(in crate::features::timeseries) fn decode(bytes: &[u8]) -> Result<Sample, ChunkError> {
    bytes.try_into().map(decode_record).map_err(|_| ChunkError::Torn(bytes.len()))
}

/// See [`super::read`]; `records` are the bytes behind the version.
pub(super) fn read(records: &[u8], window: Window, out: &mut Vec<Sample>) -> Result<Ends, ChunkError> {
    let (records, torn) = records.as_chunks::<RECORD>();
    let ([first, ..], [.., last], []) = (records, records, torn) else { return Err(ChunkError::Torn(torn.len())) };
    let start = records.partition_point(|record| decode_record(record).timestamp < window.from);
    let end = records.partition_point(|record| decode_record(record).timestamp <= window.to);
    out.extend(records.get(start..end).unwrap_or_default().iter().map(decode_record));
    Ok((decode_record(first).timestamp, decode_record(last).timestamp))
}
