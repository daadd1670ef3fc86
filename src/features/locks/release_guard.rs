//! Releases leases that are no longer needed, in the background.
//!
//! A client can disconnect, and a response of Redis can be lost, while a lease is being granted. Every attempt to
//! acquire a lock therefore owns a [`PendingLease`]. When it is dropped, the lease and the queue entry are released.

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::acquire::AcquireSpec;
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
    queue: ReleaseQueue,
    resource: Resource,
    pub token: Token,
    ttl: Duration,
    pub state: LeaseState,
    /// The ticket of the queue entry.
    pub ticket: Option<String>,
    /// When Redis was last asked for the lease.
    pub requested: RequestTime,
}

impl PendingLease {
    pub(super) fn new(queue: &ReleaseQueue, spec: &AcquireSpec, token: Token, requested: RequestTime) -> Self {
        Self {
            queue: queue.clone(),
            resource: spec.resource.clone(),
            token,
            ttl: spec.ttl,
            state: LeaseState::NotHeld,
            ticket: None,
            requested,
        }
    }

    /// Leaves the lease to the client.
    pub(super) fn keep(mut self) {
        self.state = LeaseState::NotHeld;
    }
}

impl Drop for PendingLease {
    fn drop(&mut self) {
        let ticket = self.ticket.take();
        if self.state == LeaseState::NotHeld && ticket.is_none() {
            return;
        }
        self.queue.push(Release {
            resource: self.resource.clone(),
            token: self.token.clone(),
            ticket,
            state: self.state,
            until: Instant::now() + self.ttl,
        });
    }
}

/// Passes releases to the [`ReleaseWorker`].
#[derive(Clone, Debug)]
pub(super) struct ReleaseQueue {
    sender: mpsc::Sender<Release>,
    metrics: LockMetrics,
}

#[derive(Debug)]
struct Release {
    resource: Resource,
    token: Token,
    ticket: Option<String>,
    state: LeaseState,
    /// The lease has expired by then.
    until: Instant,
}

/// Releases what the [`ReleaseQueue`] receives; runs as a background task.
pub(super) struct ReleaseWorker {
    receiver: mpsc::Receiver<Release>,
    backend: LockBackend,
    index: LockIndex,
    metrics: LockMetrics,
}

impl ReleaseQueue {
    pub(super) fn new(backend: &LockBackend, index: &LockIndex, metrics: &LockMetrics) -> (Self, ReleaseWorker) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let (backend, index) = (backend.clone(), index.clone());
        let worker = ReleaseWorker { receiver, backend, index, metrics: metrics.clone() };
        (Self { sender, metrics: metrics.clone() }, worker)
    }

    fn push(&self, release: Release) {
        if self.sender.try_send(release).is_err() {
            self.metrics.abandoned.inc();
        }
    }
}

impl ReleaseWorker {
    /// Runs until `stop`, then finishes the releases that are queued by then.
    pub(super) async fn run(self, stop: CancellationToken) {
        let Self { mut receiver, backend, index, metrics } = self;
        let mut stopped = pin!(stop.cancelled());
        let releases = stream::poll_fn(|context| {
            if stopped.as_mut().poll(context).is_ready() {
                receiver.close();
            }
            receiver.poll_recv(context)
        });
        let finish = |release| finish(release, &backend, &index, &metrics, &stop);
        releases.for_each_concurrent(CONCURRENCY, finish).await;
    }
}

/// Releases by token until Redis says that nothing is left, with one attempt after each of [`PAUSES`].
async fn finish(
    release: Release,
    backend: &LockBackend,
    index: &LockIndex,
    metrics: &LockMetrics,
    stop: &CancellationToken,
) {
    let Release { resource, token, ticket, state, until } = release;
    let mut answered = false;
    for pause in PAUSES {
        if !pause.is_zero() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        match backend.release(&resource, &token, ticket.as_deref()).await {
            Ok(Ownership::Held(ends_us)) => return index.released(resource, ends_us),
            Ok(Ownership::Free | Ownership::Other) if state != LeaseState::Unknown => return,
            Ok(Ownership::Free | Ownership::Other) => answered = true,
            Err(_) => answered = false,
        }
        if Instant::now() >= until && ticket.is_none() {
            return;
        }
    }
    if !answered {
        metrics.abandoned.inc();
    }
}
