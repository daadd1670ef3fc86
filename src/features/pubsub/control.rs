//! Messages to all replicas: orders of operators to connections, and who joined and left channels.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::PubSubError;
use super::presence_digest::PresenceDigest;
use crate::clock::UnixMillis;
use crate::events::ChannelName;
use crate::redis::{Effect, Key, KeySpace, Redis, RedisFault};

/// The Redis channel of the messages.
pub(super) fn control_channel(keys: &KeySpace) -> Key {
    keys.key("pubsub:control")
}

/// A message to all replicas.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum ControlMessage {
    Order(Order),
    Presence(PresenceDigest),
    /// The tokens of a subject that were issued before a moment, Unix milliseconds, are revoked.
    Revoked {
        subject: String,
        before: UnixMillis,
    },
}

/// Sends a message to all replicas.
///
/// # Errors
/// [`RedisFault`].
pub(super) async fn send(redis: &Redis, message: &ControlMessage) -> Result<(), RedisFault> {
    let mut publish = redis::cmd("PUBLISH");
    // Text and numbers always serialise.
    publish.arg(control_channel(redis.keys())).arg(serde_json::to_string(message).unwrap_or_default());
    redis.query::<i64>(&publish, Effect::Write).await.map(|_| ())
}

/// Whose connections an order concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ChannelClientOrder)]
pub(super) struct Order {
    /// The subject of the clients' tokens, or the id of their API key.
    #[schema(min_length = 1, max_length = 256, example = "user-7")]
    pub subject: String,
    /// One connection; all of the subject if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub client: Option<String>,
    /// The subscription to end; the whole connection if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub channel: Option<ChannelName>,
    /// Refuse the subject's tokens that were issued before now when clients connect. Only to disconnect all of a subject.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revoke: bool,
}

impl Order {
    /// Checks the lengths of its names, and what is combined.
    ///
    /// # Errors
    /// The field and the rule that it violates.
    pub(super) fn check(&self) -> Result<(), PubSubError> {
        for (pointer, name) in [("/subject", Some(&self.subject)), ("/client", self.client.as_ref())] {
            if let Some(length) = name.map(|name| name.chars().count()).filter(|length| !(1..=256).contains(length)) {
                return Err(PubSubError::invalid(pointer, format!("must have 1 to 256 characters, got {length}")));
            }
        }
        if self.revoke && (self.client.is_some() || self.channel.is_some()) {
            return Err(PubSubError::invalid("/revoke", "must not be combined with client or channel"));
        }
        Ok(())
    }

    pub(super) fn concerns(&self, subject: &str, client: &str) -> bool {
        self.subject == subject && self.client.as_deref().is_none_or(|only| only == client)
    }
}
