//! To which capability a key belongs, also if only the configuration says so.

use serde::Deserialize;

use super::{Class, Holding, OTHER, holding_of};
use crate::config::{Config, ConfigError, Section};

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
    policies: Vec<Named>,
}

impl Section for Values {
    const NAME: &'static str = "cache";
}

/// To which deployment and capability keys belong.
#[derive(Clone, Debug)]
pub struct Owners {
    prefix: String,
    /// Beginnings of names that the configuration gives to capabilities.
    configured: Vec<(String, Holding)>,
}

impl Owners {
    /// The owners of the keys that begin with `prefix`.
    ///
    /// # Errors
    /// If the configuration is invalid.
    pub fn new(config: &Config, prefix: &str) -> Result<Self, ConfigError> {
        let (documents, series, values) =
            (config.section::<Documents>()?, config.section::<Series>()?, config.section::<Values>()?);
        let holding = |name, class| Holding { name, class, expires: false };
        let lists = [
            (documents.collections, holding("json", Class::Durable)),
            (series.families, holding("timeseries", Class::Durable)),
            (values.policies, holding("cache", Class::Cache)),
        ];
        let named = |Named { prefix }: Named| prefix.trim_end_matches('*').to_owned();
        let configured =
            lists.into_iter().flat_map(|(list, holding)| list.into_iter().map(move |entry| (named(entry), holding)));
        // The family of all other series names no keys: those are below `ts:`.
        let configured = configured.filter(|(beginning, _)| !beginning.is_empty()).collect();
        Ok(Self { prefix: prefix.to_owned(), configured })
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
        let configured = self.configured.iter().find(|(beginning, _)| name.starts_with(beginning.as_str()));
        configured.map(|(_, holding)| *holding).or(found)
    }
}
