//! Synthetic readings, the same in every run, and readings from a file of the user.

#![expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]

use super::{A_DAY, Point, STEP};
use crate::days_ago;

/// A random walk with 2 decimals, like prices and temperatures.
pub fn walk(count: usize) -> Vec<f64> {
    let (mut random, mut level) = (Random::new(), 20.0);
    let step = |_| {
        level += (random.next() - 0.5) / 5.0;
        rounded(level, 100.0)
    };
    (0..count).map(step).collect()
}

/// The energy of a household per 15 seconds in kWh with 6 decimals, with a peak in the evening.
pub fn energy(count: usize) -> Vec<f64> {
    let mut random = Random::new();
    let one = |at| {
        let hour = (at as f64 * 15.0 / 3_600.0) % 24.0;
        let load = 0.3 + 0.5 * (-(hour - 19.0_f64).powi(2) / 8.0).exp() + 0.1 * random.next();
        rounded(load * 15.0 / 3_600.0, 1e6)
    };
    (0..count).map(one).collect()
}

/// The register of a meter that counts this energy, with 3 decimals.
pub fn register(energy: &[f64]) -> Vec<f64> {
    let mut sum = 1_234.5;
    let count = |value| {
        sum += value;
        rounded(sum, 1_000.0)
    };
    energy.iter().map(count).collect()
}

pub fn noise(count: usize) -> Vec<f64> {
    let mut random = Random::new();
    (0..count).map(|_| random.next()).collect()
}

/// The columns of `GTX_BENCH_READINGS=file.csv`, which has a header line and a timestamp before the values.
pub fn readings() -> Vec<(String, Vec<f64>)> {
    let Some(file) = std::env::var_os("GTX_BENCH_READINGS") else { return Vec::new() };
    let text = std::fs::read_to_string(file).expect("the readings");
    let mut lines = text.lines();
    let names = lines.next().expect("a header").split(',').enumerate().skip(1);
    let column = |(column, name): (usize, &str)| {
        let value = |line: &str| line.split(',').nth(column).and_then(|value| value.parse().ok()).expect("a number");
        (name.to_owned(), lines.clone().map(value).collect())
    };
    names.map(column).collect()
}

/// Values every 15 seconds up to the last midnight.
pub fn every_15_seconds(values: Vec<f64>) -> Vec<Point> {
    let start = days_ago(values.len().div_ceil(A_DAY));
    (start..).step_by(STEP).zip(values).collect()
}

fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(88_172_645_463_325_252)
    }

    /// At least 0 and below 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
