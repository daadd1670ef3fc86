//! To which capability a key belongs, also if only the configuration says so.

use serde::Deserialize;

use super::{Class, Holding, OTHER, holding_of};
use crate::config::{Config, ConfigError, Section, longest_prefix};

/// An entry of a list that has a prefix, whatever else it has.
#[derive(Debug, Deserialize)]
struct Named {
    prefix: String,
}

#[derive(Debug, Deserialize)]
struct Documents {
    collections: Vec<Named>,
}

impl Section for Documents {
    const NAME: &'static str = "json";
}

#[derive(Debug, Deserialize)]
struct Series {
    families: Vec<Named>,
}

impl Section for Series {
    const NAME: &'static str = "timeseries";
}

#[derive(Debug, Deserialize)]
struct Values {
    policies: Vec<Policy>,
}

#[derive(Debug, Deserialize)]
struct Policy {
    prefix: String,
    /// Whether its values are stored under their bare names.
    #[serde(default)]
    platform: bool,
}

impl Section for Values {
    const NAME: &'static str = "cache";
}

#[derive(Debug, Deserialize)]
struct Limits {
    limiters: Vec<Limiter>,
}

#[derive(Debug, Deserialize)]
struct Limiter {
    /// A pattern such as `rate_limit:api:{ip}`.
    key: String,
}

impl Section for Limits {
    const NAME: &'static str = "ratelimit";
}

/// Beginnings of names that the configuration gives to a capability.
type Configured = (String, Holding);

/// To which deployment and capability keys belong.
#[derive(Clone, Debug)]
pub struct Owners {
    prefix: String,
    configured: Vec<Configured>,
}

impl Owners {
    /// The owners of the keys that begin with `prefix`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: &Config, prefix: &str) -> Result<Self, ConfigError> {
        let (documents, series) = (config.section::<Documents>()?, config.section::<Series>()?);
        let (values, limits) = (config.section::<Values>()?, config.section::<Limits>()?);
        let of = |name, class, beginning: &str| (beginning.to_owned(), Holding { name, class, expires: false });
        let stem = |pattern: &str| pattern.split('{').next().unwrap_or_default().to_owned();
        let documents = documents.collections.iter().map(|entry| of("json", Class::Durable, &entry.prefix));
        let series = series
            .families
            .iter()
            .map(|entry| of("timeseries", Class::Durable, entry.prefix.strip_suffix('*').unwrap_or(&entry.prefix)));
        let values = values.policies.iter().filter(|policy| policy.platform);
        let values = values.map(|policy| of("cache", Class::Cache, &policy.prefix));
        let limits = limits.limiters.iter().map(|limiter| of("ratelimit", Class::Transient, &stem(&limiter.key)));
        let configured = documents.chain(series).chain(values).chain(limits);
        // The family of all other series names no keys: those are below `ts:`.
        let configured = configured.filter(|(beginning, _)| !beginning.is_empty()).collect();
        Ok(Self { prefix: prefix.to_owned(), configured })
    }

    /// Beginnings of two capabilities that have keys in common: `(beginning, capability)` of each.
    pub fn overlap(&self) -> Option<[(&str, &'static str); 2]> {
        self.configured.iter().find_map(|(one, owner)| {
            let overlaps = |(other, of_other): &&Configured| of_other.name != owner.name && other.starts_with(one);
            self.configured
                .iter()
                .find(overlaps)
                .map(|(other, of_other)| [(&**one, owner.name), (&**other, of_other.name)])
        })
    }

    /// The owners of keys that begin with `prefix` instead, by the configuration of these.
    #[must_use]
    pub fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    /// With what the keys of the deployment begin.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The holding of a complete key; `None` if it belongs to another service.
    pub fn holding(&self, key: &[u8]) -> Option<Holding> {
        let key = std::str::from_utf8(key).ok()?;
        let found = holding_of(&self.prefix, key);
        if found.is_some_and(|found| found != OTHER) {
            return found;
        }
        let name = key.strip_prefix(self.prefix.as_str())?;
        self.configured(name).or(found)
    }

    /// The holding that the configuration gives a name without the configured prefix.
    pub fn configured(&self, name: &str) -> Option<Holding> {
        longest_prefix(&self.configured, name, |(beginning, _)| beginning).map(|(_, holding)| *holding)
    }
}
