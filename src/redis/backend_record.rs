//! Which storage backend holds a feature's values: Redis's own types or those of a module.
//!
//! The first replica that needs to know decides, and records the decision in Redis. From then on the record counts for
//! every replica: replicas start at different times and a server may gain or lose a module, and still all of them must
//! look for the values in the same place.

use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{Effect, FaultKind, Key, Outcome, Redis, RedisFault};
use crate::lifecycle::{Component, ComponentHealth, ComponentMember, Finding, Tasks};

/// The storage backend of a feature's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The types of Redis itself.
    Native,
    /// The types of a module.
    Module,
}

impl Backend {
    const ALL: [Self; 2] = [Self::Native, Self::Module];

    /// The name in Redis and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Module => "module",
        }
    }

    /// The backend with this [name](Backend::name).
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }
}

/// The backend that the configuration asks for; it decides while the deployment has stored nothing yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendPreference {
    /// The module if Redis has it, else native.
    Auto,
    Module,
    Native,
}

impl BackendPreference {
    /// The preferred backend; for `auto` it depends on whether the module should be used.
    fn backend(self, for_module: bool) -> Backend {
        match self {
            Self::Module => Backend::Module,
            Self::Auto if for_module => Backend::Module,
            Self::Auto | Self::Native => Backend::Native,
        }
    }
}

/// How many checks of the server pass before a record that can be used is checked again.
const USABLE_INTERVALS: u32 = 6;

/// What a feature stores, in the words of readiness, logs and operators.
#[derive(Debug)]
pub struct StoredKind {
    /// The feature's name in the configuration and in the `migrate` command.
    pub feature: &'static str,
    /// What is stored, in the plural, such as `documents`; also the component's name in readiness.
    pub things: &'static str,
    pub module: &'static str,
    /// The command that identifies the module: newer servers include modules in their core under other names.
    pub command: &'static str,
    /// The name of the task that checks the record.
    pub task: &'static str,
}

/// Knows which backend holds a feature's values.
#[derive(Clone, Debug)]
pub struct BackendRecord(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    kind: &'static StoredKind,
    record: Key,
    wish: BackendPreference,
    known: RwLock<Option<Known>>,
}

/// The result of the last check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// The recorded backend, or the preferred one that is not recorded yet because its module is missing.
    backend: Backend,
    has_module: bool,
}

impl Known {
    fn is_usable(self) -> bool {
        self.backend == Backend::Native || self.has_module
    }
}

impl BackendRecord {
    /// `record` is the key that holds the decision.
    pub fn new(redis: Redis, kind: &'static StoredKind, record: Key, wish: BackendPreference) -> Self {
        Self(Arc::new(Inner { redis, kind, record, wish, known: RwLock::default() }))
    }

    /// The backend that holds the values. The first call in a deployment decides it.
    ///
    /// # Errors
    /// [`RedisFault`] if Redis cannot be reached or does not have the module that holds the values.
    pub async fn backend(&self) -> Result<Backend, RedisFault> {
        let known = match self.known() {
            Some(known) => known,
            None => self.settle().await.map_err(RedisFault::not_applied)?,
        };
        match known {
            Known { backend, .. } if known.is_usable() => Ok(backend),
            Known { .. } => Err(RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied)),
        }
    }

    /// Records that the values are in another backend now. The caller has moved them.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn moved_to(&self, backend: Backend) -> Result<(), RedisFault> {
        let mut write = redis::cmd("SET");
        write.arg(self.0.record.as_str()).arg(backend.name());
        self.0.redis.query(&write, Effect::Write).await
    }

    /// Whether Redis has the module.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn has_module(&self) -> Result<bool, RedisFault> {
        self.0.redis.knows(self.0.kind.command).await
    }

    fn known(&self) -> Option<Known> {
        *self.0.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the record and writes it if it is missing. If Redis lost it, the known decision is written again.
    async fn settle(&self) -> Result<Known, RedisFault> {
        let has_module = self.has_module().await?;
        let backend = if let Some(backend) = self.recorded().await? {
            backend
        } else {
            let chosen = self.known().map_or_else(|| self.0.wish.backend(has_module), |known| known.backend);
            // Without its module nothing is stored yet: the preference may still change, so it is not recorded.
            if chosen == Backend::Module && !has_module { chosen } else { self.record(chosen).await? }
        };
        let now = Known { backend, has_module };
        let before = self.0.known.write().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before != Some(now) {
            let (kept, backend) = (self.0.kind.things, backend.name());
            tracing::info!(kept, backend, has_module, "storage backend selected");
        }
        Ok(now)
    }

    /// Writes the record unless it exists, and returns the recorded backend.
    async fn record(&self, chosen: Backend) -> Result<Backend, RedisFault> {
        let mut write = redis::cmd("SET");
        write.arg(self.0.record.as_str()).arg(chosen.name()).arg("NX");
        let _: redis::Value = self.0.redis.query(&write, Effect::Write).await?;
        Ok(self.recorded().await?.unwrap_or(chosen))
    }

    async fn recorded(&self) -> Result<Option<Backend>, RedisFault> {
        let read = redis::cmd("GET").arg(self.0.record.as_str()).to_owned();
        let Some(name) = self.0.redis.query::<Option<String>>(&read, Effect::Read).await? else { return Ok(None) };
        let backend = Backend::named(&name);
        backend.map(Some).ok_or_else(|| RedisFault::bad_reply(UnknownBackend(name), Effect::Read))
    }

    /// Schedules a task that reports the backend, and any mismatch with the configuration, to readiness.
    pub fn plan(&self, tasks: &Tasks, parts: &ComponentHealth) {
        let (home, parts) = (self.clone(), parts.clone());
        tasks.plan(self.0.kind.task, move |stop| async move { home.watch(&parts, &stop).await });
    }

    /// Checks the record regularly: the `migrate` command changes it. Replicas should be stopped meanwhile, so a record that
    /// can be used is checked less often than the server.
    async fn watch(&self, parts: &ComponentHealth, stop: &CancellationToken) {
        // Before the first connection the check would fail, and the next one would be a whole interval later.
        self.0.redis.settled().await;
        let interval = self.0.redis.check_interval();
        loop {
            let pause = match self.settle().await {
                Ok(known) => {
                    parts.report(self.0.kind.things, part(self.0.kind, known, self.0.wish));
                    if known.is_usable() { interval * USABLE_INTERVALS } else { interval }
                }
                Err(fault) => {
                    tracing::debug!(%fault, kept = self.0.kind.things, "storage backend unknown");
                    interval
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}

/// A newer version of the service may know more backends.
#[derive(Debug, thiserror::Error)]
#[error("the record names the backend `{0}`, which this version does not know")]
struct UnknownBackend(String);

fn part(kind: &StoredKind, Known { backend, has_module }: Known, wish: BackendPreference) -> Component {
    let StoredKind { feature, things, module, .. } = kind;
    let mut findings = Vec::new();
    if !(Known { backend, has_module }).is_usable() {
        findings.push(format!("{things} are kept in {module}, which this Redis does not have: none can be read"));
    }
    let wished = wish.backend(backend == Backend::Module);
    if wished != backend {
        let (wished, backend) = (wished.name(), backend.name());
        findings.push(format!(
            "{feature}.backend is `{wished}`, but {things} are kept `{backend}` and stay there: \
             `gridtokenx-redis migrate {feature} --to {wished}` moves them"
        ));
    }
    Component {
        members: vec![ComponentMember { name: (*feature).to_owned(), state: backend.name(), until: None, heard: None }],
        findings: findings.into_iter().map(Finding::degraded).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORED_KIND: StoredKind = StoredKind {
        feature: "json",
        things: "documents",
        module: "RedisJSON",
        command: "JSON.SET",
        task: "json.backend",
    };

    #[test]
    fn what_does_not_fit_is_found() {
        let reasons =
            |backend, wish, has_module| part(&STORED_KIND, Known { backend, has_module }, wish).findings.len();
        assert_eq!(
            reasons(Backend::Native, BackendPreference::Auto, true),
            0,
            "a module that came later changes nothing"
        );
        assert_eq!(reasons(Backend::Native, BackendPreference::Native, false), 0);
        assert_eq!(reasons(Backend::Module, BackendPreference::Module, true), 0);
        assert_eq!(reasons(Backend::Module, BackendPreference::Auto, false), 1);
        assert_eq!(reasons(Backend::Native, BackendPreference::Module, false), 1);
        assert_eq!(reasons(Backend::Module, BackendPreference::Native, false), 2);
    }
}
