//! Packed chunks: about a tenth of the plain size, for samples that rarely change.
//!
//! After the version, big-endian: the first and the last timestamp, as in records; the number of samples (32 bits); the
//! distance between timestamps (64 bits), or 0 if it varies; only if it varies, the length of the packed timestamps (32 bits)
//! and the packed timestamps; the packed values.
//!
//! The packed form is that of pco (Loncaric, "Pcodec: Better Compression for Numerical Sequences", 2025). It finds the decimal
//! grid of measured values, stores deviations from the grid separately, takes differences where they are smaller, and encodes
//! both with adapted bins. It is lossless, negative zeros included.

use super::super::series::Sample;
use super::super::window::Window;
use super::{ChunkError, from_ordered, ordered, plain};
use crate::codec::{self, CodecError};

pub(super) const VERSION: u8 = 2;

/// More samples than any setting allows, so that a damaged count does not allocate memory.
const MAX_SAMPLES: usize = 1 << 20;

/// Packs a plain chunk. Returns `None` if that would not make it smaller.
///
/// # Errors
/// [`ChunkError`] if the bytes are not a plain chunk.
pub fn pack(chunk: &[u8]) -> Result<Option<Vec<u8>>, ChunkError> {
    let [plain::VERSION, records @ ..] = chunk else { return Err(ChunkError::Version(chunk.first().copied())) };
    let mut samples = Vec::with_capacity(records.len() / plain::RECORD);
    let (first, last) = plain::read(records, Window { from: i64::MIN, to: i64::MAX }, &mut samples)?;
    let times: Vec<i64> = samples.iter().map(|sample| sample.timestamp).collect();
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    let count = u32::try_from(samples.len()).map_err(|_| ChunkError::Count(samples.len()))?;
    let step = step(&times);

    let mut out = vec![VERSION];
    out.extend_from_slice(&ordered(first));
    out.extend_from_slice(&ordered(last));
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&step.to_be_bytes());
    if step == 0 {
        let packed = codec::pack(&times)?;
        let length = u32::try_from(packed.len()).map_err(|_| ChunkError::Count(samples.len()))?;
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out.extend_from_slice(&codec::pack(&values)?);
    Ok(Some(out).filter(|out| out.len() < chunk.len()))
}

/// Unpacks a packed chunk to a plain one.
///
/// # Errors
/// [`ChunkError`] if the bytes are not a packed chunk.
pub fn unpack(chunk: &[u8]) -> Result<Vec<u8>, ChunkError> {
    let [VERSION, rest @ ..] = chunk else { return Err(ChunkError::Version(chunk.first().copied())) };
    let mut samples = Vec::new();
    read(rest, Window { from: i64::MIN, to: i64::MAX }, &mut samples)?;
    Ok(plain::plain_chunk(&samples))
}

/// See [`super::read`]; `rest` are the bytes after the version.
pub(super) fn read(rest: &[u8], window: Window, out: &mut Vec<Sample>) -> Result<(i64, i64), ChunkError> {
    let (first, rest) = codec::split::<8>(rest)?;
    let (last, rest) = codec::split::<8>(rest)?;
    let (count, rest) = codec::split::<4>(rest)?;
    let (step, rest) = codec::split::<8>(rest)?;
    let ends = (from_ordered(u64::from_be_bytes(first)), from_ordered(u64::from_be_bytes(last)));
    if ends.1 < window.from || ends.0 > window.to {
        return Ok(ends);
    }
    let count = u32::from_be_bytes(count) as usize;
    if count == 0 || count > MAX_SAMPLES {
        return Err(ChunkError::Count(count));
    }
    let step = i64::from_be_bytes(step);
    let within = |sample: &Sample| sample.timestamp >= window.from && sample.timestamp <= window.to;
    if step > 0 {
        let values = codec::unpack::<f64>(rest, count)?;
        let times = (0..).map(|n: i64| ends.0.saturating_add(n.saturating_mul(step)));
        out.extend(times.zip(values).map(|(timestamp, value)| Sample { timestamp, value }).filter(within));
    } else {
        let (length, rest) = codec::split::<4>(rest)?;
        let (times, values) = rest.split_at_checked(u32::from_be_bytes(length) as usize).ok_or(CodecError::Short)?;
        let (times, values) = (codec::unpack::<i64>(times, count)?, codec::unpack::<f64>(values, count)?);
        out.extend(times.into_iter().zip(values).map(|(timestamp, value)| Sample { timestamp, value }).filter(within));
    }
    Ok(ends)
}

/// The distance between timestamps, or 0 if it varies.
fn step(times: &[i64]) -> i64 {
    let mut distances = times.windows(2).map(|pair| match pair {
        [before, after] => after.checked_sub(*before).unwrap_or(0),
        _ => 0,
    });
    let first = distances.next().unwrap_or(1);
    if distances.all(|distance| distance == first) { first } else { 0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(samples: &[(i64, u64)]) -> Vec<u8> {
        let sample = |&(timestamp, bits): &(i64, u64)| Sample { timestamp, value: f64::from_bits(bits) };
        plain::plain_chunk(&samples.iter().map(sample).collect::<Vec<_>>())
    }

    fn decimals(digits: i32) -> impl Strategy<Value = u64> {
        (-1_000_000_i32..1_000_000).prop_map(move |whole| (f64::from(whole) / 10_f64.powi(digits)).to_bits())
    }

    proptest! {
        #[test]
        fn packing_is_lossless(
            start in -(1_i64 << 60)..(1 << 60),
            gaps in proptest::collection::vec(prop_oneof![Just(15_000_i64), 1_i64..100_000, 1_i64..(1 << 50)], 1..700),
            regular in any::<bool>(),
            values in proptest::collection::vec(prop_oneof![any::<u64>(), decimals(2), Just(0), Just(1 << 63)], 700),
        ) {
            let mut timestamp = start;
            let samples: Vec<(i64, u64)> = gaps
                .iter()
                .zip(values)
                .map(|(gap, value)| {
                    timestamp += if regular { 900_000 } else { *gap };
                    (timestamp, value)
                })
                .collect();
            let bytes = plain(&samples);
            if let Some(packed) = pack(&bytes).expect("a plain chunk") {
                prop_assert_eq!(unpack(&packed).expect("a packed chunk"), bytes);
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_or_other_samples_and_do_not_panic(
            at in 0_usize..600,
            with in any::<u8>(),
        ) {
            let samples: Vec<(i64, u64)> = (0..300).map(|n| (n * n, (f64::from(i32::try_from(n).expect("small")) / 100.0).to_bits())).collect();
            let mut packed = pack(&plain(&samples)).expect("a plain chunk").expect("smaller");
            if let Some(byte) = packed.get_mut(at) {
                *byte = with;
            }
            packed.truncate(at.max(30));
            let _ = unpack(&packed);
        }
    }

    #[test]
    fn regular_readings_take_less_than_two_bytes_a_sample() {
        let samples: Vec<(i64, u64)> =
            (0..512).map(|n| (n * 15_000, (f64::from((n * 37 % 1_000) as i32) / 100.0).to_bits())).collect();
        let packed = pack(&plain(&samples)).expect("a plain chunk").expect("smaller");
        assert!(packed.len() < 1_024, "{} bytes", packed.len());
    }
}
