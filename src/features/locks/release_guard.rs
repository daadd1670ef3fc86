//! Releases leases that are no longer needed, in the background.
//!
//! A client can disconnect, and a response of Redis can be lost, while a lease is being granted. Every attempt to
//! acquire a lock therefore owns a [`PendingLease`]. When it is dropped, the lease and the queue entry are released.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::acquire_spec::AcquireSpec;
use super::backend::LockBackend;
use super::index::LockIndex;
use super::metrics::LockMetrics;
use super::model::{Resource, Token};
use super::scripts::Ownership;
use super::validity::RequestTime;

/// The most releases that may wait. Beyond it, leases end when they expire.
const BACKLOG: usize = 8_192;
/// Releases that run concurrently.
const CONCURRENCY: usize = 64;
/// The pauses before each attempt to release a lease. Its grant may still be on the way, since a stalled Redis reads
/// old connections late.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Whether a token holds its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeaseState {
    NotHeld,
    Held,
    /// A response is missing.
    Unknown,
}

/// The lease and the queue entry of one attempt, released when dropped.
#[derive(Debug)]
pub(super) struct PendingLease {
    queue: Arc<ReleaseQueue>,
    pub release: Release,
    /// When Redis was last asked for the lease.
    pub requested: RequestTime,
}

/// A lease and a queue entry to release.
#[derive(Clone, Debug)]
pub(super) struct Release {
    pub resource: Resource,
    pub token: Token,
    pub ttl: Duration,
    pub state: LeaseState,
    /// The ticket of the queue entry.
    pub ticket: Option<String>,
}

impl PendingLease {
    /// Leaves the lease to the client.
    pub(super) fn keep(mut self) {
        self.release.state = LeaseState::NotHeld;
    }
}

impl Drop for PendingLease {
    fn drop(&mut self) {
        if self.release.state == LeaseState::NotHeld && self.release.ticket.is_none() {
            return;
        }
        if self.queue.sender.try_send(self.release.clone()).is_err() {
            self.queue.metrics.abandoned.inc();
        }
    }
}

/// Passes the releases of [`PendingLease`]s to a background task.
#[derive(Debug)]
pub(super) struct ReleaseQueue {
    sender: mpsc::Sender<Release>,
    backend: LockBackend,
    index: LockIndex,
    metrics: LockMetrics,
}

impl ReleaseQueue {
    /// Returns the queue and the releases that [`ReleaseQueue::finish_all`] finishes.
    pub(super) fn new(
        backend: &LockBackend,
        index: &LockIndex,
        metrics: &LockMetrics,
    ) -> (Arc<Self>, mpsc::Receiver<Release>) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let queue = Self { sender, backend: backend.clone(), index: index.clone(), metrics: metrics.clone() };
        (Arc::new(queue), receiver)
    }

    /// Prepares an attempt to acquire a lease for a token.
    pub(super) fn pending(self: &Arc<Self>, spec: &AcquireSpec, token: Token, requested: RequestTime) -> PendingLease {
        let release =
            Release { resource: spec.resource.clone(), token, ttl: spec.ttl, state: LeaseState::NotHeld, ticket: None };
        PendingLease { queue: Arc::clone(self), release, requested }
    }

    /// Runs until `stop`, then finishes the releases that are queued by then; runs as a background task.
    pub(super) async fn finish_all(self: Arc<Self>, mut receiver: mpsc::Receiver<Release>, stop: CancellationToken) {
        let mut stopped = pin!(stop.cancelled());
        let releases = stream::poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() {
                receiver.close();
            }
            receiver.poll_recv(context)
        });
        releases.for_each_concurrent(CONCURRENCY, |release| self.finish(release, &stop)).await;
    }

    /// Releases by token until Redis says that nothing is left, with one attempt after each of [`PAUSES`].
    async fn finish(&self, release: Release, stop: &CancellationToken) {
        let Release { resource, token, ttl, state, ticket } = release;
        // The lease has expired by then.
        let until = Instant::now() + ttl;
        let mut answered = false;
        for pause in PAUSES {
            if !pause.is_zero() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            match self.backend.release(&resource, &token, ticket.as_deref()).await {
                Ok(Ownership::Held(ends_us)) => return self.index.released(resource, ends_us),
                Ok(Ownership::Free | Ownership::Other) if state != LeaseState::Unknown => return,
                Ok(Ownership::Free | Ownership::Other) => answered = true,
                Err(_) => answered = false,
            }
            if Instant::now() >= until && ticket.is_none() {
                return;
            }
        }
        if !answered {
            self.metrics.abandoned.inc();
        }
    }
}
