//! A message on its way to the clients of this replica.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::ws::Utf8Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::events::TagMap;

/// A position in a channel.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Position {
    pub epoch: Box<str>,
    pub offset: u64,
}

impl Position {
    /// Whether a client at `other` has received no message behind this position.
    pub(super) fn reaches(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.offset >= other.offset
    }
}

/// A published message. Each wire format is encoded once, when a client first needs it, and shared by all clients.
#[derive(Debug)]
pub(super) struct Delivery {
    pub offset: u64,
    pub epoch: Box<str>,
    /// Unix milliseconds.
    pub timestamp: i64,
    /// When this replica received it; `None` if it was read from the log.
    pub received: Option<Instant>,
    pub key: Option<Box<str>>,
    pub message_type: Box<str>,
    pub tags: TagMap,
    /// The JSON of the message.
    text: Utf8Bytes,
    /// Where `data` is in it.
    data: Range<usize>,
    native: OnceLock<Utf8Bytes>,
    sse: OnceLock<Bytes>,
    centrifugo: OnceLock<Utf8Bytes>,
}

/// The members that the service uses itself.
#[derive(Deserialize)]
struct Members<'a> {
    offset: u64,
    #[serde(borrow)]
    epoch: Cow<'a, str>,
    timestamp: i64,
    #[serde(borrow)]
    message_type: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default)]
    key: Option<Cow<'a, str>>,
    #[serde(default)]
    tags: TagMap,
}

impl Delivery {
    /// Reads a message as `events/publish.lua` wrote it; `None` if another program published something else.
    pub(super) fn parse(text: Bytes) -> Option<Self> {
        let text = Utf8Bytes::try_from(text).ok()?;
        let members: Members<'_> = serde_json::from_str(&text).ok()?;
        let start = members.data.get().as_ptr().addr().checked_sub(text.as_ptr().addr())?;
        let data = start..start + members.data.get().len();
        let key = members.key.map(Into::into);
        let (offset, epoch, timestamp) = (members.offset, members.epoch.into(), members.timestamp);
        let (message_type, tags) = (members.message_type.into(), members.tags);
        let (native, sse, centrifugo) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let received = None;
        Some(Self { offset, epoch, timestamp, received, key, message_type, tags, text, data, native, sse, centrifugo })
    }

    /// Notes that the message has just been published.
    pub(super) fn received_now(mut self) -> Self {
        self.received = Some(Instant::now());
        self
    }

    /// The JSON of the message.
    pub(super) fn text(&self) -> &Utf8Bytes {
        &self.text
    }

    /// The JSON of its data.
    pub(super) fn data(&self) -> &str {
        self.text.get(self.data.clone()).unwrap_or("null")
    }

    pub(super) fn position(&self) -> Position {
        Position { epoch: self.epoch.clone(), offset: self.offset }
    }

    /// The bytes that the message takes in memory, roughly.
    pub(super) fn size(&self) -> usize {
        2 * self.text.len() + size_of::<Self>()
    }

    /// The event of the native protocol. `skipped` counts the messages that the client did not receive before it.
    pub(super) fn native(&self, skipped: u64) -> Utf8Bytes {
        let members = self.text.get(1..).unwrap_or_default();
        match skipped {
            0 => self.native.get_or_init(|| format!("{{\"event\":\"message\",{members}").into()).clone(),
            skipped => format!("{{\"event\":\"message\",\"skipped\":{skipped},{members}").into(),
        }
    }

    /// The form that `encode` makes, for Server-Sent Events.
    pub(super) fn sse(&self, encode: impl FnOnce(&Self) -> Bytes) -> &Bytes {
        self.sse.get_or_init(|| encode(self))
    }

    /// The form that `encode` makes, for clients of Centrifugo.
    pub(super) fn centrifugo(&self, encode: impl FnOnce(&Self) -> Utf8Bytes) -> &Utf8Bytes {
        self.centrifugo.get_or_init(|| encode(self))
    }
}

/// The first messages, of about `budget` bytes.
pub(super) fn within<'a>(
    budget: usize,
    messages: impl Iterator<Item = &'a Arc<Delivery>>,
) -> impl Iterator<Item = &'a Arc<Delivery>> {
    let mut bytes = 0;
    messages.take_while(move |delivery| {
        let fits = bytes < budget;
        bytes += delivery.text().len();
        fits
    })
}

/// The messages as the log has them; those of other programs are left out.
pub(super) fn parsed(messages: &[String]) -> Vec<Arc<Delivery>> {
    let parse = |text: &String| Delivery::parse(Bytes::copy_from_slice(text.as_bytes())).map(Arc::new);
    messages.iter().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_is_a_part_of_the_text() {
        let text = r#"{"offset":7,"epoch":"ab","timestamp":5,"id":"x","channel":"c","message_type":"T","data":{"a": 1.50},"version":"1.0","key":"k","tags":{"x":"y"}}"#;
        let delivery = Delivery::parse(Bytes::from_static(text.as_bytes())).expect("a message");
        assert_eq!((delivery.offset, &*delivery.epoch, delivery.data()), (7, "ab", "{\"a\": 1.50}"));
        assert_eq!((delivery.key.as_deref(), delivery.tags.get("x").map(String::as_str)), (Some("k"), Some("y")));
        assert!(delivery.native(0).starts_with("{\"event\":\"message\",\"offset\":7,"));
        assert!(delivery.native(3).starts_with("{\"event\":\"message\",\"skipped\":3,\"offset\":7,"));
        assert!(Delivery::parse(Bytes::from_static(b"hello")).is_none());
        assert!(Delivery::parse(Bytes::from_static(b"\xff")).is_none());
    }
}
