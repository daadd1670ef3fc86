//! The stored form of samples: the records of an open chunk, and sealed chunks, plain or packed.
//!
//! The first byte of a chunk is its version. In both versions the first timestamp follows, in the form of a record, so scripts
//! can read the start of any chunk. Values are stored exactly.
//!
//! Scripts write samples, and they can change plain chunks only. The service packs a chunk once it is sealed, and unpacks it
//! when a write or a deletion falls into it. docs/internals/timeseries.md compares this format with others.

mod packed;
mod plain;

pub(super) use packed::{pack, unpack};
pub(super) use plain::{RECORD, decode, encode, plain_chunk};

use super::series::Sample;
use super::window::Window;
use crate::codec::{self, CodecError};

/// Samples of a full chunk, 16 bytes each until it is packed. A late sample rewrites 8 KiB, which is fast. Packed to one or
/// two bytes per sample, a chunk of this size keeps the overhead of Redis at a tenth.
pub(super) const CHUNK_SAMPLES: usize = 512;

const SIGN: u64 = 1 << 63;

/// Bytes that are not a valid chunk.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("a chunk of version {0:?}, which this service does not support")]
    Version(Option<u8>),
    #[error("a chunk with {0} bytes after its last whole record")]
    Torn(usize),
    #[error("a packed chunk with an invalid number of samples, {0}")]
    Count(usize),
    #[error("a packed chunk that cannot be unpacked")]
    Codec(#[from] CodecError),
}

/// Appends the samples of a chunk that are within the window, ascending. Returns the chunk's first and last timestamp.
///
/// # Errors
/// [`ChunkError`] if the bytes are not a valid chunk; `out` may then have a part of its samples.
pub fn read(chunk: &[u8], window: Window, out: &mut Vec<Sample>) -> Result<(i64, i64), ChunkError> {
    match chunk {
        [plain::VERSION, records @ ..] => plain::read(records, window, out),
        [packed::VERSION, rest @ ..] => packed::read(rest, window, out),
        other => Err(ChunkError::Version(other.first().copied())),
    }
}

/// The first timestamp of a chunk.
///
/// # Errors
/// [`ChunkError`] if the bytes end before it.
pub fn start(chunk: &[u8]) -> Result<i64, ChunkError> {
    let (start, _) = codec::split(chunk.get(1..).unwrap_or_default())?;
    Ok(from_ordered(u64::from_be_bytes(start)))
}

/// Encodes a timestamp so that the bytes of timestamps sort like the timestamps.
fn ordered(timestamp: i64) -> [u8; 8] {
    (timestamp.cast_unsigned() ^ SIGN).to_be_bytes()
}

fn from_ordered(bytes: u64) -> i64 {
    (bytes ^ SIGN).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(chunk: &[u8], from: i64, to: i64) -> Vec<i64> {
        let mut out = Vec::new();
        read(chunk, Window { from, to }, &mut out).expect("a chunk");
        out.iter().map(|sample| sample.timestamp).collect()
    }

    #[test]
    fn a_window_includes_both_ends_in_both_forms() {
        let all: Vec<Sample> = (0..100).map(|n| Sample { timestamp: n * 10, value: 0.0 }).collect();
        let plain = plain_chunk(&all);
        let packed = pack(&plain).expect("a chunk").expect("smaller");
        for bytes in [&plain, &packed] {
            assert_eq!(times(bytes, 10, 30), [10, 20, 30]);
            assert_eq!(times(bytes, 11, 29), [20]);
            assert_eq!(times(bytes, 30, 10), [0; 0]);
            assert_eq!(times(bytes, -5, 5_000).len(), 100);
            assert_eq!(read(bytes, Window { from: 5_000, to: 5_000 }, &mut Vec::new()).expect("a chunk"), (0, 990));
        }
    }

    #[test]
    fn timestamps_sort_like_their_bytes() {
        let times = [i64::MIN, -1, 0, 1, 255, 256, (1 << 53) - 1, i64::MAX];
        let bytes: Vec<Vec<u8>> =
            times.iter().map(|&timestamp| plain_chunk(&[Sample { timestamp, value: 0.0 }])).collect();
        assert!(bytes.is_sorted());
    }

    #[test]
    fn invalid_bytes_are_refused() {
        let window = Window { from: 0, to: 1 };
        let refused = |bytes: &[u8]| read(bytes, window, &mut Vec::new()).expect_err("no chunk");
        assert!(matches!(refused(&[]), ChunkError::Version(None)));
        assert!(matches!(refused(&[9, 1]), ChunkError::Version(Some(9))));
        assert!(matches!(refused(&[plain::VERSION, 1]), ChunkError::Torn(1)));
        assert!(matches!(refused(&[packed::VERSION, 1]), ChunkError::Codec(CodecError::Short)));
    }
}
