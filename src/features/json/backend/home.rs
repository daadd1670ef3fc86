//! Which backend a deployment has: decided once, written down in Redis, and the same for every replica.

use std::sync::{PoisonError, RwLock};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Backend, Wish};
use crate::lifecycle::{Finding, Part, PartMember, Parts};
use crate::redis::{Effect, FaultKind, Key, Outcome, Redis, RedisFault};

/// The part's name in readiness.
const PART: &str = "documents";
/// The command by which the module is recognised: newer servers carry it in their core, under another name.
const COMMAND: &str = "JSON.SET";

/// Knows where the documents are.
#[derive(Debug)]
pub(in super::super) struct Home {
    redis: Redis,
    record: Key,
    wish: Wish,
    known: RwLock<Option<Known>>,
}

/// What was found when it was last looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    /// As the record said.
    backend: Backend,
    has_module: bool,
}

impl Home {
    pub(in super::super) fn new(redis: Redis, record: Key, wish: Wish) -> Self {
        Self { redis, record, wish, known: RwLock::default() }
    }

    /// Where the documents are; who asks first decides it for everybody.
    ///
    /// # Errors
    /// [`RedisFault`] when Redis could not be asked, or does not have the module that holds the documents.
    pub(in super::super) async fn backend(&self) -> Result<Backend, RedisFault> {
        let known = match self.known() {
            Some(known) => known,
            None => self.settle().await?,
        };
        match known {
            Known { backend: Backend::Module, has_module: false } => {
                Err(RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied))
            }
            Known { backend, .. } => Ok(backend),
        }
    }

    fn known(&self) -> Option<Known> {
        *self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the record, and writes it if there is none: again what it was, when Redis forgot it.
    async fn settle(&self) -> Result<Known, RedisFault> {
        let has_module = self.redis.knows(COMMAND).await?;
        let backend = match self.recorded().await? {
            Some(backend) => backend,
            None => {
                let chosen = match (self.known(), self.wish) {
                    (Some(known), _) => known.backend,
                    (None, Wish::Module) => Backend::Module,
                    (None, Wish::Native) => Backend::Native,
                    (None, Wish::Auto) if has_module => Backend::Module,
                    (None, Wish::Auto) => Backend::Native,
                };
                let mut write = redis::cmd("SET");
                write.arg(self.record.as_str()).arg(chosen.name()).arg("NX");
                // Another replica may have been faster: what stands there counts.
                let _: redis::Value = self.redis.query(&write, Effect::Write).await?;
                self.recorded().await?.unwrap_or(chosen)
            }
        };
        let now = Known { backend, has_module };
        let before = self.known.write().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before != Some(now) {
            tracing::info!(backend = backend.name(), has_module, "it is known where documents are kept");
        }
        Ok(now)
    }

    async fn recorded(&self) -> Result<Option<Backend>, RedisFault> {
        let recorded: Option<Vec<u8>> =
            self.redis.query(redis::cmd("GET").arg(self.record.as_str()), Effect::Read).await?;
        Ok(recorded.as_deref().and_then(Backend::named))
    }

    /// Follows the record, which `migrate` changes, and reports what does not fit to it.
    pub(in super::super) async fn watch(&self, parts: &Parts, stop: &CancellationToken) {
        let mut looks = tokio::time::interval(self.redis.check_interval());
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            match self.settle().await {
                Ok(known) => parts.report(PART, part(known, self.wish)),
                Err(fault) => tracing::debug!(%fault, "it is not known where documents are kept"),
            }
        }
    }
}

fn part(Known { backend, has_module }: Known, wish: Wish) -> Part {
    let mut findings = Vec::new();
    if backend == Backend::Module && !has_module {
        findings.push("documents are kept in RedisJSON, which this Redis does not have: none can be read".to_owned());
    }
    let wished = match wish {
        Wish::Auto => backend,
        Wish::Module => Backend::Module,
        Wish::Native => Backend::Native,
    };
    if wished != backend {
        let (wished, backend) = (wished.name(), backend.name());
        findings.push(format!(
            "json.backend is `{wished}`, but documents are kept `{backend}` and stay there: \
             `gridtokenx-redis migrate json --to {wished}` moves them"
        ));
    }
    Part {
        members: vec![PartMember { name: "json".to_owned(), state: backend.name(), until: None }],
        findings: findings.into_iter().map(Finding::degraded).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_found() {
        let reasons = |backend, wish, has_module| part(Known { backend, has_module }, wish).findings.len();
        assert_eq!(reasons(Backend::Native, Wish::Auto, true), 0, "a module that came later changes nothing");
        assert_eq!(reasons(Backend::Native, Wish::Native, false), 0);
        assert_eq!(reasons(Backend::Module, Wish::Module, true), 0);
        assert_eq!(reasons(Backend::Module, Wish::Auto, false), 1);
        assert_eq!(reasons(Backend::Native, Wish::Module, false), 1);
        assert_eq!(reasons(Backend::Module, Wish::Native, false), 2);
    }
}
