//! From a request to a question: which limiter, whose exception, which cost.

use std::sync::Arc;
use std::time::Duration;

use super::error::BadAsk;
use super::exceptions::Verdict;
use super::keys::reservations;
use super::limiter::Limiter;
use super::model::{CheckRequest, LimitKey};
use super::scripts::Check;
use super::service::LimitService;
use crate::redis::KeySpace;

/// A cost against a limit, checked.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub limiter: Arc<Limiter>,
    pub key: LimitKey,
    pub cost: u64,
    /// What an admin decided for the key, if that is the whole answer.
    pub ruling: Option<Ruling>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Ruling {
    Allow,
    /// Until then, on this process's clock; `None`: until it is taken back.
    Deny(Option<Duration>),
}

impl Ask {
    /// What it is known by in memory.
    pub(super) fn name(&self) -> (&str, &str) {
        (&self.limiter.name, self.key.as_str())
    }

    pub(super) fn is_for_the_same_state(&self, other: &Self) -> bool {
        self.key == other.key && self.limiter.shape == other.limiter.shape
    }

    pub(super) fn check(&self, keys: &KeySpace) -> Check<'_> {
        let state = self.limiter.shape.state(keys, &self.key);
        Check {
            reservations: self.limiter.reservations.map(|_| reservations(&state)),
            state,
            rule: &self.limiter.rule,
            cost: self.cost,
            must: !self.limiter.shadow,
        }
    }
}

impl LimitService {
    /// Finds the limiter of a request and checks the cost against it.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn ask(&self, request: CheckRequest) -> Result<Ask, BadAsk> {
        let limiter = match (request.limiter, request.strategy) {
            (Some(name), None) => {
                self.limiter(&name).map_err(|_| BadAsk::new("limiter", format!("no limiter is called `{name}`")))?
            }
            (None, Some(strategy)) => {
                let sliding_limit = self.limiters.load().sliding_limit;
                Arc::new(Limiter::inline(strategy, sliding_limit, &self.metrics).map_err(BadAsk::from)?)
            }
            (Some(_), Some(_)) => return Err(BadAsk::new("strategy", "must not stand beside a limiter")),
            (None, None) => return Err(BadAsk::new("limiter", "is needed, or a strategy instead of it")),
        };
        self.priced(limiter, request.key, request.cost)
    }

    /// The same for each of several requests, which must be different.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn asks(&self, requests: Vec<CheckRequest>) -> Result<Vec<Ask>, BadAsk> {
        let mut asks: Vec<Ask> = Vec::with_capacity(requests.len());
        for (at, request) in requests.into_iter().enumerate() {
            let ask = self.ask(request).map_err(|bad| bad.within("checks", at))?;
            if asks.iter().any(|other| other.is_for_the_same_state(&ask)) {
                return Err(BadAsk::new("key", "stands twice with this limiter").within("checks", at));
            }
            asks.push(ask);
        }
        Ok(asks)
    }

    /// A cost for a limiter's key; the limiter's own unless it is given.
    ///
    /// # Errors
    /// [`BadAsk`] naming the cost.
    pub(super) fn priced(&self, limiter: Arc<Limiter>, key: LimitKey, cost: Option<u64>) -> Result<Ask, BadAsk> {
        let (limiter, ruling) = match self.exceptions.find(&limiter, &key) {
            None => (limiter, None),
            Some(Verdict::Limit(own)) => (own, None),
            Some(Verdict::Allow) => (limiter, Some(Ruling::Allow)),
            Some(Verdict::Deny(until)) => (limiter, Some(Ruling::Deny(until))),
        };
        let cost = cost.unwrap_or(limiter.cost);
        let limit = limiter.rule.limit();
        if !(1..=limit).contains(&cost) {
            return Err(BadAsk::new("cost", format!("is {cost}; this limit allows 1 to {limit}")));
        }
        Ok(Ask { limiter, key, cost, ruling })
    }
}
