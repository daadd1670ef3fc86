//! Packed chunks: stored by column, about a tenth of the plain size.
//!
//! The header is followed by the columns: timestamps, sequence numbers, then every field in the order of [`FIELDS`]. A column is one
//! byte for its form, its length (32 bits, big-endian), and its numbers compressed by pco (Loncaric, "Pcodec: Better
//! Compression for Numerical Sequences", 2025).
//!
//! Free space and percentages can be derived from the total and the used space. Such a column stores the differences from
//! the derived values if that is shorter: they are 0 for agents that compute them in the same way, and exact otherwise.

use super::{ChunkError, Head, take};
use crate::codec::{self, CodecError};
use crate::features::hosts::fields::{FIELDS, Field, Kind};
use crate::features::hosts::sample::{Sample, Space};

pub(super) const VERSION: u8 = 2;

/// The column has the numbers themselves.
const AS_IT_IS: u8 = 0;
/// The column has the differences of the numbers' bits from values derived from earlier fields.
const FROM_OTHERS: u8 = 1;

/// The packed chunk of these samples, which must be ascending and of one hour.
///
/// # Errors
/// [`ChunkError`] if there are none or too many, or compression fails.
pub(in crate::features::hosts) fn pack(samples: &[Sample]) -> Result<Vec<u8>, ChunkError> {
    let mut out = Head::begin(VERSION, samples, 64 + 32 * samples.len())?;
    let timestamps: Vec<i64> = samples.iter().map(|sample| sample.timestamp).collect();
    write_column(&mut out, AS_IT_IS, &codec::pack(&timestamps)?)?;
    let numbers: Vec<u64> = samples.iter().map(|sample| sample.seq).collect();
    write_column(&mut out, AS_IT_IS, &codec::pack(&numbers)?)?;
    for field in FIELDS {
        let bits: Vec<u64> = samples.iter().map(field.bits).collect();
        let plain = match field.kind {
            Kind::Whole => codec::pack(&bits)?,
            Kind::Float => codec::pack(&bits.iter().copied().map(f64::from_bits).collect::<Vec<f64>>())?,
        };
        if let Some(expected) = expectation(field) {
            let difference = |(sample, bits): (&Sample, &u64)| bits.wrapping_sub(expected(sample)).cast_signed();
            let relative = codec::pack(&samples.iter().zip(&bits).map(difference).collect::<Vec<i64>>())?;
            if relative.len() < plain.len() {
                write_column(&mut out, FROM_OTHERS, &relative)?;
                continue;
            }
        }
        write_column(&mut out, AS_IT_IS, &plain)?;
    }
    Ok(out)
}

pub(super) fn read(rest: &mut &[u8], count: usize) -> Result<Vec<Sample>, ChunkError> {
    let (timestamps, numbers) = (absolute_column(rest)?, absolute_column(rest)?);
    let mut samples: Vec<Sample> = codec::unpack::<i64>(timestamps, count)?
        .into_iter()
        .zip(codec::unpack::<u64>(numbers, count)?)
        .map(|(timestamp, seq)| Sample { timestamp, seq, ..Sample::default() })
        .collect();
    for field in FIELDS {
        let (form, bytes) = take_column(rest)?;
        match (form, field.kind, expectation(field)) {
            (AS_IT_IS, Kind::Whole, _) => set_all(&mut samples, field, codec::unpack::<u64>(bytes, count)?.into_iter()),
            (AS_IT_IS, Kind::Float, _) => {
                set_all(&mut samples, field, codec::unpack::<f64>(bytes, count)?.into_iter().map(f64::to_bits));
            }
            (FROM_OTHERS, _, Some(expected)) => {
                for (sample, difference) in samples.iter_mut().zip(codec::unpack::<i64>(bytes, count)?) {
                    let bits = expected(sample).wrapping_add(difference.cast_unsigned());
                    (field.set)(sample, bits);
                }
            }
            (other, ..) => return Err(ChunkError::Form(other)),
        }
    }
    Ok(samples)
}

fn set_all(samples: &mut [Sample], field: &Field, bits: impl Iterator<Item = u64>) {
    for (sample, bits) in samples.iter_mut().zip(bits) {
        (field.set)(sample, bits);
    }
}

/// The function that derives a field's bits from earlier fields, if there is one.
fn expectation(field: &Field) -> Option<fn(&Sample) -> u64> {
    match field.name {
        "memory.free" => Some(|sample| sample.memory.total.wrapping_sub(sample.memory.used)),
        "memory.usagePercent" => Some(|sample| percent(&sample.memory)),
        "disk.free" => Some(|sample| sample.disk.total.wrapping_sub(sample.disk.used)),
        "disk.usagePercent" => Some(|sample| percent(&sample.disk)),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "the chunk stores the difference from this value")]
fn percent(space: &Space) -> u64 {
    if space.total == 0 {
        return 0; // Not 0 / 0, whose sign differs between processors.
    }
    (space.used as f64 / space.total as f64 * 100.0).to_bits()
}

fn write_column(out: &mut Vec<u8>, form: u8, bytes: &[u8]) -> Result<(), ChunkError> {
    out.push(form);
    let length = u32::try_from(bytes.len()).map_err(|_| ChunkError::Count(bytes.len()))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Takes a column off `rest`: its form and its packed numbers.
fn take_column<'a>(rest: &mut &'a [u8]) -> Result<(u8, &'a [u8]), CodecError> {
    let [form] = take(rest)?;
    let length = usize::try_from(u32::from_be_bytes(take(rest)?)).unwrap_or(usize::MAX);
    let (bytes, tail) = rest.split_at_checked(length).ok_or(CodecError::Short)?;
    *rest = tail;
    Ok((form, bytes))
}

/// Takes a column that must have the numbers themselves.
fn absolute_column<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], ChunkError> {
    match take_column(rest)? {
        (AS_IT_IS, bytes) => Ok(bytes),
        (form, _) => Err(ChunkError::Form(form)),
    }
}
