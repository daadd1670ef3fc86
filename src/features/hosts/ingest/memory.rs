//! The hosts in memory: the newest samples of each, and all that are not in Redis yet.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use crate::clock::UnixMillis;
use crate::features::hosts::config::HostsConfig;
use crate::features::hosts::error::HostsError;
use crate::features::hosts::metrics::HostMetrics;
use crate::features::hosts::model::{Agent, HostId, NewestSample};
use crate::features::hosts::organisation::Organisation;
use crate::features::hosts::sample::Sample;

/// A host that was heard of.
#[derive(Debug)]
pub(in crate::features::hosts) struct Host {
    pub id: HostId,
    pub owner: Organisation,
    /// Whether Redis knows the owner; a host that is first heard of while Redis is away belongs to its reporter on trust.
    is_claimed: AtomicBool,
    /// Whether the indexes know the host.
    is_listed: AtomicBool,
    points: Mutex<Points>,
}

/// Samples in the order of their arrival, which numbers them.
#[derive(Debug, Default)]
struct Points {
    samples: VecDeque<Arc<Sample>>,
    /// How many have arrived so far.
    arrived: u64,
    /// How many of those are in Redis, or given up.
    settled: u64,
    newest: Option<Arc<Sample>>,
    agent: Option<Arc<Agent>>,
    seen: UnixMillis,
    is_unpublished: bool,
}

impl Host {
    pub(in crate::features::hosts) fn new(id: HostId, owner: Organisation, is_claimed: bool) -> Self {
        let (is_claimed, is_listed) = (AtomicBool::new(is_claimed), AtomicBool::new(false));
        Self { id, owner, is_claimed, is_listed, points: Mutex::default() }
    }

    pub(in crate::features::hosts) fn is_claimed(&self) -> bool {
        self.is_claimed.load(Ordering::Relaxed)
    }

    pub(in crate::features::hosts) fn mark_claimed(&self) {
        self.is_claimed.store(true, Ordering::Relaxed);
    }

    pub(in crate::features::hosts) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Relaxed)
    }

    pub(in crate::features::hosts) fn mark_listed(&self) {
        self.is_listed.store(true, Ordering::Relaxed);
    }

    pub(in crate::features::hosts) fn newest(&self) -> Option<NewestSample> {
        let points = self.points();
        let sample = points.newest.clone()?;
        Some(NewestSample { sample, agent: points.agent.clone(), seen: points.seen })
    }

    pub(in crate::features::hosts) fn seen(&self) -> UnixMillis {
        self.points().seen
    }

    /// The samples in memory from `from` to `to`, both included, in the order of their arrival.
    pub(in crate::features::hosts) fn window(&self, from: UnixMillis, to: UnixMillis) -> Vec<Arc<Sample>> {
        let points = self.points();
        points.samples.iter().filter(|sample| (from..=to).contains(&sample.timestamp)).map(Arc::clone).collect()
    }

    /// What is not in Redis yet.
    pub(in crate::features::hosts) fn waiting(&self) -> Vec<Arc<Sample>> {
        self.unsettled(u64::MAX)
    }

    /// What arrived before `until` and is not in Redis.
    fn unsettled(&self, until: u64) -> Vec<Arc<Sample>> {
        let points = self.points();
        let begin = points.arrived - points.samples.len() as u64;
        let samples = points.samples.iter().zip(begin..);
        samples.filter(|(_, at)| (points.settled..until).contains(at)).map(|(sample, _)| Arc::clone(sample)).collect()
    }

    /// Notes that what arrived before `until` is in Redis or given up; answers how many samples that are.
    fn settle(&self, until: u64, keep: usize) -> u64 {
        let mut points = self.points();
        let settled = until.saturating_sub(points.settled);
        points.settled = points.settled.max(until);
        points.trim(keep);
        settled
    }

    /// The newest sample, if it was not published since it came.
    pub(in crate::features::hosts) fn take_unpublished(&self) -> Option<NewestSample> {
        let is_unpublished = std::mem::take(&mut self.points().is_unpublished);
        if is_unpublished { self.newest() } else { None }
    }

    /// After a publication that failed.
    pub(in crate::features::hosts) fn publish_again(&self) {
        self.points().is_unpublished = true;
    }

    fn is_idle(&self) -> bool {
        let points = self.points();
        points.settled == points.arrived
    }

    fn points(&self) -> MutexGuard<'_, Points> {
        self.points.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Points {
    /// Forgets the oldest samples beyond `keep`, except those that are not settled.
    fn trim(&mut self, keep: usize) {
        while self.samples.len() > keep && self.arrived - (self.samples.len() as u64) < self.settled {
            self.samples.pop_front();
        }
    }
}

/// Samples of one host that wait for Redis: those that arrived before `until`.
#[derive(Clone, Debug)]
struct Waiting {
    host: Arc<Host>,
    until: u64,
}

/// Samples of one host on their way to Redis.
#[derive(Debug)]
pub(in crate::features::hosts) struct Load {
    pub host: Arc<Host>,
    pub samples: Vec<Arc<Sample>>,
    until: u64,
}

#[derive(Debug)]
pub(in crate::features::hosts) struct Memory {
    hosts: RwLock<HashMap<HostId, Arc<Host>>>,
    /// In the order of arrival, so that the oldest can be given up first.
    waiting: Mutex<VecDeque<Waiting>>,
    unstored: AtomicU64,
    /// Rings when half of what may wait for Redis does.
    pub pressure: Notify,
    keep: usize,
    max_hosts: usize,
    max_unstored: u64,
    metrics: HostMetrics,
}

impl Memory {
    pub(in crate::features::hosts) fn new(config: &HostsConfig, metrics: HostMetrics) -> Self {
        Self {
            hosts: RwLock::default(),
            waiting: Mutex::default(),
            unstored: AtomicU64::new(0),
            pressure: Notify::new(),
            keep: config.recent_samples,
            max_hosts: config.max_hosts,
            max_unstored: config.unstored_samples as u64,
            metrics,
        }
    }

    pub(in crate::features::hosts) fn get(&self, id: &HostId) -> Option<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    pub(in crate::features::hosts) fn all(&self) -> Vec<Arc<Host>> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Takes a host in, or answers the one that was quicker; the host that was silent for longest makes room.
    ///
    /// # Errors
    /// [`HostsError::TooManyHosts`] when all of them have samples that are not in Redis.
    pub(in crate::features::hosts) fn admit(&self, host: Host) -> Result<Arc<Host>, HostsError> {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(&host.id) {
            return Ok(Arc::clone(known));
        }
        if hosts.len() >= self.max_hosts {
            let idle = hosts.values().filter(|host| host.is_idle()).min_by_key(|host| host.seen());
            let silent = idle.map(|host| host.id.clone()).ok_or(HostsError::TooManyHosts)?;
            hosts.remove(&silent);
        }
        let host = Arc::new(host);
        hosts.insert(host.id.clone(), Arc::clone(&host));
        self.metrics.hosts.set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
        Ok(host)
    }

    pub(in crate::features::hosts) fn remove(&self, id: &HostId) {
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(host) = hosts.remove(id) {
            self.give_up(&host);
        }
        self.metrics.hosts.set(i64::try_from(hosts.len()).unwrap_or(i64::MAX));
    }

    /// Takes samples in. When too many wait for Redis, the oldest are given up.
    pub(in crate::features::hosts) fn record(
        &self,
        host: &Arc<Host>,
        samples: Vec<Sample>,
        agent: Option<Agent>,
        now: UnixMillis,
    ) {
        let count = samples.len() as u64;
        let until = {
            let mut points = host.points();
            for sample in samples {
                let sample = Arc::new(sample);
                if points.newest.as_ref().is_none_or(|newest| newest.id() < sample.id()) {
                    points.newest = Some(Arc::clone(&sample));
                }
                points.samples.push_back(sample);
                points.arrived += 1;
            }
            if let Some(agent) = agent {
                points.agent = Some(Arc::new(agent));
            }
            (points.seen, points.is_unpublished) = (now, true);
            points.trim(self.keep);
            points.arrived
        };
        let before = self.unstored.fetch_add(count, Ordering::Relaxed);
        self.metrics.unstored.add(i64::try_from(count).unwrap_or(i64::MAX));
        self.queue().push_back(Waiting { host: Arc::clone(host), until });
        let half = self.max_unstored / 2;
        if before < half && before + count >= half {
            self.pressure.notify_one();
        }
        while self.unstored.load(Ordering::Relaxed) > self.max_unstored && self.drop_oldest() {}
    }

    fn drop_oldest(&self) -> bool {
        let Some(Waiting { host, until }) = self.queue().pop_front() else { return false };
        let dropped = self.settle(&host, until);
        self.metrics.dropped.inc_by(dropped);
        true
    }

    /// The oldest waiting samples, at least `limit` of them if there are so many; they go on waiting until
    /// [`Memory::stored`].
    pub(in crate::features::hosts) fn next_loads(&self, limit: usize) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        let mut places: HashMap<HostId, usize> = HashMap::new();
        let mut count = 0;
        while count < limit {
            let Some(Waiting { host, until }) = self.queue().pop_front() else { break };
            let samples = host.unsettled(until);
            match places.get(&host.id).and_then(|&at| loads.get_mut(at)).filter(|load| Arc::ptr_eq(&load.host, &host)) {
                Some(load) => {
                    count += samples.len().saturating_sub(load.samples.len());
                    (load.samples, load.until) = (samples, until);
                }
                None if samples.is_empty() => {}
                None => {
                    count += samples.len();
                    places.insert(host.id.clone(), loads.len());
                    loads.push(Load { host, samples, until });
                }
            }
        }
        loads
    }

    /// These samples are in Redis.
    pub(in crate::features::hosts) fn stored(&self, load: &Load) -> u64 {
        self.settle(&load.host, load.until)
    }

    /// These are not: they are the next ones again.
    pub(in crate::features::hosts) fn wait_again(&self, loads: Vec<Load>) {
        let mut queue = self.queue();
        for Load { host, until, .. } in loads.into_iter().rev() {
            queue.push_front(Waiting { host, until });
        }
    }

    /// Everything that waits of a host is given up.
    pub(in crate::features::hosts) fn give_up(&self, host: &Arc<Host>) -> u64 {
        let until = host.points().arrived;
        self.settle(host, until)
    }

    pub(in crate::features::hosts) fn unstored(&self) -> u64 {
        self.unstored.load(Ordering::Relaxed)
    }

    /// Whether so many further samples would have others dropped.
    pub(in crate::features::hosts) fn is_full(&self, count: usize) -> bool {
        let unstored = self.unstored();
        unstored > 0 && unstored + count as u64 > self.max_unstored
    }

    fn settle(&self, host: &Host, until: u64) -> u64 {
        let settled = host.settle(until, self.keep);
        self.unstored.fetch_sub(settled, Ordering::Relaxed);
        self.metrics.unstored.sub(i64::try_from(settled).unwrap_or(i64::MAX));
        settled
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
