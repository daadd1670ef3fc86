//! Envoy's rate-limit call as JSON: which of its descriptors is which limiter's key.
//!
//! Source: the proto3 JSON form of `envoy.service.ratelimit.v3.RateLimitRequest` and `RateLimitResponse`, as the `/json`
//! endpoint of envoyproxy/ratelimit takes and gives them. A descriptor that no rule fits is not limited, as there.
//! Differently from there all descriptors are decided together: a refusal takes from none of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::asking::Ask;
use super::calendar::Period;
use super::config::DescriptorConfig;
use super::decision::Decision;
use super::error::{BadAsk, LimitError};
use super::limiter::Limiter;
use super::model::{LimitKey, MAX_TOGETHER};
use super::service::LimitService;
use super::strategy::Strategy;
use crate::http::integer;

/// What Envoy asks.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "domain": "gateway",
                           "descriptors": [{ "entries": [{ "key": "remote_address", "value": "10.0.0.1" }] }] }))]
pub(super) struct EnvoyRequest {
    #[schema(min_length = 1)]
    pub domain: String,
    #[schema(min_items = 1, max_items = 100)]
    pub descriptors: Vec<Descriptor>,
    /// What the call costs; the limiters' own `cost` when it is 0 or missing. `hitsAddend` is the same.
    #[serde(default, alias = "hitsAddend", deserialize_with = "integer::unsigned")]
    #[schema(maximum = 4_294_967_295_u64)]
    pub hits_addend: u64,
}

/// What a limit may go by.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Descriptor {
    #[schema(min_items = 1)]
    pub entries: Vec<Entry>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    #[schema(example = "remote_address")]
    pub key: String,
    #[serde(default)]
    #[schema(example = "10.0.0.1")]
    pub value: String,
}

/// What Envoy is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct EnvoyReply {
    pub overall_code: Code,
    /// In the order of the descriptors.
    pub statuses: Vec<Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Code {
    Ok,
    OverLimit,
}

/// How a descriptor's limit stands; of one without a limit, only the code.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_limit: Option<CurrentLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_remaining: Option<u64>,
    /// Until the whole limit is there again, seconds and an `s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "59.250s")]
    pub duration_until_reset: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct CurrentLimit {
    /// The limiter's.
    pub name: String,
    pub requests_per_unit: u64,
    /// Missing where the limit's time is none of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
}

/// The descriptors that are limited; the first rule that fits counts.
#[derive(Clone, Debug)]
pub(super) struct Descriptors(Vec<DescriptorConfig>);

impl Descriptors {
    pub(super) fn new(rules: &[DescriptorConfig]) -> Self {
        Self(rules.to_vec())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The name of the limiter that counts a descriptor.
    fn limiter(&self, domain: &str, entries: &[Entry]) -> Option<&str> {
        let fits = |rule: &&DescriptorConfig| {
            rule.domain == domain
                && rule.entries.len() == entries.len()
                && rule.entries.iter().zip(entries).all(|(wanted, entry)| {
                    wanted.key == entry.key && wanted.value.as_ref().is_none_or(|value| *value == entry.value)
                })
        };
        self.0.iter().find(fits).map(|rule| rule.limiter.as_str())
    }
}

/// The values with colons between them; `%` and `:` are escaped in all but the last one, so that no two lists of values
/// make one key.
fn key(entries: &[Entry]) -> String {
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

impl LimitService {
    /// Whether calls of Envoy's are answered at all.
    pub(super) fn answers_envoy(&self) -> bool {
        !self.limiters.load().envoy.is_empty()
    }

    /// Which limit each descriptor asks; `None` where it is not limited.
    ///
    /// # Errors
    /// [`BadAsk`] naming the field.
    pub(super) fn asks_of_envoy(&self, request: &EnvoyRequest) -> Result<Vec<Option<Ask>>, BadAsk> {
        if request.domain.is_empty() {
            return Err(BadAsk::new("domain", "must not be empty"));
        }
        if !(1..=MAX_TOGETHER).contains(&request.descriptors.len()) {
            return Err(BadAsk::new("descriptors", format!("must be from 1 to {MAX_TOGETHER}")));
        }
        let cost = (request.hits_addend > 0).then_some(request.hits_addend);
        let limiters = self.limiters.load();
        let mut asks: Vec<Option<Ask>> = Vec::with_capacity(request.descriptors.len());
        for (at, Descriptor { entries }) in request.descriptors.iter().enumerate() {
            let refuse = |rule: String| BadAsk::new("entries", rule).within("descriptors", at);
            if entries.is_empty() {
                return Err(refuse("must not be empty".to_owned()));
            }
            let limiter = limiters.envoy.limiter(&request.domain, entries).and_then(|name| limiters.get(name));
            let Some(limiter) = limiter else {
                asks.push(None);
                continue;
            };
            let key = LimitKey::try_from(key(entries)).map_err(|rule| refuse(format!("their values: {rule}")))?;
            let ask = self.priced(Arc::clone(limiter), key, cost);
            let ask = ask.map_err(|bad| BadAsk::new("hits_addend", bad.rule))?;
            if asks.iter().flatten().any(|other| other.is_for_the_same_state(&ask)) {
                return Err(refuse("lead to a limit and a key that another descriptor leads to".to_owned()));
            }
            asks.push(Some(ask));
        }
        Ok(asks)
    }

    /// Takes what all descriptors cost, or nothing; a decision for each that is limited.
    ///
    /// # Errors
    /// As [`LimitService::check_all`].
    pub(super) async fn check_for_envoy(
        &self,
        asks: &[Option<Ask>],
    ) -> Result<(bool, Vec<Option<Decision>>), LimitError> {
        let limited: Vec<Ask> = asks.iter().flatten().cloned().collect();
        let (granted, decisions) = match limited.as_slice() {
            [] => (true, Vec::new()),
            // Alone, a refusal may be known without Redis.
            [ask] => self.check(ask.clone()).await.map(|decision| (decision.allowed, vec![decision]))?,
            several => self.check_all(several).await?,
        };
        let mut decisions = decisions.into_iter();
        Ok((granted, asks.iter().map(|ask| ask.as_ref().and_then(|_| decisions.next())).collect()))
    }
}

impl EnvoyReply {
    pub(super) fn new(granted: bool, decisions: &[Option<Decision>]) -> Self {
        Self {
            overall_code: Code::of(granted),
            statuses: decisions.iter().map(|one| Status::new(one.as_ref())).collect(),
        }
    }
}

impl Code {
    const fn of(allowed: bool) -> Self {
        if allowed { Self::Ok } else { Self::OverLimit }
    }
}

impl Status {
    fn new(decision: Option<&Decision>) -> Self {
        let Some(decision) = decision else {
            return Self { code: Code::Ok, current_limit: None, limit_remaining: None, duration_until_reset: None };
        };
        let limit = CurrentLimit {
            name: decision.limiter.name.to_string(),
            requests_per_unit: decision.limit,
            unit: unit(&decision.limiter),
        };
        let (seconds, ms) = (decision.reset_ms / 1_000, decision.reset_ms % 1_000);
        Self {
            code: Code::of(decision.allowed),
            current_limit: Some(limit),
            limit_remaining: Some(decision.remaining),
            duration_until_reset: Some(if ms == 0 { format!("{seconds}s") } else { format!("{seconds}.{ms:03}s") }),
        }
    }
}

/// The unit of the time for which the limit stands, if there is one.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(values: &[&str]) -> Vec<Entry> {
        values.iter().map(|value| Entry { key: "k".to_owned(), value: (*value).to_owned() }).collect()
    }

    #[test]
    fn different_values_make_different_keys() {
        assert_eq!(key(&entries(&["10.0.0.1", "/a:b%"])), "10.0.0.1:/a:b%");
        assert_eq!(key(&entries(&["::1"])), "::1");
        assert_eq!(key(&entries(&["a:b", "c"])), "a%3Ab:c");
        assert_ne!(key(&entries(&["a:b", "c"])), key(&entries(&["a", "b:c"])));
        assert_ne!(key(&entries(&["a:b", "c"])), key(&entries(&["a%3Ab", "c"])));
    }
}
