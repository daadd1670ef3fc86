//! Where values come from. Queries, URLs and functions are named by the configuration only.

#[cfg(feature = "postgres")]
pub(super) mod database;
pub(super) mod guard;
pub(super) mod http;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::iter;
use futures_util::{FutureExt, StreamExt};

use super::error::TaskViolation;
use super::model::TaskDefinition;
use super::template::{Template, fill};
use crate::clock::UnixMillis;
use crate::computed::{Arguments, ComputedFunction};
use http::HttpSource;

/// The requests to one source that are in flight at the same time.
const CONCURRENT: usize = 4;

/// A configured source, or the values of a task.
#[derive(Debug)]
pub(super) enum Source {
    #[cfg(feature = "postgres")]
    Database(database::DatabaseSource),
    /// A database source without a configured database.
    Missing {
        lists_changes: bool,
    },
    Http(Box<HttpSource>),
    Literal(BTreeMap<String, Bytes>),
    Computed {
        function: ComputedFunction,
        arguments: Arguments,
    },
}

/// A key to fetch.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub key: String,
    /// The entity tag under which the source sent the value that is in the cache.
    pub etag: Option<String>,
}

/// What a source says about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Value(SourceValue),
    /// The value with the entity tag that was sent is still right.
    NotModified,
    /// The source has no such value.
    Absent,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SourceValue {
    /// JSON text.
    pub body: Bytes,
    /// When the value changed, Unix milliseconds on the clock of the source.
    pub updated: Option<UnixMillis>,
    pub etag: Option<String>,
    /// The source allows a shorter life than that of the task, milliseconds.
    pub max_ttl_ms: Option<u64>,
}

/// The keys that a source lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub keys: Vec<String>,
    /// The time of the source when they were listed, Unix milliseconds.
    pub as_of: Option<UnixMillis>,
    /// Whether the source has more keys than a run may fetch.
    pub is_cut: bool,
}

/// Why a source did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(super) struct SourceError {
    /// A text for callers: never the query, the URL or the text of the source.
    pub reason: String,
    /// Whether the same request may succeed later.
    pub is_temporary: bool,
    /// When the source wants to be asked again.
    pub retry_after: Option<Duration>,
}

impl SourceError {
    pub(super) fn temporary(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_temporary: true, retry_after: None }
    }

    pub(super) fn permanent(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), is_temporary: false, retry_after: None }
    }
}

/// The answer for each key, in the order of the keys.
pub(super) type Answers = Vec<Result<Answer, SourceError>>;

impl Source {
    /// Whether the source can be asked which keys have changed.
    pub(super) fn lists_changes(&self) -> bool {
        match self {
            #[cfg(feature = "postgres")]
            Self::Database(database) => database.lists_changes(),
            Self::Missing { lists_changes } => *lists_changes,
            _ => false,
        }
    }

    /// Whether the source tells by an entity tag that a value has not changed.
    pub(super) const fn has_validators(&self) -> bool {
        matches!(self, Self::Http(_))
    }

    /// Checks that the source can serve the keys of a template.
    ///
    /// # Errors
    /// The field of the task and its rule.
    pub(super) fn check(&self, template: &Template, definition: &TaskDefinition) -> Result<(), TaskViolation> {
        let has = |name: &str| template.parts().any(|part| part.name == name);
        let texts: Vec<&String> = match self {
            Self::Http(http) => vec![&http.url],
            Self::Computed { arguments, .. } => arguments.values().collect(),
            _ => Vec::new(),
        };
        for name in texts.iter().flat_map(|text| text.split('{').skip(1)).filter_map(|rest| rest.split('}').next()) {
            if !has(name) {
                return Err(TaskViolation {
                    field: "key",
                    rule: format!("must have the part `{name}`, which its source needs"),
                });
            }
        }
        if let Self::Literal(values) = self
            && definition.values.is_none()
            && let Some(key) = values.keys().find(|key| template.read(key).is_none())
        {
            let rule = format!("must be a template of the keys of its source, such as `{key}`");
            return Err(TaskViolation { field: "key", rule });
        }
        Ok(())
    }

    /// Lists the keys of a task, or those that changed after `since`.
    ///
    /// # Errors
    /// [`SourceError`].
    #[cfg_attr(not(feature = "postgres"), expect(clippy::unused_async, reason = "the feature awaits"))]
    pub(super) async fn keys(
        &self,
        template: &Template,
        definition: &TaskDefinition,
        since: Option<UnixMillis>,
    ) -> Result<Listed, SourceError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Database(database) if database.lists_keys() && definition.keys.is_empty() => {
                database.keys(template, since).await
            }
            Self::Literal(values) if definition.keys.is_empty() => {
                Ok(Listed { keys: values.keys().cloned().collect(), ..Listed::default() })
            }
            _ => Ok(Listed { keys: listed(template, definition), as_of: since, is_cut: false }),
        }
    }

    /// Fetches values.
    ///
    /// # Errors
    /// [`SourceError`] if the source did not answer for any key.
    pub(super) async fn values(&self, template: &Template, wanted: &[Wanted]) -> Result<Answers, SourceError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Database(database) => database.values(template, wanted).await,
            Self::Missing { .. } => Err(SourceError::permanent("no database is configured")),
            Self::Http(http) => {
                let fetches: Vec<_> = wanted.iter().map(|wanted| http.fetch(template, wanted).boxed()).collect();
                Ok(iter(fetches).buffered(CONCURRENT).collect().await)
            }
            Self::Literal(values) => {
                let value = |body: &Bytes| Answer::Value(SourceValue { body: body.clone(), ..SourceValue::default() });
                Ok(wanted.iter().map(|wanted| Ok(values.get(&wanted.key).map_or(Answer::Absent, value))).collect())
            }
            Self::Computed { function, arguments } => {
                let compute = |wanted: &Wanted| compute(function, arguments, template, wanted.key.clone()).boxed();
                let fetches: Vec<_> = wanted.iter().map(compute).collect();
                Ok(iter(fetches).buffered(CONCURRENT).collect().await)
            }
        }
    }
}

/// The keys that the task names; a template without parts is its only key.
fn listed(template: &Template, definition: &TaskDefinition) -> Vec<String> {
    if definition.keys.is_empty() && template.parts().next().is_none() {
        return vec![template.as_str().to_owned()];
    }
    definition.keys.clone()
}

async fn compute(
    function: &ComputedFunction,
    arguments: &Arguments,
    template: &Template,
    key: String,
) -> Result<Answer, SourceError> {
    let parts = template.read(&key).unwrap_or_default();
    let filled: Option<Arguments> =
        arguments.iter().map(|(name, text)| Some((name.clone(), fill(text, &parts, str::to_owned)?))).collect();
    let filled = filled.ok_or_else(|| SourceError::permanent("the key lacks a part that the function needs"))?;
    match function.compute(filled).await {
        Ok(Some(text)) => Ok(Answer::Value(SourceValue { body: text.into(), ..SourceValue::default() })),
        Ok(None) => Ok(Answer::Absent),
        Err(reason) => Err(SourceError::temporary(reason)),
    }
}

/// The values of a task or of a file, as the cache stores them.
pub(super) fn literal(values: &BTreeMap<String, Box<serde_json::value::RawValue>>) -> Arc<Source> {
    let bytes = values.iter().map(|(key, value)| (key.clone(), Bytes::copy_from_slice(value.get().as_bytes())));
    Arc::new(Source::Literal(bytes.collect()))
}
