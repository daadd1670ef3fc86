//! Which Redis servers keep the locks: the one of the state role, or a majority of lock nodes behind a queue on the
//! state role.
//!
//! Source: Redis documentation, "Distributed Locks with Redis", "The Redlock algorithm". Beyond the algorithm:
//! - The grant's fencing token is the highest that any voting node gave. It is written to a majority before the grant
//!   counts, so every later majority knows it.
//! - A node that may have forgotten its votes abstains for the length of the longest lease.
//! - The queue keeps order and safety does not depend on it, so locks work while it is unavailable.

use std::time::Duration;

use futures_util::future::join_all;
use redis::FromRedisValue;

use super::acquire_spec::AcquireSpec;
use super::config::LocksConfig;
use super::error::LockError;
use super::keys;
use super::model::{Resource, Token, Votes};
use super::node_watch::NodeWatch;
use super::scripts::{
    AcquireOutcome, Extension, ForcedRelease, Inspection, Leases, Ownership, QueueEntry, SCRIPTS, VoteReply,
};
use crate::deps::Deps;
use crate::redis::{EndpointError, RedisFault, ScriptCall};

/// How often the first waiter asks while another program holds lock nodes, which no message announces the end of.
const HELD_NODES_RETRY: Duration = Duration::from_millis(50);

/// Keeps the leases of all locks.
#[derive(Clone, Debug)]
pub(super) struct LockBackend {
    /// The leases and the queues on the state role. With lock nodes, these leases are not the locks: they admit one
    /// client at a time to the vote.
    state_role: Leases,
    /// The lock nodes. If empty, the state role keeps the locks.
    nodes: Vec<Leases>,
}

impl LockBackend {
    /// Uses the nodes of `locks.nodes`, which are connected when the service starts.
    ///
    /// # Errors
    /// [`EndpointError`] if the address of a lock node is not usable.
    pub(super) fn new(deps: &Deps, config: &LocksConfig) -> Result<Self, EndpointError> {
        let prefix = if config.nodes.is_empty() { keys::LOCK } else { keys::ADMISSION };
        let state_role = Leases::new(&deps.redis.state, prefix, &deps.clock, config);
        let mut nodes = Vec::with_capacity(config.nodes.len());
        for url in &config.nodes {
            let redis = deps.redis.beside(url, config.node_timeout, SCRIPTS)?;
            nodes.push(Leases::new(&redis, keys::LOCK, &deps.clock, config));
        }
        if !nodes.is_empty() {
            let addressed = config.nodes.iter().map(ToString::to_string).zip(nodes.clone()).collect();
            let watch = NodeWatch::new(addressed, &deps.clock, &deps.component_health);
            let tasks = deps.tasks.clone();
            deps.tasks.plan("locks.nodes", |stop| watch.run(tasks, stop));
        }
        Ok(Self { state_role, nodes })
    }

    /// The name by which wake-up messages refer to a lock's queue.
    pub(super) fn queue_name(&self, resource: &Resource) -> String {
        self.state_role.keys(resource).lease.as_str().to_owned()
    }

    /// Asks for the lease on the state role. With lock nodes, it admits the client to their vote.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes could vote; [`LockError::Redis`].
    pub(super) async fn acquire(
        &self,
        spec: &AcquireSpec,
        token: &Token,
        entry: Option<&QueueEntry>,
    ) -> Result<AcquireOutcome, LockError> {
        let admission = self.state_role.redis.call(self.state_role.acquire(spec, token, entry)).await;
        if self.nodes.is_empty() {
            return Ok(admission?);
        }
        let listed = match admission {
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
        // If this fails, the admission expires with its lease.
        let _ = self.state_role.redis.call(self.state_role.release(&spec.resource, token, None)).await;
        match outcome? {
            // Another program holds the nodes, or clients split the vote: no message will wake this client.
            AcquireOutcome::Held { remaining } if entry.is_some() => {
                let retry = remaining.unwrap_or(HELD_NODES_RETRY).min(HELD_NODES_RETRY);
                Ok(AcquireOutcome::Held { remaining: Some(retry) })
            }
            other => Ok(other),
        }
    }

    /// Asks every node concurrently. Leases of a vote that failed are released before it returns.
    async fn vote(&self, spec: &AcquireSpec, token: &Token) -> Result<AcquireOutcome, LockError> {
        let replies = self.call_nodes(|node| node.vote(spec, token, None)).await;
        let granted: Vec<(&Leases, u64)> = self
            .nodes
            .iter()
            .zip(&replies)
            .filter_map(|(node, reply)| match reply {
                Ok(VoteReply::Granted { fence }) => Some((node, *fence)),
                _ => None,
            })
            .collect();
        if self.is_majority(granted.len())
            && let Some(highest) = granted.iter().map(|(_, fence)| *fence).max()
        {
            let raised = join_all(granted.iter().map(|(node, fence)| async move {
                *fence == highest
                    || node.redis.call(node.raise_fence(&spec.resource, token, highest)).await.unwrap_or(false)
            }));
            let agreed = raised.await.into_iter().filter(|agreed| *agreed).count();
            if self.is_majority(agreed) {
                return Ok(AcquireOutcome::Granted { fence: highest, ends_us: None, votes: self.votes(agreed) });
            }
        }
        let _ = self.release_nodes(&spec.resource, token).await;
        let held: Vec<Option<Duration>> = replies
            .iter()
            .filter_map(|reply| match reply {
                Ok(VoteReply::Held { remaining }) => Some(*remaining),
                _ => None,
            })
            .collect();
        if !held.is_empty() && self.is_majority(held.len() + granted.len()) {
            return Ok(AcquireOutcome::Held { remaining: held.into_iter().flatten().min() });
        }
        Err(self.unavailable(&spec.resource, granted.len()))
    }

    /// Extends the lease where the token holds it, and restores it on nodes that lost it and made no later grant.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded to decide; [`LockError::Redis`].
    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<Ownership<Extension>, LockError> {
        let on_state_role = self.state_role.redis.call(self.state_role.extend(resource, token, ttl));
        if self.nodes.is_empty() {
            return Ok(on_state_role.await?);
        }
        let (extended, admission) = tokio::join!(self.extend_nodes(resource, token, ttl), on_state_role);
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
        let replies = self.call_nodes(|node| node.extend(resource, token, ttl)).await;
        let answered = replies.iter().flatten().count();
        let own: Vec<&Extension> = replies
            .iter()
            .filter_map(|reply| match reply {
                Ok(Ownership::Held(extension)) => Some(extension),
                _ => None,
            })
            .collect();
        let Some(fence) = own.iter().map(|lease| lease.fence).max().filter(|fence| *fence > 0) else {
            return self.lost(resource, answered);
        };
        let spec = AcquireSpec::restore(resource, ttl);
        let lost = self.nodes.iter().zip(&replies).filter(|(_, reply)| matches!(reply, Ok(Ownership::Free)));
        let votes = join_all(lost.map(|(node, _)| node.redis.call(node.vote(&spec, token, Some(fence))))).await;
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

    /// The lease of a token, unchanged; with lock nodes, the shortest of those that a majority has.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded to decide; [`LockError::Redis`].
    pub(super) async fn lease(&self, resource: &Resource, token: &Token) -> Result<Ownership<Extension>, LockError> {
        // An extension never shortens, so one of the shortest time only reads.
        let read = |leases: &Leases| leases.extend(resource, token, Duration::from_millis(1));
        if self.nodes.is_empty() {
            return Ok(self.state_role.redis.call(read(&self.state_role)).await?);
        }
        let replies = self.call_nodes(read).await;
        let held: Vec<&Extension> = replies
            .iter()
            .filter_map(|reply| match reply {
                Ok(Ownership::Held(lease)) => Some(lease),
                _ => None,
            })
            .collect();
        match held.iter().min_by_key(|lease| lease.remaining) {
            Some(&&shortest) if self.is_majority(held.len()) => {
                Ok(Ownership::Held(Extension { votes: self.votes(held.len()), ..shortest }))
            }
            _ => self.lost(resource, replies.iter().flatten().count()),
        }
    }

    /// Releases by token, and removes the ticket from the queue. Returns [`Extension::ends_us`] of the lease.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded to decide; [`LockError::Redis`].
    pub(super) async fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> Result<Ownership<Option<u64>>, LockError> {
        let on_state_role = self.state_role.redis.call(self.state_role.release(resource, token, ticket));
        if self.nodes.is_empty() {
            return Ok(on_state_role.await?);
        }
        let released = self.release_nodes(resource, token).await;
        // After the nodes, so that the next waiter finds them free.
        let admission = on_state_role.await;
        Ok(match (released?, admission) {
            (Ownership::Held(_), Ok(Ownership::Held(listed))) => Ownership::Held(listed),
            (ownership, _) => ownership,
        })
    }

    /// Releases by token on every node; no node knows under which end the lease is listed.
    async fn release_nodes(&self, resource: &Resource, token: &Token) -> Result<Ownership<Option<u64>>, LockError> {
        let replies = self.call_nodes(|node| node.release(resource, token, None)).await;
        let count = |wanted: fn(&Ownership<_>) -> bool| replies.iter().flatten().filter(|reply| wanted(reply)).count();
        let released = count(|reply| matches!(reply, Ownership::Held(_)));
        let free = count(|reply| matches!(reply, Ownership::Free));
        let others = count(|reply| matches!(reply, Ownership::Other));
        if self.is_majority(others) {
            Ok(Ownership::Other)
        } else if released > 0 && self.is_majority(released + free + others) {
            // The nodes that did not respond are no majority.
            Ok(Ownership::Held(None))
        } else if self.is_majority(free + others) {
            Ok(Ownership::Free)
        } else {
            Err(self.unavailable(resource, released))
        }
    }

    /// Frees the lock, with lock nodes on every one of them before the admission to the vote.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if a majority did not respond; [`LockError::Redis`].
    pub(super) async fn force_release(&self, resource: &Resource) -> Result<ForcedRelease, LockError> {
        let on_state_role = self.state_role.redis.call(self.state_role.force_release(resource));
        if self.nodes.is_empty() {
            return Ok(on_state_role.await?);
        }
        let replies = self.call_nodes(|node| node.force_release(resource)).await;
        let agreed = replies.iter().flatten().count();
        let latest = replies.into_iter().flatten().max_by_key(|forced| (forced.was_held, forced.fence));
        let Some(forced) = latest.filter(|_| self.is_majority(agreed)) else {
            return Err(self.unavailable(resource, agreed));
        };
        let ends_us = on_state_role.await.map_or(forced.ends_us, |admission| admission.ends_us);
        Ok(ForcedRelease { ends_us, ..forced })
    }

    /// The lock, with lock nodes as a majority sees it: it is held only if a majority says so.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] if too few nodes responded; [`LockError::Redis`].
    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspection, LockError> {
        let on_state_role = self.state_role.redis.call(self.state_role.inspect(resource));
        if self.nodes.is_empty() {
            return Ok(on_state_role.await?);
        }
        let (replies, queue) = tokio::join!(self.call_nodes(|node| node.inspect(resource)), on_state_role);
        let seen: Vec<Inspection> = replies.into_iter().flatten().collect();
        if !self.is_majority(seen.len()) {
            return Err(self.unavailable(resource, seen.len()));
        }
        let is_held = self.is_majority(seen.iter().filter(|node| node.holder.is_some()).count());
        let fence = seen.iter().filter_map(|node| node.fence).max();
        let latest = seen.into_iter().filter(|node| node.holder.is_some()).max_by_key(|node| node.fence);
        Ok(Inspection {
            waiters: queue.as_ref().map(|queue| queue.waiters).unwrap_or_default(),
            first_arrival: queue.ok().and_then(|queue| queue.first_arrival),
            fence,
            holder: latest.filter(|_| is_held).and_then(|node| node.holder),
        })
    }

    /// Inspects many locks in one round trip to the state role, which does not know the fences of locks on lock nodes.
    pub(super) async fn inspect_all(&self, resources: &[Resource]) -> Result<Vec<Inspection>, RedisFault> {
        let calls = resources.iter().map(|resource| self.state_role.inspect(resource));
        let mut inspections: Vec<Inspection> =
            self.state_role.redis.call_all(calls).await?.into_iter().collect::<Result<_, _>>()?;
        if !self.nodes.is_empty() {
            for lock in &mut inspections {
                lock.fence = None;
            }
        }
        Ok(inspections)
    }

    /// Calls a script on every node concurrently.
    async fn call_nodes<Raw: FromRedisValue, Reply>(
        &self,
        call: impl Fn(&Leases) -> ScriptCall<Raw, Reply>,
    ) -> Vec<Result<Reply, RedisFault>> {
        join_all(self.nodes.iter().map(|node| node.redis.call(call(node)))).await
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
