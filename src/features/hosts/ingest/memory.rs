//! The hosts in memory: the newest samples of each, and all samples that are not in Redis yet.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use super::super::config::HostsConfig;
use super::super::error::HostsError;
use super::super::metrics::HostMetrics;
use super::super::model::{Agent, HostId};
use super::super::sample::Sample;
use super::super::tenancy::Organisation;
pub(in super::super) use super::host::Host;
use super::host::Kept;
use crate::clock::UnixMillis;

/// The most samples that wait for the end of `hosts.batch_interval` while Redis is available. They take 9 MB.
const WRITTEN_EARLY: u64 = 50_000;

/// Samples of one host that the batch writer is writing to Redis.
#[derive(Debug)]
pub(in super::super) struct HostBatch {
    pub host: Arc<Host>,
    pub samples: Vec<Arc<Sample>>,
    until: u64,
}

#[derive(Debug)]
pub(in super::super) struct Memory {
    hosts: RwLock<HashMap<HostId, Arc<Host>>>,
    /// The hosts whose samples before a number wait for Redis. In the order of arrival, so that the oldest can be dropped first.
    waiting: Mutex<VecDeque<(Arc<Host>, u64)>>,
    unstored: AtomicU64,
    /// The samples of organisations that are not in Redis.
    shares: Mutex<HashMap<Organisation, u64>>,
    /// Notified when many samples wait for Redis, see [`Memory::is_pressed`], or when no host can be removed.
    pub pressure: Notify,
    keep: usize,
    max_hosts: usize,
    max_unstored: u64,
    metrics: HostMetrics,
}

impl Memory {
    pub(in super::super) fn new(config: &HostsConfig, metrics: HostMetrics) -> Self {
        Self {
            hosts: RwLock::default(),
            waiting: Mutex::default(),
            unstored: AtomicU64::new(0),
            shares: Mutex::default(),
            pressure: Notify::new(),
            keep: config.recent_samples,
            max_hosts: config.max_hosts,
            max_unstored: config.unstored_samples as u64,
            metrics,
        }
    }

    pub(in super::super) fn get(&self, id: &HostId) -> Option<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(in super::super) fn all(&self) -> Vec<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Adds a host, or returns the one of the same name. At the limit, the host that has been silent for longest is removed;
    /// an organisation has at most half of the hosts in memory, and loses its own.
    ///
    /// # Errors
    /// [`HostsError::TooManyHosts`] if every such host has samples that are not in Redis; these are written now.
    pub(in super::super) fn insert(&self, host: Host) -> Result<Arc<Host>, HostsError> {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(&host.id) {
            return Ok(Arc::clone(known));
        }
        let share = self.max_hosts.div_ceil(2);
        let is_own = |known: &&Arc<Host>| known.owner == host.owner;
        // Credentials without an organisation are not told apart.
        let has_share =
            !host.owner.as_str().is_empty() && hosts.len() >= share && hosts.values().filter(is_own).count() >= share;
        if has_share || hosts.len() >= self.max_hosts {
            let removable = hosts.values().filter(|known| known.is_idle() && (!has_share || is_own(known)));
            let Some(silent) = removable.min_by_key(|host| host.seen()).map(|host| host.id.clone()) else {
                self.pressure.notify_one();
                return Err(HostsError::TooManyHosts);
            };
            hosts.remove(&silent);
        }
        let host = Arc::new(host);
        hosts.insert(host.id.clone(), Arc::clone(&host));
        self.metrics.hosts.set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
        Ok(host)
    }

    /// Stores a host, which Redis lists under `id`, under that name. Its waiting samples wait as those of the new name.
    ///
    /// # Errors
    /// [`HostsError::TooManyHosts`]; the samples are dropped.
    pub(in super::super) fn rename(&self, host: &Arc<Host>, id: HostId) -> Result<(), HostsError> {
        self.replace(host, Host::new(id, host.owner.clone(), true), UnixMillis::MIN, host.seen())
    }

    /// Forgets what a host had reported when it was deleted. What was accepted since then waits as that of a new host.
    ///
    /// # Errors
    /// [`HostsError::TooManyHosts`]; the samples are dropped.
    pub(in super::super) fn renew(
        &self,
        host: &Arc<Host>,
        deleted: UnixMillis,
        now: UnixMillis,
    ) -> Result<(), HostsError> {
        self.replace(host, Host::new(host.id.clone(), host.owner.clone(), false), deleted, now)
    }

    /// Replaces a host by another one, to which its waiting samples go that were accepted at `from` or later.
    fn replace(&self, host: &Arc<Host>, other: Host, from: UnixMillis, seen: UnixMillis) -> Result<(), HostsError> {
        let (samples, agent, arrived) = {
            let state = host.state();
            let waiting = usize::try_from(state.arrived - state.settled).unwrap_or(usize::MAX);
            let settled = state.samples.len().saturating_sub(waiting);
            let waiting = state.samples.iter().skip(settled).filter(|kept| kept.accepted >= from);
            let samples: Vec<Sample> = waiting.map(|kept| *kept.sample).collect();
            (samples, state.agent.clone(), state.arrived)
        };
        {
            let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
            if hosts.get(&host.id).is_some_and(|known| Arc::ptr_eq(known, host)) {
                hosts.remove(&host.id);
                self.metrics.hosts.set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
            }
        }
        self.settle(host, arrived);
        if samples.is_empty() {
            return Ok(());
        }
        let mut other = self.insert(other)?;
        if other.owner != host.owner {
            other = self.insert(Host::new(host.id.of(host.owner.as_str()), host.owner.clone(), false))?;
        }
        self.record(&other, samples, agent.map(|agent| Agent::clone(&agent)), seen);
        Ok(())
    }

    /// Removes a host and drops its waiting samples. Returns whether there was one.
    pub(in super::super) fn remove(&self, id: &HostId) -> bool {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        let removed = hosts.remove(id);
        if let Some(host) = &removed {
            let arrived = host.state().arrived;
            self.settle(host, arrived);
        }
        self.metrics.hosts.set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
        removed.is_some()
    }

    /// Removes a host that has nothing to store or to publish.
    pub(in super::super) fn forget_idle(&self, id: &HostId) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if hosts.get(id).is_some_and(|host| host.is_idle() && !host.is_unpublished()) {
            hosts.remove(id);
            self.metrics.hosts.set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
        }
    }

    /// Adds samples that were accepted at `now`. If too many wait for Redis, the oldest are dropped.
    pub(in super::super) fn record(
        &self,
        host: &Arc<Host>,
        samples: Vec<Sample>,
        agent: Option<Agent>,
        now: UnixMillis,
    ) {
        let count = samples.len() as u64;
        let until = {
            let mut state = host.state();
            for sample in samples {
                let sample = Arc::new(sample);
                if state.newest.as_ref().is_none_or(|newest| newest.id() < sample.id()) {
                    state.newest = Some(Arc::clone(&sample));
                }
                state.samples.push_back(Kept { sample, accepted: now });
                state.arrived += 1;
            }
            state.since = Some(state.since.map_or(now, |since| since.min(now)));
            if let Some(agent) = agent {
                state.agent = Some(Arc::new(agent));
            }
            (state.seen, state.is_unpublished) = (now, true);
            state.trim(self.keep);
            state.arrived
        };
        let before = self.unstored.fetch_add(count, Ordering::Relaxed);
        *self.shares().entry(host.owner.clone()).or_default() += count;
        self.metrics.unstored.add(i64::try_from(count).unwrap_or(i64::MAX));
        self.queue().push_back((Arc::clone(host), until));
        let many = self.many();
        if before < many && before + count >= many {
            self.pressure.notify_one();
        }
        while self.unstored.load(Ordering::Relaxed) > self.max_unstored && self.drop_oldest() {}
    }

    fn drop_oldest(&self) -> bool {
        let Some((host, until)) = self.queue().pop_front() else { return false };
        let dropped = self.settle(&host, until);
        self.metrics.dropped.inc_by(dropped);
        true
    }

    /// The oldest waiting samples, at least `limit` of them if that many wait. They keep counting as waiting until
    /// [`Memory::mark_stored`].
    pub(in super::super) fn next_batches(&self, limit: usize) -> Vec<HostBatch> {
        let mut batches: Vec<HostBatch> = Vec::new();
        let mut positions: HashMap<HostId, usize> = HashMap::new();
        let mut count = 0;
        while count < limit {
            let Some((host, until)) = self.queue().pop_front() else { break };
            let samples = host.unsettled(until);
            match positions
                .get(&host.id)
                .and_then(|&at| batches.get_mut(at))
                .filter(|batch| Arc::ptr_eq(&batch.host, &host))
            {
                Some(batch) => {
                    count += samples.len().saturating_sub(batch.samples.len());
                    (batch.samples, batch.until) = (samples, until);
                }
                None if samples.is_empty() => {}
                None => {
                    count += samples.len();
                    positions.insert(host.id.clone(), batches.len());
                    batches.push(HostBatch { host, samples, until });
                }
            }
        }
        batches
    }

    /// Records that the samples of a batch are in Redis.
    pub(in super::super) fn mark_stored(&self, batch: &HostBatch) -> u64 {
        self.settle(&batch.host, batch.until)
    }

    /// Puts batches that failed back to the front of the queue.
    pub(in super::super) fn requeue(&self, batches: Vec<HostBatch>) {
        let mut queue = self.queue();
        for HostBatch { host, until, .. } in batches.into_iter().rev() {
            queue.push_front((host, until));
        }
    }

    /// Whether so many samples wait that they are written before `hosts.batch_interval` ends.
    pub(in super::super) fn is_pressed(&self) -> bool {
        self.unstored() >= self.many()
    }

    fn many(&self) -> u64 {
        WRITTEN_EARLY.min((self.max_unstored / 2).max(1))
    }

    pub(in super::super) fn unstored(&self) -> u64 {
        self.unstored.load(Ordering::Relaxed)
    }

    /// Whether `count` more samples would exceed the limit, so that the oldest would be dropped, or half of it for their
    /// organisation.
    pub(in super::super) fn is_full(&self, owner: &Organisation, count: usize) -> bool {
        let exceeds = |unstored: u64, limit: u64| unstored > 0 && unstored + count as u64 > limit;
        // Credentials without an organisation are not told apart.
        let share = if owner.as_str().is_empty() { 0 } else { self.shares().get(owner).copied().unwrap_or_default() };
        exceeds(self.unstored(), self.max_unstored) || exceeds(share, self.max_unstored.div_ceil(2))
    }

    fn settle(&self, host: &Host, until: u64) -> u64 {
        let settled = host.settle(until, self.keep);
        self.unstored.fetch_sub(settled, Ordering::Relaxed);
        if let Entry::Occupied(mut share) = self.shares().entry(host.owner.clone()) {
            *share.get_mut() = share.get().saturating_sub(settled);
            if *share.get() == 0 {
                share.remove();
            }
        }
        self.metrics.unstored.sub(i64::try_from(settled).unwrap_or(i64::MAX));
        settled
    }

    fn shares(&self) -> MutexGuard<'_, HashMap<Organisation, u64>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<(Arc<Host>, u64)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
