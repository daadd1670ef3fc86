//! Messages that are published or read as `CloudEvents`.
//!
//! Source: `CloudEvents` 1.0.2, sections 3.1 (attributes) and 3 of the JSON format (structured mode).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::error::PubSubError;
use super::event_types::EventData;
use super::model::{PublishRequest, StoredMessage};
use crate::events::{TagMap, is_message_type, is_short};

/// The media type of one event in structured mode.
pub(super) const CLOUD_EVENT: &str = "application/cloudevents+json";

/// An event in structured mode. Attributes that are not listed are accepted and not kept.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ChannelCloudEvent)]
#[schema(example = json!({ "specversion": "1.0", "id": "price-1", "source": "/matching", "type": "PriceUpdate",
    "data": { "symbol": "ENERGY", "price": "3.42", "change_percent": "0.4" } }))]
pub(super) struct CloudEvent {
    #[schema(pattern = r"^1\.0$")]
    specversion: String,
    /// The id of the message: a repetition within five minutes is not published again.
    #[schema(min_length = 1, max_length = 128)]
    id: String,
    /// Who sends the event; not kept.
    #[schema(min_length = 1)]
    source: String,
    /// The message type.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.\-]+$")]
    event_type: String,
    /// The key of the message.
    #[schema(min_length = 1, max_length = 128)]
    partitionkey: Option<String>,
    /// JSON; `null` if absent.
    #[schema(value_type = Option<serde_json::Value>)]
    data: Option<Box<RawValue>>,
    /// `application/json`, or another type that ends with `+json`.
    datacontenttype: Option<String>,
    /// Binary data is refused, because messages contain JSON.
    #[schema(ignore)]
    data_base64: Option<String>,
}

impl CloudEvent {
    /// The message that the event is.
    ///
    /// # Errors
    /// [`PubSubError::Invalid`], naming the attribute.
    pub(super) fn into_request(self) -> Result<PublishRequest, PubSubError> {
        if self.specversion != "1.0" {
            return Err(PubSubError::invalid("/specversion", format!("must be 1.0, got `{}`", self.specversion)));
        }
        if self.source.is_empty() {
            return Err(PubSubError::invalid("/source", "must not be empty"));
        }
        if !is_message_type(&self.event_type) {
            return Err(PubSubError::invalid("/type", "must have 1 to 64 letters, digits, `_`, `.` and `-`"));
        }
        if self.partitionkey.as_ref().is_some_and(|key| !is_short(key, 128)) {
            return Err(PubSubError::invalid("/partitionkey", "must have 1 to 128 bytes without control characters"));
        }
        let is_json = |kind: &String| {
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            kind == "application/json" || kind.ends_with("+json")
        };
        if !self.datacontenttype.as_ref().is_none_or(is_json) {
            return Err(PubSubError::invalid("/datacontenttype", "must be application/json or end with +json"));
        }
        if self.data_base64.is_some() {
            return Err(PubSubError::invalid("/data_base64", "is not supported: messages contain JSON"));
        }
        Ok(PublishRequest {
            channel: None,
            message_type: self.event_type,
            data: self.data.unwrap_or_else(|| RawValue::NULL.to_owned()),
            id: Some(self.id),
            key: self.partitionkey,
            tags: TagMap::new(),
            revision: None,
            version: None,
        })
    }
}

/// A stored message as a `CloudEvent`. Offset, epoch and version are extension attributes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelStoredCloudEvent)]
pub(super) struct StoredCloudEvent {
    #[schema(example = "1.0")]
    specversion: &'static str,
    id: String,
    /// The path of the channel.
    #[schema(example = "/pubsub/market:events")]
    source: String,
    #[serde(rename = "type")]
    event_type: String,
    /// The channel.
    subject: String,
    /// RFC 3339.
    time: String,
    datacontenttype: &'static str,
    #[schema(value_type = EventData)]
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<String>,
    /// A decimal number: offsets are larger than the integers of `CloudEvents`.
    offset: String,
    epoch: String,
    version: String,
}

impl StoredCloudEvent {
    /// Reads the JSON of a message; `None` if another program published something else.
    pub(super) fn parse(message: &str) -> Option<Self> {
        serde_json::from_str::<StoredMessage>(message).ok().map(Self::from)
    }
}

impl From<StoredMessage> for StoredCloudEvent {
    fn from(message: StoredMessage) -> Self {
        let time = jiff::Timestamp::from_millisecond(message.timestamp).map(|time| time.to_string());
        Self {
            specversion: "1.0",
            id: message.id,
            source: format!("/pubsub/{}", message.channel),
            event_type: message.message_type,
            subject: message.channel,
            time: time.unwrap_or_default(),
            datacontenttype: "application/json",
            data: message.data,
            partitionkey: message.key,
            offset: message.offset.to_string(),
            epoch: message.epoch,
            version: message.version,
        }
    }
}
