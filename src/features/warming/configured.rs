//! The sources and tasks of the configuration.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::config::{SourceConfig, WarmingConfig};
use super::error::TaskViolation;
use super::plan::{Plan, Task, check_together};
use super::sources::http::{HttpSource, HttpSources};
use super::sources::{Source, guard, literal};
use crate::cached::Cached;
use crate::config::{Config, ConfigError, FieldError};
use crate::deps::Deps;
use crate::features::feature::StartError;

fn wrong(config: &Config, field: String, rule: String) -> ConfigError {
    config.refuse::<WarmingConfig>(FieldError::new(field, rule))
}

/// Builds the configured sources.
pub(super) fn sources(deps: &Deps, config: &WarmingConfig) -> Result<HashMap<String, Arc<Source>>, StartError> {
    let refuse = |field: String, rule: String| wrong(&deps.config, field, rule);
    for (at, prefix) in config.http.allow.iter().enumerate() {
        guard::check_allowed(prefix).map_err(|rule| refuse(format!("http.allow[{at}]"), rule))?;
    }
    let private: Result<Vec<guard::Network>, String> =
        config.http.allow_private.iter().map(|text| text.parse()).collect();
    let private = private.map_err(|rule| refuse("http.allow_private".to_owned(), rule))?;
    let needs_tls = config.http.allow.iter().any(|prefix| prefix.starts_with("https:"));
    let client =
        HttpSources::new(private, config.http.timeout.duration(), config.http.body_limit.as_usize(), needs_tls)?;
    #[cfg(feature = "postgres")]
    let database = if config.database.url_file.is_empty() {
        None
    } else {
        let opened = super::sources::database::Database::new(&config.database, deps.tasks.clone());
        Some(opened.map_err(|rule| refuse("database.url_file".to_owned(), rule))?)
    };
    let mut sources = HashMap::new();
    for (at, source) in config.sources.iter().enumerate() {
        let field = |name: &str| format!("sources[{at}].{name}");
        let built = match source {
            #[cfg(feature = "postgres")]
            SourceConfig::Database { keys, values, .. } if database.is_some() => database.clone().map(|database| {
                Source::Database(super::sources::database::DatabaseSource {
                    database,
                    keys: keys.clone(),
                    values: values.clone(),
                })
            }),
            SourceConfig::Database { keys, .. } => {
                Some(Source::Missing { lists_changes: keys.as_ref().is_some_and(|sql| sql.contains("$1")) })
            }
            SourceConfig::Http { url, .. } => {
                if !guard::is_allowed(url, &config.http.allow) {
                    let rule = "must begin with an entry of warming.http.allow".to_owned();
                    return Err(refuse(field("url"), rule).into());
                }
                Some(Source::Http(Box::new(HttpSource { url: url.clone(), client: client.clone() })))
            }
            SourceConfig::Literal { file, .. } => {
                let text =
                    std::fs::read(file).map_err(|error| refuse(field("file"), format!("cannot be read: {error}")))?;
                let values: BTreeMap<String, Box<serde_json::value::RawValue>> = serde_json::from_slice(&text)
                    .map_err(|error| refuse(field("file"), format!("must contain a JSON object: {error}")))?;
                sources.insert(source.name().to_owned(), literal(&values));
                None
            }
            SourceConfig::Computed { function, arguments, .. } => {
                let known = deps.computed.names().join(", ");
                let unknown = || refuse(field("function"), format!("must be one of {known}, got `{function}`"));
                let computed = deps.computed.function(function).ok_or_else(unknown)?;
                if let Some(name) = arguments.keys().find(|name| !computed.arguments.contains(&name.as_str())) {
                    let rule =
                        format!("has the unknown argument `{name}`; known are {}", computed.arguments.join(", "));
                    return Err(refuse(field("arguments"), rule).into());
                }
                Some(Source::Computed { function: computed, arguments: arguments.clone() })
            }
        };
        if let Some(built) = built {
            sources.insert(source.name().to_owned(), Arc::new(built));
        }
    }
    Ok(sources)
}

/// Builds the configured tasks.
pub(super) fn configured(
    deps: &Config,
    config: &WarmingConfig,
    sources: &HashMap<String, Arc<Source>>,
    cached: &Cached,
) -> Result<Plan, StartError> {
    let mut plan = Plan::new();
    let Some(cache) = cached.get() else { return Ok(plan) };
    for (at, task) in config.tasks.iter().enumerate() {
        let field = |name: &str| format!("tasks[{at}].{}", name.trim_end_matches("_ms"));
        let source = sources.get(&task.source).ok_or_else(|| {
            wrong(deps, field("source"), format!("must be the name of a source, got `{}`", task.source))
        })?;
        let mut built = Task::new(&task.name, task.definition(), Arc::clone(source), &config.prefixes, cache)
            .map_err(|TaskViolation { field: name, rule }| wrong(deps, field(name), rule))?;
        built.is_configured = true;
        built.is_disabled =
            config.database.url_file.is_empty() && (task.with_database || matches!(**source, Source::Missing { .. }));
        if plan.insert(task.name.clone(), Arc::new(built)).is_some() {
            return Err(wrong(deps, field("name"), format!("must not be repeated: `{}`", task.name)).into());
        }
    }
    check_together(&plan).map_err(|(name, TaskViolation { field, rule })| {
        wrong(deps, "tasks".to_owned(), format!("`{name}`: {} {rule}", field.trim_end_matches("_ms")))
    })?;
    Ok(plan)
}
