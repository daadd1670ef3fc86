//! Messages, and the JSON in which they travel.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::ChannelName;

/// Short labels of a message, for the filters of subscribers.
pub type TagMap = BTreeMap<String, String>;

/// A message to publish. Its JSON in Redis begins with `offset`, `epoch` and `timestamp`, which the script assigns.
#[derive(Clone, Debug)]
pub struct Message {
    /// Identifies the message.
    pub id: String,
    /// Whether the publisher chose the id, and may send it again: a repetition within five minutes is not published. Any
    /// other id need not be remembered.
    pub may_be_repeated: bool,
    pub message_type: String,
    /// The version of the data's schema.
    pub version: String,
    /// The data, exactly as the publisher wrote it.
    pub data: Box<RawValue>,
    /// The entity that the message describes: newer messages with this key replace older ones where only the latest is
    /// kept.
    pub key: Option<String>,
    pub tags: TagMap,
    /// The revision of the entity; an older message than the newest is not published.
    pub revision: Option<u64>,
}

/// The members that follow those of the script.
#[derive(Serialize)]
struct Members<'a> {
    id: &'a str,
    channel: &'a ChannelName,
    message_type: &'a str,
    data: &'a RawValue,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "TagMap::is_empty")]
    tags: &'a TagMap,
}

impl Message {
    /// A message of this service. Its publisher may repeat it, and it replaces earlier ones with the same `key`.
    ///
    /// Returns `None` if the data cannot be JSON, such as a map whose keys are not strings.
    pub fn of_service(id: String, message_type: &str, key: &str, data: &impl Serialize) -> Option<Self> {
        let data = RawValue::from_string(serde_json::to_string(data).ok()?).ok()?;
        Some(Self {
            id,
            may_be_repeated: true,
            message_type: message_type.to_owned(),
            version: "1.0".to_owned(),
            data,
            key: Some(key.to_owned()),
            tags: TagMap::new(),
            revision: None,
        })
    }

    /// `,"id":...}`: the message after its offset, epoch and timestamp.
    pub(super) fn members(&self, channel: &ChannelName) -> String {
        let members = Members {
            id: &self.id,
            channel,
            message_type: &self.message_type,
            data: &self.data,
            version: &self.version,
            key: self.key.as_deref(),
            tags: &self.tags,
        };
        // Strings and raw JSON always serialise.
        let mut text = serde_json::to_string(&members).unwrap_or_default();
        text.replace_range(..1, ",");
        text
    }
}

/// Whether a text is a message type: 1 to 64 letters, digits, `_`, `.` and `-`.
pub fn is_message_type(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Whether a text has 1 to `limit` bytes and no control characters.
pub fn is_short(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The JSON without line breaks, which mean nothing between its tokens, but separate the lines of some transports.
pub fn on_one_line(json: Box<RawValue>) -> Box<RawValue> {
    if !json.get().contains(['\n', '\r']) {
        return json;
    }
    RawValue::from_string(json.get().replace(['\n', '\r'], " ")).unwrap_or(json)
}

/// The offset at the beginning of a message's JSON; 0 if there is none.
pub(super) fn offset_of(message: &str) -> u64 {
    let digits = message.strip_prefix("{\"offset\":").unwrap_or_default();
    digits.split(',').next().and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_travels_as_it_was_written() {
        let data = RawValue::from_string("{\"price\": 1.50, \"x\": [ ]}".to_owned()).expect("JSON");
        let message = Message {
            id: "a\"b".to_owned(),
            may_be_repeated: true,
            message_type: "PriceUpdate".to_owned(),
            version: "1.0".to_owned(),
            data,
            key: None,
            tags: TagMap::new(),
            revision: None,
        };
        let channel = ChannelName::parse("market:events").expect("a name");
        let text = format!("{{\"offset\":7{}", message.members(&channel));
        assert!(text.contains("\"data\":{\"price\": 1.50, \"x\": [ ]}"), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&read["offset"], &read["id"]), (&7.into(), &"a\"b".into()));
        assert_eq!(offset_of("{\"offset\":900000000000001,\"epoch\":\"x\"}"), 900_000_000_000_001);
    }
}
