//! `[warming]`: sources, tasks and their bounds.

use serde::Deserialize;

use super::model::{Priority, Strategy, TaskDefinition};
use crate::config::value::{ByteSize, Span};
use crate::config::{FieldError, Section};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WarmingConfig {
    /// The share of one core that runs may take.
    pub cpu_share: f64,
    /// How the keys of every task begin.
    pub prefixes: Vec<String>,
    pub database: DatabaseConfig,
    pub http: HttpSourceConfig,
    pub sources: Vec<SourceConfig>,
    pub tasks: Vec<TaskConfig>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DatabaseConfig {
    /// The file with the connection URL; empty: there is no database.
    pub url_file: String,
    pub pool_size: usize,
    pub statement_timeout: Span,
    /// Certificate authorities, PEM; empty: those of the system.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "the feature reads it"))]
    pub ca_file: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpSourceConfig {
    /// The beginnings of all URLs that may be asked.
    pub allow: Vec<String>,
    /// Networks of private addresses that allowed hosts may have.
    pub allow_private: Vec<String>,
    pub timeout: Span,
    pub body_limit: ByteSize,
}

/// Where values come from.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum SourceConfig {
    Database {
        name: String,
        /// Lists the parts of keys; `$1` is the time of the last look, or null.
        keys: Option<String>,
        /// Reads the rows of keys; `$1` and so on are arrays of the key's parts.
        #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "the feature reads it"))]
        values: String,
    },
    Http {
        name: String,
        url: String,
    },
    Literal {
        name: String,
        /// A JSON object: key -> value.
        file: String,
    },
    Computed {
        name: String,
        function: String,
        #[serde(default)]
        arguments: crate::computed::Arguments,
    },
}

impl SourceConfig {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Database { name, .. }
            | Self::Http { name, .. }
            | Self::Literal { name, .. }
            | Self::Computed { name, .. } => name,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskConfig {
    pub name: String,
    pub key: String,
    pub source: String,
    pub strategy: StrategyConfig,
    pub ttl: Span,
    #[serde(default)]
    pub keys: Vec<String>,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub after: Vec<String>,
    #[serde(default)]
    pub negative_ttl: Option<Span>,
    #[serde(default)]
    pub changes: Option<Span>,
    #[serde(default)]
    pub freshness: Option<Span>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub attempts: Option<u32>,
    #[serde(default)]
    pub overlap: bool,
    /// Whether the task waits until a database is configured, whatever its source is.
    #[serde(default)]
    pub with_database: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum StrategyConfig {
    Startup { every: Option<Span> },
    Scheduled { every: Option<Span>, at: Option<String>, time_zone: Option<String> },
    AccessPattern { threshold: u64 },
    OnDemand { factor: f64, trigger: u64 },
}

impl TaskConfig {
    /// The definition in the terms of the API.
    pub(super) fn definition(&self) -> TaskDefinition {
        let ms = |span: &Option<Span>| span.map(Span::as_millis);
        let strategy = match &self.strategy {
            StrategyConfig::Startup { every } => Strategy::Startup { every_ms: ms(every) },
            StrategyConfig::Scheduled { every, at, time_zone } => {
                Strategy::Scheduled { every_ms: ms(every), at: at.clone(), time_zone: time_zone.clone() }
            }
            StrategyConfig::AccessPattern { threshold } => Strategy::AccessPattern { threshold: *threshold },
            StrategyConfig::OnDemand { factor, trigger } => Strategy::OnDemand { factor: *factor, trigger: *trigger },
        };
        TaskDefinition {
            key: self.key.clone(),
            source: Some(self.source.clone()),
            values: None,
            keys: self.keys.clone(),
            strategy,
            priority: self.priority,
            after: self.after.clone(),
            ttl_ms: self.ttl.as_millis(),
            negative_ttl_ms: ms(&self.negative_ttl),
            changes_ms: ms(&self.changes),
            freshness_ms: ms(&self.freshness),
            tags: self.tags.clone(),
            attempts: self.attempts,
            overlap: self.overlap,
        }
    }
}

impl Section for WarmingConfig {
    const NAME: &'static str = "warming";

    fn validate(&self) -> Result<(), FieldError> {
        if !(0.01..=1.0).contains(&self.cpu_share) {
            return Err(FieldError::new("cpu_share", format!("must be between 0.01 and 1, got {}", self.cpu_share)));
        }
        FieldError::reject_zero([
            ("database.pool_size", self.database.pool_size == 0),
            ("database.statement_timeout", self.database.statement_timeout.as_millis() == 0),
            ("http.timeout", self.http.timeout.as_millis() == 0),
            ("http.body_limit", self.http.body_limit.bytes() == 0),
        ])?;
        for (at, source) in self.sources.iter().enumerate() {
            if self.sources.iter().take(at).any(|earlier| earlier.name() == source.name()) {
                return Err(FieldError::new(
                    format!("sources[{at}].name"),
                    format!("must not be repeated: `{}`", source.name()),
                ));
            }
        }
        Ok(())
    }
}
