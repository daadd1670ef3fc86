//! Checks Envoy's descriptors and makes the reply.

use std::sync::Arc;

use super::super::check::ResolvedCheck;
use super::super::decision::Decision;
use super::super::error::{InvalidCheck, LimitError};
use super::super::limiter::Limiter;
use super::super::model::{LimitKey, MAX_CHECKS};
use super::super::service::LimitService;
use super::super::strategy::Strategy;
use super::super::strategy::calendar::Period;
use super::descriptors::key;
use super::model::{CurrentLimit, Descriptor, DescriptorStatus, EnvoyReply, EnvoyRequest, LimitCode, Unit};

impl LimitService {
    /// Whether any rule for descriptors is configured.
    pub(in crate::features::ratelimit) fn answers_envoy(&self) -> bool {
        !self.limiters.load().envoy.is_empty()
    }

    /// Resolves the check of each descriptor; `None` for a descriptor that is not limited.
    ///
    /// # Errors
    /// [`InvalidCheck`] naming the field.
    pub(in crate::features::ratelimit) fn resolve_descriptors(
        &self,
        request: &EnvoyRequest,
    ) -> Result<Vec<Option<ResolvedCheck>>, InvalidCheck> {
        if request.domain.is_empty() {
            return Err(InvalidCheck::new("domain", "must not be empty"));
        }
        let count = request.descriptors.len();
        if !(1..=MAX_CHECKS).contains(&count) {
            let rule = format!("must contain between 1 and {MAX_CHECKS} descriptors, got {count}");
            return Err(InvalidCheck::new("descriptors", rule));
        }
        let cost = (request.hits_addend > 0).then_some(request.hits_addend);
        let limiters = self.limiters.load();
        let mut checks: Vec<Option<ResolvedCheck>> = Vec::with_capacity(count);
        for (at, Descriptor { entries }) in request.descriptors.iter().enumerate() {
            let invalid = |rule: String| InvalidCheck::new("entries", rule).within("descriptors", at);
            if entries.is_empty() {
                return Err(invalid("must not be empty".to_owned()));
            }
            let limiter = limiters.envoy.limiter(&request.domain, entries).and_then(|name| limiters.get(name));
            let Some(limiter) = limiter else {
                checks.push(None);
                continue;
            };
            let key = LimitKey::try_from(key(entries));
            let key = key.map_err(|rule| invalid(format!("make an invalid key: it {rule}")))?;
            let check = self.resolve_key(Arc::clone(limiter), key, cost);
            let check = check.map_err(|invalid| InvalidCheck::new("hits_addend", invalid.rule))?;
            if checks.iter().flatten().any(|other| other.shares_state_with(&check)) {
                return Err(invalid("must not lead to the limit and key of another descriptor".to_owned()));
            }
            checks.push(Some(check));
        }
        Ok(checks)
    }

    /// Takes the costs of all descriptors, or none; returns a decision for each descriptor that is limited.
    ///
    /// # Errors
    /// Those of [`LimitService::check_all`].
    pub(in crate::features::ratelimit) async fn check_descriptors(
        &self,
        checks: &[Option<ResolvedCheck>],
    ) -> Result<(bool, Vec<Option<Decision>>), LimitError> {
        let limited: Vec<ResolvedCheck> = checks.iter().flatten().cloned().collect();
        let (granted, decisions) = match limited.as_slice() {
            [] => (true, Vec::new()),
            // A single check may be refused from memory.
            [check] => self.check(check.clone()).await.map(|decision| (decision.allowed, vec![decision]))?,
            several => self.check_all(several).await?,
        };
        let mut decisions = decisions.into_iter();
        Ok((granted, checks.iter().map(|check| check.as_ref().and_then(|_| decisions.next())).collect()))
    }
}

impl EnvoyReply {
    pub(in crate::features::ratelimit) fn new(granted: bool, decisions: &[Option<Decision>]) -> Self {
        Self {
            overall_code: LimitCode::of(granted),
            statuses: decisions.iter().map(|one| DescriptorStatus::new(one.as_ref())).collect(),
        }
    }
}

impl LimitCode {
    const fn of(allowed: bool) -> Self {
        if allowed { Self::Ok } else { Self::OverLimit }
    }
}

impl DescriptorStatus {
    fn new(decision: Option<&Decision>) -> Self {
        let Some(decision) = decision else {
            return Self {
                code: LimitCode::Ok,
                current_limit: None,
                limit_remaining: None,
                duration_until_reset: None,
            };
        };
        let limit = CurrentLimit {
            name: decision.limiter.name.to_string(),
            requests_per_unit: decision.limit,
            unit: unit(&decision.limiter),
        };
        let (seconds, ms) = (decision.reset_ms / 1_000, decision.reset_ms % 1_000);
        Self {
            code: LimitCode::of(decision.allowed),
            current_limit: Some(limit),
            limit_remaining: Some(decision.remaining),
            duration_until_reset: Some(if ms == 0 { format!("{seconds}s") } else { format!("{seconds}.{ms:03}s") }),
        }
    }
}

/// The unit of the limit's window, if it is exactly one of Envoy's.
fn unit(limiter: &Limiter) -> Option<Unit> {
    if let Strategy::FixedWindow { calendar: Some(period), .. } = limiter.rule.strategy() {
        return Some(match period {
            Period::Day => Unit::Day,
            Period::Month => Unit::Month,
        });
    }
    match limiter.rule.window_ms() {
        1_000 => Some(Unit::Second),
        60_000 => Some(Unit::Minute),
        3_600_000 => Some(Unit::Hour),
        86_400_000 => Some(Unit::Day),
        _ => None,
    }
}
