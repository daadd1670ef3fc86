//! Locks on a majority of independent Redis masters, behind a queue on the state role.
//!
//! Source: Redis documentation, "Distributed Locks with Redis", "The Redlock algorithm". Beyond the algorithm:
//! - The grant's fencing token is the highest that any voting node gave. It is written to a majority before the grant
//!   counts, so every later majority knows it.
//! - A node that may have forgotten its votes abstains for the length of the longest lease.
//! - The queue keeps order and safety does not depend on it, so locks work while it is unavailable.

mod node;
mod node_watch;
pub(super) mod scripts;

use std::time::Duration;

use futures_util::future::join_all;

use super::acquire::{AcquireOutcome, AcquireSpec, WaitMode};
use super::config::LocksConfig;
use super::error::LockError;
use super::keys;
use super::leases::Leases;
use super::model::{Resource, Token, Votes};
use super::scripts::{Extension, ForcedRelease, Inspection, Ownership};
use super::validity::drift;
use crate::deps::Deps;
use crate::redis::{EndpointError, LuaScript, RedisFault};
use node::LockNode;
use node_watch::NodeWatch;
use scripts::{Eligibility, VoteReply};

/// How often the first waiter asks while another program holds lock nodes, which no message announces the end of.
const HELD_NODES_RETRY: Duration = Duration::from_millis(50);

/// The lock nodes, and the queue in front of them.
#[derive(Clone, Debug)]
pub(super) struct Redlock {
    /// Admits one client at a time to the vote. Its leases are not the locks.
    pub queue: Leases,
    nodes: Vec<LockNode>,
}

impl Redlock {
    /// Uses the nodes of `locks.nodes`, which are connected when the service starts.
    ///
    /// # Errors
    /// [`EndpointError`] if the address of a node is not usable.
    pub(super) fn new(
        queue: Leases,
        deps: &Deps,
        config: &LocksConfig,
        scripts: &[&'static LuaScript],
    ) -> Result<Self, EndpointError> {
        let longest = config.longest_lease();
        let eligibility = Eligibility { quarantine: longest + drift(longest), durable: config.nodes_durable };
        let mut nodes = Vec::with_capacity(config.nodes.len());
        for url in &config.nodes {
            let redis = deps.redis.beside(url, config.node_timeout, scripts)?;
            let leases = Leases::new(&redis, keys::LOCK, &deps.clock, config);
            nodes.push(LockNode { address: url.to_string(), leases, eligibility });
        }
        let watch = NodeWatch::new(nodes.clone(), &deps.clock, &deps.component_health);
        let tasks = deps.tasks.clone();
        deps.tasks.plan("locks.nodes", |stop| watch.run(tasks, stop));
        Ok(Self { queue, nodes })
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    /// Lets the queue admit the client, then asks the nodes to vote.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes could vote.
    pub(super) async fn acquire(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        wait_mode: &WaitMode,
    ) -> Result<AcquireOutcome, LockError> {
        let listed = match self.queue.acquire(spec, token, wait_mode).await {
            Ok(AcquireOutcome::Granted { ends_us, .. }) => ends_us,
            Ok(other) => return Ok(other),
            // Without the queue no client is first, but the vote still has at most one winner.
            Err(fault) => {
                tracing::debug!(%fault, "lock queue unavailable");
                None
            }
        };
        let outcome = self.vote(spec, token).await;
        if let Ok(AcquireOutcome::Granted { fence, votes, .. }) = outcome {
            return Ok(AcquireOutcome::Granted { fence, ends_us: listed, votes });
        }
        self.leave_queue(&spec.resource, token, None).await;
        match outcome? {
            // Another program holds the nodes, or clients split the vote: no message will wake this client.
            AcquireOutcome::Held { remaining } if *wait_mode != WaitMode::NoWait => {
                let retry = remaining.unwrap_or(HELD_NODES_RETRY).min(HELD_NODES_RETRY);
                Ok(AcquireOutcome::Held { remaining: Some(retry) })
            }
            other => Ok(other),
        }
    }

    /// Asks every node concurrently. Leases of a vote that failed are released before it returns.
    async fn vote(&self, spec: &AcquireSpec, token: &Token) -> Result<AcquireOutcome, LockError> {
        let replies = join_all(self.nodes.iter().map(|node| node.vote(spec, token, None))).await;
        let granted: Vec<(&LockNode, u64)> = self.nodes.iter().zip(&replies).filter_map(granted).collect();
        if self.is_majority(granted.len())
            && let Some(highest) = granted.iter().map(|(_, fence)| *fence).max()
        {
            let raised = join_all(granted.iter().map(|(node, fence)| async move {
                *fence == highest || node.raise_fence(&spec.resource, token, highest).await
            }));
            let agreed = raised.await.into_iter().filter(|agreed| *agreed).count();
            if self.is_majority(agreed) {
                return Ok(AcquireOutcome::Granted { fence: highest, ends_us: None, votes: self.votes(agreed) });
            }
        }
        let _ = self.release_nodes(&spec.resource, token).await;
        let held = replies.iter().filter(|reply| matches!(reply, Ok(VoteReply::Held { .. }))).count();
        if held > 0 && self.is_majority(held + granted.len()) {
            return Ok(AcquireOutcome::Held { remaining: shortest(&replies) });
        }
        Err(self.unavailable(&spec.resource, granted.len()))
    }

    /// Extends the lease where the token holds it, and restores it on nodes that lost it and made no later grant.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded to decide.
    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<Ownership<Extension>, LockError> {
        let (extended, admission) =
            tokio::join!(self.extend_nodes(resource, token, ttl), self.queue.extend(resource, token, ttl));
        Ok(match (extended?, admission) {
            (Ownership::Held(lease), Ok(Ownership::Held(admission))) => {
                Ownership::Held(Extension { ends_us: admission.ends_us, ..lease })
            }
            (ownership, _) => ownership,
        })
    }

    async fn extend_nodes(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<Ownership<Extension>, LockError> {
        let replies = join_all(self.nodes.iter().map(|node| node.leases.extend(resource, token, ttl))).await;
        let answered = replies.iter().filter(|reply| reply.is_ok()).count();
        let own: Vec<&Extension> = replies.iter().filter_map(held).collect();
        let Some(fence) = own.iter().map(|lease| lease.fence).max().filter(|fence| *fence > 0) else {
            return self.lost(resource, answered);
        };
        let spec = AcquireSpec::restore(resource, ttl);
        let lost = self.nodes.iter().zip(&replies).filter(|(_, reply)| matches!(reply, Ok(Ownership::Free)));
        let votes = join_all(lost.map(|(node, _)| node.vote(&spec, token, Some(fence)))).await;
        let restored = votes.iter().filter(|reply| matches!(reply, Ok(VoteReply::Granted { .. }))).count();
        let agreed = own.len() + restored;
        if self.is_majority(agreed) {
            let shortest = own.iter().map(|lease| lease.remaining).min().unwrap_or(ttl);
            let remaining = if restored > 0 { ttl } else { shortest };
            return Ok(Ownership::Held(Extension { remaining, fence, ends_us: None, votes: self.votes(agreed) }));
        }
        let lost = self.lost(resource, answered);
        if lost.is_ok() {
            // The leases of a minority would only block other clients.
            let _ = self.release_nodes(resource, token).await;
        }
        lost
    }

    /// Releases by token, and removes the ticket from the queue.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded to decide.
    pub(super) async fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> Result<Ownership<Option<u64>>, LockError> {
        let released = self.release_nodes(resource, token).await;
        // After the nodes, so that the next waiter finds them free.
        let listed = self.leave_queue(resource, token, ticket).await;
        Ok(match released? {
            Ownership::Held(()) => Ownership::Held(listed),
            Ownership::Free => Ownership::Free,
            Ownership::Other => Ownership::Other,
        })
    }

    async fn release_nodes(&self, resource: &Resource, token: &Token) -> Result<Ownership<()>, LockError> {
        let replies = join_all(self.nodes.iter().map(|node| node.leases.release(resource, token, None))).await;
        let count = |wanted: fn(&Ownership<_>) -> bool| replies.iter().flatten().filter(|reply| wanted(reply)).count();
        let released = count(|reply| matches!(reply, Ownership::Held(_)));
        let free = count(|reply| matches!(reply, Ownership::Free));
        let others = count(|reply| matches!(reply, Ownership::Other));
        if self.is_majority(others) {
            Ok(Ownership::Other)
        } else if released > 0 && self.is_majority(released + free + others) {
            // The nodes that did not respond are no majority.
            Ok(Ownership::Held(()))
        } else if self.is_majority(free + others) {
            Ok(Ownership::Free)
        } else {
            Err(self.unavailable(resource, released))
        }
    }

    /// Frees the lock on every node, and then the admission to the vote.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if a majority did not respond.
    pub(super) async fn force_release(&self, resource: &Resource) -> Result<ForcedRelease, LockError> {
        let replies = join_all(self.nodes.iter().map(|node| node.leases.force_release(resource))).await;
        let freed: Vec<ForcedRelease> = replies.into_iter().flatten().collect();
        let agreed = freed.len();
        let Some(forced) =
            freed.into_iter().max_by_key(|forced| (forced.was_held, forced.fence)).filter(|_| self.is_majority(agreed))
        else {
            return Err(self.unavailable(resource, agreed));
        };
        let admission = self.queue.force_release(resource).await;
        let ends_us = admission.map_or(forced.ends_us, |admission| admission.ends_us);
        Ok(ForcedRelease { ends_us, ..forced })
    }

    /// The lock as a majority of nodes sees it. It is held only if a majority says so.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded.
    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspection, LockError> {
        let nodes = join_all(self.nodes.iter().map(|node| node.leases.inspect(resource)));
        let (replies, queue) = tokio::join!(nodes, self.queue.inspect(resource));
        let seen: Vec<Inspection> = replies.into_iter().flatten().collect();
        if !self.is_majority(seen.len()) {
            return Err(self.unavailable(resource, seen.len()));
        }
        let is_held = self.is_majority(seen.iter().filter(|node| node.holder.is_some()).count());
        let fence = seen.iter().filter_map(|node| node.fence).max();
        let latest = seen.into_iter().filter(|node| node.holder.is_some()).max_by_key(|node| node.fence);
        Ok(Inspection {
            waiters: queue.map(|queue| queue.waiters).unwrap_or_default(),
            fence,
            holder: latest.filter(|_| is_held).and_then(|node| node.holder),
        })
    }

    /// Returns [`Extension::ends_us`] of the admission.
    async fn leave_queue(&self, resource: &Resource, token: &Token, ticket: Option<&str>) -> Option<u64> {
        match self.queue.release(resource, token, ticket).await {
            Ok(Ownership::Held(ends_us)) => ends_us,
            // The admission expires with its lease.
            Ok(Ownership::Free | Ownership::Other) | Err(_) => None,
        }
    }

    const fn votes(&self, granted: usize) -> Votes {
        Votes { granted, total: self.nodes.len() }
    }

    const fn is_majority(&self, count: usize) -> bool {
        count > self.nodes.len() / 2
    }

    /// The token does not hold the lock, if enough nodes responded to know it.
    fn lost<T>(&self, resource: &Resource, answered: usize) -> Result<Ownership<T>, LockError> {
        if self.is_majority(answered) { Ok(Ownership::Free) } else { Err(self.unavailable(resource, answered)) }
    }

    fn unavailable(&self, resource: &Resource, agreed: usize) -> LockError {
        LockError::Unavailable { resource: resource.clone(), votes: self.votes(agreed) }
    }
}

fn granted<'a>((node, reply): (&'a LockNode, &Result<VoteReply, RedisFault>)) -> Option<(&'a LockNode, u64)> {
    match reply {
        Ok(VoteReply::Granted { fence }) => Some((node, *fence)),
        _ => None,
    }
}

fn held(reply: &Result<Ownership<Extension>, RedisFault>) -> Option<&Extension> {
    match reply {
        Ok(Ownership::Held(extension)) => Some(extension),
        _ => None,
    }
}

/// The remaining time of the lease that ends first; `None` if none ever expires.
fn shortest(replies: &[Result<VoteReply, RedisFault>]) -> Option<Duration> {
    let remaining = |reply: &Result<VoteReply, RedisFault>| match reply {
        Ok(VoteReply::Held { remaining }) => *remaining,
        _ => None,
    };
    replies.iter().filter_map(remaining).min()
}
