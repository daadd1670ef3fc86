//! Bytes per sample by codec: why sealed chunks of series are packed with pco.
//!
//! The two usual alternatives are compared by their length: XOR of neighbours (Pelkonen et al.,
//! "Gorilla", 2015), and decimal scaling with bit packing (based on Afroozeh et al., "ALP", 2023).

#![expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a table of rounded figures")]

use std::time::Instant;

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress};

use super::synthetic;
use crate::peers::Bench;
use crate::report::Report;

/// Samples in a full chunk of the service.
const CHUNK: usize = 512;
const SAMPLES: usize = 200_000;
/// The compression level of the service.
const LEVEL: usize = 4;

pub fn run(_: &Bench, report: &mut Report) {
    for (name, values) in series() {
        let count = values.len();
        let share = |bytes: usize| bytes as f64 / count as f64;
        let chunks = || values.chunks(CHUNK);
        let config = ChunkConfig::default().with_compression_level(LEVEL);
        let began = Instant::now();
        let packed: Vec<Vec<u8>> =
            chunks().map(|chunk| simple_compress(chunk, &config).expect("valid numbers")).collect();
        let encoding = began.elapsed();
        let began = Instant::now();
        for (chunk, bytes) in chunks().zip(&packed) {
            let back: Vec<f64> = simple_decompress(bytes).expect("the packed numbers");
            assert!(
                back.iter().zip(chunk).all(|(a, b)| a.to_bits() == b.to_bits()),
                "values must be equal bit for bit"
            );
        }
        let decoding = began.elapsed();
        let rate = |took: std::time::Duration| count as f64 / took.as_secs_f64() / 1e6;
        report.row(
            format!("bytes per value, {name}: pco / decimal scaling / XOR"),
            format!(
                "{:.2} / {:.2} / {:.2}; pco packs {:.0} and unpacks {:.0} million per second",
                share(packed.iter().map(Vec::len).sum()),
                share(chunks().map(scaled).sum()),
                share(chunks().map(|chunk| xored(chunk).div_ceil(8)).sum()),
                rate(encoding),
                rate(decoding),
            ),
            "",
        );
    }
}

fn series() -> Vec<(String, Vec<f64>)> {
    let energy = synthetic::energy(SAMPLES);
    let mut all = vec![
        ("a random walk with 2 decimals".to_owned(), synthetic::walk(SAMPLES)),
        ("a meter's register with 3 decimals".to_owned(), synthetic::register(&energy)),
        ("15-second energy with 6 decimals".to_owned(), energy),
        ("noise of full precision".to_owned(), synthetic::noise(SAMPLES)),
    ];
    all.extend(synthetic::readings());
    all
}

/// Bits of a chunk that stores each value as the XOR with its predecessor.
fn xored(values: &[f64]) -> usize {
    let (mut bits, mut window) = (64, None);
    for pair in values.windows(2) {
        let difference = pair[0].to_bits() ^ pair[1].to_bits();
        let (leading, trailing) = (difference.leading_zeros().min(31), difference.trailing_zeros());
        bits += match window {
            _ if difference == 0 => 1,
            Some((before, after)) if leading >= before && trailing >= after => 2 + 64 - before - after,
            _ => {
                window = Some((leading, trailing));
                2 + 5 + 6 + 64 - leading - trailing
            }
        };
    }
    bits as usize
}

/// Bytes of a chunk that scales values by the best power of ten to integers and bit-packs them or their differences.
/// Other values are stored separately with their positions.
fn scaled(values: &[f64]) -> usize {
    (0..=14).map(|digits| scaled_by(values, 10_f64.powi(digits))).min().expect("a power")
}

fn scaled_by(values: &[f64], scale: f64) -> usize {
    let (mut integers, mut exceptions) = (Vec::with_capacity(values.len()), 0);
    for &value in values {
        let integer = (value * scale).round();
        if integer.abs() < 9e15 && (integer / scale).to_bits() == value.to_bits() {
            integers.push(integer as i64);
        } else {
            exceptions += 1;
            integers.push(integers.last().copied().unwrap_or(0));
        }
    }
    let width = |range: u64| (64 - range.leading_zeros()) as usize;
    let (low, high) = (integers.iter().min().expect("a value"), integers.iter().max().expect("a value"));
    let steps = integers.windows(2).map(|pair| width(((pair[1] - pair[0]).unsigned_abs()) * 2));
    let bits = width(high.abs_diff(*low)).min(steps.max().unwrap_or(0));
    16 + (bits * values.len()).div_ceil(8) + exceptions * 10
}
