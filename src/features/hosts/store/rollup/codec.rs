//! The binary format of a rollup. It is compact, so that reading a year of hours is fast.
//!
//! Version (1 byte), number of samples (32 bits), first millisecond (64 bits, signed), then for each field five numbers, or
//! a single one if all five are equal. A mask of 32 bits before the fields, lowest bit first, marks those with one number.
//! Numbers are big-endian, IEEE 754. See also docs/internals/hosts.md.

use super::{Rollup, Summary};
use crate::features::hosts::fields::FIELDS;
use crate::features::hosts::store::chunk::{ChunkError, take};

const VERSION: u8 = 1;

impl Rollup {
    pub(in crate::features::hosts) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(17 + self.fields.len() * 5 * 8);
        out.push(VERSION);
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(&self.start.to_be_bytes());
        let bits = self.fields.iter().rev().map(|field| u32::from(is_steady(field)));
        let steady = bits.fold(0, |mask, bit| mask << 1 | bit);
        out.extend_from_slice(&steady.to_be_bytes());
        for field in &self.fields {
            let numbers = [field.avg, field.min, field.max, field.p95, field.p99];
            let kept = if is_steady(field) { 1 } else { numbers.len() };
            for number in numbers.iter().take(kept) {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out
    }

    /// # Errors
    /// [`ChunkError`] if the bytes are not a rollup.
    pub(in crate::features::hosts) fn decode(mut rest: &[u8]) -> Result<Self, ChunkError> {
        let rest = &mut rest;
        let [version] = take(rest)?;
        if version != VERSION {
            return Err(ChunkError::Version(version));
        }
        let (count, start) = (u32::from_be_bytes(take(rest)?), i64::from_be_bytes(take(rest)?));
        let steady = u32::from_be_bytes(take(rest)?);
        let mut next = || take(rest).map(f64::from_be_bytes);
        let mut fields = Vec::with_capacity(FIELDS.len());
        for at in 0..FIELDS.len() {
            let avg = next()?;
            fields.push(if steady >> at & 1 == 1 {
                Summary { avg, min: avg, max: avg, p95: avg, p99: avg }
            } else {
                Summary { avg, min: next()?, max: next()?, p95: next()?, p99: next()? }
            });
        }
        Ok(Self { start, count, fields })
    }
}

/// Whether all values are equal, bit for bit.
fn is_steady(field: &Summary) -> bool {
    field.min.to_bits() == field.max.to_bits()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Collector;
    use super::*;
    use crate::features::hosts::sample::{Cpu, Sample};

    proptest! {
        #[test]
        fn a_rollup_comes_back_as_it_was(usages in prop::collection::vec(0.0_f64..100.0, 1..50), cut in 0_usize..700) {
            let samples: Vec<Sample> = usages
                .iter()
                .map(|&usage| Sample { cpu: Cpu { usage, ..Cpu::default() }, ..Sample::default() })
                .collect();
            let mut collector = Collector::new();
            collector.add(&samples);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let rollup = runtime.block_on(collector.finish(7)).expect("samples");
            let bytes = rollup.encode();
            prop_assert_eq!(Rollup::decode(&bytes).expect("a rollup"), rollup);
            let cut = bytes.get(..cut % bytes.len()).expect("shorter");
            prop_assert!(Rollup::decode(cut).is_err());
        }
    }
}
