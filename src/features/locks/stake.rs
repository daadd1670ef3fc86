//! What a call may have in Redis, and how it gets back what it has no more use for.
//!
//! A caller can go away, and an answer of Redis can be lost, while a lease is being granted. Whoever asks for one holds
//! a [`Stake`]; dropped, it has the lease and the place in the queue given back in the background.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::index::Index;
use super::leases::Leases;
use super::metrics::LockMetrics;
use super::model::{Resource, Token};
use super::scripts::Owned;

/// Leases to give back that may be remembered; beyond that they end by themselves.
const BACKLOG: usize = 8_192;
/// Leases given back at the same time.
const AT_ONCE: usize = 64;
/// When a lease is asked for again whose grant may still be under way: a stalled Redis reads old connections late.
const ATTEMPTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Whether a token may hold its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    No,
    Yes,
    /// An answer is missing.
    Perhaps,
}

/// One call's lease and place, given back when dropped.
#[derive(Debug)]
pub(super) struct Stake {
    desk: Desk,
    resource: Resource,
    pub token: Token,
    ttl: Duration,
    pub hold: Hold,
    /// The place in the queue.
    pub ticket: Option<String>,
}

impl Stake {
    pub(super) fn new(desk: &Desk, resource: Resource, token: Token, ttl: Duration) -> Self {
        Self { desk: desk.clone(), resource, token, ttl, hold: Hold::No, ticket: None }
    }

    /// The lease is the caller's from now on.
    pub(super) fn keep(mut self) {
        self.hold = Hold::No;
    }
}

impl Drop for Stake {
    fn drop(&mut self) {
        let ticket = self.ticket.take();
        if self.hold == Hold::No && ticket.is_none() {
            return;
        }
        self.desk.give_back(Return {
            resource: self.resource.clone(),
            token: self.token.clone(),
            ticket,
            hold: self.hold,
            until: Instant::now() + self.ttl,
        });
    }
}

/// Where stakes are returned.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    sender: mpsc::Sender<Return>,
    metrics: LockMetrics,
}

#[derive(Debug)]
struct Return {
    resource: Resource,
    token: Token,
    ticket: Option<String>,
    hold: Hold,
    /// The lease is over by then.
    until: Instant,
}

/// The desk's other side, for its task.
pub(super) struct Returns {
    receiver: mpsc::Receiver<Return>,
    leases: Leases,
    index: Index,
    metrics: LockMetrics,
}

impl Desk {
    pub(super) fn new(leases: &Leases, index: &Index, metrics: &LockMetrics) -> (Self, Returns) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let returns = Returns { receiver, leases: leases.clone(), index: index.clone(), metrics: metrics.clone() };
        (Self { sender, metrics: metrics.clone() }, returns)
    }

    fn give_back(&self, stake: Return) {
        if self.sender.try_send(stake).is_err() {
            self.metrics.abandoned.inc();
        }
    }
}

impl Returns {
    /// Gives back what comes until `stop`, then what has come by then.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut under_way = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = under_way.next(), if !under_way.is_empty() => {}
                stake = self.receiver.recv(), if under_way.len() < AT_ONCE => match stake {
                    Some(stake) => under_way.push(give_back(&self.leases, &self.index, &self.metrics, stake, &stop)),
                    None => break,
                },
            }
        }
        self.receiver.close();
        while let Ok(stake) = self.receiver.try_recv() {
            under_way.push(give_back(&self.leases, &self.index, &self.metrics, stake, &stop));
        }
        while under_way.next().await.is_some() {}
    }
}

/// Releases by token until Redis says that nothing of the stake is left, at most [`ATTEMPTS`] times.
async fn give_back(leases: &Leases, index: &Index, metrics: &LockMetrics, stake: Return, stop: &CancellationToken) {
    let mut answered = false;
    for pause in ATTEMPTS {
        if !pause.is_zero() {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        match leases.release(&stake.resource, &stake.token, stake.ticket.as_deref()).await {
            Ok(Owned::Mine(ends)) => {
                index.released(stake.resource, ends);
                return;
            }
            Ok(Owned::Nobody | Owned::Other) if stake.hold != Hold::Perhaps => return,
            Ok(Owned::Nobody | Owned::Other) => answered = true,
            Err(_) => answered = false,
        }
        if Instant::now() >= stake.until && stake.ticket.is_none() {
            return;
        }
    }
    if !answered {
        metrics.abandoned.inc();
    }
}
