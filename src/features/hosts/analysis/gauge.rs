//! The fields that anomalies and forecasts are calculated for.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::features::hosts::fields::{FIELDS, Field};
use crate::features::hosts::sample::Sample;
use crate::features::hosts::store::rollup::{Rollup, Summary};

/// A field that rises and falls, so that it can be analysed; network counters only grow.
#[derive(Clone, Copy, Debug)]
pub(in crate::features::hosts) struct Gauge {
    field: &'static Field,
    /// The position in [`FIELDS`].
    at: usize,
}

impl Gauge {
    pub(in crate::features::hosts) fn of_sample(self, sample: &Sample) -> f64 {
        self.field.value(sample)
    }

    pub(in crate::features::hosts) fn of_rollup(self, rollup: &Rollup) -> Option<&Summary> {
        rollup.field(self.at)
    }

    /// The nearest value that the field can have.
    pub(in crate::features::hosts) fn clamp(self, value: f64) -> f64 {
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
                "`{name}` is a counter, which only grows: name a gauge such as `cpu.usage`"
            ))),
            Some((at, field)) => Ok(Self { field, at }),
            None => Err(de::Error::custom(format!(
                "`{name}` is not a field: write a name such as `cpu.usage` or `memory.used`"
            ))),
        }
    }
}
