//! Where leases are kept: on the state role's Redis, or on a majority of lock nodes behind a line that it keeps.

use std::time::Duration;

use super::error::LockError;
use super::model::{Guarantee, Resource, Token, Votes};
use super::redlock::Redlock;
use super::scripts::{Acquired, End, Extended, Forced, Inspected, Owned, Patience, Place};
use super::store::Store;
use crate::redis::RedisFault;

/// One attempt to get a lease.
#[derive(Clone, Debug)]
pub(super) struct Bid {
    pub resource: Resource,
    pub ttl: Duration,
    /// Empty when the holder gives no name.
    pub owner: String,
    /// JSON, or empty.
    pub metadata: String,
    pub patience: Patience,
    /// How long its caller waits yet.
    pub wait: Duration,
}

impl Bid {
    /// For a node that lost a lease which others still have.
    pub(super) fn taking_back(resource: &Resource, ttl: Duration) -> Self {
        Self {
            resource: resource.clone(),
            ttl,
            owner: String::new(),
            metadata: String::new(),
            patience: Patience::None,
            wait: Duration::ZERO,
        }
    }
}

/// What an attempt came to.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// `ends`: of leases that can be listed.
    Granted {
        fence: u64,
        ends: Option<End>,
        votes: Votes,
    },
    Held {
        remaining: Option<Duration>,
    },
    Waiting {
        remaining: Option<Duration>,
        place: Place,
    },
    QueueFull,
}

/// The leases of all locks.
#[derive(Clone, Debug)]
pub(super) struct Leases {
    /// The line of waiters; without lock nodes also the leases.
    line: Store,
    nodes: Option<Redlock>,
}

/// One Redis, and it agreed.
const SINGLE: Votes = Votes { granted: 1, total: 1 };
/// While strangers hold nodes, who is first in line asks this often.
const NODES_HELD_PAUSE: Duration = Duration::from_millis(50);

impl Leases {
    pub(super) fn new(line: Store, nodes: Option<Redlock>) -> Self {
        Self { line, nodes }
    }

    /// How far a grant can be trusted.
    pub(super) fn guarantee(&self) -> Guarantee {
        match &self.nodes {
            Some(nodes) if nodes.count() > 1 => Guarantee::Majority,
            _ => Guarantee::SingleNodeLease,
        }
    }

    /// The name under which a lock's waiters are called.
    pub(super) fn line(&self, resource: &Resource) -> String {
        self.line.keys(resource).lease.as_str().to_owned()
    }

    pub(super) async fn acquire(&self, bid: &Bid, token: &Token) -> Result<Answer, LockError> {
        let first = self.line.acquire(bid, token).await;
        let Some(nodes) = &self.nodes else { return Ok(answer(first?)) };
        let ends = match first {
            Ok(Acquired::Granted { ends, .. }) => Some(ends),
            Ok(other) => return Ok(answer(other)),
            // The line keeps order, the nodes keep the lock: without the line nobody is first, but one still wins.
            Err(fault) => {
                tracing::debug!(%fault, "the line of waiters is away");
                None
            }
        };
        let granted = nodes.acquire(bid, token).await;
        if let Ok(Answer::Granted { fence, votes, .. }) = granted {
            return Ok(Answer::Granted { fence, ends, votes });
        }
        self.leave_line(&bid.resource, token, None).await;
        match granted? {
            // Strangers hold it, or others split the vote: nobody will call us.
            Answer::Held { remaining } if bid.patience != Patience::None => {
                Ok(Answer::Held { remaining: Some(remaining.unwrap_or(NODES_HELD_PAUSE).min(NODES_HELD_PAUSE)) })
            }
            other => Ok(other),
        }
    }

    pub(super) async fn extend(
        &self,
        resource: &Resource,
        token: &Token,
        ttl: Duration,
    ) -> Result<(Owned<Extended>, Votes), LockError> {
        let Some(nodes) = &self.nodes else {
            return Ok((self.line.extend(resource, token, ttl).await?, SINGLE));
        };
        let (extended, place) =
            tokio::join!(nodes.extend(resource, token, ttl), self.line.extend(resource, token, ttl));
        let (owned, votes) = extended?;
        Ok(match (owned, place) {
            (Owned::Mine(lease), Ok(Owned::Mine(place))) => {
                (Owned::Mine(Extended { ends: place.ends, ..lease }), votes)
            }
            (owned, _) => (owned, votes),
        })
    }

    /// Releases by token, and takes the ticket out of the line.
    pub(super) async fn release(
        &self,
        resource: &Resource,
        token: &Token,
        ticket: Option<&str>,
    ) -> Result<Owned<Option<End>>, LockError> {
        let Some(nodes) = &self.nodes else {
            return Ok(self.line.release(resource, token, ticket).await?);
        };
        let released = nodes.release(resource, token).await;
        // The nodes first: who is called next finds them free.
        let ends = self.leave_line(resource, token, ticket).await;
        Ok(match released? {
            Owned::Mine(()) => Owned::Mine(ends),
            Owned::Nobody => Owned::Nobody,
            Owned::Other => Owned::Other,
        })
    }

    pub(super) async fn force(&self, resource: &Resource) -> Result<Forced, LockError> {
        let Some(nodes) = &self.nodes else { return Ok(self.line.force(resource).await?) };
        let forced = nodes.force(resource).await?;
        match self.line.force(resource).await {
            Ok(place) => Ok(Forced { ends: place.ends, ..forced }),
            Err(_) => Ok(forced),
        }
    }

    pub(super) async fn inspect(&self, resource: &Resource) -> Result<Inspected, LockError> {
        let Some(nodes) = &self.nodes else { return Ok(self.line.inspect(resource).await?) };
        let (seen, place) = tokio::join!(nodes.inspect(resource), self.line.inspect(resource));
        let waiters = place.map(|place| place.waiters).unwrap_or_default();
        Ok(Inspected { waiters, ..seen? })
    }

    /// Many locks as the line knows them, in one round trip; of locks on nodes it does not know the fence.
    pub(super) async fn inspect_all(&self, resources: &[Resource]) -> Result<Vec<Inspected>, RedisFault> {
        let mut seen = self.line.inspect_all(resources).await?;
        if self.nodes.is_some() {
            for lock in &mut seen {
                lock.fence = None;
            }
        }
        Ok(seen)
    }

    async fn leave_line(&self, resource: &Resource, token: &Token, ticket: Option<&str>) -> Option<End> {
        match self.line.release(resource, token, ticket).await {
            Ok(Owned::Mine(ends)) => ends,
            // It ends by itself with the lease.
            Ok(Owned::Nobody | Owned::Other) | Err(_) => None,
        }
    }
}

fn answer(acquired: Acquired) -> Answer {
    match acquired {
        Acquired::Granted { fence, ends } => Answer::Granted { fence, ends: Some(ends), votes: SINGLE },
        Acquired::Held { remaining } => Answer::Held { remaining },
        Acquired::Waiting { remaining, place } => Answer::Waiting { remaining, place },
        Acquired::QueueFull => Answer::QueueFull,
    }
}
