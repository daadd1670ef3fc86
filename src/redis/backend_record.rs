//! Where a feature keeps its values, in native structures or in those of a module: decided once for a deployment,
//! written down in Redis, and the same for every replica.
//!
//! Replicas that start at different times, and servers that get or lose a module later, must not disagree about where the
//! values are. So the first one that needs to know writes it down, and from then on what is written counts for all.

use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Effect, FaultKind, Key, Outcome, Redis, RedisFault};
use crate::lifecycle::{Component, ComponentHealth, ComponentMember, Finding, Tasks};

/// What a deployment keeps the values of a feature in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Redis's own types.
    Native,
    /// The types of a module.
    Module,
}

impl Backend {
    const ALL: [Self; 2] = [Self::Native, Self::Module];

    /// As it stands in Redis and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Module => "module",
        }
    }

    /// The reverse of [`Backend::name`].
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }
}

/// What a deployment that keeps nothing yet is configured to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendPreference {
    /// The module if Redis has it.
    Auto,
    Module,
    Native,
}

impl BackendPreference {
    /// What is wished for, where `auto` depends on whether something speaks for the module.
    fn backend(self, for_module: bool) -> Backend {
        match self {
            Self::Module => Backend::Module,
            Self::Auto if for_module => Backend::Module,
            Self::Auto | Self::Native => Backend::Native,
        }
    }
}

/// What a feature keeps, in words for readiness, logs and operators.
#[derive(Debug)]
pub struct StoredKind {
    /// The feature: its section of the configuration, and what `migrate` calls it.
    pub feature: &'static str,
    /// What is kept, in the plural; also the part's name in readiness.
    pub things: &'static str,
    pub module: &'static str,
    /// The command by which the module is recognised: newer servers carry modules in their core, under other names.
    pub command: &'static str,
    /// The task that looks.
    pub task: &'static str,
}

/// Knows where the values of a feature are.
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

/// What was found when it was last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// As the record said, or would say if the wish could be met.
    backend: Backend,
    has_module: bool,
}

impl BackendRecord {
    /// `record` is the key under which the decision is written down.
    pub fn new(redis: Redis, kind: &'static StoredKind, record: Key, wish: BackendPreference) -> Self {
        Self(Arc::new(Inner { redis, kind, record, wish, known: RwLock::default() }))
    }

    /// Where the values are; who asks first decides it for everybody.
    ///
    /// # Errors
    /// [`RedisFault`] when Redis could not be asked, or does not have the module that holds the values.
    pub async fn backend(&self) -> Result<Backend, RedisFault> {
        let known = match self.known() {
            Some(known) => known,
            None => self.settle().await.map_err(RedisFault::not_applied)?,
        };
        match known {
            Known { backend: Backend::Module, has_module: false } => {
                Err(RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied))
            }
            Known { backend, .. } => Ok(backend),
        }
    }

    /// Writes down that the values are somewhere else now. Whoever does this has moved them.
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

    /// Reads the record, and writes it if there is none: again what it was, when Redis forgot it.
    async fn settle(&self) -> Result<Known, RedisFault> {
        let has_module = self.has_module().await?;
        let backend = if let Some(backend) = self.recorded().await? {
            backend
        } else {
            let chosen = self.known().map_or_else(|| self.0.wish.backend(has_module), |known| known.backend);
            // A module that is not there keeps nothing: the wish is not a fact yet, and may be corrected.
            if chosen == Backend::Module && !has_module { chosen } else { self.record(chosen).await? }
        };
        let now = Known { backend, has_module };
        let before = self.0.known.write().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before != Some(now) {
            let (kept, backend) = (self.0.kind.things, backend.name());
            tracing::info!(kept, backend, has_module, "it is known where values are kept");
        }
        Ok(now)
    }

    /// Writes the record if nobody was faster; what stands there then.
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

    /// Has readiness show where the values are, and what does not fit to it.
    pub fn plan(&self, tasks: &Tasks, parts: &ComponentHealth) {
        let (home, parts) = (self.clone(), parts.clone());
        tasks.plan(self.0.kind.task, move |stop| async move { home.watch(&parts, &stop).await });
    }

    /// Follows the record, which `migrate` changes.
    async fn watch(&self, parts: &ComponentHealth, stop: &CancellationToken) {
        // Without a connection there is nothing to look at, and the next look would be late.
        self.0.redis.settled().await;
        let mut looks = tokio::time::interval(self.0.redis.check_interval());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            match self.settle().await {
                Ok(known) => parts.report(self.0.kind.things, part(self.0.kind, known, self.0.wish)),
                Err(fault) => {
                    tracing::debug!(%fault, kept = self.0.kind.things, "it is not known where values are kept");
                }
            }
        }
    }
}

/// A newer version of the service may know more.
#[derive(Debug, thiserror::Error)]
#[error("the record names the backend `{0}`, which this version does not know")]
struct UnknownBackend(String);

fn part(kind: &StoredKind, Known { backend, has_module }: Known, wish: BackendPreference) -> Component {
    let StoredKind { feature, things, module, .. } = kind;
    let mut findings = Vec::new();
    if backend == Backend::Module && !has_module {
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
        members: vec![ComponentMember { name: (*feature).to_owned(), state: backend.name(), until: None }],
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
