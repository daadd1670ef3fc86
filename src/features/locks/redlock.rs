//! Leases on a majority of independent Redis masters.
//!
//! Source: Redis documentation, "Distributed Locks with Redis", "The Redlock algorithm". Beyond it: the grant's fencing
//! token is the highest that any voting node gave, written to a majority before the grant counts, so that every later
//! majority knows it; and a node that may have forgotten its votes stays out for the largest lease.

use std::time::Duration;

use futures_util::future::join_all;

use super::config::LocksConfig;
use super::error::LockError;
use super::keys::{LeaseKind, node_record};
use super::leases::{Answer, Bid};
use super::model::{Resource, Token, Votes};
use super::node_scripts::{Ballot, Franchise, Raise, Vote};
use super::node_watch::{NodeWatch, Watched};
use super::scripts::{Extended, Forced, Inspected, Owned};
use super::store::Store;
use super::validity::drift;
use crate::deps::Deps;
use crate::redis::{EndpointError, LuaScript, RedisFault};

/// The lock nodes.
#[derive(Clone, Debug)]
pub(super) struct Redlock {
    nodes: Vec<Store>,
    franchise: Franchise,
}

impl Redlock {
    /// The nodes of `locks.nodes`, if there are any; they are connected when the service starts.
    ///
    /// # Errors
    /// The node whose address is unusable.
    pub(super) fn from_config(
        deps: &Deps,
        config: &LocksConfig,
        scripts: &[&'static LuaScript],
    ) -> Result<Option<Self>, EndpointError> {
        if config.nodes.is_empty() {
            return Ok(None);
        }
        let (mut nodes, mut watched) = (Vec::new(), Vec::new());
        for url in &config.nodes {
            let redis = deps.redis.beside(url, config.node_timeout, scripts)?;
            let store = Store::new(&redis, LeaseKind::Lock, &deps.clock, config);
            nodes.push(store.clone());
            watched.push(Watched { address: url.to_string(), store });
        }
        let longest = config.largest_lease();
        let franchise = Franchise { quarantine: longest + drift(longest), durable: config.nodes_durable };
        let watch =
            NodeWatch::new(watched, franchise, config.node_check.duration(), &deps.clock, &deps.component_health);
        let tasks = deps.tasks.clone();
        deps.tasks.plan("locks.nodes", |stop| watch.run(tasks, stop));
        Ok(Some(Self { nodes, franchise }))
    }

    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }

    const fn votes(&self, granted: usize) -> Votes {
        Votes { granted, total: self.nodes.len() }
    }

    const fn is_majority(&self, count: usize) -> bool {
        count > self.nodes.len() / 2
    }

    /// Asks every node at once; whatever a failed attempt got is given back before it is answered.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when too few nodes could vote.
    pub(super) async fn acquire(&self, bid: &Bid, token: &Token) -> Result<Answer, LockError> {
        let ballots = join_all(self.nodes.iter().map(|node| self.vote(node, bid, token, None))).await;
        let fences: Vec<(&Store, u64)> = self.nodes.iter().zip(&ballots).filter_map(granted).collect();
        if self.is_majority(fences.len())
            && let Some(highest) = fences.iter().map(|(_, fence)| *fence).max()
        {
            let raised = join_all(fences.iter().map(|(node, fence)| async move {
                *fence == highest || raise(node, &bid.resource, token, highest).await
            }));
            let agreed = raised.await.into_iter().filter(|agreed| *agreed).count();
            if self.is_majority(agreed) {
                return Ok(Answer::Granted { fence: highest, ends: None, votes: self.votes(agreed) });
            }
        }
        let _ = self.release(&bid.resource, token).await;
        let held = ballots.iter().filter(|ballot| matches!(ballot, Ok(Ballot::Held { .. }))).count();
        if held > 0 && self.is_majority(held + fences.len()) {
            return Ok(Answer::Held { remaining: shortest(&ballots) });
        }
        Err(self.unavailable(&bid.resource, fences.len()))
    }

    /// Extends where the token holds the lease, and takes it back on nodes that lost it and made no later grant.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when too few nodes answered to know.
    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<(Owned<Extended>, Votes), LockError> {
        let answers = join_all(self.nodes.iter().map(|node| node.extend(resource, token, ttl))).await;
        let own: Vec<&Extended> = answers.iter().filter_map(mine).collect();
        let Some(fence) = own.iter().map(|lease| lease.fence).max().filter(|fence| *fence > 0) else {
            return self.lost(resource, answers.iter().filter(|answer| answer.is_ok()).count());
        };
        let bid = Bid::taking_back(resource, ttl);
        let lost = self.nodes.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Ok(Owned::Nobody)));
        let taken_back = join_all(lost.map(|(node, _)| self.vote(node, &bid, token, Some(fence)))).await;
        let taken_back = taken_back.iter().filter(|ballot| matches!(ballot, Ok(Ballot::Granted { .. }))).count();
        let agreed = own.len() + taken_back;
        if self.is_majority(agreed) {
            let remaining = own.iter().map(|lease| lease.remaining).min().unwrap_or(ttl);
            let remaining = if taken_back > 0 { ttl } else { remaining };
            return Ok((Owned::Mine(Extended { remaining, fence, ends: None }), self.votes(agreed)));
        }
        let lost = self.lost(resource, answers.iter().filter(|answer| answer.is_ok()).count());
        if lost.is_ok() {
            // What a minority still has would only be in the way of others.
            let _ = self.release(resource, token).await;
        }
        lost
    }

    /// Releases on every node.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when too few nodes answered to know.
    pub(super) async fn release(&self, resource: &Resource, token: &Token) -> Result<Owned<()>, LockError> {
        let answers = join_all(self.nodes.iter().map(|node| node.release(resource, token, None))).await;
        let count = |wanted: fn(&Owned<_>) -> bool| answers.iter().flatten().filter(|answer| wanted(answer)).count();
        let released = count(|answer| matches!(answer, Owned::Mine(_)));
        let free = count(|answer| matches!(answer, Owned::Nobody));
        let others = count(|answer| matches!(answer, Owned::Other));
        if self.is_majority(others) {
            Ok(Owned::Other)
        } else if released > 0 && self.is_majority(released + free + others) {
            // Wherever it may still be, that is no majority.
            Ok(Owned::Mine(()))
        } else if self.is_majority(free + others) {
            Ok(Owned::Nobody)
        } else {
            Err(self.unavailable(resource, released))
        }
    }

    /// Frees the lock on every node.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when no majority did.
    pub(super) async fn force(&self, resource: &Resource) -> Result<Forced, LockError> {
        let answers = join_all(self.nodes.iter().map(|node| node.force(resource))).await;
        let freed: Vec<Forced> = answers.into_iter().flatten().collect();
        let agreed = freed.len();
        match freed.into_iter().max_by_key(|forced| (forced.was_held, forced.fence)) {
            Some(forced) if self.is_majority(agreed) => Ok(forced),
            _ => Err(self.unavailable(resource, agreed)),
        }
    }

    /// The lock as a majority sees it: held only if a majority says so.
    ///
    /// # Errors
    /// [`LockError::Unavailable`] when too few nodes answered.
    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspected, LockError> {
        let answers = join_all(self.nodes.iter().map(|node| node.inspect(resource))).await;
        let seen: Vec<Inspected> = answers.into_iter().flatten().collect();
        if !self.is_majority(seen.len()) {
            return Err(self.unavailable(resource, seen.len()));
        }
        let is_held = self.is_majority(seen.iter().filter(|node| node.holder.is_some()).count());
        let fence = seen.iter().filter_map(|node| node.fence).max();
        let latest = seen.into_iter().filter(|node| node.holder.is_some()).max_by_key(|node| node.fence);
        Ok(Inspected { waiters: 0, fence, holder: latest.filter(|_| is_held).and_then(|node| node.holder) })
    }

    async fn vote(&self, node: &Store, bid: &Bid, token: &Token, take_back: Option<u64>) -> Result<Ballot, RedisFault> {
        let call = Vote {
            keys: &node.keys(&bid.resource),
            record: &node_record(node.redis().keys()),
            token,
            ttl: bid.ttl,
            owner: &bid.owner,
            metadata: &bid.metadata,
            franchise: self.franchise,
            take_back,
            terms: &node.terms(),
        };
        node.redis().call(&call).await
    }

    /// Not ours any more, if enough nodes answered to know that.
    fn lost<T>(&self, resource: &Resource, answered: usize) -> Result<(Owned<T>, Votes), LockError> {
        if self.is_majority(answered) {
            return Ok((Owned::Nobody, self.votes(0)));
        }
        Err(self.unavailable(resource, answered))
    }

    fn unavailable(&self, resource: &Resource, agreed: usize) -> LockError {
        LockError::Unavailable { resource: resource.clone(), votes: self.votes(agreed) }
    }
}

async fn raise(node: &Store, resource: &Resource, token: &Token, fence: u64) -> bool {
    let call = Raise { keys: &node.keys(resource), token, fence, terms: &node.terms() };
    node.redis().call(&call).await.unwrap_or(false)
}

fn granted<'a>((node, ballot): (&'a Store, &Result<Ballot, RedisFault>)) -> Option<(&'a Store, u64)> {
    match ballot {
        Ok(Ballot::Granted { fence }) => Some((node, *fence)),
        _ => None,
    }
}

fn mine(answer: &Result<Owned<Extended>, RedisFault>) -> Option<&Extended> {
    match answer {
        Ok(Owned::Mine(extended)) => Some(extended),
        _ => None,
    }
}

/// The first lease to end; `None` when none has an end.
fn shortest(ballots: &[Result<Ballot, RedisFault>]) -> Option<Duration> {
    let remaining = |ballot: &Result<Ballot, RedisFault>| match ballot {
        Ok(Ballot::Held { remaining }) => *remaining,
        _ => None,
    };
    ballots.iter().filter_map(remaining).min()
}
