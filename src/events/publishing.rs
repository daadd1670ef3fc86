//! Publishing several messages: those of one channel share calls of the script.
//!
//! More than half of the time of a call that publishes one message goes into what the messages of a channel have in common:
//! finding the script, Redis's time and replication id, the epoch, the expiries.

use std::collections::HashMap;
use std::sync::Arc;

use super::keys::ChannelKeys;
use super::scripts::{self, Outgoing, Publication};
use super::{ChannelName, Events, EventsError, Message, Namespace, Published};
use crate::lifecycle::large_work;
use crate::redis::{Effect, FencingToken, RedisFault};

/// The most messages of one call ...
const CALL: usize = 64;
/// ... and about their most bytes: Redis answers no other client during the call, which takes less than a millisecond.
const CALL_BYTES: usize = 256 << 10;
/// More messages than these occupy Redis noticeably.
const MANY: usize = 32;

/// The messages of one call.
struct Group<'a> {
    namespace: Arc<Namespace>,
    keys: ChannelKeys,
    token: Option<FencingToken>,
    messages: Vec<Outgoing<'a>>,
    bytes: usize,
}

/// The calls, in the order in which they are sent.
struct Groups<'a> {
    events: &'a Events,
    calls: Vec<Group<'a>>,
    /// The group that takes the next message of a channel.
    open: HashMap<ChannelName, usize>,
}

impl<'a> Groups<'a> {
    fn add(
        &mut self,
        channel: &ChannelName,
        message: &'a Message,
        token: Option<FencingToken>,
    ) -> Result<usize, EventsError> {
        let members = message.members(channel);
        let fits = |group: &Group<'_>| group.messages.len() < CALL && group.bytes + members.len() <= CALL_BYTES;
        let open = self.open.get(channel).copied().filter(|at| self.calls.get(*at).is_some_and(fits));
        let at = if let Some(at) = open { at } else { self.begin(channel, token)? };
        if let Some(group) = self.calls.get_mut(at) {
            let seen = message.may_be_repeated.then(|| group.keys.seen(&message.id));
            group.bytes += members.len();
            group.messages.push(Outgoing { message, members, seen });
        }
        Ok(at)
    }

    fn begin(&mut self, channel: &ChannelName, token: Option<FencingToken>) -> Result<usize, EventsError> {
        let namespace = self.events.namespace(channel)?;
        let keys = ChannelKeys::new(self.events.redis.keys(), channel);
        let at = self.calls.len();
        self.calls.push(Group { namespace, keys, token, messages: Vec::new(), bytes: 0 });
        self.open.insert(channel.clone(), at);
        Ok(at)
    }

    /// The group of a message that appears on another channel as well.
    fn mirror(&mut self, group: usize, message: &'a Message) -> Option<Result<usize, EventsError>> {
        let mirror = self.calls.get(group)?.namespace.mirror.clone()?;
        Some(self.add(&mirror, message, None))
    }
}

impl Events {
    pub(super) async fn publish_with(
        &self,
        items: &[(&ChannelName, &Message)],
        token: Option<FencingToken>,
    ) -> Result<Vec<Result<Published, EventsError>>, RedisFault> {
        if items.len() > MANY {
            large_work::note();
        }
        let mut groups = Groups { events: self, calls: Vec::new(), open: HashMap::new() };
        let mut places = Vec::with_capacity(items.len());
        for (channel, message) in items {
            let own = groups.add(channel, message, token);
            let mirrored = own.as_ref().ok().and_then(|group| groups.mirror(*group, message));
            places.push((own, mirrored));
        }
        let now = self.clock.redis_arg();
        let calls = groups.calls.iter().map(|Group { namespace, keys, token, messages, .. }| {
            let fence = token.map(|token| self.redis.fence(keys.fence(), token));
            scripts::publish(&Publication { keys, namespace, messages, now: &now }, fence.as_ref())
        });
        let replies = self.redis.call_all(calls).await?;
        let mut replies: Vec<_> = replies.into_iter().map(|reply| reply.map(Vec::into_iter)).collect();
        // A group has its messages in the order of the items, so each item takes the next reply of its group.
        let mut next = |group: usize| match replies.get_mut(group) {
            Some(Ok(replies)) => replies.next().ok_or_else(|| RedisFault::bad_reply(MissingReply, Effect::Write)),
            Some(Err(fault)) => Err(fault.clone()),
            None => Err(RedisFault::bad_reply(MissingReply, Effect::Write)),
        };
        let results = items.iter().zip(places).map(|((channel, message), (own, mirrored))| {
            let mut read = |group: Result<usize, EventsError>| next(group?)?.into_result(channel, message);
            let own = read(own);
            // Read in any case, for the next message of its group.
            let mirrored = mirrored.map(read);
            let is_partial = own.is_ok() || matches!(mirrored, Some(Ok(_)));
            let published = own.and_then(|published| mirrored.transpose().map(|_| published));
            published.map_err(|error| match error {
                EventsError::Redis(fault) if is_partial => fault.partly_applied().into(),
                other => other,
            })
        });
        Ok(results.collect())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the script replied for fewer messages than it was called with")]
struct MissingReply;
