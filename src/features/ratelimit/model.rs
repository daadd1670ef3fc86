//! The JSON and query types of rate limits.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::strategy::Strategy;
use crate::clock::UnixMillis;
use crate::http::auth::api_key::digest;
use crate::http::integer;
use crate::http::strict_objects::tagged_if_given;
use crate::random::hex;

/// The longest key, bytes.
pub(super) const KEY_LIMIT: usize = 512;

/// The key that a limit counts for, such as a user or an address: 1 to 512 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(min_length = 1, max_length = 512, pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "10.0.0.1:/orders")]
pub(super) struct LimitKey(String);

impl LimitKey {
    /// Uses a name as the key, or its digest if the name is not a valid key, for example because it is too long.
    pub(super) fn of_name(name: &str) -> Self {
        Self::try_from(name.to_owned()).unwrap_or_else(|_| Self(hex(&digest(name.as_bytes()))))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The group in braces at the beginning of the key, and the rest of the key.
    pub(super) fn group(&self) -> Option<(&str, &str)> {
        let (group, rest) = self.0.strip_prefix('{')?.split_once('}')?;
        (!group.is_empty()).then_some((group, rest))
    }
}

impl TryFrom<String> for LimitKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > KEY_LIMIT {
            return Err(format!("must be between 1 and {KEY_LIMIT} bytes long, got {}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("must not contain control characters".to_owned());
        }
        Ok(Self(text))
    }
}

/// A cost to take from a limit.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "limiter": "api", "key": "10.0.0.1:/orders" }))]
#[schema(as = LimitCheckRequest)]
pub(super) struct CheckRequest {
    /// The limiter's name; `GET /ratelimit/limiters` lists them.
    pub limiter: Option<String>,
    /// Replaces `limiter`, for callers with the scope `ratelimit:inline`.
    #[serde(default, deserialize_with = "tagged_if_given")]
    pub strategy: Option<Strategy>,
    /// The parts of the limiter's key pattern, separated by colons. The key may begin with a group in braces, such as
    /// `{user-7}`: on a Redis Cluster, only keys of one group can be checked together.
    pub key: LimitKey,
    /// The cost of the call; defaults to the limiter's `cost`.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub cost: Option<u64>,
}

/// The maximum number of checks in one call.
pub(super) const MAX_CHECKS: usize = 100;

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "checks": [{ "limiter": "api", "key": "10.0.0.1:/orders" },
                                      { "limiter": "orders", "key": "user-7" }] }))]
#[schema(as = LimitCheckAllRequest)]
pub(super) struct CheckAllRequest {
    /// No two checks may have the same limiter and key.
    #[schema(min_items = 1, max_items = 100)]
    pub checks: Vec<CheckRequest>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "limiter": "trading", "key": "user-7", "cost": 5 }))]
#[schema(as = LimitReserveRequest)]
pub(super) struct ReserveRequest {
    /// The name of a limiter that takes reservations.
    pub limiter: String,
    pub key: LimitKey,
    /// The highest cost that the call may have; defaults to the limiter's `cost`.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub cost: Option<u64>,
    /// Time after which an unsettled reservation is returned, milliseconds; defaults to the limiter's maximum.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub hold_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "cost": 3 }))]
#[schema(as = LimitSettleRequest)]
pub(super) struct SettleRequest {
    /// The cost that was used: 0 to ten times the limit, or to what was reserved before the limit was lowered.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 10_000_000_000_u64)]
    pub cost: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PeekQuery {
    /// The cost to look at.
    #[param(required = false, nullable = false, minimum = 1, maximum = 1_000_000_000, example = 1)]
    pub cost: Option<u64>,
}

/// What a limiter does if Redis is unavailable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LimiterWithoutRedis)]
pub(super) enum WithoutRedis {
    /// Counts in each replica's memory, and marks the decisions as degraded.
    Open,
    /// Allows nothing: the answer is 503.
    #[default]
    Closed,
}

/// A limiter in force.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Limiter)]
pub(super) struct LimiterView {
    #[schema(example = "api")]
    pub name: String,
    /// The pattern of its keys in Redis. A request's `key` consists of the parts in braces, separated by colons.
    #[schema(example = "rate_limit:api:{ip}:{endpoint}")]
    pub key: String,
    pub strategy: Strategy,
    /// The cost of a call that does not state one.
    pub cost: u64,
    pub without_redis: WithoutRedis,
    /// How long a reservation may stay open, milliseconds; absent if the limiter takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reservations_ms: Option<u64>,
    /// Whether the limiter is in shadow mode: it counts and never refuses.
    pub shadow: bool,
    /// An allowed call that leaves at most `1 - near` of the limit is counted as near the limit.
    pub near: f64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ResetQuery {
    /// The prefix of the keys, at most 512 bytes; empty for all keys of the limiter.
    #[param(max_length = 512, example = "10.0.0.1:")]
    pub prefix: String,
    /// The `next_cursor` of the previous call.
    #[param(value_type = String, required = false, nullable = false, min_length = 1, max_length = 512,
            pattern = r"^[^\x00-\x1F\x7F-\x9F]+$", example = "10.0.0.1:orders")]
    pub cursor: Option<LimitKey>,
}

/// The result of a reset.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitResetReply)]
pub(super) struct ResetReply {
    /// The number of keys that were reset.
    pub reset: usize,
    /// Present if more keys may match: repeat the call with this `cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<LimitKey>,
}

/// How an exception treats its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LimitExceptionAction)]
pub(super) enum OverrideAction {
    /// Always allow the key, and do not count its calls.
    Allow,
    /// Always refuse the key.
    Deny,
    /// Apply another strategy to the key.
    Limit,
}

// Redis stores it as JSON, without its lifetime.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "action": "deny", "ttl_ms": 3_600_000 }))]
#[schema(as = LimitExceptionRequest)]
pub(super) struct OverrideRequest {
    pub action: OverrideAction,
    /// Required with the action `limit`, not allowed otherwise.
    #[serde(default, deserialize_with = "tagged_if_given", skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// Lifetime of the exception, milliseconds; without it the exception lasts until it is deleted.
    #[serde(default, deserialize_with = "integer::unsigned_if_given", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 31_622_400_000_u64)]
    pub ttl_ms: Option<u64>,
}

/// The exception of one key.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = LimitException)]
pub(super) struct OverrideView {
    #[schema(example = "10.0.0.1:/orders")]
    pub key: String,
    pub action: OverrideAction,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strategy: Option<Strategy>,
    /// End of the exception, Unix milliseconds of Redis's clock; absent if it lasts until it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<UnixMillis>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct OverridesQuery {
    /// The maximum number of entries on the page.
    #[serde(default = "default_page")]
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100, example = 100)]
    pub limit: usize,
    /// The `next_cursor` of the previous page.
    #[param(required = false, nullable = false, min_length = 1)]
    pub cursor: Option<String>,
}

const fn default_page() -> usize {
    100
}

/// The maximum number of entries on a page.
pub(super) const MAX_PAGE: usize = 1_000;

/// Decisions of the limiters at this replica since it started.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LimitStats {
    /// The name of this replica: that of its machine, and its port.
    #[schema(example = "redis-api-1:4040")]
    pub replica: String,
    /// Time at which this replica started to count, Unix milliseconds.
    pub since: UnixMillis,
    pub limiters: Vec<LimiterStats>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct LimiterStats {
    pub limiter: String,
    pub strategy: &'static str,
    pub allowed: u64,
    pub refused: u64,
    /// Calls that were allowed and left little of the limit.
    pub near: u64,
    /// Calls that were allowed only because the limiter is in shadow mode.
    pub shadow: u64,
    /// Calls that were decided without Redis.
    pub degraded: u64,
}
