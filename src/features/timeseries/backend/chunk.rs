//! The bytes of samples: records, and chunks of them.
//!
//! A record is 16 bytes: the timestamp as a signed 64-bit integer with its sign bit flipped, so that the bytes of any two
//! timestamps order as the timestamps do, then the value's 64 bits (IEEE 754), both big-endian. A chunk is one byte of
//! version, then its records in ascending order of distinct timestamps. Values come back bit for bit.

use super::super::series::Sample;

/// The length of a record.
pub(in crate::features::timeseries) const RECORD: usize = 16;

/// What the first byte of a chunk says: plain records.
const PLAIN: u8 = 1;

const SIGN: u64 = 1 << 63;

/// A chunk that this version of the service does not understand.
#[derive(Debug, thiserror::Error)]
pub(in crate::features::timeseries) enum ChunkError {
    #[error("a chunk of version {0:?}; this service reads version {PLAIN}")]
    Version(Option<u8>),
    #[error("a chunk with {0} bytes behind its last whole record")]
    Torn(usize),
}

/// Appends a sample's record.
pub(in crate::features::timeseries) fn encode(sample: Sample, out: &mut Vec<u8>) {
    out.extend_from_slice(&(sample.timestamp.cast_unsigned() ^ SIGN).to_be_bytes());
    out.extend_from_slice(&sample.value.to_bits().to_be_bytes());
}

fn decode_record(record: &[u8; RECORD]) -> Sample {
    let bits = u128::from_be_bytes(*record);
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a record")]
    let (timestamp, value) = ((bits >> 64) as u64, bits as u64);
    Sample { timestamp: (timestamp ^ SIGN).cast_signed(), value: f64::from_bits(value) }
}

/// Reads one record.
///
/// # Errors
/// [`ChunkError::Torn`] when the length is not that of a record.
pub(in crate::features::timeseries) fn decode(bytes: &[u8]) -> Result<Sample, ChunkError> {
    bytes.try_into().map(decode_record).map_err(|_| ChunkError::Torn(bytes.len()))
}

/// The samples of a chunk from `from` to `to`, both inclusive, ascending.
///
/// # Errors
/// [`ChunkError`] when the bytes are no chunk.
pub(in crate::features::timeseries) fn samples(
    chunk: &[u8],
    from: i64,
    to: i64,
) -> Result<impl DoubleEndedIterator<Item = Sample> + ExactSizeIterator, ChunkError> {
    let (records, torn) = match chunk {
        [PLAIN, records @ ..] => records.as_chunks::<RECORD>(),
        other => return Err(ChunkError::Version(other.first().copied())),
    };
    if !torn.is_empty() {
        return Err(ChunkError::Torn(torn.len()));
    }
    let start = records.partition_point(|record| decode_record(record).timestamp < from);
    let end = records.partition_point(|record| decode_record(record).timestamp <= to);
    Ok(records.get(start..end).unwrap_or_default().iter().map(decode_record))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(samples: &[Sample]) -> Vec<u8> {
        let mut bytes = vec![PLAIN];
        for sample in samples {
            encode(*sample, &mut bytes);
        }
        bytes
    }

    #[test]
    fn values_come_back_bit_for_bit() {
        for value in [0.0, -0.0, 5e-324, f64::MAX, f64::MIN, 0.397_999_999_999_999_96, 1e16] {
            let bytes = chunk(&[Sample { timestamp: 1, value }]);
            let back: Vec<u64> = samples(&bytes, 0, 9).expect("a chunk").map(|sample| sample.value.to_bits()).collect();
            assert_eq!(back, [value.to_bits()]);
        }
    }

    #[test]
    fn timestamps_order_as_bytes_do() {
        let times = [i64::MIN, -1, 0, 1, 255, 256, (1 << 53) - 1, i64::MAX];
        let bytes: Vec<Vec<u8>> = times.iter().map(|&timestamp| chunk(&[Sample { timestamp, value: 0.0 }])).collect();
        assert!(bytes.is_sorted());
    }

    #[test]
    fn a_window_includes_both_its_ends() {
        let all: Vec<Sample> = (0..10).map(|n| Sample { timestamp: n * 10, value: 0.0 }).collect();
        let bytes = chunk(&all);
        let times = |from, to| samples(&bytes, from, to).expect("a chunk").map(|s| s.timestamp).collect::<Vec<_>>();
        assert_eq!(times(10, 30), [10, 20, 30]);
        assert_eq!(times(11, 29), [20]);
        assert_eq!(times(30, 10), [0; 0]);
        assert_eq!(times(-5, 500).len(), 10);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(samples(&[], 0, 1).err(), Some(ChunkError::Version(None))));
        assert!(matches!(samples(&[9, 1], 0, 1).err(), Some(ChunkError::Version(Some(9)))));
        assert!(matches!(samples(&[PLAIN, 1], 0, 1).err(), Some(ChunkError::Torn(1))));
    }
}
