//! The keys of channels in Redis.
//!
//! | key | type | TTL | deleted by |
//! |---|---|---|---|
//! | `pubsub:meta:{<channel>}` | hash: `e` epoch, `s` last offset, `r` replication id of the server, `v` highest revision, `b` bytes of the latest messages | 30 days after the last use | expiry |
//! | `pubsub:log:{<channel>}` | stream of `<offset>-0`: `m` the message, `t` its time | `history_ttl` | DELETE, a new epoch |
//! | `pubsub:latest:{<channel>}` | hash: a message by its key | `history_ttl` | DELETE |
//! | `pubsub:seen:{<channel>}:<SHA-1 of an id>` | string: offset, epoch and time of that message | 5 minutes | expiry |
//! | `pubsub:presence:{<channel>}` | sorted set: a client -> when it expires, Unix milliseconds | 60 s after the last refresh | unsubscribing, expiry |
//! | `pubsub:presence:info:{<channel>}` | hash: a client -> its subject | 60 s | the same |
//! | `pubsub:presence:subjects:{<channel>}` | hash: a subject -> the number of its clients | 60 s | the same |
//! | `pubsub:fence:{<channel>}` | integer: the highest fencing token seen | `fencing.outlive` | expiry |
//! | `<channel>` | channel of the messages | | |
//! | `pubsub:probe:<process>` | channel on which a process checks its subscriptions | | |
//!
//! Names of channels contain no braces.

use super::ChannelName;
use crate::redis::{Key, KeySpace};

/// The keys of one channel, which share a slot.
#[derive(Debug)]
pub(super) struct ChannelKeys {
    pub meta: Key,
    pub log: Key,
    pub latest: Key,
    pub channel: Key,
}

impl ChannelKeys {
    pub(super) fn new(space: &KeySpace, channel: &ChannelName) -> Self {
        let channel = space.key(channel);
        Self {
            meta: channel.sibling("pubsub:meta"),
            log: channel.sibling("pubsub:log"),
            latest: channel.sibling("pubsub:latest"),
            channel,
        }
    }

    pub(super) fn presence(&self) -> [Key; 3] {
        ["pubsub:presence", "pubsub:presence:info", "pubsub:presence:subjects"].map(|kind| self.channel.sibling(kind))
    }

    pub(super) fn fence(&self) -> Key {
        self.channel.sibling("pubsub:fence")
    }

    /// The memory of the message with this id. Ids are texts of clients, so their digest is the name.
    pub(super) fn seen(&self, id: &str) -> Key {
        let digest = sha1_smol::Sha1::from(id.as_bytes()).digest();
        self.channel.part("pubsub:seen", digest)
    }
}
