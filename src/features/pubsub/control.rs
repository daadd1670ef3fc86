//! Orders to the connections of all replicas: an operator disconnects a client, or ends its subscription.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::events::ChannelName;
use crate::redis::{Key, KeySpace};

/// The Redis channel of the orders.
pub(super) fn control_channel(keys: &KeySpace) -> Key {
    keys.key("pubsub:control")
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
}

impl Order {
    pub(super) fn concerns(&self, subject: &str, client: &str) -> bool {
        self.subject == subject && self.client.as_deref().is_none_or(|only| only == client)
    }
}
