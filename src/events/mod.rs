//! Channels of events: every message gets an offset, is kept for clients that were away, and wakes those that listen.
//!
//! One script assigns the offset of a message, stores it and publishes it, so that subscribers notice what they missed and
//! read it from the log. The real-time capability serves the channels; every capability publishes through [`Events`]. Files:
//! `namespace.rs` (what a channel keeps, and who may use it), `message.rs`, `publishing.rs` (several messages in one call),
//! `presence.rs` (who is subscribed), `movements.rs` (wakes those that wait), `keys.rs`, `scripts.rs`.
//!
//! A position is a pair of epoch and offset. Offsets of one epoch are never used twice. A new epoch begins when Redis may
//! have lost messages: after a restart, a failover, FLUSHALL, or the deletion of a channel's history. Then clients learn
//! that they may have missed something, even if nothing was lost.

mod channel_name;
mod error;
mod keys;
mod message;
mod movements;
mod namespace;
mod presence;
mod publishing;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::{Clock, UnixMillis};
use crate::config::value::Span;
use crate::redis::{Effect, FencingToken, Key, Redis, RedisFault};
pub use channel_name::ChannelName;
pub use error::EventsError;
use keys::ChannelKeys;
pub use message::{Message, TagMap, is_message_type, is_short, on_one_line};
pub use movements::Movements;
pub use namespace::{Keep, LATEST_BYTES, Namespace, Permission, PubSubConfig};
pub use presence::{Member, PresenceUpdate};
pub(crate) use scripts::SCRIPTS;
pub use scripts::{CLEARED, History, HistoryOrder};

/// How long Redis remembers the offset of a channel after its last use. Longer than any history, so that a position
/// stays comparable as long as it can be of use.
const META_TTL: Span = Span::from_millis(30 * 86_400_000);
/// How long the id of a message is recognised, so that a repetition is not published twice.
const DEDUPE: Span = Span::from_millis(5 * 60_000);

/// A published message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub offset: u64,
    pub epoch: String,
    /// Redis's time, Unix milliseconds.
    pub timestamp: UnixMillis,
    /// A message with the same id was published before; this is its position.
    pub duplicate: bool,
}

/// A part of a channel's history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryRange {
    pub order: HistoryOrder,
    /// Where to begin, exclusive; `None`: at the end where the order begins.
    pub offset: Option<u64>,
    /// The most messages; 0 reads only the position.
    pub limit: usize,
    /// The most bytes of the messages; a larger one comes alone.
    pub bytes: usize,
}

/// Publishes messages and reads the history of channels.
#[derive(Clone, Debug)]
pub struct Events {
    redis: Redis,
    clock: Clock,
    /// A reload of the configuration replaces them.
    namespaces: Arc<ArcSwap<Vec<Arc<Namespace>>>>,
}

impl Events {
    pub fn new(redis: Redis, clock: Clock, config: PubSubConfig) -> Self {
        Self { redis, clock, namespaces: Arc::new(ArcSwap::from_pointee(shared(config.namespaces))) }
    }

    /// Forgets the fencing tokens that a channel has seen.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn reset_fence(&self, channel: &ChannelName, by: &str) -> Result<(), RedisFault> {
        self.redis.reset_fence(&ChannelKeys::new(self.redis.keys(), channel).fence(), by).await
    }

    /// The rules of every channel, in the order of the configuration.
    pub fn namespaces(&self) -> Arc<Vec<Arc<Namespace>>> {
        self.namespaces.load_full()
    }

    /// Replaces the rules of all channels, for every clone of this value.
    pub fn replace_namespaces(&self, namespaces: Vec<Namespace>) {
        self.namespaces.store(Arc::new(shared(namespaces)));
    }

    /// The rules of a channel: those with the most specific pattern.
    ///
    /// # Errors
    /// [`EventsError::UnknownChannel`] if no pattern matches.
    pub fn namespace(&self, channel: &ChannelName) -> Result<Arc<Namespace>, EventsError> {
        let namespaces = self.namespaces.load();
        let found = namespace::most_specific(&namespaces, channel);
        found.cloned().ok_or_else(|| EventsError::UnknownChannel { channel: channel.clone() })
    }

    /// The Redis channel of a channel.
    pub fn redis_channel(&self, channel: &ChannelName) -> Key {
        ChannelKeys::new(self.redis.keys(), channel).channel
    }

    /// Publishes one message; a repetition with the same id returns the first position. A namespace with a mirror
    /// publishes to both channels.
    ///
    /// # Errors
    /// [`EventsError`]. After a fault whose outcome is unknown, repeat the message with the same id.
    pub async fn publish(
        &self,
        channel: &ChannelName,
        message: &Message,
        token: Option<FencingToken>,
    ) -> Result<Published, EventsError> {
        let item = [(channel, message)];
        let mut results = self.publish_with(&item, token).await?;
        results.pop().unwrap_or_else(|| Err(EventsError::UnknownChannel { channel: channel.clone() }))
    }

    /// Publishes messages in one round trip; each has its own result. Messages of one channel keep their order.
    ///
    /// # Errors
    /// [`RedisFault`] if the round trip as a whole failed.
    pub async fn publish_all(
        &self,
        items: &[(&ChannelName, &Message)],
    ) -> Result<Vec<Result<Published, EventsError>>, RedisFault> {
        self.publish_with(items, None).await
    }

    /// Publishes messages of this service, in their order. A message whose channel is in no namespace, or is full, is
    /// dropped: no subscriber waits for it.
    ///
    /// # Errors
    /// [`RedisFault`]; some of the messages may be published. Repeat all of them.
    pub async fn publish_of_service(&self, items: &[(ChannelName, Message)]) -> Result<(), RedisFault> {
        let borrowed: Vec<_> = items.iter().map(|(channel, message)| (channel, message)).collect();
        for outcome in self.publish_all(&borrowed).await? {
            if let Err(EventsError::Redis(fault)) = outcome {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Reads a part of a channel's history. Reading renews the memory of the channel's offset.
    ///
    /// # Errors
    /// [`EventsError::UnknownChannel`] or a [`RedisFault`].
    pub async fn history(&self, channel: &ChannelName, range: HistoryRange) -> Result<History, EventsError> {
        let namespace = self.namespace(channel)?;
        let keys = ChannelKeys::new(self.redis.keys(), channel);
        Ok(self.redis.call(scripts::history(&keys, &namespace, range, &self.clock.redis_arg())).await?)
    }

    /// Reads the newest messages of several channels in one round trip, at most `limit` and `bytes` of each.
    ///
    /// # Errors
    /// [`RedisFault`] if the round trip as a whole failed.
    pub async fn newest(
        &self,
        channels: &[(ChannelName, Arc<Namespace>)],
        limit: usize,
        bytes: usize,
    ) -> Result<Vec<Result<History, RedisFault>>, RedisFault> {
        let range = HistoryRange { order: HistoryOrder::Desc, offset: None, limit, bytes };
        let now = self.clock.redis_arg();
        let calls = channels.iter().map(|(channel, namespace)| {
            scripts::history(&ChannelKeys::new(self.redis.keys(), channel), namespace, range, &now)
        });
        self.redis.call_all(calls).await
    }

    /// The newest message of each key, in the order of their offsets; only for a namespace that keeps the latest.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn latest(&self, channel: &ChannelName) -> Result<Vec<String>, RedisFault> {
        let mut command = redis::cmd("HVALS");
        command.arg(ChannelKeys::new(self.redis.keys(), channel).latest);
        let mut messages: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        messages.sort_by_cached_key(|message| message::offset_of(message));
        Ok(messages)
    }

    /// Deletes the stored messages of a channel and begins a new epoch.
    ///
    /// # Errors
    /// [`EventsError::UnknownChannel`] or a [`RedisFault`].
    pub async fn clear(&self, channel: &ChannelName) -> Result<(), EventsError> {
        self.namespace(channel)?;
        Ok(self.redis.call(scripts::clear(&ChannelKeys::new(self.redis.keys(), channel))).await?)
    }

    /// Adds clients of a channel or renews them for 60 s, and removes those that left and those that expired.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn update_presence(
        &self,
        channel: &ChannelName,
        subscribed: &[Member],
        left: &[String],
    ) -> Result<PresenceUpdate, RedisFault> {
        let keys = ChannelKeys::new(self.redis.keys(), channel);
        self.redis.call(scripts::presence(&keys, subscribed, left, &self.clock.redis_arg())).await
    }

    /// The clients of a channel, in no order, as the last update left them.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub async fn members(&self, channel: &ChannelName) -> Result<Vec<Member>, RedisFault> {
        let [_, info, _] = ChannelKeys::new(self.redis.keys(), channel).presence();
        let mut command = redis::cmd("HGETALL");
        command.arg(info);
        let pairs: Vec<(String, String)> = self.redis.query(&command, Effect::Read).await?;
        Ok(pairs.into_iter().map(|(client, subject)| Member { client, subject }).collect())
    }

    /// The time after which a call to Redis has failed.
    pub fn timeout(&self) -> Duration {
        self.redis.command_timeout()
    }
}

fn shared(namespaces: Vec<Namespace>) -> Vec<Arc<Namespace>> {
    namespaces.into_iter().map(Arc::new).collect()
}
