//! Wire types of groups of consumers.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::model::{GroupStart, StoredEvent};
use super::names::ShortName;
use crate::clock::UnixMillis;
use crate::http::integer;

/// The shortest and the longest time until an event is delivered again, milliseconds.
pub(super) const ACK_TIMEOUTS: std::ops::RangeInclusive<u64> = 100..=86_400_000;
/// The longest delay of a returned event, milliseconds.
pub(super) const MAX_DELAY_MS: u64 = 86_400_000;
/// The most deliveries of an event.
pub(super) const MAX_DELIVERIES: u64 = 1_000;

const fn default_timeout() -> u64 {
    30_000
}

const fn default_deliveries() -> u64 {
    5
}

/// The settings of a group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamGroupRequest)]
#[schema(example = json!({ "start": "first", "ack_timeout_ms": 30_000 }))]
pub(super) struct GroupRequest {
    /// Where a new group begins; `first` if absent. An existing group stays where it is.
    #[serde(default)]
    #[schema(value_type = Option<GroupStart>)]
    pub start: GroupStart,
    /// The time after which an event that is not acknowledged is delivered again, milliseconds.
    #[serde(default = "default_timeout", deserialize_with = "integer::unsigned")]
    #[schema(minimum = 100, maximum = 86_400_000, default = 30_000)]
    pub ack_timeout_ms: u64,
    /// After so many deliveries without acknowledgement, an event becomes a dead letter.
    #[serde(default = "default_deliveries", deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 1_000, default = 5)]
    pub max_deliveries: u64,
}

/// A group.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StreamGroup)]
pub(super) struct GroupInfo {
    #[schema(value_type = String, example = "billing")]
    pub group: String,
    /// The version of the last event that was delivered for the first time.
    pub cursor: u64,
    /// The number of events that are not acknowledged: those that are pending and those that were not delivered yet.
    pub lag: u64,
    /// The number of events that are delivered and not acknowledged.
    pub pending: u64,
    /// The number of dead letters.
    pub dead: u64,
    /// The number of events that the group did not receive because the stream does not keep them any more.
    pub lost: u64,
    pub ack_timeout_ms: u64,
    pub max_deliveries: u64,
    /// Unix milliseconds.
    pub created_at: UnixMillis,
    /// When the group was last used, Unix milliseconds.
    pub used_at: UnixMillis,
}

/// The groups of a stream, by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamGroups)]
pub(super) struct GroupList {
    pub items: Vec<GroupInfo>,
}

/// A request for events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamClaimRequest)]
#[schema(example = json!({ "consumer": "worker-1", "count": 10 }))]
pub(super) struct ClaimRequest {
    /// Names the consumer, for operators: 1 to 64 letters, digits, `_`, `.` and `-`.
    #[schema(value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.\-]+$")]
    pub consumer: ShortName,
    /// The most events; 1 if absent.
    #[serde(default = "one", deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 100, default = 1)]
    pub count: u64,
    /// Wait for an event if there is none, milliseconds.
    #[serde(default, deserialize_with = "integer::unsigned")]
    #[schema(maximum = 30_000, default = 0)]
    pub wait_ms: u64,
}

const fn one() -> u64 {
    1
}

/// A delivered event.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = StreamDelivery)]
pub(super) struct DeliveredEvent {
    /// Proves to whom the event was delivered last.
    #[schema(value_type = String, example = "7-12")]
    pub receipt: Receipt,
    /// How often the event was delivered.
    pub deliveries: u64,
    pub event: StoredEvent,
}

/// Events for a consumer.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = StreamClaim)]
pub(super) struct ClaimReply {
    pub items: Vec<DeliveredEvent>,
    /// The number of events that are not acknowledged, including these. Absent if the call only waited while others asked, or
    /// if it repeats an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// How many events were delivered too often, so that they are dead letters since this call.
    pub dead: u64,
    /// How many events the group has missed since the last call because the stream does not keep them any more.
    pub lost: u64,
}

/// `<version>-<delivery>`: a delivery of an event. A later delivery makes it stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    pub version: u64,
    pub delivery: u64,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.version, self.delivery)
    }
}

impl Serialize for Receipt {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Receipt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = |part: &str| part.parse().ok().filter(|number: &u64| number.to_string() == part && *number > 0);
        let parsed = text
            .split_once('-')
            .and_then(|(version, delivery)| Some(Self { version: number(version)?, delivery: number(delivery)? }));
        parsed.ok_or_else(|| D::Error::custom(format!("must be the receipt of a delivered event, got `{text}`")))
    }
}

/// Delivered events.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamReceipts)]
#[schema(example = json!({ "receipts": ["1-1"] }))]
pub(super) struct ReceiptsRequest {
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 100)]
    pub receipts: Vec<Receipt>,
}

/// Delivered events to return.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamNackRequest)]
#[schema(example = json!({ "receipts": ["2-2"], "delay_ms": 5_000 }))]
pub(super) struct NackRequest {
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 100)]
    pub receipts: Vec<Receipt>,
    /// Deliver them again after this time, milliseconds; at once if absent.
    #[serde(default, deserialize_with = "integer::unsigned")]
    #[schema(maximum = 86_400_000, default = 0)]
    pub delay_ms: u64,
}

/// What became of receipts.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamSettled)]
pub(super) struct SettledReply {
    /// The number of events that the call concerned.
    pub settled: u64,
    /// The receipts of earlier deliveries, with which nothing was done.
    #[schema(value_type = Vec<String>)]
    pub stale: Vec<Receipt>,
}

/// An event that was delivered too often.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamDeadLetter)]
pub(super) struct DeadLetter {
    pub version: u64,
    pub deliveries: u64,
    /// The consumer of the last delivery.
    pub consumer: String,
    /// When it became a dead letter, Unix milliseconds.
    pub dead_at: UnixMillis,
    /// Absent if the stream does not keep it any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<StoredEvent>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DeadLettersQuery {
    /// `next_cursor` of the previous page.
    #[param(required = false, minimum = 1)]
    pub cursor: Option<u64>,
    /// The most dead letters.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: Option<usize>,
}

/// Dead letters to deliver again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamRedriveRequest)]
#[schema(example = json!({}))]
pub(super) struct RedriveRequest {
    /// The versions of the dead letters; if absent, the oldest 1,000.
    #[serde(default)]
    #[schema(min_items = 1, max_items = 100)]
    pub versions: Option<Vec<u64>>,
}

/// What became of dead letters.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamRedriven)]
pub(super) struct RedrivenReply {
    /// The number of dead letters that are delivered again.
    pub redriven: u64,
    /// The number of those whose event the stream does not keep any more.
    pub lost: u64,
}

/// Where a group begins again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamReplayRequest)]
#[schema(example = json!({ "from_version": 1 }))]
pub(super) struct ReplayRequest {
    /// The version of the first event.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 9_007_199_254_740_991_u64)]
    pub from_version: u64,
}
