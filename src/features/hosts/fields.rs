//! The numbers of a sample by name: what chunks, rollups and exports go through.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::rollup::{Rollup, Summary};
use super::sample::Sample;

/// How a field's bits are read.
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
    /// As in JSON, with dots: `cpu.usage`.
    pub name: &'static str,
    pub kind: Kind,
    pub bits: fn(&Sample) -> u64,
    pub set: fn(&mut Sample, u64),
}

impl Field {
    /// The number as a float; counts are below 2^53, where every integer is one.
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

/// Every number of a sample. Chunks keep them in this order: it is part of their format.
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

/// A field that goes up and down, of which something can be usual or to be expected; the counters of networks only grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gauge {
    field: &'static Field,
    /// Its place in [`FIELDS`].
    at: usize,
}

impl Gauge {
    pub(super) fn of_sample(self, sample: &Sample) -> f64 {
        self.field.value(sample)
    }

    pub(super) fn of_rollup(self, rollup: &Rollup) -> Option<&Summary> {
        rollup.field(self.at)
    }

    /// The nearest value that the field can have.
    pub(super) fn clamp(self, value: f64) -> f64 {
        let is_percentage = self.field.name == "cpu.usage" || self.field.name.ends_with("Percent");
        value.clamp(0.0, if is_percentage { 100.0 } else { f64::MAX })
    }
}

impl Serialize for Gauge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.field.name)
    }
}

impl<'de> Deserialize<'de> for Gauge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        match (0..).zip(FIELDS).find(|(_, field)| field.name == name) {
            Some((_, field)) if field.name.starts_with("network.") => Err(de::Error::custom(format!(
                "`{name}` is a counter, which only grows: name a field that goes up and down"
            ))),
            Some((at, field)) => Ok(Self { field, at }),
            None => {
                Err(de::Error::custom(format!("`{name}` is no field: write `cpu.usage`, `memory.used` and the like")))
            }
        }
    }
}
