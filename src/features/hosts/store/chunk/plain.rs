//! Plain chunks: a record of 152 bytes for each sample.
//!
//! A record is the timestamp, the sequence number, then every field in the order of [`FIELDS`], 64 bits each, big-endian.

use super::{ChunkError, Head, take};
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::sample::Sample;

pub(super) const VERSION: u8 = 1;

/// The plain chunk of these samples, which must be ascending and of one hour.
///
/// # Errors
/// [`ChunkError::Count`] if there are none or too many.
pub(in crate::features::hosts) fn encode(samples: &[Sample]) -> Result<Vec<u8>, ChunkError> {
    let mut out = Head::begin(VERSION, samples, 21 + samples.len() * 8 * (2 + FIELDS.len()))?;
    for sample in samples {
        out.extend_from_slice(&sample.timestamp.to_be_bytes());
        out.extend_from_slice(&sample.seq.to_be_bytes());
        for field in FIELDS {
            out.extend_from_slice(&(field.bits)(sample).to_be_bytes());
        }
    }
    Ok(out)
}

pub(super) fn read(rest: &mut &[u8], count: usize) -> Result<Vec<Sample>, ChunkError> {
    let mut samples = Vec::with_capacity(count.min(rest.len()));
    let mut next = || take(rest).map(u64::from_be_bytes);
    for _ in 0..count {
        let mut sample = Sample { timestamp: next()?.cast_signed(), seq: next()?, ..Sample::default() };
        for field in FIELDS {
            (field.set)(&mut sample, next()?);
        }
        samples.push(sample);
    }
    Ok(samples)
}
