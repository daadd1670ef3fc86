//! Wire types of event streams.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::names::{ShortName, StreamName};
use crate::clock::UnixMillis;
use crate::http::integer;

/// The most events of one append.
pub(super) const MAX_APPEND: usize = 100;
/// The most events of a page.
pub(super) const MAX_PAGE: usize = 1_000;
/// The most events of one claim, and the most receipts of one call.
pub(super) const MAX_CLAIM: usize = 100;
/// The longest wait, milliseconds: [`crate::http::access::LONGEST_WAIT`].
pub(super) const MAX_WAIT_MS: u64 = 30_000;
/// The largest version: 2^53 - 1.
pub(super) const MAX_VERSION: u64 = (1 << 53) - 1;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct StreamPath {
    /// The stream: 1 to 128 letters, digits, `_`, `-`, and `:` between segments.
    #[param(value_type = String, min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_\-]+(:[A-Za-z0-9_\-]+)*$",
            example = "orders")]
    pub stream: StreamName,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct GroupPath {
    /// The stream: 1 to 128 letters, digits, `_`, `-`, and `:` between segments.
    #[param(value_type = String, min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_\-]+(:[A-Za-z0-9_\-]+)*$",
            example = "orders")]
    pub stream: StreamName,
    /// The group: 1 to 64 letters, digits, `_`, `.` and `-`.
    #[param(value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.\-]+$", example = "billing")]
    pub group: ShortName,
}

/// A group to delete.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct UnusedGroupPath {
    /// The stream: 1 to 128 letters, digits, `_`, `-`, and `:` between segments.
    #[param(value_type = String, min_length = 1, max_length = 128, pattern = r"^[A-Za-z0-9_\-]+(:[A-Za-z0-9_\-]+)*$",
            example = "orders")]
    pub stream: StreamName,
    /// The group, which is not used any more: 1 to 64 letters, digits, `_`, `.` and `-`.
    #[param(value_type = String, min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.\-]+$", example = "unused")]
    pub group: ShortName,
}

/// The version that an append expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ExpectedVersion {
    #[default]
    Any,
    /// The stream has no events.
    None,
    /// It has some.
    Exists,
    Is(u64),
}

impl ExpectedVersion {
    /// The argument of the script.
    pub(super) fn text(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::None => "none".to_owned(),
            Self::Exists => "exists".to_owned(),
            Self::Is(version) => version.to_string(),
        }
    }
}

/// A version, or one of some words.
#[derive(Deserialize)]
#[serde(untagged)]
enum VersionOrWord {
    Version(#[serde(deserialize_with = "integer::unsigned")] u64),
    Word(String),
}

fn out_of_range<E: serde::de::Error>(words: &str) -> E {
    E::custom(format!("must be a version up to {MAX_VERSION}, {words}"))
}

impl<'de> Deserialize<'de> for ExpectedVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || out_of_range("`none` or `exists`");
        match Option::<VersionOrWord>::deserialize(deserializer).map_err(|_| wrong())? {
            None => Ok(Self::default()),
            Some(VersionOrWord::Version(version)) if version <= MAX_VERSION => Ok(Self::Is(version)),
            Some(VersionOrWord::Word(word)) if word == "none" => Ok(Self::None),
            Some(VersionOrWord::Word(word)) if word == "exists" => Ok(Self::Exists),
            _ => Err(wrong()),
        }
    }
}

fn version_or_word(words: &str) -> RefOr<Schema> {
    let kinds = SchemaType::from_iter([Type::Integer, Type::String]);
    ObjectBuilder::new().schema_type(kinds).description(Some(format!("A version, {words}."))).build().into()
}

impl PartialSchema for ExpectedVersion {
    fn schema() -> RefOr<Schema> {
        version_or_word("`none` (the stream has no events) or `exists` (it has some)")
    }
}

impl ToSchema for ExpectedVersion {
    fn name() -> std::borrow::Cow<'static, str> {
        "StreamExpectedVersion".into()
    }
}

/// Where a new group begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GroupStart {
    #[default]
    First,
    /// With the next event.
    Now,
    /// With this version.
    At(u64),
}

impl GroupStart {
    /// The argument of the script.
    pub(super) fn text(self) -> String {
        match self {
            Self::First => "first".to_owned(),
            Self::Now => "now".to_owned(),
            Self::At(version) => version.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for GroupStart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || out_of_range("`first` or `now`");
        match Option::<VersionOrWord>::deserialize(deserializer).map_err(|_| wrong())? {
            None => Ok(Self::default()),
            Some(VersionOrWord::Version(version)) if (1..=MAX_VERSION).contains(&version) => Ok(Self::At(version)),
            Some(VersionOrWord::Word(word)) if word == "first" => Ok(Self::First),
            Some(VersionOrWord::Word(word)) if word == "now" => Ok(Self::Now),
            _ => Err(wrong()),
        }
    }
}

impl PartialSchema for GroupStart {
    fn schema() -> RefOr<Schema> {
        version_or_word("`first` or `now` (the next event)")
    }
}

impl ToSchema for GroupStart {
    fn name() -> std::borrow::Cow<'static, str> {
        "StreamGroupStart".into()
    }
}

/// Events to append, all of them or none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamAppendRequest)]
#[schema(example = json!({ "events": [{ "id": "o-1-created", "type": "OrderCreated", "data": { "order_id": "o-1" } },
    { "id": "o-1-paid", "type": "OrderPaid", "data": { "order_id": "o-1" } }] }))]
pub(super) struct AppendRequest {
    #[schema(min_items = 1, max_items = 100)]
    pub events: Vec<NewEvent>,
    /// Append only if the stream has this version; any version if absent.
    #[serde(default)]
    #[schema(value_type = Option<ExpectedVersion>)]
    pub expected_version: ExpectedVersion,
}

/// An event to append.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = StreamNewEvent)]
pub(super) struct NewEvent {
    /// Identifies the event: the same events are appended once. The service makes an id if it is absent.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub id: Option<String>,
    /// The kind of event, 1 to 64 letters, digits, `_`, `.` and `-`.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.\-]+$", example = "OrderCreated")]
    pub kind: String,
    /// Any JSON.
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    /// A JSON object beside the data, such as the cause of the event; at most 4 KiB.
    #[serde(default)]
    #[schema(value_type = Option<std::collections::BTreeMap<String, serde_json::Value>>)]
    pub metadata: Option<Box<RawValue>>,
}

/// The versions of appended events.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StreamAppended)]
pub(super) struct Appended {
    #[schema(value_type = String, example = "orders")]
    pub stream: StreamName,
    /// The version of the first event.
    pub first_version: u64,
    /// The version of the last event, which is that of the stream after the append.
    pub version: u64,
    /// Redis's time, Unix milliseconds.
    pub timestamp: UnixMillis,
    /// The events were appended before, and these are their versions.
    pub duplicate: bool,
}

/// An event of a stream.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(as = StreamEvent)]
pub(super) struct StoredEvent {
    /// The number of the event in its stream, from 1.
    pub version: u64,
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[schema(value_type = serde_json::Value)]
    pub data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, serde_json::Value>>)]
    pub metadata: Option<Box<RawValue>>,
    /// Redis's time, Unix milliseconds.
    pub timestamp: UnixMillis,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = StreamOrder)]
pub(super) enum Order {
    #[default]
    Asc,
    Desc,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// The version of the first event, in the order of the page; by default where the order begins.
    #[param(required = false, minimum = 1)]
    pub from_version: Option<u64>,
    /// The version of the last event.
    #[param(required = false, minimum = 1)]
    pub to_version: Option<u64>,
    /// `next_cursor` of the previous page, instead of `from_version`.
    #[param(required = false, minimum = 1)]
    pub cursor: Option<u64>,
    /// `asc`: the oldest first; `desc`: the newest first.
    #[serde(default)]
    #[param(required = false, inline)]
    pub order: Order,
    /// The most events. As JSON: 100 if absent; as NDJSON: no limit if absent.
    #[param(required = false, minimum = 1, maximum = 1_000)]
    pub limit: Option<usize>,
    /// Wait for an event if there is none yet, milliseconds; only in ascending order, and not with NDJSON.
    #[param(required = false, minimum = 0, maximum = 30_000)]
    pub wait_ms: Option<u64>,
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamEvents)]
pub(super) struct EventsPage {
    pub items: Vec<StoredEvent>,
    /// The version of the stream.
    pub version: u64,
    /// The version of the oldest event that is kept; absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_version: Option<u64>,
    /// How many events before the first one of this page were requested and are no longer kept.
    pub missing: u64,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
}

/// A stream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamInfo)]
pub(super) struct StreamInfo {
    #[schema(value_type = String, example = "orders")]
    pub stream: StreamName,
    /// The version of its last event.
    pub version: u64,
    /// The number of events that are kept.
    pub events: u64,
    /// When its first event was appended, Unix milliseconds.
    pub created_at: UnixMillis,
    /// When its last event was appended, Unix milliseconds.
    pub updated_at: UnixMillis,
    /// The channel that tells the version after each append: see `/pubsub`.
    #[schema(example = "streams:orders")]
    pub channel: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StreamsQuery {
    /// The prefix of the streams.
    #[serde(default)]
    #[param(required = false, max_length = 128)]
    pub prefix: String,
    /// `next_cursor` of the previous page.
    #[serde(default)]
    #[param(required = false, min_length = 1, max_length = 128)]
    pub cursor: Option<String>,
    /// The most streams.
    #[param(required = false, minimum = 1, maximum = 1_000, default = 100)]
    pub limit: Option<usize>,
}
