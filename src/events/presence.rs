//! Who is subscribed to a channel, at all replicas.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::config::value::Span;

/// How long a client counts as subscribed after its replica has last said so.
pub(super) const PRESENCE_TTL: Span = Span::from_millis(60_000);

/// A subscribed client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ChannelMember)]
pub struct Member {
    /// Identifies the connection.
    pub client: String,
    /// The subject of its token, or the id of its API key; empty without a credential.
    pub subject: String,
}

/// The presence of a channel after an update, and what the update changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceUpdate {
    pub clients: usize,
    /// The number of different subjects.
    pub subjects: usize,
    pub joined: Vec<Member>,
    /// The clients that left, and those whose replica no longer refreshes them.
    pub left: Vec<Member>,
}
