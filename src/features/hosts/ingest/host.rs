//! A host in memory: its newest samples, and those that are not in Redis yet.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::model::{Agent, HostId, Latest, Source};
use super::super::sample::Sample;
use super::super::tenancy::Organisation;
use crate::clock::UnixMillis;

/// A host in memory.
#[derive(Debug)]
pub(in super::super) struct Host {
    pub id: HostId,
    pub owner: Organisation,
    /// Whether Redis stores the owner. A host that is first reported while Redis is unavailable belongs to its reporter
    /// provisionally.
    is_claimed: AtomicBool,
    /// Whether the indexes in Redis list the host.
    is_listed: AtomicBool,
    state: Mutex<HostState>,
}

/// A sample in memory.
#[derive(Debug)]
pub(super) struct Kept {
    pub sample: Arc<Sample>,
    pub accepted: UnixMillis,
}

/// A host's samples in the order of arrival, which numbers them from 0.
#[derive(Debug, Default)]
pub(super) struct HostState {
    pub samples: VecDeque<Kept>,
    /// When the first sample was accepted of all that have arrived.
    pub since: Option<UnixMillis>,
    /// The number of samples that have arrived.
    pub arrived: u64,
    /// The number of those that are in Redis or were dropped.
    pub settled: u64,
    pub newest: Option<Arc<Sample>>,
    pub agent: Option<Arc<Agent>>,
    pub seen: UnixMillis,
    pub is_unpublished: bool,
}

impl Host {
    pub(in super::super) fn new(id: HostId, owner: Organisation, is_claimed: bool) -> Self {
        let (is_claimed, is_listed) = (AtomicBool::new(is_claimed), AtomicBool::new(false));
        Self { id, owner, is_claimed, is_listed, state: Mutex::default() }
    }

    pub(in super::super) fn is_claimed(&self) -> bool {
        self.is_claimed.load(Ordering::Relaxed)
    }

    pub(in super::super) fn mark_claimed(&self) {
        self.is_claimed.store(true, Ordering::Relaxed);
    }

    pub(in super::super) fn is_listed(&self) -> bool {
        self.is_listed.load(Ordering::Relaxed)
    }

    pub(in super::super) fn mark_listed(&self) {
        self.is_listed.store(true, Ordering::Relaxed);
    }

    pub(in super::super) fn newest(&self) -> Option<Latest> {
        let state = self.state();
        let (metrics, agent) = (state.newest.clone()?, state.agent.clone());
        Some(Latest { host: self.id.clone(), metrics, agent, source: Source::Memory })
    }

    /// When the host last reported.
    pub(in super::super) fn seen(&self) -> UnixMillis {
        self.state().seen
    }

    /// The samples in memory from `from` to `to`, both included, in the order of their arrival.
    pub(in super::super) fn window(&self, from: UnixMillis, to: UnixMillis) -> Vec<Arc<Sample>> {
        let state = self.state();
        let samples = state.samples.iter().map(|kept| &kept.sample);
        samples.filter(|sample| (from..=to).contains(&sample.timestamp)).map(Arc::clone).collect()
    }

    /// The samples that arrived before number `until` and are not in Redis.
    pub(in super::super) fn unsettled(&self, until: u64) -> Vec<Arc<Sample>> {
        let state = self.state();
        let begin = state.arrived - state.samples.len() as u64;
        let samples = state.samples.iter().zip(begin..);
        samples
            .filter(|(_, at)| (state.settled..until).contains(at))
            .map(|(kept, _)| Arc::clone(&kept.sample))
            .collect()
    }

    /// How long ago its first sample was accepted, milliseconds.
    pub(in super::super) fn age(&self, now: UnixMillis) -> i64 {
        self.state().since.map_or(0, |since| now.saturating_sub(since).max(0))
    }

    /// Records that the samples before number `until` are in Redis or dropped; returns how many were not before.
    pub(super) fn settle(&self, until: u64, keep: usize) -> u64 {
        let mut state = self.state();
        let settled = until.saturating_sub(state.settled);
        state.settled = state.settled.max(until);
        state.trim(keep);
        settled
    }

    /// The newest sample, unless it has been published since it arrived.
    pub(in super::super) fn take_unpublished(&self) -> Option<Latest> {
        let is_unpublished = std::mem::take(&mut self.state().is_unpublished);
        if is_unpublished { self.newest() } else { None }
    }

    /// Marks the newest sample as unpublished again, after a failed publication.
    pub(in super::super) fn publish_again(&self) {
        self.state().is_unpublished = true;
    }

    pub(super) fn is_unpublished(&self) -> bool {
        self.state().is_unpublished
    }

    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.settled == state.arrived
    }

    pub(super) fn state(&self) -> MutexGuard<'_, HostState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HostState {
    /// Removes the oldest settled samples until at most `keep` samples remain.
    pub(super) fn trim(&mut self, keep: usize) {
        while self.samples.len() > keep && self.arrived - (self.samples.len() as u64) < self.settled {
            self.samples.pop_front();
        }
    }
}
