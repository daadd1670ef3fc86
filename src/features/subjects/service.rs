//! Starts erasures and reads their receipts.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::config::ErasureConfig;
use super::error::SubjectError;
use super::keys::ErasureKeys;
use super::matcher::{Ids, Matcher, check_id};
use super::metrics::ErasureMetrics;
use super::model::{EraseRequest, Erasure, Receipt, Status};
use super::scripts;
use super::sweep::{Found, find_series};
use crate::clock::Clock;
use crate::config::ConfigError;
use crate::deps::Deps;
use crate::features::audit::api::{AuditService, KeyRing};
use crate::holdings::Owners;
use crate::random;
use crate::redis::{Effect, Redis, RedisFault, RedisRoles};

/// The most other ids of a person.
const MAX_ALIASES: usize = 100;

#[derive(Debug)]
pub(super) struct SubjectService {
    pub roles: RedisRoles,
    pub keys: ErasureKeys,
    pub clock: Clock,
    pub config: ErasureConfig,
    pub audit: Arc<AuditService>,
    pub owners: Owners,
    pub metrics: ErasureMetrics,
    /// Wakes the task of this replica.
    pub wake: Notify,
}

/// An erasure as Redis holds it. The ids are removed when it is complete.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    pub erasure: Erasure,
    pub ids: BTreeSet<String>,
}

impl SubjectService {
    /// # Errors
    /// If the configuration is invalid.
    pub(super) fn new(deps: &Deps, config: ErasureConfig, audit: Arc<AuditService>) -> Result<Self, ConfigError> {
        Ok(Self {
            keys: ErasureKeys::new(deps.redis.state.keys()),
            roles: deps.redis.clone(),
            clock: deps.clock.clone(),
            config,
            audit,
            metrics: ErasureMetrics::new(&deps.metrics),
            owners: Owners::new(&deps.config, deps.redis.state.keys().prefix())?,
            wake: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> &Redis {
        &self.roles.state
    }

    /// The ids of a person, checked.
    ///
    /// # Errors
    /// [`SubjectError::InvalidId`], [`SubjectError::Invalid`].
    pub(super) fn ids(id: &str, aliases: &[String]) -> Result<BTreeSet<String>, SubjectError> {
        check_id(id).map_err(SubjectError::InvalidId)?;
        if aliases.len() > MAX_ALIASES {
            let rule = format!("must have at most {MAX_ALIASES} items, got {}", aliases.len());
            return Err(SubjectError::Invalid { pointer: "/aliases".to_owned(), rule });
        }
        for (at, alias) in aliases.iter().enumerate() {
            check_id(alias).map_err(|rule| SubjectError::Invalid { pointer: format!("/aliases/{at}"), rule })?;
        }
        Ok(aliases.iter().cloned().chain([id.to_owned()]).collect())
    }

    /// Starts an erasure.
    ///
    /// # Errors
    /// [`SubjectError`].
    pub(super) async fn erase(&self, id: &str, request: EraseRequest) -> Result<Erasure, SubjectError> {
        let ids = Self::ids(id, &request.aliases)?;
        if request.reason.is_empty() || request.reason.chars().count() > 200 {
            let rule = "must have 1 to 200 characters".to_owned();
            return Err(SubjectError::Invalid { pointer: "/reason".to_owned(), rule });
        }
        if ids.iter().any(|id| request.reason.contains(id.as_str())) {
            let rule = "must not contain an id of the person: the receipt is kept".to_owned();
            return Err(SubjectError::Invalid { pointer: "/reason".to_owned(), rule });
        }
        let ring = self.ring()?;
        let receipt = Receipt {
            id: random::token()?,
            subject: ring.pseudonym(id),
            aliases: ids.len() - 1,
            reason: request.reason,
            dry_run: request.dry_run,
            status: Status::Running,
            requested: self.clock.now(),
            completed: None,
            capabilities: Found::new(),
            remains: Vec::new(),
        };
        let erasure = Erasure { receipt, signed: None };
        // First the tombstones: a restore that comes in between must know them.
        if !request.dry_run {
            self.remember(ring, &ids).await?;
        }
        self.store(&Job { erasure: erasure.clone(), ids }).await?;
        self.wake.notify_one();
        Ok(erasure)
    }

    /// The state or the receipt of an erasure.
    ///
    /// # Errors
    /// [`SubjectError::NotFound`], [`SubjectError::Redis`].
    pub(super) async fn erasure(&self, id: &str) -> Result<Erasure, SubjectError> {
        let command = redis::cmd("HGET").arg(&self.keys.jobs).arg(id).take();
        let text: Option<String> = self.state().query(&command, Effect::Read).await?;
        let job: Option<Job> = text.and_then(|text| serde_json::from_str(&text).ok());
        job.map(|job| job.erasure).ok_or(SubjectError::NotFound)
    }

    /// The erasures that are not complete.
    pub(super) async fn open(&self) -> Result<Vec<Job>, RedisFault> {
        let command = redis::cmd("HGETALL").arg(&self.keys.jobs).take();
        let jobs: HashMap<String, String> = self.state().query(&command, Effect::Read).await?;
        let jobs = jobs.into_values().filter_map(|text| serde_json::from_str::<Job>(&text).ok());
        Ok(jobs.filter(|job| job.erasure.receipt.status != Status::Complete).collect())
    }

    pub(super) async fn store(&self, job: &Job) -> Result<(), RedisFault> {
        // Strings and numbers always serialise.
        let text = serde_json::to_string(job).unwrap_or_default();
        let id = &job.erasure.receipt.id;
        self.state().call(scripts::keep(&self.keys.jobs, [(id.clone(), text)])).await
    }

    /// Remembers that the person was erased, so that a restored backup does not bring the data back.
    async fn remember(&self, ring: &KeyRing, ids: &BTreeSet<String>) -> Result<(), RedisFault> {
        let now = self.clock.now();
        let erased = ids.iter().map(|id| (ring.pseudonym(id), now.to_string()));
        self.state().call(scripts::keep(&self.keys.tombstones, erased)).await?;
        let oldest = now.saturating_sub_unsigned(self.config.tombstone_life.as_millis());
        let all = redis::cmd("HGETALL").arg(&self.keys.tombstones).take();
        let known: HashMap<String, i64> = self.state().query(&all, Effect::Read).await?;
        for (name, _) in known.into_iter().filter(|(_, at)| *at < oldest) {
            let command = redis::cmd("HDEL").arg(&self.keys.tombstones).arg(name).take();
            self.state().query::<i64>(&command, Effect::Write).await?;
        }
        Ok(())
    }

    pub(super) fn ring(&self) -> Result<&KeyRing, SubjectError> {
        self.audit.ring().ok_or(SubjectError::NoKey)
    }

    /// A matcher of the ids, with the series that are the person's.
    pub(super) async fn matcher(&self, ids: &BTreeSet<String>) -> Result<Matcher, RedisFault> {
        let mut matcher = Matcher::new(Ids::Plain(ids.clone()));
        find_series(self.state(), &mut matcher).await?;
        Ok(matcher)
    }
}
