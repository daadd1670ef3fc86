//! Turns requests into validated checks: finds the limiter, applies the key's override and checks the cost.

use std::sync::Arc;

use super::check::ResolvedCheck;
use super::error::InvalidCheck;
use super::limiter::Limiter;
use super::model::{CheckRequest, LimitKey};
use super::overrides::OverrideEffect;
use super::service::LimitService;

impl LimitService {
    /// Finds the limiter of a request and checks the cost against it.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the field.
    pub(super) fn resolve(&self, request: CheckRequest) -> Result<ResolvedCheck, InvalidCheck> {
        let limiter = match (request.limiter, request.strategy) {
            (Some(name), None) => self.requested_limiter(&name)?,
            (None, Some(strategy)) => {
                let sliding_limit = self.limiters.load().sliding_limit;
                Arc::new(Limiter::inline(strategy, sliding_limit, &self.metrics).map_err(InvalidCheck::from)?)
            }
            (Some(_), Some(_)) => return Err(InvalidCheck::new("strategy", "must not be combined with limiter")),
            (None, None) => return Err(InvalidCheck::new("limiter", "is required unless strategy is given")),
        };
        self.resolve_key(limiter, request.key, request.cost)
    }

    /// Resolves several requests, no two of which may count in the same state.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the field.
    pub(super) fn resolve_all(&self, requests: Vec<CheckRequest>) -> Result<Vec<ResolvedCheck>, InvalidCheck> {
        let mut checks: Vec<ResolvedCheck> = Vec::with_capacity(requests.len());
        for (at, request) in requests.into_iter().enumerate() {
            let check = self.resolve(request).map_err(|invalid| invalid.within("checks", at))?;
            if checks.iter().any(|other| other.shares_state_with(&check)) {
                return Err(InvalidCheck::new("key", "must not be repeated for one limiter").within("checks", at));
            }
            checks.push(check);
        }
        Ok(checks)
    }

    /// Resolves a check of a limiter's key; `cost` defaults to the limiter's own.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the cost.
    pub(super) fn resolve_key(
        &self,
        limiter: Arc<Limiter>,
        key: LimitKey,
        cost: Option<u64>,
    ) -> Result<ResolvedCheck, InvalidCheck> {
        let (limiter, forced) = match self.overrides.find(&limiter, &key) {
            None => (limiter, None),
            Some(OverrideEffect::Limit(own)) => (own, None),
            Some(OverrideEffect::Force(forced)) => (limiter, Some(forced)),
        };
        let cost = cost.unwrap_or(limiter.cost);
        let limit = limiter.rule.limit();
        if !(1..=limit).contains(&cost) {
            return Err(InvalidCheck::new("cost", format!("must be between 1 and {limit}, got {cost}")));
        }
        Ok(ResolvedCheck { limiter, key, cost, forced })
    }

    /// The limiter that a request's body names.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the field `limiter`.
    pub(super) fn requested_limiter(&self, name: &str) -> Result<Arc<Limiter>, InvalidCheck> {
        self.limiter(name).map_err(|unknown| InvalidCheck::new("limiter", unknown.to_string()))
    }
}
