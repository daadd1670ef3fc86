//! The service of host metrics: accepts samples, and answers simple reads from memory and Redis.

use std::ops::RangeInclusive;
use std::slice;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use super::config::HostsConfig;
use super::error::HostsError;
use super::ingest::memory::{Host, Memory};
use super::ingest::spool::Spool;
use super::metrics::HostMetrics;
use super::model::{Agent, Flushed, HostId, Latest, Recent, Source, StorageState, newer};
use super::sample::Sample;
use super::store::history::{History, Order, distinct};
use super::store::keys::{EXPIRY_MARGIN, HostKeys};
use super::store::scripts;
use super::tenancy::{AccessScope, Organisation, Owners};
use crate::clock::{Clock, MAX_TIMESTAMP, UnixMillis};
use crate::deps::Deps;
use crate::http::auth::Principal;
use crate::redis::{Effect, FaultKind, Outcome, Redis, RedisFault};

/// A request to write all waiting samples now; the reply is the number of samples written.
pub(super) type FlushRequest = oneshot::Sender<Result<u64, RedisFault>>;

/// How often a replica publishes the newest samples of its hosts, and for how long it treats its own as the newest without
/// asking Redis, milliseconds. Together the two delays stay below the 5 seconds that the API promises, and a replica of
/// thousands of hosts still writes each of them only every other second.
pub(super) const PUBLISH_INTERVAL_MS: u64 = 2_000;

/// Flush requests that may wait for the batch writer.
const FLUSH_REQUESTS: usize = 16;

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
    flush_requests: mpsc::Sender<FlushRequest>,
    pub(super) next_seq: Arc<AtomicU64>,
    /// The last deletion that memory has followed.
    pub(super) last_deletion: Arc<Mutex<String>>,
}

/// A host that the caller can access.
pub(super) struct Found {
    /// How the host is stored.
    pub id: HostId,
    /// `None` if only Redis has the host.
    pub host: Option<Arc<Host>>,
}

impl HostService {
    /// The service, and the flush requests for its batch writer.
    ///
    /// # Errors
    /// The operating system provides no random numbers.
    pub(super) fn new(
        deps: &Deps,
        config: HostsConfig,
    ) -> Result<(Self, mpsc::Receiver<FlushRequest>), getrandom::Error> {
        let redis = deps.redis.state.clone();
        let metrics = HostMetrics::new(&deps.metrics);
        metrics.unstored_limit.set(i64::try_from(config.unstored_samples).unwrap_or(i64::MAX));
        let keys = HostKeys::new(redis.keys());
        let (flush_requests, incoming) = mpsc::channel(FLUSH_REQUESTS);
        // Two replicas must not number samples of the same millisecond alike.
        let replica = u64::from(getrandom::u32()? >> 12);
        let service = Self {
            memory: Arc::new(Memory::new(&config, metrics.clone())),
            metrics,
            history: History::new(redis.clone(), keys.clone()),
            keys,
            redis,
            clock: deps.clock.clone(),
            spool: Spool::plan(&config, deps),
            flush_requests,
            config: Arc::new(config),
            next_seq: Arc::new(AtomicU64::new(replica << 32)),
            last_deletion: Arc::new(Mutex::new("0".to_owned())),
        };
        Ok((service, incoming))
    }

    /// Keeps samples of a host; the next batch writes them to Redis.
    ///
    /// # Errors
    /// [`HostsError::TooManyHosts`], [`HostsError::TooManySamples`].
    pub(super) async fn record(
        &self,
        scope: &AccessScope,
        id: HostId,
        samples: Vec<Sample>,
        agent: Option<Agent>,
    ) -> Result<StorageState, HostsError> {
        let host = self.host_for_writing(scope, id).await?;
        // While Redis is available, waiting samples will be stored soon: agents retry, and none is dropped.
        if self.spool.is_none() && self.memory.is_full(&host.owner, samples.len()) && self.redis.report().connected {
            return Err(HostsError::TooManySamples);
        }
        self.metrics.accepted.inc_by(samples.len() as u64);
        let Some(spool) = &self.spool else {
            self.memory.record(&host, samples, agent, self.clock.now());
            return Ok(StorageState::Memory);
        };
        // Memory first: the samples of a closed segment are then in the batch that follows.
        self.memory.record(&host, samples.clone(), agent, self.clock.now());
        let is_spooled = spool.append(&host.id, &host.owner, &samples).await;
        Ok(if is_spooled { StorageState::Spooled } else { StorageState::Memory })
    }

    /// The host of this name in the caller's organisation, which may be new.
    async fn host_for_writing(&self, scope: &AccessScope, id: HostId) -> Result<Arc<Host>, HostsError> {
        if let Some(host) = self.in_memory(scope, &id) {
            return Ok(host);
        }
        let owner = scope.owner();
        let host = match self.claim(scope, &id, &owner).await {
            Ok((id, owner)) => Host::new(id, owner, true),
            Err(fault) if fault.kind == FaultKind::WrongType => return Err(fault.into()),
            // Samples are accepted without Redis too; the batch writer claims the host before it writes them.
            Err(_) if self.memory.get(&id).is_some() => Host::new(id.of(owner.as_str()), owner, false),
            Err(_) => Host::new(id, owner, false),
        };
        let own = host.id.of(host.owner.as_str());
        let host = self.memory.insert(host)?;
        // Another organisation may have reported the name in the meantime.
        if scope.covers(&host.owner) { Ok(host) } else { self.memory.insert(Host::new(own, scope.owner(), false)) }
    }

    /// The caller's host of this name, if it is in memory.
    fn in_memory(&self, scope: &AccessScope, id: &HostId) -> Option<Arc<Host>> {
        let plain = self.memory.get(id).filter(|host| scope.covers(&host.owner));
        plain.or_else(|| self.memory.get(&id.of(scope.organisation()?.as_str())))
    }

    /// Makes the caller's organisation the owner of a host, if the host is new. Returns how it is stored, and its owner.
    async fn claim(
        &self,
        scope: &AccessScope,
        id: &HostId,
        owner: &Organisation,
    ) -> Result<(HostId, Organisation), RedisFault> {
        if scope.organisation().is_some() {
            let mut claimed = self.claim_all(&[(id.clone(), owner.clone())]).await?;
            return Ok((claimed.pop().unwrap_or_else(|| id.clone()), owner.clone()));
        }
        let owner = self.redis.call(scripts::claim(&self.keys.owner(id), owner)).await?;
        Ok((id.clone(), owner))
    }

    /// Makes organisations the owners of hosts that are new. Returns how each host is stored: under its name alone, unless
    /// the organisation's own name is in use or another organisation has the name.
    ///
    /// # Errors
    /// [`RedisFault`]; some hosts may be claimed.
    pub(super) async fn claim_all(&self, hosts: &[(HostId, Organisation)]) -> Result<Vec<HostId>, RedisFault> {
        let own: Vec<HostId> = hosts.iter().map(|(id, owner)| id.of(owner.as_str())).collect();
        let reads: Vec<redis::Cmd> = own.iter().map(|id| self.read_owner(id)).collect();
        let mut stored = vec![None; hosts.len()];
        for ((known, answer), id) in stored.iter_mut().zip(self.redis.query_all(&reads, Effect::Read).await?).zip(&own)
        {
            if answer? != redis::Value::Nil {
                *known = Some(id.clone());
            }
        }
        let owner_of = |id: &HostId| self.keys.owner(id);
        let new: Vec<usize> = (0..hosts.len()).filter(|&at| stored.get(at).is_some_and(Option::is_none)).collect();
        let plain = |at: &usize| hosts.get(*at).map(|(id, owner)| scripts::claim(&owner_of(&id.plain()), owner));
        let owners = self.redis.call_all(new.iter().filter_map(plain)).await?;
        let mut foreign = Vec::new();
        for (&at, owner) in new.iter().zip(owners) {
            let (Some((id, own)), Some(known)) = (hosts.get(at), stored.get_mut(at)) else { continue };
            if owner? == *own {
                *known = Some(id.plain());
            } else {
                foreign.push(at);
            }
        }
        let apart = |at: &usize| Some(scripts::claim(&owner_of(own.get(*at)?), &hosts.get(*at)?.1));
        for claimed in self.redis.call_all(foreign.iter().filter_map(apart)).await? {
            claimed?;
        }
        Ok(stored.into_iter().zip(own).map(|(known, own)| known.unwrap_or(own)).collect())
    }

    /// The caller's host of this name.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], or [`HostsError::Redis`] if neither memory nor Redis can name the owner.
    pub(super) async fn host_for_reading(&self, scope: &AccessScope, id: &HostId) -> Result<Found, HostsError> {
        if let Some(host) = self.in_memory(scope, id) {
            return Ok(Found { id: host.id.clone(), host: Some(host) });
        }
        let own = scope.organisation().map(|organisation| id.of(organisation.as_str()));
        let candidates: Vec<HostId> = own.into_iter().chain([id.clone()]).collect();
        let reads: Vec<redis::Cmd> = candidates.iter().map(|id| self.read_owner(id)).collect();
        for (id, answer) in candidates.into_iter().zip(self.redis.query_all(&reads, Effect::Read).await?) {
            let owner: Option<String> = parsed(answer?)?;
            if owner.is_some_and(|owner| scope.covers(&Organisation::new(&owner))) {
                return Ok(Found { id, host: None });
            }
        }
        Err(HostsError::NotFound { id: id.clone() })
    }

    /// The newest sample of a host.
    ///
    /// Answers from memory alone if the host reported within the last [`PUBLISH_INTERVAL_MS`]: other replicas would not show
    /// a newer sample much earlier either.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(super) async fn latest(&self, scope: &AccessScope, id: &HostId) -> Result<Latest, HostsError> {
        let Found { id, host } = self.host_for_reading(scope, id).await?;
        let is_fresh = host.as_ref().is_some_and(|host| self.clock.now() - host.seen() < signed(PUBLISH_INTERVAL_MS));
        let in_memory = host.and_then(|host| host.newest());
        if let Some(newest) = in_memory.clone().filter(|_| is_fresh) {
            return Ok(newest);
        }
        match self.published(slice::from_ref(&id)).await {
            Ok(mut published) => match newer(in_memory, published.remove(&id)) {
                Some(newest) => Ok(Latest { source: Source::Redis, ..newest }),
                None => self.latest_from_history(&id).await,
            },
            Err(fault) if fault.is_of_the_key() => Err(fault.into()),
            Err(fault) => in_memory.ok_or_else(|| fault.into()),
        }
    }

    /// The newest sample of a host that has been silent for longer than its published sample is kept.
    async fn latest_from_history(&self, id: &HostId) -> Result<Latest, HostsError> {
        let newest = self.history.read(id, 0..=MAX_TIMESTAMP, Order::Descending, 1).await?;
        let sample = newest.last().ok_or_else(|| HostsError::NotFound { id: id.clone() })?;
        Ok(Latest { host: id.clone(), metrics: Arc::new(*sample), agent: None, source: Source::Redis })
    }

    /// The newest `count` samples, newest first.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(super) async fn recent(&self, scope: &AccessScope, id: &HostId, count: usize) -> Result<Recent, HostsError> {
        let Found { id, host } = self.host_for_reading(scope, id).await?;
        let (mut metrics, source) =
            self.samples(host.as_deref(), &id, 0..=MAX_TIMESTAMP, Order::Descending, count).await?;
        metrics.reverse();
        metrics.truncate(count);
        Ok(Recent { count: metrics.len(), metrics, source })
    }

    /// The window's samples from Redis and memory, ascending: all of them, or at least `limit` counted from the start or the
    /// end of the window.
    pub(super) async fn samples(
        &self,
        host: Option<&Host>,
        id: &HostId,
        window: RangeInclusive<UnixMillis>,
        order: Order,
        limit: usize,
    ) -> Result<(Vec<Arc<Sample>>, Source), HostsError> {
        let in_memory = || host.map(|host| host.window(*window.start(), *window.end())).unwrap_or_default();
        // Memory first: a sample that is written in between is then read twice rather than not at all.
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

    /// Deletes all data of a host, including samples that are not in Redis yet.
    ///
    /// # Errors
    /// [`HostsError::NotFound`], [`HostsError::Redis`].
    pub(super) async fn delete(&self, scope: &AccessScope, id: &HostId) -> Result<(), HostsError> {
        let Found { id, host } = self.host_for_reading(scope, id).await?;
        let owner = match host {
            Some(host) => host.owner.clone(),
            None => self.owner(&id).await?.ok_or_else(|| HostsError::NotFound { id: id.clone() })?,
        };
        // Memory first: its waiting samples would be written after the deletion.
        let was_in_memory = self.memory.remove(&id);
        let forgotten = async {
            // Other replicas must not write theirs either.
            let ttl = self.config.retention.as_millis() + EXPIRY_MARGIN;
            let places = [self.keys.history(&id).chunks, self.keys.current(&id)];
            let marks = places.iter().map(|key| scripts::mark_deleted(key, &self.clock, ttl));
            RedisFault::of_steps(self.redis.call_all(marks).await?)?;
            self.forget(&id, &owner).await.map_err(RedisFault::partly_applied)?;
            self.tell_deletion(&id).await;
            Ok(())
        };
        let forgotten = forgotten.await;
        Ok(if was_in_memory { forgotten.map_err(RedisFault::partly_applied) } else { forgotten }?)
    }

    /// The owner of a host, as stored in Redis.
    pub(super) async fn owner(&self, id: &HostId) -> Result<Option<Organisation>, RedisFault> {
        let owner: Option<String> = self.redis.query(&self.read_owner(id), Effect::Read).await?;
        Ok(owner.as_deref().map(Organisation::new))
    }

    /// The owners of exported hosts, for a caller who sees those of several organisations; `None` for every other caller.
    ///
    /// # Errors
    /// [`HostsError::Redis`].
    pub(super) async fn owners<'a>(
        &self,
        caller: &Principal,
        scope: &AccessScope,
        hosts: impl Iterator<Item = &'a HostId>,
    ) -> Result<Option<Owners>, HostsError> {
        if *scope != AccessScope::All || caller.is_anonymous() {
            return Ok(None);
        }
        let mut owners = Owners::new();
        let mut unknown = Vec::new();
        for id in hosts {
            match self.memory.get(id) {
                Some(host) => _ = owners.insert(id.clone(), host.owner.clone()),
                None => unknown.push(id),
            }
        }
        let reads: Vec<redis::Cmd> = unknown.iter().map(|id| self.read_owner(id)).collect();
        if !reads.is_empty() {
            for (id, answer) in unknown.into_iter().zip(self.redis.query_all(&reads, Effect::Read).await?) {
                let owner: Option<String> = parsed(answer?)?;
                owners.insert(id.clone(), Organisation::new(owner.as_deref().unwrap_or_default()));
            }
        }
        Ok(Some(owners))
    }

    fn read_owner(&self, id: &HostId) -> redis::Cmd {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.owner(id));
        command
    }

    /// Writes all waiting samples to Redis now.
    ///
    /// # Errors
    /// [`HostsError::Redis`]; samples that were not written keep waiting.
    pub(super) async fn flush(&self) -> Result<Flushed, HostsError> {
        let (flush_request, reply) = oneshot::channel();
        let stopping = || RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied);
        self.flush_requests.send(flush_request).await.map_err(|_| stopping())?;
        let written = reply.await.map_err(|_| stopping())??;
        Ok(Flushed { written })
    }
}

fn parsed<T: redis::FromRedisValue>(value: redis::Value) -> Result<T, RedisFault> {
    redis::from_redis_value(value).map_err(|error| RedisFault::bad_reply(error, Effect::Read))
}

/// A configured duration as a signed number of milliseconds.
pub(super) fn signed(millis: u64) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX)
}
