//! How a lease is got: at once, in line, or several together.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::error::LockError;
use super::leases::{Answer, Bid};
use super::metrics::Attempt;
use super::model::{LockGrant, Resource, Token};
use super::scripts::{Owned, Patience, Place};
use super::service::LockService;
use super::stake::{Hold, Stake};
use super::validity::{Asked, Lease};
use super::waiting::ticket_name;
use super::wish::Wish;
use crate::redis::{FaultKind, Outcome, RedisFault};

impl LockService {
    /// Leases a resource to a new random token, waiting in line for it if the wish says so.
    ///
    /// Cost: one script call; a waiter asks again when it is called, not in a loop. The lease runs from the moment Redis
    /// stores it, so the grant's validity is the lease less that call's round trip and less 1 % + 2 ms for clock drift.
    ///
    /// # Errors
    /// - [`LockError::Held`] when others hold it, or wait for it, until the wait is over.
    /// - [`LockError::TooManyWaiters`], [`LockError::Interrupted`]: the wait was not begun, or given up.
    /// - [`LockError::TooLate`] when the round trip took the whole lease.
    /// - [`LockError::Redis`] when Redis failed. Whatever may have been granted is given back in the background.
    ///
    /// Source: Redis documentation, "Distributed Locks with Redis"; the queue is our own.
    pub(super) async fn acquire(&self, wish: &Wish) -> Result<LockGrant, LockError> {
        let taken = self.take(wish).await?;
        let grant = taken.grant()?;
        taken.stake.keep();
        Ok(grant)
    }

    /// The same, for a caller of our own: the lease is given back when it is dropped.
    ///
    /// # Errors
    /// Those of [`LockService::acquire`].
    pub(super) async fn take(&self, wish: &Wish) -> Result<Taken, LockError> {
        let mut attempt = self.0.metrics.attempt();
        let taken = if wish.wait.is_zero() {
            self.take_at_once(wish).await
        } else {
            self.take_in_line(wish, &mut attempt).await
        };
        attempt.end(&taken);
        taken
    }

    async fn take_at_once(&self, wish: &Wish) -> Result<Taken, LockError> {
        match self.ask(self.stake(wish)?, bid(wish, Patience::None, Duration::ZERO)).await? {
            Reply::Granted(taken) => Ok(taken),
            Reply::Refused { remaining, .. } => Err(held(wish, remaining)),
        }
    }

    async fn take_in_line(&self, wish: &Wish, attempt: &mut Attempt<'_>) -> Result<Taken, LockError> {
        let deadline = Instant::now() + wish.wait;
        let name = ticket_name().map_err(no_randomness)?;
        let line = self.0.leases.line(&wish.resource);
        let waiter = self.0.waiters.join(&line, &name).ok_or(LockError::TooManyWaiters)?;
        let mut stake = self.stake(wish)?;
        let mut patience = Patience::Join(name);
        loop {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            let remaining;
            match self.ask(stake, bid(wish, patience.clone(), left)).await? {
                Reply::Granted(taken) => return Ok(taken),
                Reply::Refused { stake: back, remaining: yet, place } => {
                    attempt.waits();
                    (stake, remaining) = (back, yet);
                    patience = place.map_or(patience, Patience::Keep);
                }
            }
            waiter.asked(remaining);
            tokio::select! {
                () = waiter.called() => {}
                () = tokio::time::sleep_until(deadline.into()) => return Err(held(wish, remaining)),
                () = self.0.phase.draining() => return Err(LockError::Interrupted),
            }
        }
    }

    /// Asks once; runs to its end even when the caller goes away, and then gives back what it got.
    async fn ask(&self, stake: Stake, bid: Bid) -> Result<Reply, LockError> {
        let (answer, answered) = oneshot::channel();
        let this = self.clone();
        self.0.tasks.spawn_connection(async move {
            // Without a caller the reply comes back, and its stake is dropped knowing what it holds.
            let _ = answer.send(this.ask_to_the_end(stake, bid).await);
        });
        answered.await.unwrap_or_else(|_| Err(RedisFault::new(FaultKind::Internal, Outcome::Unknown).into()))
    }

    async fn ask_to_the_end(&self, mut stake: Stake, bid: Bid) -> Result<Reply, LockError> {
        let asked = Asked::now(&self.0.clock);
        stake.hold = Hold::Perhaps;
        let answer = self.0.leases.acquire(&bid, &stake.token).await.inspect_err(|error| {
            if matches!(error, LockError::Redis(fault) if fault.outcome == Outcome::NotApplied) {
                stake.hold = Hold::No;
            }
        })?;
        stake.hold = Hold::No;
        match answer {
            Answer::Granted { fence, ends, votes } => {
                (stake.hold, stake.ticket) = (Hold::Yes, None);
                if let Some(ends) = ends {
                    self.0.index.granted(bid.resource.clone(), ends, bid.ttl);
                }
                let lease = Lease {
                    resource: bid.resource,
                    token: stake.token.clone(),
                    fencing_token: fence,
                    ttl: bid.ttl,
                    votes,
                    guarantee: self.0.leases.guarantee(),
                };
                Ok(Reply::Granted(Taken { stake, asked, lease }))
            }
            Answer::Held { remaining } => {
                self.watch_for_overlong(&bid.resource, remaining);
                Ok(Reply::Refused { stake, remaining, place: None })
            }
            Answer::Waiting { remaining, place } => {
                stake.ticket = Some(place.ticket.clone());
                Ok(Reply::Refused { stake, remaining, place: Some(place) })
            }
            Answer::QueueFull => Err(LockError::TooManyWaiters),
        }
    }

    /// Leases every resource, or none: without waiting, in the order of their names, so that of several callers who
    /// want some of the same resources one always gets on.
    ///
    /// # Errors
    /// Those of [`LockService::acquire`]; what was taken before is given back.
    pub(super) async fn acquire_all(&self, mut wishes: Vec<Wish>) -> Result<Vec<LockGrant>, LockError> {
        wishes.sort_by(|one, other| one.resource.cmp(&other.resource));
        let mut taken = Vec::with_capacity(wishes.len());
        for wish in &wishes {
            match self.take(wish).await {
                Ok(one) => taken.push(one),
                Err(error) => {
                    join_all(taken.into_iter().map(|one| self.give_back(one))).await;
                    return Err(error);
                }
            }
        }
        // Judged together: the first has aged while the last was taken.
        match taken.iter().map(Taken::grant).collect::<Result<Vec<_>, _>>() {
            Ok(grants) => {
                for one in taken {
                    one.stake.keep();
                }
                Ok(grants)
            }
            Err(error) => {
                join_all(taken.into_iter().map(|one| self.give_back(one))).await;
                Err(error)
            }
        }
    }

    /// Gives a lease of our own back; if that fails, in the background.
    pub(super) async fn give_back(&self, taken: Taken) {
        let Taken { mut stake, lease, .. } = taken;
        if let Ok(owned) = self.0.leases.release(&lease.resource, &lease.token, None).await {
            stake.hold = Hold::No;
            if let Owned::Mine(ends) = owned {
                self.0.metrics.released.inc();
                self.0.index.released(lease.resource, ends);
            }
        }
    }

    fn stake(&self, wish: &Wish) -> Result<Stake, LockError> {
        let token = Token::random().map_err(no_randomness)?;
        Ok(Stake::new(&self.0.desk, wish.resource.clone(), token, wish.ttl))
    }

    /// A lease beyond the longest that is granted was left by a clock that jumped back, or by a stranger; one without an
    /// end is a stranger's for sure.
    fn watch_for_overlong(&self, resource: &Resource, remaining: Option<Duration>) {
        let longest = self.0.config.largest_lease();
        if let Some(remaining) = remaining.filter(|remaining| *remaining > longest) {
            self.0.metrics.overlong.inc();
            tracing::warn!(%resource, ?remaining, "a lease lasts longer than any that is granted");
        }
    }
}

/// A lease that is ours, with what it takes to give it back.
#[derive(Debug)]
pub(super) struct Taken {
    stake: Stake,
    asked: Asked,
    lease: Lease,
}

impl Taken {
    /// What may be relied on from this moment.
    ///
    /// # Errors
    /// [`LockError::TooLate`] when nothing is left of the lease.
    pub(super) fn grant(&self) -> Result<LockGrant, LockError> {
        self.asked.grant(self.lease.clone())
    }
}

/// What Redis said, and what its caller is left with.
enum Reply {
    Granted(Taken),
    Refused { stake: Stake, remaining: Option<Duration>, place: Option<Place> },
}

fn bid(wish: &Wish, patience: Patience, wait: Duration) -> Bid {
    Bid {
        resource: wish.resource.clone(),
        ttl: wish.ttl,
        owner: wish.owner.clone(),
        metadata: wish.metadata.clone(),
        patience,
        wait,
    }
}

fn held(wish: &Wish, remaining: Option<Duration>) -> LockError {
    LockError::Held { resource: wish.resource.clone(), remaining }
}

fn no_randomness(error: getrandom::Error) -> LockError {
    LockError::Redis(RedisFault::new(FaultKind::Internal, Outcome::NotApplied).caused_by(error))
}
