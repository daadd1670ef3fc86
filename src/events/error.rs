//! Why a message is not published, or a history is not read.

use super::ChannelName;
use super::namespace::MAX_KEYS;
use crate::redis::RedisFault;

#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// No namespace has a pattern for the channel.
    #[error("no namespace of this service includes the channel `{channel}`")]
    UnknownChannel { channel: ChannelName },
    /// A message with a higher or equal revision was published before.
    #[error("the channel `{channel}` has a message with revision {revision} or a later one")]
    Superseded { channel: ChannelName, revision: u64 },
    /// The channel keeps the latest message of each key, and has no room for another key or a larger message.
    #[error("the channel `{channel}` keeps the latest messages of at most {MAX_KEYS} keys, and at most 2 MiB of them")]
    LatestFull { channel: ChannelName },
    #[error(transparent)]
    Redis(#[from] RedisFault),
}
