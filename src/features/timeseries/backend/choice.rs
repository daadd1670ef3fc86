//! Which backend keeps the series: decided once for a deployment, and written down in Redis.
//!
//! Replicas that start at different times, and servers that get or lose the module later, must not disagree about where
//! the samples are. So the first one that needs to know writes its decision down, and all others follow what is
//! written, whatever they are configured to; where that is not the same, readiness says so.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::super::config::TimeseriesConfig;
use crate::deps::Deps;
use crate::lifecycle::{Finding, Part, PartMember, Parts};
use crate::redis::{Effect, FaultKind, Key, Outcome, Redis, RedisFault};

const NAME: &str = "timeseries.backend";

/// How often readiness learns whether the decision can still be followed.
const LOOK: Duration = Duration::from_secs(5);

/// What the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::features::timeseries) enum Wish {
    /// The module where the server has it.
    Auto,
    Module,
    Native,
}

/// What keeps the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::features::timeseries) enum Kind {
    Module,
    Native,
}

impl Kind {
    pub(in crate::features::timeseries) const fn name(self) -> &'static str {
        match self {
            Self::Module => "module",
            Self::Native => "native",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Module, Self::Native].into_iter().find(|kind| kind.name() == name)
    }
}

/// The decision, once it is known.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    redis: Redis,
    wish: Wish,
    /// `timeseries:backend`: string, `native` or `module`. It has no expiry: it lives as long as the deployment's data.
    record: Key,
    decided: Arc<OnceLock<Kind>>,
}

impl Choice {
    pub(super) fn new(redis: Redis, config: &TimeseriesConfig) -> Self {
        let record = redis.keys().key("timeseries:backend");
        Self { redis, wish: config.backend, record, decided: Arc::default() }
    }

    /// What keeps the series of this deployment. The process asks Redis once.
    ///
    /// # Errors
    /// [`RedisFault`]: nothing is decided without Redis.
    pub(super) async fn kind(&self) -> Result<Kind, RedisFault> {
        if let Some(kind) = self.decided.get() {
            return Ok(*kind);
        }
        let kind = self.recorded().await?;
        if kind == Kind::Module && !self.has_module().await? {
            return Err(missing());
        }
        Ok(*self.decided.get_or_init(|| kind))
    }

    /// What is written down; decides where nothing is.
    async fn recorded(&self) -> Result<Kind, RedisFault> {
        loop {
            let read = redis::cmd("GET").arg(&self.record).to_owned();
            if let Some(name) = self.redis.query::<Option<String>>(&read, Effect::Read).await? {
                return Kind::from_name(&name).ok_or_else(|| RedisFault::bad_reply(UnknownBackend(name), Effect::Read));
            }
            let kind = match self.wish {
                Wish::Native => Kind::Native,
                Wish::Auto | Wish::Module if self.has_module().await? => Kind::Module,
                Wish::Auto => Kind::Native,
                Wish::Module => return Err(missing()),
            };
            // Whoever comes second reads what the first one wrote.
            let write = redis::cmd("SET").arg(&self.record).arg(kind.name()).arg("NX").to_owned();
            // Nothing of the caller's is written yet, whatever becomes of this.
            let written = self.redis.query::<Option<String>>(&write, Effect::Write).await;
            written.map_err(RedisFault::not_applied)?;
        }
    }

    async fn has_module(&self) -> Result<bool, RedisFault> {
        self.redis.knows("TS.ADD").await
    }

    /// Has readiness show the decision, and what is wrong with it.
    pub(super) fn plan(&self, deps: &Deps) {
        let (choice, parts) = (self.clone(), deps.parts.clone());
        deps.tasks.plan(NAME, move |stop| async move { choice.watch(stop, &parts).await });
    }

    async fn watch(&self, stop: CancellationToken, parts: &Parts) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            // Without Redis, its role's own report says so.
            if let Ok(part) = self.look().await {
                parts.report(NAME, part);
            }
        }
    }

    async fn look(&self) -> Result<Part, RedisFault> {
        let has_module = self.has_module().await?;
        if self.wish == Wish::Module && !has_module {
            let reason = "timeseries.backend asks for the module, which the server does not have".to_owned();
            let state = "missing";
            let members = vec![PartMember { name: Kind::Module.name().to_owned(), state, until: None }];
            return Ok(Part { members, findings: vec![self.judged_missing(reason).await?] });
        }
        // What others wrote down, also when this process has long decided: both must be the same.
        let recorded = self.recorded().await?;
        let kind = self.decided.get().copied().unwrap_or(recorded);
        let mut findings = Vec::new();
        if kind == Kind::Module && !has_module {
            findings.push(Finding::down("the module keeps the series, and the server does not have it".to_owned()));
        } else if recorded != kind {
            findings.push(Finding::degraded(format!(
                "the series have moved to the {} backend: restart this replica, which still uses the {} one",
                recorded.name(),
                kind.name()
            )));
        } else if matches!((self.wish, kind), (Wish::Module, Kind::Native) | (Wish::Native, Kind::Module)) {
            findings.push(Finding::degraded(format!(
                "timeseries.backend asks for another backend than the {} one, which has the series",
                kind.name()
            )));
        }
        let state = if findings.is_empty() { "in use" } else { "in doubt" };
        Ok(Part { members: vec![PartMember { name: kind.name().to_owned(), state, until: None }], findings })
    }

    /// A wish for what is not there harms only where the series are not kept otherwise.
    async fn judged_missing(&self, reason: String) -> Result<Finding, RedisFault> {
        let read = redis::cmd("GET").arg(&self.record).to_owned();
        let recorded = self.redis.query::<Option<String>>(&read, Effect::Read).await?;
        let is_native = recorded.as_deref() == Some(Kind::Native.name());
        Ok(if is_native { Finding::degraded(reason) } else { Finding::down(reason) })
    }
}

/// Series are refused, rather than looked for where they are not.
fn missing() -> RedisFault {
    RedisFault::new(FaultKind::NotReady, Outcome::NotApplied).caused_by(MissingModule)
}

#[derive(Debug, thiserror::Error)]
#[error("the server does not have the module that keeps the series")]
struct MissingModule;

/// A newer version of the service may know more.
#[derive(Debug, thiserror::Error)]
#[error("the series are kept by `{0}`, which this version does not know")]
struct UnknownBackend(String);
