//! The numbers of a sample by name. Chunks, rollups and exports iterate over them.

use super::sample::Sample;

/// How the 64 bits of a field encode its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IEEE 754.
    Float,
    /// An unsigned integer.
    Whole,
}

/// One number of a sample.
#[derive(Debug)]
pub(super) struct Field {
    /// The path in the JSON sample, joined by dots: `cpu.usage`.
    pub name: &'static str,
    pub kind: Kind,
    pub bits: fn(&Sample) -> u64,
    pub set: fn(&mut Sample, u64),
}

impl Field {
    /// The number as a float. Counts are at most 2^53, so the conversion is exact.
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub(super) fn value(&self, sample: &Sample) -> f64 {
        let bits = (self.bits)(sample);
        match self.kind {
            Kind::Float => f64::from_bits(bits),
            Kind::Whole => bits as f64,
        }
    }
}

const fn whole(name: &'static str, bits: fn(&Sample) -> u64, set: fn(&mut Sample, u64)) -> Field {
    Field { name, kind: Kind::Whole, bits, set }
}

const fn float(name: &'static str, bits: fn(&Sample) -> u64, set: fn(&mut Sample, u64)) -> Field {
    Field { name, kind: Kind::Float, bits, set }
}

/// Every number of a sample. Their order is part of the chunk format.
pub(super) static FIELDS: &[Field] = &[
    float("cpu.usage", |sample| sample.cpu.usage.to_bits(), |sample, bits| sample.cpu.usage = f64::from_bits(bits)),
    whole("cpu.cores", |sample| sample.cpu.cores, |sample, bits| sample.cpu.cores = bits),
    float(
        "cpu.loadAvg.1",
        |sample| sample.cpu.load_avg[0].to_bits(),
        |sample, bits| sample.cpu.load_avg[0] = f64::from_bits(bits),
    ),
    float(
        "cpu.loadAvg.5",
        |sample| sample.cpu.load_avg[1].to_bits(),
        |sample, bits| sample.cpu.load_avg[1] = f64::from_bits(bits),
    ),
    float(
        "cpu.loadAvg.15",
        |sample| sample.cpu.load_avg[2].to_bits(),
        |sample, bits| sample.cpu.load_avg[2] = f64::from_bits(bits),
    ),
    whole("memory.total", |sample| sample.memory.total, |sample, bits| sample.memory.total = bits),
    whole("memory.used", |sample| sample.memory.used, |sample, bits| sample.memory.used = bits),
    whole("memory.free", |sample| sample.memory.free, |sample, bits| sample.memory.free = bits),
    float(
        "memory.usagePercent",
        |sample| sample.memory.usage_percent.to_bits(),
        |sample, bits| sample.memory.usage_percent = f64::from_bits(bits),
    ),
    whole("disk.total", |sample| sample.disk.total, |sample, bits| sample.disk.total = bits),
    whole("disk.used", |sample| sample.disk.used, |sample, bits| sample.disk.used = bits),
    whole("disk.free", |sample| sample.disk.free, |sample, bits| sample.disk.free = bits),
    float(
        "disk.usagePercent",
        |sample| sample.disk.usage_percent.to_bits(),
        |sample, bits| sample.disk.usage_percent = f64::from_bits(bits),
    ),
    whole("network.bytesIn", |sample| sample.network.bytes_in, |sample, bits| sample.network.bytes_in = bits),
    whole("network.bytesOut", |sample| sample.network.bytes_out, |sample, bits| sample.network.bytes_out = bits),
    whole("network.packetsIn", |sample| sample.network.packets_in, |sample, bits| sample.network.packets_in = bits),
    whole("network.packetsOut", |sample| sample.network.packets_out, |sample, bits| sample.network.packets_out = bits),
];
