//! The binary format of a history: chunks of samples, plain when they are written, packed once their hour is over.
//!
//! A chunk has samples of one hour (UTC), so that all chunks of an hour are among the scores of that hour. The first byte is
//! the version; in both versions the number of samples (32 bits) and the first and last timestamp (64 bits each, signed)
//! follow, all big-endian. Decoding restores every bit. See also docs/internals/hosts.md.

mod packed;
mod plain;

use crate::clock::UnixMillis;
use crate::codec::{self, CodecError};
use crate::features::hosts::sample::Sample;

pub(in super::super) use packed::pack;
pub(in super::super) use plain::encode;

/// Milliseconds of an hour, the longest span of a chunk.
pub(in super::super) const HOUR: i64 = 3_600_000;

/// Milliseconds of a day (UTC).
pub(in super::super) const DAY: i64 = 24 * HOUR;

/// The first millisecond of the hour.
pub(in super::super) const fn hour_of(timestamp: UnixMillis) -> UnixMillis {
    timestamp - timestamp.rem_euclid(HOUR)
}

/// The first millisecond of the day.
pub(in super::super) const fn day_of(timestamp: UnixMillis) -> UnixMillis {
    timestamp - timestamp.rem_euclid(DAY)
}

/// More samples than any chunk has. The limit keeps a damaged count from allocating memory.
const MAX_SAMPLES: usize = 1 << 16;

/// Why bytes are not a valid chunk.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError {
    #[error("the chunk has the unknown version {0}")]
    Version(u8),
    #[error("the chunk has an invalid number of samples, {0}")]
    Count(usize),
    #[error("a column has the unknown form {0}")]
    Form(u8),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// The header of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Head {
    version: u8,
    pub count: usize,
    pub first: UnixMillis,
    pub last: UnixMillis,
}

impl Head {
    /// Starts a chunk with these samples: its header, in a buffer of this capacity.
    fn begin(version: u8, samples: &[Sample], capacity: usize) -> Result<Vec<u8>, ChunkError> {
        let (Some(first), Some(last), Ok(count), ..=MAX_SAMPLES) =
            (samples.first(), samples.last(), u32::try_from(samples.len()), samples.len())
        else {
            return Err(ChunkError::Count(samples.len()));
        };
        let mut out = Vec::with_capacity(capacity);
        out.push(version);
        out.extend_from_slice(&count.to_be_bytes());
        out.extend_from_slice(&first.timestamp.to_be_bytes());
        out.extend_from_slice(&last.timestamp.to_be_bytes());
        Ok(out)
    }

    /// # Errors
    /// [`ChunkError`] if the bytes are not a chunk.
    pub(in super::super) fn read(mut chunk: &[u8]) -> Result<Self, ChunkError> {
        Self::take(&mut chunk)
    }

    fn take(rest: &mut &[u8]) -> Result<Self, ChunkError> {
        let [version] = take(rest)?;
        if ![plain::VERSION, packed::VERSION].contains(&version) {
            return Err(ChunkError::Version(version));
        }
        let count = usize::try_from(u32::from_be_bytes(take(rest)?)).unwrap_or(usize::MAX);
        if count == 0 || count > MAX_SAMPLES {
            return Err(ChunkError::Count(count));
        }
        Ok(Self { version, count, first: i64::from_be_bytes(take(rest)?), last: i64::from_be_bytes(take(rest)?) })
    }
}

/// The samples of a chunk, ascending by timestamp and sequence number.
///
/// # Errors
/// [`ChunkError`] if the bytes are not a chunk.
pub(in super::super) fn decode(mut chunk: &[u8]) -> Result<Vec<Sample>, ChunkError> {
    take_samples(&mut chunk)
}

/// Takes the first chunk off `rest` and returns its samples.
///
/// # Errors
/// [`ChunkError`] if the bytes do not start with a chunk.
pub(in super::super) fn take_samples(rest: &mut &[u8]) -> Result<Vec<Sample>, ChunkError> {
    let head = Head::take(rest)?;
    if head.version == plain::VERSION { plain::read(rest, head.count) } else { packed::read(rest, head.count) }
}

/// Takes the first `N` bytes off `rest`.
///
/// # Errors
/// [`CodecError::Short`] if there are fewer.
pub(in super::super) fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CodecError> {
    let (bytes, tail) = codec::split(rest)?;
    *rest = tail;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::features::hosts::sample::{Cpu, Network, Space};

    fn space(total: u64) -> impl Strategy<Value = Space> {
        (0..=total, any::<bool>(), any::<f64>()).prop_map(move |(used, derived, odd)| {
            #[expect(clippy::cast_precision_loss, reason = "agents compute percentages like this")]
            let percent = 100.0 * used as f64 / total as f64;
            let (free, usage_percent) = if derived { (total - used, percent) } else { (used / 2, odd) };
            Space { total, used, free, usage_percent }
        })
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let cpu = (any::<f64>(), 1_u64..65, any::<[f64; 3]>()).prop_map(|(usage, cores, load_avg)| Cpu {
            usage,
            cores,
            load_avg,
        });
        let network = any::<[u64; 4]>().prop_map(|[bytes_in, bytes_out, packets_in, packets_out]| Network {
            bytes_in,
            bytes_out,
            packets_in,
            packets_out,
        });
        (0..HOUR, any::<u64>(), cpu, space(1 << 34), space(1 << 39), network).prop_map(
            |(timestamp, seq, cpu, memory, disk, network)| Sample { timestamp, seq, cpu, memory, disk, network },
        )
    }

    /// Bits, since a NaN is not equal to itself.
    fn bits(samples: &[Sample]) -> Vec<u64> {
        let fields = crate::features::hosts::fields::FIELDS;
        let one = |sample: &Sample| {
            let numbers: Vec<u64> = fields.iter().map(|field| (field.bits)(sample)).collect();
            [vec![sample.timestamp.cast_unsigned(), sample.seq], numbers].concat()
        };
        samples.iter().flat_map(one).collect()
    }

    proptest! {
        #[test]
        fn every_bit_comes_back_in_both_forms(samples in proptest::collection::vec(sample(), 1..300)) {
            let plain = encode(&samples).expect("a chunk");
            prop_assert_eq!(bits(&decode(&plain).expect("samples")), bits(&samples));
            let packed = pack(&samples).expect("a chunk");
            prop_assert_eq!(bits(&decode(&packed).expect("samples")), bits(&samples));
            prop_assert_eq!(Head::read(&packed).expect("a head").count, samples.len());
        }

        #[test]
        fn damaged_bytes_never_panic_and_truncated_ones_are_rejected(
            samples in proptest::collection::vec(sample(), 1..50),
            is_packed in any::<bool>(),
            at in any::<proptest::sample::Index>(),
            with in any::<u8>(),
        ) {
            let mut chunk = if is_packed { pack(&samples) } else { encode(&samples) }.expect("a chunk");
            let at = at.index(chunk.len());
            if let Some(byte) = chunk.get_mut(at) {
                *byte = with;
            }
            let _ = decode(&chunk);
            chunk.truncate(at);
            prop_assert!(decode(&chunk).is_err());
        }
    }

    /// An hour of an ordinary machine: numbers drift, percentages are derived, counters grow unevenly.
    fn an_hour() -> Vec<Sample> {
        let mut state = 42_u64;
        let mut random = move |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut used, mut disk_used, mut network) = (6_u64 << 30, 200_u64 << 30, Network::default());
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        (0..720)
            .map(|n| {
                used = used + 4096 * random(2_000) - 4096 * 1_000;
                disk_used += 4096 * random(50);
                network.bytes_in += random(3_000_000);
                network.bytes_out += random(1_000_000);
                network.packets_in += random(3_000);
                network.packets_out += random(2_000);
                let space = |total: u64, used: u64| Space {
                    total,
                    used,
                    free: total - used,
                    usage_percent: used as f64 / total as f64 * 100.0,
                };
                Sample {
                    timestamp: n * 5_000 + random(20).cast_signed(),
                    seq: 0,
                    cpu: Cpu {
                        usage: random(10_000) as f64 / 100.0,
                        cores: 8,
                        load_avg: [random(400), random(300), random(200)].map(|load| load as f64 / 100.0),
                    },
                    memory: space(16 << 30, used),
                    disk: space(512 << 30, disk_used),
                    network,
                }
            })
            .collect()
    }

    #[test]
    fn an_hour_of_noisy_samples_takes_less_than_32_bytes_each() {
        let samples = an_hour();
        let packed = pack(&samples).expect("a chunk").len();
        assert!(packed < 32 * samples.len(), "{packed} bytes for {} samples", samples.len());
    }
}
