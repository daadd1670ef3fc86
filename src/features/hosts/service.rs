//! The service: samples in, samples out.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::config::HostsConfig;
use super::error::HostsError;
use super::metrics::HostMetrics;
use super::model::{Agent, Flushed, HostId, Latest, NewSample, Recent, Source, Stored};
use super::sample::{Sample, Skew, Violation};
use crate::clock::{Clock, MAX_TIMESTAMP, UnixMillis};
use crate::deps::Deps;
use crate::features::hosts::access_scope::AccessScope;
use crate::features::hosts::ingest::flush_request::FlushRequest;
use crate::features::hosts::ingest::memory::{Host, Memory};
use crate::features::hosts::ingest::spool::{Record, Spool};
use crate::features::hosts::organisation::Organisation;
use crate::features::hosts::store::history::{History, Order, distinct};
use crate::features::hosts::store::keys::HostKeys;
use crate::features::hosts::store::scripts::Claim;
use crate::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

/// Wishes for a batch that may wait; they are all granted by the next one.
const PENDING_REQUESTS: usize = 16;

#[derive(Clone, Debug)]
pub(super) struct HostService {
    pub(super) config: Arc<HostsConfig>,
    pub(super) memory: Arc<Memory>,
    pub(super) metrics: HostMetrics,
    pub(super) keys: HostKeys,
    pub(super) redis: Redis,
    pub(super) clock: Clock,
    pub(super) history: History,
    pub(super) spool: Option<Spool>,
    requests: mpsc::Sender<FlushRequest>,
    numbers: Arc<AtomicU64>,
}

impl HostService {
    /// The service, and the requests that its writer is to grant.
    ///
    /// # Errors
    /// When the machine has no randomness to give.
    pub(super) fn new(
        deps: &Deps,
        config: HostsConfig,
    ) -> Result<(Self, mpsc::Receiver<FlushRequest>), getrandom::Error> {
        let redis = deps.redis.state.clone();
        let metrics = HostMetrics::new(&deps.metrics);
        let keys = HostKeys::new(redis.keys());
        let (requests, granted) = mpsc::channel(PENDING_REQUESTS);
        // Replicas that stamp samples in the same millisecond must not give them the same number.
        let replica = u64::from(getrandom::u32()? >> 12);
        let service = Self {
            memory: Arc::new(Memory::new(&config, metrics.clone())),
            metrics,
            history: History::new(redis.clone(), keys.clone()),
            keys,
            redis,
            clock: deps.clock.clone(),
            spool: Spool::plan(&config, &deps.tasks, &deps.component_health),
            requests,
            config: Arc::new(config),
            numbers: Arc::new(AtomicU64::new(replica << 32)),
        };
        Ok((service, granted))
    }

    /// The most samples of one request.
    pub(super) fn request_samples(&self) -> usize {
        self.config.request_samples
    }

    pub(super) fn count_refused(&self, samples: usize) {
        self.metrics.refused.inc_by(samples as u64);
    }

    /// Turns a new sample into one that is stored: checks it, and adds the time if the agent did not send one.
    ///
    /// # Errors
    /// Every rule that it breaks.
    pub(super) fn validate(&self, new: &NewSample) -> Result<Sample, Vec<Violation>> {
        let now = self.clock.now();
        let timestamp = match new.timestamp {
            Some(timestamp) => UnixMillis::try_from(timestamp).unwrap_or(UnixMillis::MAX),
            None => now,
        };
        let seq = match (new.seq, new.timestamp) {
            (Some(seq), _) => seq,
            (None, Some(_)) => 0,
            (None, None) => self.numbers.fetch_add(1, Ordering::Relaxed),
        };
        let NewSample { cpu, memory, disk, network, .. } = *new;
        let sample = Sample { timestamp, seq, cpu, memory, disk, network };
        let skew = Skew {
            ahead: signed(self.config.max_ahead.as_millis()),
            behind: signed(self.config.max_behind.as_millis()),
        };
        let mut violations = sample.violations();
        violations.extend(skew.violation(timestamp, now));
        if violations.is_empty() { Ok(sample) } else { Err(violations) }
    }

    /// Takes samples in; they scope Redis with the next batch.
    ///
    /// # Errors
    /// [`HostsError::NotFound`] when the host is another organisation's, [`HostsError::TooManyHosts`],
    /// [`HostsError::TooManySamples`].
    pub(super) async fn record(
        &self,
        scope: &AccessScope,
        id: HostId,
        samples: Vec<Sample>,
        agent: Option<Agent>,
    ) -> Result<Stored, HostsError> {
        let host = self.host_of_writer(scope, id).await?;
        // A Redis that is there will take what waits: agents may wait for that, and nothing need be dropped.
        if self.spool.is_none() && self.memory.is_full(samples.len()) && self.redis.report().connected {
            return Err(HostsError::TooManySamples);
        }
        self.metrics.accepted.inc_by(samples.len() as u64);
        let Some(spool) = &self.spool else {
            self.memory.record(&host, samples, agent, self.clock.now());
            return Ok(Stored::Memory);
        };
        // Memory first: what is in a closed segment is then in the batch that follows.
        self.memory.record(&host, samples.clone(), agent, self.clock.now());
        let record = Record { host: &host.id, owner: &host.owner, samples: &samples };
        Ok(if spool.append(&record).await { Stored::Spooled } else { Stored::Memory })
    }

    /// The host, made the caller's when nobody has reported it before.
    async fn host_of_writer(&self, scope: &AccessScope, id: HostId) -> Result<Arc<Host>, HostsError> {
        if let Some(host) = self.memory.get(&id) {
            return if scope.covers(&host.owner) { Ok(host) } else { Err(HostsError::NotFound { id }) };
        }
        let organisation = scope.owner();
        let claim = Claim { key: &self.keys.owner(&id), organisation: &organisation };
        let host = match self.redis.call(&claim).await {
            Ok(owner) if scope.covers(&owner) => Host::new(id, owner, true),
            Ok(_) => return Err(HostsError::NotFound { id }),
            Err(fault) if fault.kind == FaultKind::WrongType => return Err(fault.into()),
            // Samples are taken without Redis as well; the batch writer has the claim judged before it writes them.
            Err(_) => Host::new(id, organisation, false),
        };
        let host = self.memory.admit(host)?;
        if scope.covers(&host.owner) { Ok(host) } else { Err(HostsError::NotFound { id: host.id.clone() }) }
    }

    /// The host in memory, if the caller reaches it; one that only Redis knows is `None`.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], or [`HostsError::Redis`] when neither memory nor Redis can tell whose it is.
    pub(super) async fn host_of_reader(
        &self,
        scope: &AccessScope,
        id: &HostId,
    ) -> Result<Option<Arc<Host>>, HostsError> {
        let not_found = || HostsError::NotFound { id: id.clone() };
        if let Some(host) = self.memory.get(id) {
            return if scope.covers(&host.owner) { Ok(Some(host)) } else { Err(not_found()) };
        }
        match self.owner(id).await? {
            Some(owner) if scope.covers(&owner) => Ok(None),
            _ => Err(not_found()),
        }
    }

    /// The newest sample of a host.
    ///
    /// This replica's own memory is asked alone when the host was heard of within `hosts.fresh_for`.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(super) async fn latest(&self, scope: &AccessScope, id: &HostId) -> Result<Latest, HostsError> {
        let host = self.host_of_reader(scope, id).await?;
        let known = host.and_then(|host| host.newest());
        let fresh_for = signed(self.config.fresh_for.as_millis());
        if let Some(newest) = known.as_ref().filter(|newest| self.clock.now() - newest.seen < fresh_for) {
            return Ok(Latest::from_memory(id, newest));
        }
        match self.published(id).await {
            Ok(Some(current)) => {
                let is_newer = known.as_ref().is_none_or(|known| known.sample.id() < current.metrics.id());
                match known {
                    Some(known) if !is_newer => Ok(Latest { source: Source::Redis, ..Latest::from_memory(id, &known) }),
                    _ => Ok(current.into_latest(id)),
                }
            }
            Ok(None) => match known {
                Some(known) => Ok(Latest { source: Source::Redis, ..Latest::from_memory(id, &known) }),
                None => self.latest_of_history(id).await,
            },
            Err(fault) if fault.is_of_the_key() => Err(fault.into()),
            Err(fault) => known.map(|known| Latest::from_memory(id, &known)).ok_or_else(|| fault.into()),
        }
    }

    /// For a host that was silent for longer than its published sample lives.
    async fn latest_of_history(&self, id: &HostId) -> Result<Latest, HostsError> {
        let newest = self.history.read(id, 0..=MAX_TIMESTAMP, Order::Descending, 1).await?;
        let sample = newest.last().ok_or_else(|| HostsError::NotFound { id: id.clone() })?;
        Ok(Latest { host: id.clone(), metrics: Arc::new(*sample), agent: None, source: Source::Redis })
    }

    /// The newest `count` samples, newest first.
    ///
    /// # Errors
    /// As [`HostService::latest`].
    pub(super) async fn recent(&self, scope: &AccessScope, id: &HostId, count: usize) -> Result<Recent, HostsError> {
        let host = self.host_of_reader(scope, id).await?;
        let (mut metrics, source) =
            self.samples(host.as_deref(), id, 0..=MAX_TIMESTAMP, Order::Descending, count).await?;
        metrics.reverse();
        metrics.truncate(count);
        Ok(Recent { count: metrics.len(), metrics, source })
    }

    /// Samples of the window from Redis and from memory, ascending: all of them, or at least `limit` from the window's
    /// beginning or end on.
    pub(super) async fn samples(
        &self,
        host: Option<&Host>,
        id: &HostId,
        window: RangeInclusive<UnixMillis>,
        order: Order,
        limit: usize,
    ) -> Result<(Vec<Arc<Sample>>, Source), HostsError> {
        let in_memory = || host.map(|host| host.window(*window.start(), *window.end())).unwrap_or_default();
        // Memory first: what is written meanwhile is then seen twice, and not never.
        let mut all = in_memory();
        let source = match self.history.read(id, window.clone(), order, limit).await {
            Ok(stored) => {
                all.extend(stored.into_iter().map(Arc::new));
                Source::Redis
            }
            Err(HostsError::Redis(fault)) if host.is_none() || fault.is_of_the_key() => return Err(fault.into()),
            Err(HostsError::Redis(_)) => Source::Memory,
            Err(other) => return Err(other),
        };
        distinct(&mut all);
        Ok((all, source))
    }

    /// Deletes everything that is kept of a host, also what waits for Redis.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(super) async fn delete(&self, scope: &AccessScope, id: &HostId) -> Result<(), HostsError> {
        let owner = match self.host_of_reader(scope, id).await? {
            Some(host) => host.owner.clone(),
            None => self.owner(id).await?.ok_or_else(|| HostsError::NotFound { id: id.clone() })?,
        };
        self.memory.remove(id);
        Ok(self.forget(id, &owner).await?)
    }

    /// Whom Redis says that a host belongs to.
    pub(super) async fn owner(&self, id: &HostId) -> Result<Option<Organisation>, RedisFault> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.owner(id));
        let owner: Option<String> = self.redis.query(&command, Effect::Read).await?;
        Ok(owner.as_deref().map(Organisation::new))
    }

    /// Writes everything that waits for Redis now.
    ///
    /// # Errors
    /// [`HostsError::Redis`]: what was not written goes on waiting.
    pub(super) async fn flush(&self) -> Result<Flushed, HostsError> {
        let (wish, granted) = oneshot::channel();
        let stopping = || RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied);
        self.requests.send(wish).await.map_err(|_| stopping())?;
        let written = granted.await.map_err(|_| stopping())??;
        Ok(Flushed { written })
    }
}

/// Configured lengths of time fit into half of what 64 bits hold.
pub(super) fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}
