//! A gauge: a field that rises and falls, so that it has usual and expected values.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::super::fields::{FIELDS, Field};
use super::super::sample::Sample;
use super::super::store::rollup::{Rollup, Summary};

/// A field that rises and falls. Network counters only grow and are not gauges.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Gauge {
    field: &'static Field,
    /// The field's index in [`FIELDS`].
    index: usize,
}

impl Gauge {
    pub(super) fn of_sample(self, sample: &Sample) -> f64 {
        self.field.value(sample)
    }

    pub(super) fn of_rollup(self, rollup: &Rollup) -> Option<&Summary> {
        rollup.fields.get(self.index)
    }

    /// The nearest value that the field can have.
    #[cfg(feature = "forecast")]
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
            Some((_, field)) if field.name.starts_with("network.") => {
                Err(de::Error::custom(format!("must be a field that rises and falls, got the counter `{name}`")))
            }
            Some((index, field)) => Ok(Self { field, index }),
            None => Err(de::Error::custom(format!(
                "must be the name of a field, such as `cpu.usage` or `memory.used`, got `{name}`"
            ))),
        }
    }
}
