//! The JSON types of Envoy's rate-limit protocol.
//!
//! Source: the proto3 JSON form of `envoy.service.ratelimit.v3.RateLimitRequest` and `RateLimitResponse`. As in that form, a
//! field may be null or absent, and fields that this service does not use are ignored.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::http::integer;

/// Envoy's request.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(example = json!({ "domain": "gateway",
                           "descriptors": [{ "entries": [{ "key": "remote_address", "value": "10.0.0.1" }] }] }))]
pub(in crate::features::ratelimit) struct EnvoyRequest {
    #[schema(min_length = 1)]
    pub domain: String,
    #[schema(min_items = 1, max_items = 100)]
    pub descriptors: Vec<Descriptor>,
    /// The cost of the call; 0 or absent means each limiter's `cost`. Also accepted as `hitsAddend`.
    #[serde(default, alias = "hitsAddend", deserialize_with = "hits")]
    #[schema(maximum = 4_294_967_295_u64)]
    pub hits_addend: Option<u64>,
}

/// The properties of a call that select a limiter and make up its key.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = EnvoyDescriptor)]
pub(in crate::features::ratelimit) struct Descriptor {
    #[schema(min_items = 1)]
    pub entries: Vec<DescriptorEntry>,
    /// Replaces the `hits_addend` of the request for this descriptor. Also accepted as `hitsAddend`.
    #[serde(default, alias = "hitsAddend", deserialize_with = "hits")]
    #[schema(maximum = 4_294_967_295_u64)]
    pub hits_addend: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = EnvoyEntry)]
pub(in crate::features::ratelimit) struct DescriptorEntry {
    #[schema(example = "remote_address")]
    pub key: String,
    /// Empty if absent.
    #[serde(default, deserialize_with = "null_as_default")]
    #[schema(value_type = Option<String>, example = "10.0.0.1")]
    pub value: String,
}

/// Reads a number of hits: proto3 JSON writes 64-bit integers as text.
fn hits<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(match Option::deserialize(deserializer)? {
        None => None,
        Some(Value::String(text)) => Some(text.parse().map_err(|_| D::Error::custom("must be a whole number"))?),
        Some(number) => Some(integer::unsigned(number).map_err(D::Error::custom)?),
    })
}

fn null_as_default<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The reply to Envoy.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::features::ratelimit) struct EnvoyReply {
    pub overall_code: LimitCode,
    /// In the order of the descriptors.
    pub statuses: Vec<DescriptorStatus>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schema(as = EnvoyCode)]
pub(in crate::features::ratelimit) enum LimitCode {
    #[default]
    Ok,
    OverLimit,
}

/// The state of a descriptor's limit; only the code if the descriptor is not limited.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EnvoyStatus)]
pub(in crate::features::ratelimit) struct DescriptorStatus {
    pub code: LimitCode,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_limit: Option<CurrentLimit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_remaining: Option<u64>,
    /// Time until the whole limit is available again: seconds with the suffix `s`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "59.250s")]
    pub duration_until_reset: Option<String>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = EnvoyCurrentLimit)]
pub(in crate::features::ratelimit) struct CurrentLimit {
    /// The limiter's name.
    pub name: String,
    pub requests_per_unit: u64,
    /// Absent if the limit's window is none of these units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schema(as = EnvoyUnit)]
pub(in crate::features::ratelimit) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
}
