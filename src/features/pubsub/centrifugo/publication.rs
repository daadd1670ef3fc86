//! Messages in the form that clients of Centrifugo know: data and tags, without a type.

use std::collections::BTreeMap;

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::super::delivery::{Delivery, Position};
use super::super::model::{HistoryReply, MAX_PAGE, PublishRequest};
use super::error::CommandError;
use crate::events::{ChannelName, HistoryOrder, Namespace, TagMap};
use crate::http::extract::parse_json;

/// The type of messages that are published without one.
const UNTYPED: &str = "message";
/// The tag that states the type of another message.
const TYPE_TAG: &str = "message_type";
/// A list of messages ends after this many bytes, so that it fits into the write buffer of a socket.
const LIST_BYTES: usize = 128 << 10;

/// A message for clients.
#[derive(Debug, Serialize)]
pub(super) struct Publication<'a> {
    data: &'a RawValue,
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, &'a str>,
    /// Unix milliseconds.
    time: i64,
}

impl<'a> Publication<'a> {
    pub(super) fn new(delivery: &'a Delivery) -> Self {
        let mut tags: BTreeMap<_, _> =
            delivery.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        if &*delivery.message_type != UNTYPED {
            tags.insert(TYPE_TAG, &delivery.message_type);
        }
        // The data was read from JSON.
        let data = serde_json::from_str(delivery.data()).unwrap_or(RawValue::NULL);
        Self { data, offset: delivery.offset, tags, time: delivery.timestamp }
    }

    /// How many of the messages fit into one list: at least one.
    pub(super) fn fitting<'d>(deliveries: impl Iterator<Item = &'d Delivery>) -> usize {
        let mut bytes = 0;
        let fits = |delivery: &&Delivery| {
            let fits = bytes < LIST_BYTES;
            bytes += delivery.text().len();
            fits
        };
        deliveries.take_while(fits).count()
    }
}

/// Data whose channel has a schema.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TypedData {
    message_type: String,
    data: Box<RawValue>,
}

/// The message that a client publishes as `data`. Where the channel has a schema, `data` contains the type of the message.
///
/// # Errors
/// A bad request if it does not.
pub(super) fn publish_request(
    namespace: &Namespace,
    data: Box<RawValue>,
    tags: TagMap,
) -> Result<PublishRequest, CommandError> {
    let (message_type, data) = if namespace.schema.is_some() {
        let typed: TypedData = parse_json(data.get().as_bytes()).map_err(|problem| {
            let reason = problem.text();
            CommandError::bad_request(format!(
                "data must be an object with message_type and data, because the channel has a schema: {reason}"
            ))
        })?;
        (typed.message_type, typed.data)
    } else {
        (UNTYPED.to_owned(), data)
    };
    Ok(PublishRequest { channel: None, message_type, data, id: None, key: None, tags, revision: None, version: None })
}

/// A part of a channel's history.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiHistoryRequest, example = json!({ "channel": "market:events", "limit": 10 }))]
pub(in super::super) struct HistoryParams {
    #[schema(value_type = String)]
    pub channel: ChannelName,
    /// The most messages: 0 reads only the position, -1 as many as possible. At most 300 messages, or about 128 KiB, are
    /// returned.
    #[serde(default)]
    #[schema(minimum = -1, maximum = 2_147_483_647)]
    pub limit: i32,
    /// Only messages after this position, or before it in reverse order.
    #[serde(default)]
    pub since: Option<StreamPosition>,
    /// The newest messages first.
    #[serde(default)]
    pub reverse: bool,
}

/// A position in a channel.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelApiPosition)]
pub(in super::super) struct StreamPosition {
    #[serde(default)]
    pub offset: u64,
    #[serde(default)]
    pub epoch: String,
}

impl HistoryParams {
    pub(super) fn since(&self) -> Option<Position> {
        self.since.as_ref().map(|since| Position { epoch: since.epoch.as_str().into(), offset: since.offset })
    }

    pub(super) fn order(&self) -> HistoryOrder {
        if self.reverse { HistoryOrder::Desc } else { HistoryOrder::Asc }
    }

    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.limit).unwrap_or(MAX_PAGE).min(MAX_PAGE)
    }

    /// The result as JSON.
    ///
    /// # Errors
    /// [`CommandError::UNRECOVERABLE`] if the position is one of another epoch.
    pub(super) fn result(&self, page: &HistoryReply) -> Result<Box<RawValue>, CommandError> {
        #[derive(Serialize)]
        struct History<'a> {
            publications: Vec<Publication<'a>>,
            offset: u64,
            epoch: &'a str,
        }

        if self.since.as_ref().is_some_and(|since| since.epoch != page.epoch) {
            return Err(CommandError::UNRECOVERABLE);
        }
        let read = |item: &RawValue| Delivery::parse(Bytes::copy_from_slice(item.get().as_bytes()));
        let deliveries: Vec<_> = page.items.iter().filter_map(|item| read(item)).collect();
        let count = Publication::fitting(deliveries.iter());
        let publications = deliveries.iter().take(count).map(Publication::new).collect();
        Ok(to_raw(&History { publications, offset: page.offset, epoch: &page.epoch }))
    }
}

/// A value as JSON. Text, numbers and raw JSON always serialise.
pub(super) fn to_raw(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_data_and_its_type_as_a_tag() {
        let message = |message_type: &str| {
            let text = format!(
                r#"{{"offset":7,"epoch":"ab","timestamp":5,"message_type":"{message_type}","data":{{"a":1.50}},"tags":{{"x":"y"}}}}"#
            );
            let delivery = Delivery::parse(Bytes::from(text)).expect("a message");
            serde_json::to_string(&Publication::new(&delivery)).expect("JSON")
        };
        assert_eq!(message("message"), r#"{"data":{"a":1.50},"offset":7,"tags":{"x":"y"},"time":5}"#);
        assert_eq!(message("T"), r#"{"data":{"a":1.50},"offset":7,"tags":{"message_type":"T","x":"y"},"time":5}"#);
    }

    #[test]
    fn a_list_ends_where_the_write_buffer_would() {
        let large = format!(r#"{{"offset":1,"epoch":"ab","timestamp":5,"message_type":"T","data":"{:60000}"}}"#, "");
        let deliveries: Vec<_> =
            (0..10).map(|_| Delivery::parse(Bytes::from(large.clone())).expect("a message")).collect();
        assert_eq!(Publication::fitting(deliveries.iter()), 3);
        assert_eq!(Publication::fitting(deliveries.iter().take(1)), 1);
        assert_eq!(Publication::fitting(std::iter::empty()), 0);
    }
}
