//! Turns requests into validated checks: finds the limiter, applies the key's override and checks the cost.

use std::sync::Arc;

use super::CHECK;
use super::check::ResolvedCheck;
use super::limiter::Limiter;
use super::model::{CheckRequest, LimitKey};
use super::service::LimitService;
use super::strategy::{InvalidField, between};
use crate::http::auth::Principal;

impl LimitService {
    /// Finds the limiter of a request and checks the cost against it.
    ///
    /// # Errors
    /// [`InvalidField`] naming the field.
    pub(super) fn resolve(&self, caller: &Principal, request: CheckRequest) -> Result<ResolvedCheck, InvalidField> {
        let limiter = match (request.limiter, request.strategy) {
            (Some(name), None) => self.requested_limiter(caller, &name, &request.key)?,
            (None, Some(strategy)) => {
                Arc::new(Limiter::inline(strategy, &self.metrics).map_err(InvalidField::of_request)?)
            }
            (Some(_), Some(_)) => return Err(InvalidField::new("strategy", "must not be combined with limiter")),
            (None, None) => return Err(InvalidField::new("limiter", "is required unless strategy is given")),
        };
        self.resolve_key(&limiter, request.key, request.cost)
    }

    /// Resolves several requests, no two of which may count in the same state.
    ///
    /// # Errors
    /// [`InvalidField`] naming the field.
    pub(super) fn resolve_all(
        &self,
        caller: &Principal,
        requests: Vec<CheckRequest>,
    ) -> Result<Vec<ResolvedCheck>, InvalidField> {
        let mut checks: Vec<ResolvedCheck> = Vec::with_capacity(requests.len());
        for (at, request) in requests.into_iter().enumerate() {
            let check = self.resolve(caller, request).map_err(|invalid| invalid.within("checks", at))?;
            if checks.iter().any(|other| other.shares_state_with(&check)) {
                return Err(InvalidField::new("key", "must not be repeated for one limiter").within("checks", at));
            }
            checks.push(check);
        }
        Ok(checks)
    }

    /// Resolves a check of a limiter's key; `cost` defaults to the limiter's own.
    ///
    /// # Errors
    /// [`InvalidField`] naming the cost.
    pub(super) fn resolve_key(
        &self,
        limiter: &Arc<Limiter>,
        key: LimitKey,
        cost: Option<u64>,
    ) -> Result<ResolvedCheck, InvalidField> {
        let (limiter, forced) = self.overrides.apply(limiter, &key);
        let cost = between("cost", cost.unwrap_or(limiter.cost), limiter.rule.limit)?;
        Ok(ResolvedCheck { limiter, key, cost, forced })
    }

    /// The limiter that a request's body names.
    ///
    /// # Errors
    /// [`InvalidField`] naming the field `limiter`, with similar names that the caller may check with this key.
    pub(super) fn requested_limiter(
        &self,
        caller: &Principal,
        name: &str,
        key: &LimitKey,
    ) -> Result<Arc<Limiter>, InvalidField> {
        let may_check = |name: &str| caller.may_access(CHECK, &format!("{name}:{}", key.as_str()));
        self.limiter(name)
            .map_err(|error| InvalidField::new("limiter", format!("must exist: {}", error.suggesting(may_check))))
    }
}
