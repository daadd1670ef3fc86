//! Families: groups of series of the platform. Their first sample creates them, and their keys in Redis have no prefix.

use super::config::{FamilyConfig, TimeseriesConfig};
use super::series::{Definition, Labels, MAX_TIMESTAMP, SeriesKey};
use crate::clock::UnixMillis;
use crate::config::value::Span;
use crate::features::timeseries::influx::influx_key;

/// 2000-01-01T00:00:00Z. A timestamp in seconds is earlier until the year 32000.
const YEAR_2000: UnixMillis = 946_684_800_000;

/// The configured families, and the definition of series outside of them.
#[derive(Debug)]
pub(super) struct Families {
    /// Longest stem first, so that the first match is the most specific one.
    by_stem: Vec<FamilyConfig>,
    fallback: Definition,
    /// The definition of series that belong to no family and that a first sample creates; `None` if it may not.
    unknown: Option<CatchAll>,
    max_ahead_ms: u64,
    allow_before_2000: bool,
}

/// How a first sample defines a series outside of all families.
#[derive(Debug)]
enum CatchAll {
    /// The family `*`. It covers no keys: its series have the prefix `ts:`, and cannot collide with any other key.
    Family(FamilyConfig),
    Fallback,
}

/// The times that the samples of a series may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeLimits {
    /// The oldest timestamp, Unix milliseconds.
    pub earliest: UnixMillis,
    /// The oldest timestamp of a first sample that creates the series, Unix milliseconds.
    pub earliest_of_new: UnixMillis,
    /// How far ahead of the clock a timestamp may be, milliseconds.
    pub max_ahead_ms: u64,
}

impl TimeLimits {
    /// Every timestamp is acceptable.
    pub(super) const NONE: Self = Self { earliest: 0, earliest_of_new: 0, max_ahead_ms: MAX_TIMESTAMP.unsigned_abs() };
}

impl Families {
    pub(super) fn new(config: &TimeseriesConfig) -> Self {
        let (mut by_stem, catch_all): (Vec<_>, Vec<_>) =
            config.families.iter().cloned().partition(|family| !family.is_catch_all());
        let unknown = catch_all.into_iter().next().map_or(CatchAll::Fallback, CatchAll::Family);
        by_stem.sort_by_key(|family| std::cmp::Reverse((family.stem().len(), !family.is_open())));
        let fallback = Definition {
            retention_ms: config.retention.as_millis(),
            duplicate_policy: config.duplicate_policy,
            labels: Labels::default(),
        };
        Self {
            by_stem,
            fallback,
            unknown: config.create_unknown.then_some(unknown),
            max_ahead_ms: config.max_ahead.as_millis(),
            allow_before_2000: config.allow_before_2000,
        }
    }

    /// Whether a family covers the key.
    pub(super) fn covers(&self, key: &SeriesKey) -> bool {
        self.find(key).is_some()
    }

    /// The stems of all families, with which their keys begin.
    pub(super) fn stems(&self) -> impl Iterator<Item = &str> {
        self.by_stem.iter().map(FamilyConfig::stem)
    }

    /// The definition of a series whose creation specifies nothing else.
    pub(super) fn defaults(&self, key: &SeriesKey) -> Definition {
        self.find(key).map_or_else(|| self.fallback.clone(), |family| family.definition_of(key))
    }

    /// The definition of the series that a first sample creates; `None` if it may not create one.
    pub(super) fn on_first_write(&self, key: &SeriesKey) -> Option<Definition> {
        match (self.find(key), &self.unknown) {
            (Some(family), _) | (None, Some(CatchAll::Family(family))) => Some(family.definition_of(key)),
            (None, Some(CatchAll::Fallback)) => Some(self.fallback.clone()),
            (None, None) => None,
        }
    }

    /// The times that samples of the series may have. A series that a client defines outside of the families may also have
    /// samples before 2000, but such a sample does not create one.
    pub(super) fn time_limits(&self, key: &SeriesKey) -> TimeLimits {
        let family = self.find(key);
        let catch_all = match &self.unknown {
            Some(CatchAll::Family(family)) => Some(family),
            Some(CatchAll::Fallback) | None => None,
        };
        let defining = family.or(catch_all);
        let own = defining.and_then(|family| family.max_ahead).map(Span::as_millis);
        let is_allowed = |family: &FamilyConfig| family.allow_before_2000.unwrap_or(self.allow_before_2000);
        let earliest = if family.is_none_or(is_allowed) { 0 } else { YEAR_2000 };
        let earliest_of_new = if defining.map_or(self.allow_before_2000, is_allowed) { 0 } else { YEAR_2000 };
        TimeLimits { earliest, earliest_of_new, max_ahead_ms: own.unwrap_or(self.max_ahead_ms) }
    }

    fn find(&self, key: &SeriesKey) -> Option<&FamilyConfig> {
        self.by_stem.iter().find(|family| family.matches(key.as_str()))
    }
}

impl FamilyConfig {
    /// The definition of one of its series. It lacks the label if the end of the key is not a valid label value.
    fn definition_of(&self, key: &SeriesKey) -> Definition {
        let rest = key.as_str().strip_prefix(self.stem()).unwrap_or_default();
        let labels = match &self.rest_label {
            Some(label) => self.labels.with(label, rest),
            None if self.tagged => influx_key::labels_of(rest),
            None => None,
        };
        Definition {
            retention_ms: self.retention.as_millis(),
            duplicate_policy: self.duplicate_policy,
            labels: labels.unwrap_or_else(|| self.labels.clone()),
        }
    }

    fn matches(&self, key: &str) -> bool {
        key.strip_prefix(self.stem()).is_some_and(|rest| self.is_open() != rest.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn families() -> Families {
        configured("")
    }

    fn configured(overrides: &str) -> Families {
        let config = Config::with_overrides(overrides).and_then(|config| config.section()).expect("valid defaults");
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
            let defaults = families.defaults(&key).labels;
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
    fn a_family_limits_the_times_of_its_samples() {
        let overrides = "timeseries.max_ahead = \"2h\"\ntimeseries.families = [{ prefix = \"forecast:*\", retention = \"9d\", \
                         max_ahead = \"7d\", allow_before_2000 = true }, { prefix = \"meter:*\", retention = \"9d\" }]";
        let config = Config::with_overrides(overrides).and_then(|config| config.section()).expect("a valid section");
        let families = Families::new(&config);
        for (key, earliest, earliest_of_new, max_ahead_ms) in [
            ("forecast:a", 0, 0, 604_800_000),
            ("meter:a", YEAR_2000, YEAR_2000, 7_200_000),
            ("other", 0, YEAR_2000, 7_200_000),
        ] {
            let limits = families.time_limits(&SeriesKey::new(key).expect("a key"));
            assert_eq!(limits, TimeLimits { earliest, earliest_of_new, max_ahead_ms }, "{key}");
        }
        let catch_all =
            "[[timeseries.families]]\nprefix = \"*\"\nretention = \"9d\"\nmax_ahead = \"7d\"\nallow_before_2000 = true";
        let limits = configured(catch_all).time_limits(&SeriesKey::new("other").expect("a key"));
        assert_eq!(limits, TimeLimits { earliest: 0, earliest_of_new: 0, max_ahead_ms: 604_800_000 });
    }

    #[test]
    fn keys_that_resemble_a_family_belong_to_the_catch_all() {
        for key in ["energy:generation:", "energy:generation", "trading:volume:daily2", "xmarket:price:GRID", "other"] {
            assert_eq!(retention_days(key), Some(30), "{key}");
            let key = SeriesKey::new(key).expect("a key");
            assert!(!families().covers(&key), "its name in Redis keeps the prefix");
            assert!(configured("timeseries.create_unknown = false").on_first_write(&key).is_none());
        }
        let families = configured("[[timeseries.families]]\nprefix = \"a:*\"\nretention = \"1d\"");
        let other = SeriesKey::new("other").expect("a key");
        let days = families.on_first_write(&other).map(|definition| definition.retention_ms / 86_400_000);
        assert_eq!(days, Some(365), "timeseries.retention");
    }
}
