//! Wire types of rate limits.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::decision::Decision;
use super::limiter::WithoutRedis;
use super::reservations::Reservation;
use super::strategy::Strategy;
use crate::clock::UnixMillis;
use crate::http::auth::api_key::{digest, hex};
use crate::http::integer;

/// The longest key, bytes.
pub(super) const KEY_LIMIT: usize = 512;

/// Whom a limit is for: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "10.0.0.1:/orders")]
pub(super) struct LimitKey(String);

impl LimitKey {
    /// A name as it is, or by its digest where it is no key, such as a very long one.
    pub(super) fn of_name(name: &str) -> Self {
        Self::try_from(name.to_owned()).unwrap_or_else(|_| Self(hex(&digest(name.as_bytes()))))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The group in braces at the beginning, and the rest.
    pub(super) fn group(&self) -> Option<(&str, &str)> {
        let (group, rest) = self.0.strip_prefix('{')?.split_once('}')?;
        (!group.is_empty()).then_some((group, rest))
    }
}

impl TryFrom<String> for LimitKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > KEY_LIMIT {
            return Err(format!("has {} bytes; 1 to {KEY_LIMIT} are allowed", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("must have no control characters".to_owned());
        }
        Ok(Self(text))
    }
}

/// A cost against a limit.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "limiter": "api", "key": "10.0.0.1:/orders" }))]
pub(super) struct CheckRequest {
    /// The limiter's name; `GET /ratelimit/limiters` lists them.
    pub limiter: Option<String>,
    /// Instead of a limiter, for callers with the scope `ratelimit:inline`.
    pub strategy: Option<Strategy>,
    /// The parts of the limiter's key shape with colons between them. A group in braces may stand in front, such as
    /// `{user-7}`: on a Redis Cluster, only keys of one group can be checked together.
    pub key: LimitKey,
    /// What the call costs; the limiter's own `cost` unless it is given.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub cost: Option<u64>,
}

/// The most checks of one call.
pub(super) const MAX_TOGETHER: usize = 100;

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "checks": [{ "limiter": "api", "key": "10.0.0.1:/orders" },
                                      { "limiter": "orders", "key": "user-7" }] }))]
pub(super) struct CheckAllRequest {
    /// All different.
    #[schema(min_items = 1, max_items = 100)]
    pub checks: Vec<CheckRequest>,
}

/// A decision.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(super) struct CheckReply {
    pub allowed: bool,
    /// The most that can be taken at once.
    pub limit: u64,
    /// What is left after this call.
    pub remaining: u64,
    /// Until the whole limit is there again, milliseconds.
    pub reset_ms: u64,
    /// Until the same call fits in, milliseconds; 0 when it was allowed, null when waiting does not help.
    pub retry_after_ms: Option<u64>,
    /// Whether the answer was given without Redis.
    pub degraded: bool,
    /// The limiter only watches so far: it would have refused this call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shadow: bool,
}

impl From<&Decision> for CheckReply {
    fn from(decision: &Decision) -> Self {
        Self {
            allowed: decision.allowed,
            limit: decision.limit,
            remaining: decision.remaining,
            reset_ms: decision.reset_ms,
            retry_after_ms: decision.retry_after_ms,
            degraded: decision.degraded,
            shadow: decision.shadow,
        }
    }
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "limiter": "trading", "key": "user-7", "cost": 5 }))]
pub(super) struct ReserveRequest {
    /// A limiter that takes reservations.
    pub limiter: String,
    pub key: LimitKey,
    /// What the call may cost; the limiter's own `cost` unless it is given.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub cost: Option<u64>,
    /// When it returns by itself, milliseconds; the limiter's longest time unless it is given.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub hold_ms: Option<u64>,
}

/// A decision, and the reservation if something was taken.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ReserveReply {
    #[serde(flatten)]
    pub decision: CheckReply,
    /// Settles the reservation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservation: Option<String>,
    /// When it returns by itself, milliseconds from now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<u64>,
}

impl ReserveReply {
    pub(super) fn new(decision: &Decision, reservation: Option<&Reservation>) -> Self {
        let hold = reservation.map(|reservation| reservation.length.as_millis());
        Self {
            decision: decision.into(),
            reservation: reservation.map(|reservation| reservation.id.to_string()),
            hold_ms: hold.map(|ms| u64::try_from(ms).unwrap_or(u64::MAX)),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "cost": 3 }))]
pub(super) struct SettleRequest {
    /// What was used: from nothing to ten times the limit.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 10_000_000_000_u64)]
    pub cost: u64,
}

/// The decisions of one call.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct CheckAllReply {
    /// Whether all were allowed; if not, none was taken.
    pub allowed: bool,
    /// In the order of the checks. `allowed` says whether this one would have fitted by itself.
    pub results: Vec<CheckReply>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeekQuery {
    /// The cost that is asked for.
    #[param(required = false, nullable = false, minimum = 1, maximum = 1_000_000_000, example = 1)]
    pub cost: Option<u64>,
}

/// A rule in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LimiterView {
    #[schema(example = "api")]
    pub name: String,
    /// How its keys look in Redis; a caller's `key` are the parts in braces, with colons between them.
    #[schema(example = "rate_limit:api:{ip}:{endpoint}")]
    pub key: String,
    pub strategy: Strategy,
    /// What a call costs that does not say.
    pub cost: u64,
    pub without_redis: WithoutRedis,
    /// How long a reservation may stay open, milliseconds; absent where none are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservations_ms: Option<u64>,
    /// Whether it only watches, and never refuses.
    pub shadow: bool,
    /// A call that leaves at most `1 - near` of the limit counts as near it.
    pub near: f64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ResetQuery {
    /// What the keys begin with, at most 512 bytes; empty for all keys of the limiter.
    #[param(max_length = 512, example = "10.0.0.1:")]
    pub prefix: String,
    /// `next_cursor` of the call before.
    #[param(value_type = String, required = false, nullable = false, min_length = 1, max_length = 512,
            pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "10.0.0.1:orders")]
    pub cursor: Option<LimitKey>,
}

/// What was reset.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ResetReply {
    pub reset: usize,
    /// There may be more: call again with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<LimitKey>,
}

/// What an admin decides for one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// Never refuse, and count nothing.
    Allow,
    /// Always refuse.
    Deny,
    /// Another strategy.
    Limit,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "action": "deny", "ttl_ms": 3_600_000 }))]
pub(super) struct ExceptionRequest {
    pub action: Action,
    /// Goes with `limit`.
    pub strategy: Option<Strategy>,
    /// How long it holds, milliseconds; until it is taken back unless it is given.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
    pub ttl_ms: Option<u64>,
}

/// What was decided for a key.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct ExceptionView {
    #[schema(example = "10.0.0.1:/orders")]
    pub key: String,
    pub action: Action,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Unix milliseconds of Redis's clock; absent when it holds until it is taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<UnixMillis>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExceptionsQuery {
    /// The most entries of the page.
    #[serde(default = "default_page")]
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: usize,
    /// `next_cursor` of the page before.
    #[param(required = false, nullable = false)]
    pub cursor: Option<String>,
}

const fn default_page() -> usize {
    100
}

/// The most entries of a page.
pub(super) const MAX_PAGE: usize = 1_000;

/// What limiters decided at this replica since it started.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LimitStats {
    /// When this replica started to count, Unix milliseconds.
    pub since: UnixMillis,
    pub limiters: Vec<LimiterStats>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LimiterStats {
    pub limiter: String,
    pub strategy: &'static str,
    pub allowed: u64,
    pub refused: u64,
    /// Allowed, and near the limit.
    pub near: u64,
    /// Allowed only because the limiter just watches.
    pub shadow: u64,
    /// Decided without Redis.
    pub degraded: u64,
}
