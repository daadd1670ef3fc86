//! Envoy's rate-limit protocol as JSON, compatible with the `/json` endpoint of envoyproxy/ratelimit.
//!
//! A descriptor that matches no rule is not limited, as in that project. Unlike there, all descriptors of a call are
//! decided together: a refusal takes from none of them.
//!
//! `model.rs` has the JSON types.

pub(super) mod model;

use super::check::{Decision, ResolvedCheck};
use super::config::DescriptorConfig;
use super::error::LimitError;
use super::limiter::Limiter;
use super::model::{LimitKey, MAX_CHECKS};
use super::service::LimitService;
use super::strategy::calendar::Period;
use super::strategy::{InvalidField, Strategy};
use model::{CurrentLimit, Descriptor, DescriptorEntry, DescriptorStatus, EnvoyReply, EnvoyRequest, LimitCode, Unit};

impl LimitService {
    /// Whether any rule for descriptors is configured.
    pub(super) fn answers_envoy(&self) -> bool {
        !self.limiters.load().envoy.is_empty()
    }

    /// Resolves the check of each descriptor; `None` for a descriptor that is not limited.
    ///
    /// # Errors
    /// [`InvalidField`] naming the field.
    pub(super) fn resolve_descriptors(
        &self,
        request: &EnvoyRequest,
    ) -> Result<Vec<Option<ResolvedCheck>>, InvalidField> {
        if request.domain.is_empty() {
            return Err(InvalidField::new("domain", "must not be empty"));
        }
        let count = request.descriptors.len();
        if !(1..=MAX_CHECKS).contains(&count) {
            let rule = format!("must contain between 1 and {MAX_CHECKS} descriptors, got {count}");
            return Err(InvalidField::new("descriptors", rule));
        }
        let limiters = self.limiters.load();
        let mut checks: Vec<Option<ResolvedCheck>> = Vec::with_capacity(count);
        for (at, Descriptor { entries, hits_addend }) in request.descriptors.iter().enumerate() {
            let invalid = |rule: String| InvalidField::new("entries", rule).within("descriptors", at);
            if entries.is_empty() {
                return Err(invalid("must not be empty".to_owned()));
            }
            let matching = limiters.envoy.iter().filter(|rule| matches(rule, &request.domain, entries));
            let rule = matching.max_by_key(|rule| rule.specificity());
            let limiter = rule.and_then(|rule| limiters.get(&rule.limiter));
            let Some(limiter) = limiter else {
                checks.push(None);
                continue;
            };
            let key = LimitKey::try_from(key(entries));
            let key = key.map_err(|rule| invalid(format!("make an invalid key: it {rule}")))?;
            let cost = hits_addend.or(request.hits_addend).filter(|cost| *cost > 0);
            let check = self.resolve_key(limiter, key, cost).map_err(|InvalidField { rule, .. }| {
                let field = InvalidField::new("hits_addend", rule);
                if hits_addend.is_some() { field.within("descriptors", at) } else { field }
            })?;
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
    pub(super) async fn check_descriptors(
        &self,
        checks: &[Option<ResolvedCheck>],
    ) -> Result<Vec<Option<Decision>>, LimitError> {
        let limited: Vec<ResolvedCheck> = checks.iter().flatten().cloned().collect();
        let decisions = match limited.as_slice() {
            [] => Vec::new(),
            // A single check may be refused from memory.
            [check] => vec![self.check(check.clone()).await?],
            several => self.check_all(several).await?,
        };
        let mut decisions = decisions.into_iter();
        Ok(checks.iter().map(|check| check.as_ref().and_then(|_| decisions.next())).collect())
    }
}

impl EnvoyReply {
    pub(super) fn new(decisions: &[Option<Decision>]) -> Self {
        let status = |decision: &Option<Decision>| decision.as_ref().map(DescriptorStatus::from).unwrap_or_default();
        let is_allowed = decisions.iter().flatten().all(|decision| decision.allowed);
        Self { overall_code: LimitCode::of(is_allowed), statuses: decisions.iter().map(status).collect() }
    }
}

impl LimitCode {
    const fn of(allowed: bool) -> Self {
        if allowed { Self::Ok } else { Self::OverLimit }
    }
}

impl From<&Decision> for DescriptorStatus {
    fn from(decision: &Decision) -> Self {
        let (seconds, ms) = (decision.reset_ms / 1_000, decision.reset_ms % 1_000);
        Self {
            code: LimitCode::of(decision.allowed),
            current_limit: Some(CurrentLimit {
                name: decision.limiter.name.to_string(),
                requests_per_unit: decision.limit,
                unit: unit(&decision.limiter),
            }),
            limit_remaining: Some(decision.remaining),
            duration_until_reset: Some(if ms == 0 { format!("{seconds}s") } else { format!("{seconds}.{ms:03}s") }),
        }
    }
}

/// The unit of the limit's window, if it is exactly one of Envoy's.
fn unit(limiter: &Limiter) -> Option<Unit> {
    if let Strategy::FixedWindow { calendar: Some(period), .. } = limiter.rule.strategy {
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

/// Whether a descriptor of the domain has exactly the entries of a rule.
fn matches(rule: &DescriptorConfig, domain: &str, entries: &[DescriptorEntry]) -> bool {
    rule.domain == domain
        && rule.entries.len() == entries.len()
        && rule.entries.iter().zip(entries).all(|(wanted, entry)| {
            wanted.key == entry.key && wanted.value.as_ref().is_none_or(|value| *value == entry.value)
        })
}

impl DescriptorConfig {
    /// Orders the rules that match one descriptor: first by how many values they state, then by which; an earlier entry
    /// counts more than a later one.
    fn specificity(&self) -> (usize, Vec<bool>) {
        let stated: Vec<bool> = self.entries.iter().map(|entry| entry.value.is_some()).collect();
        (stated.iter().filter(|stated| **stated).count(), stated)
    }
}

/// Joins the values of a descriptor with colons. `%` and `:` are escaped in all but the last value, so that different
/// values make different keys. A single entry without a value counts under its name.
fn key(entries: &[DescriptorEntry]) -> String {
    if let [DescriptorEntry { key, value }] = entries
        && value.is_empty()
    {
        return key.clone();
    }
    let mut key = String::new();
    for (at, entry) in entries.iter().enumerate() {
        if at + 1 == entries.len() {
            key.push_str(&entry.value);
        } else {
            key.push_str(&entry.value.replace('%', "%25").replace(':', "%3A"));
            key.push(':');
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(values: &[&str]) -> Vec<DescriptorEntry> {
        values.iter().map(|value| DescriptorEntry { key: "k".to_owned(), value: (*value).to_owned() }).collect()
    }

    #[test]
    fn different_values_make_different_keys() {
        assert_eq!(key(&entries(&["10.0.0.1", "/a:b%"])), "10.0.0.1:/a:b%");
        assert_eq!(key(&entries(&["::1"])), "::1");
        assert_eq!(key(&entries(&[""])), "k");
        assert_eq!(key(&entries(&["", ""])), ":");
        assert_eq!(key(&entries(&["a:b", "c"])), "a%3Ab:c");
        assert_ne!(key(&entries(&["a:b", "c"])), key(&entries(&["a", "b:c"])));
        assert_ne!(key(&entries(&["a:b", "c"])), key(&entries(&["a%3Ab", "c"])));
    }
}
