//! Families: groups of series of the platform. Their first sample creates them, and their keys in Redis have no prefix.

use std::borrow::Cow;

use super::config::{FamilyConfig, TimeseriesConfig};
use super::series::{Definition, Labels, SeriesKey};
use crate::features::timeseries::influx::influx_key;

/// The configured families, and the definition of series outside of them.
#[derive(Debug)]
pub(super) struct Families {
    /// Longest stem first, so that the first match is the most specific one.
    by_stem: Vec<Family>,
    fallback: Definition,
    create_unknown: bool,
}

#[derive(Debug)]
struct Family {
    stem: String,
    /// Whether `stem` is the start of longer keys, rather than a whole key.
    open: bool,
    definition: Definition,
    /// The label whose value is the part of the key after the stem.
    rest_label: Option<String>,
    /// Whether the part of the key after the stem names all labels.
    tagged: bool,
}

impl Families {
    pub(super) fn new(config: &TimeseriesConfig) -> Self {
        let mut families: Vec<Family> = config.families.iter().map(Family::new).collect();
        families.sort_by_key(|family| std::cmp::Reverse((family.stem.len(), !family.open)));
        let fallback = Definition {
            retention_ms: config.retention.as_millis(),
            duplicate_policy: config.duplicate_policy,
            labels: Labels::default(),
        };
        Self { by_stem: families, fallback, create_unknown: config.create_unknown }
    }

    /// Whether a family covers the key.
    pub(super) fn covers(&self, key: &SeriesKey) -> bool {
        self.find(key).is_some()
    }

    /// The stems of all families, with which their keys begin.
    pub(super) fn stems(&self) -> impl Iterator<Item = &str> {
        self.by_stem.iter().map(|family| family.stem.as_str())
    }

    /// The definition of a series whose creation specifies nothing else.
    pub(super) fn defaults(&self, key: &SeriesKey) -> Cow<'_, Definition> {
        self.find(key).map_or(Cow::Borrowed(&self.fallback), |family| family.definition_of(key))
    }

    /// The definition of the series that a first sample creates; `None` if it may not create one.
    pub(super) fn on_first_write(&self, key: &SeriesKey) -> Option<Cow<'_, Definition>> {
        let fallback = || self.create_unknown.then_some(Cow::Borrowed(&self.fallback));
        self.find(key).map(|family| family.definition_of(key)).or_else(fallback)
    }

    fn find(&self, key: &SeriesKey) -> Option<&Family> {
        self.by_stem.iter().find(|family| family.matches(key.as_str()))
    }
}

impl Family {
    fn new(config: &FamilyConfig) -> Self {
        let stem = config.prefix.strip_suffix('*');
        Self {
            stem: stem.unwrap_or(&config.prefix).to_owned(),
            open: stem.is_some(),
            definition: Definition {
                retention_ms: config.retention.as_millis(),
                duplicate_policy: config.duplicate_policy,
                labels: config.labels.clone(),
            },
            rest_label: config.rest_label.clone(),
            tagged: config.tagged,
        }
    }

    /// The definition of one of its series. It lacks the label if the end of the key is not a valid label value.
    fn definition_of(&self, key: &SeriesKey) -> Cow<'_, Definition> {
        let rest = key.as_str().strip_prefix(&self.stem).unwrap_or_default();
        let labels = match &self.rest_label {
            Some(label) => self.definition.labels.with(label, rest),
            None if self.tagged => influx_key::labels_of(rest),
            None => None,
        };
        match labels {
            Some(labels) => Cow::Owned(Definition { labels, ..self.definition.clone() }),
            None => Cow::Borrowed(&self.definition),
        }
    }

    fn matches(&self, key: &str) -> bool {
        match key.strip_prefix(&self.stem) {
            Some(rest) => self.open != rest.is_empty(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn families() -> Families {
        let config = Config::with_overrides("").and_then(|config| config.section()).expect("valid defaults");
        Families::new(&config)
    }

    fn retention_days(key: &str) -> Option<u64> {
        let families = families();
        let key = SeriesKey::new(key).expect("a key");
        families.on_first_write(&key).map(|definition| definition.retention_ms / 86_400_000)
    }

    #[test]
    fn the_platforms_series_have_the_retention_of_their_family() {
        assert_eq!(retention_days("energy:generation:m1"), Some(730));
        assert_eq!(retention_days("energy:consumption:m1"), Some(730));
        assert_eq!(retention_days("market:price:GRID"), Some(90));
        assert_eq!(retention_days("trading:volume:daily"), Some(365));
        assert_eq!(retention_days("settlement:thbc"), Some(365));
    }

    #[test]
    fn series_of_a_family_have_their_name_as_a_label() {
        let labels = |key: &str| {
            let families = families();
            let key = SeriesKey::new(key).expect("a key");
            let defaults = families.defaults(&key).into_owned().labels;
            defaults.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(labels("energy:generation:MTR-001"), ["kind=generation", "meter=MTR-001"]);
        assert_eq!(labels("market:price:GRID"), ["kind=price", "symbol=GRID"]);
        assert_eq!(labels("trading:volume:daily"), ["kind=volume"]);
        assert_eq!(labels("energy:generation:a(1)"), ["kind=generation"]);
        assert_eq!(labels("influx:cpu:idle,host=a"), ["__name__=cpu_idle", "host=a"]);
        assert_eq!(labels("influx:cpu"), [""; 0]);
        assert_eq!(labels("other"), [""; 0]);
    }

    #[test]
    fn keys_that_resemble_a_family_do_not_belong_to_it() {
        for key in ["energy:generation:", "energy:generation", "trading:volume:daily2", "xmarket:price:GRID", "other"] {
            assert_eq!(retention_days(key), None, "{key}");
        }
    }
}
