//! Who is subscribed to the channels whose namespace shows presence.
//!
//! Each replica writes its own clients to Redis: changes once a second, and all of them every 25 s, because a client that
//! is not written again expires after 60 s. What changed reaches all replicas as one digest per channel, and subscribers at
//! most once a second: a message for every change of every client would grow with the square of the clients.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::control::{self, ControlMessage};
use super::model::PresenceReply;
use super::presence_digest::{PresenceDigest, fitting};
use crate::clock::Clock;
use crate::events::{ChannelName, Events, Member, PresenceUpdate};
use crate::redis::{Redis, RedisFault};

/// How often changes are written.
const TICK: Duration = Duration::from_secs(1);
/// How often all clients are written.
const REFRESH: Duration = Duration::from_secs(25);
/// The most clients that one script writes, and the most that it removes.
const CHUNK: usize = 500;
/// The most clients that wait to be removed. Further ones expire.
const MAX_LEFT: usize = 10_000;
/// The most clients of a list, and its most bytes: a reply must fit into the buffer of a socket.
const LISTED: usize = 1_000;
const LIST_BYTES: usize = 128 << 10;

/// The subscribed clients of this replica.
#[derive(Debug)]
pub(super) struct Presence {
    events: Events,
    redis: Redis,
    clock: Clock,
    channels: Mutex<HashMap<ChannelName, LocalMembers>>,
}

/// The clients of this replica in one channel.
#[derive(Debug, Default)]
struct LocalMembers {
    subscribed: BTreeMap<String, LocalMember>,
    /// Clients whose removal is not written yet.
    left: BTreeSet<String>,
    /// Whether something is not written yet.
    is_pending: bool,
    /// When all clients were last written, on [`Clock::elapsed`].
    refreshed: Duration,
}

#[derive(Debug)]
struct LocalMember {
    subject: String,
    is_written: bool,
}

/// A client that counts as subscribed to a channel until this is dropped.
#[derive(Debug)]
pub(super) struct Attendance {
    presence: Arc<Presence>,
    channel: ChannelName,
    client: String,
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.presence.leave(&self.channel, &self.client);
    }
}

/// What one script writes. Unless it is written, it is pending again when this is dropped.
struct Changes<'a> {
    presence: &'a Presence,
    channel: &'a ChannelName,
    subscribed: Vec<Member>,
    left: Vec<String>,
    is_last: bool,
    is_written: bool,
}

impl Drop for Changes<'_> {
    fn drop(&mut self) {
        if self.is_written || (self.subscribed.is_empty() && self.left.is_empty()) {
            return;
        }
        let mut channels = self.presence.lock();
        let local = channels.entry(self.channel.clone()).or_default();
        local.is_pending = true;
        let subscribed = self.subscribed.iter().map(|member| &member.client);
        for client in subscribed.chain(&self.left) {
            if let Some(member) = local.subscribed.get_mut(client) {
                member.is_written = false;
            }
        }
        local.left.extend(std::mem::take(&mut self.left));
    }
}

impl Presence {
    pub(super) fn new(events: Events, redis: Redis, clock: Clock) -> Arc<Self> {
        Arc::new(Self { events, redis, clock, channels: Mutex::default() })
    }

    /// Counts a client as subscribed until the result is dropped.
    pub(super) fn join(self: &Arc<Self>, channel: &ChannelName, member: Member) -> Attendance {
        let Member { client, subject } = member;
        let mut channels = self.lock();
        let local = channels
            .entry(channel.clone())
            .or_insert_with(|| LocalMembers { refreshed: self.clock.elapsed(), ..LocalMembers::default() });
        local.subscribed.insert(client.clone(), LocalMember { subject, is_written: false });
        local.is_pending = true;
        drop(channels);
        Attendance { presence: Arc::clone(self), channel: channel.clone(), client }
    }

    fn leave(&self, channel: &ChannelName, client: &str) {
        if let Some(local) = self.lock().get_mut(channel)
            && local.subscribed.remove(client).is_some()
        {
            local.is_pending = true;
            if local.left.len() < MAX_LEFT {
                local.left.insert(client.to_owned());
            }
        }
    }

    /// The clients of a channel at all replicas; those of other replicas may be a second old.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn list(&self, channel: &ChannelName) -> Result<PresenceReply, RedisFault> {
        let mut reply = self.count(channel).await?;
        if reply.clients <= LISTED {
            let members = self.events.members(channel).await?;
            reply.members = Some(members).filter(|members| fitting(members, LIST_BYTES) == members.len());
        }
        Ok(reply)
    }

    /// The numbers of clients and subjects of a channel at all replicas.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn count(&self, channel: &ChannelName) -> Result<PresenceReply, RedisFault> {
        let PresenceUpdate { clients, subjects, .. } = self.write(channel).await?;
        Ok(PresenceReply { clients, subjects, members: None })
    }

    /// Writes changes every second and all clients every 25 s, until `stop`; then removes the clients of this replica.
    pub(super) async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(TICK) => {}
            }
            self.write_due().await;
        }
        for local in self.lock().values_mut() {
            local.left.extend(std::mem::take(&mut local.subscribed).into_keys());
            local.is_pending = true;
        }
        self.write_due().await;
    }

    async fn write_due(&self) {
        for channel in self.due() {
            if let Err(fault) = self.write(&channel).await {
                tracing::debug!(%fault, %channel, "could not write who is subscribed");
                return;
            }
        }
    }

    /// The channels with something to write.
    fn due(&self) -> Vec<ChannelName> {
        let now = self.clock.elapsed();
        let mut channels = self.lock();
        channels.retain(|_, local| local.is_pending || !local.subscribed.is_empty());
        for local in channels.values_mut().filter(|local| now.saturating_sub(local.refreshed) >= REFRESH) {
            local.refreshed = now;
            local.is_pending = true;
            local.subscribed.values_mut().for_each(|member| member.is_written = false);
        }
        channels.iter().filter(|(_, local)| local.is_pending).map(|(channel, _)| channel.clone()).collect()
    }

    /// Writes what is pending, and returns the presence of the channel after it.
    ///
    /// Two writes may overtake each other: then a client that left is listed until it expires.
    async fn write(&self, channel: &ChannelName) -> Result<PresenceUpdate, RedisFault> {
        loop {
            let mut changes = self.take(channel);
            let update = self.events.update_presence(channel, &changes.subscribed, &changes.left).await?;
            changes.is_written = true;
            self.publish(channel, &update).await;
            if changes.is_last {
                return Ok(update);
            }
        }
    }

    /// Takes what one script can write.
    fn take<'a>(&'a self, channel: &'a ChannelName) -> Changes<'a> {
        let (subscribed, left) = (Vec::new(), Vec::new());
        let mut changes = Changes { presence: self, channel, subscribed, left, is_last: true, is_written: false };
        if let Some(local) = self.lock().get_mut(channel).filter(|local| local.is_pending) {
            while changes.left.len() < CHUNK
                && let Some(client) = local.left.pop_first()
            {
                changes.left.push(client);
            }
            // A client that left and came back is removed first.
            let room = if local.left.is_empty() { CHUNK } else { 0 };
            for (client, member) in local.subscribed.iter_mut().filter(|(_, member)| !member.is_written).take(room) {
                member.is_written = true;
                changes.subscribed.push(Member { client: client.clone(), subject: member.subject.clone() });
            }
            local.is_pending = changes.subscribed.len() == room;
            changes.is_last = !local.is_pending;
        }
        changes
    }

    /// Sends a digest to all replicas. If that fails, subscribers learn the number of clients from the next one.
    async fn publish(&self, channel: &ChannelName, update: &PresenceUpdate) {
        let PresenceUpdate { clients, joined, left, .. } = update;
        if joined.is_empty() && left.is_empty() {
            return;
        }
        let (joined, left) = (joined.clone(), left.clone());
        let mut digest = PresenceDigest { channel: channel.clone(), joined, left, count: *clients, truncated: false };
        digest.shorten();
        if let Err(fault) = control::send(&self.redis, &ControlMessage::Presence(digest)).await {
            tracing::debug!(%fault, %channel, "could not send who joined and left");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ChannelName, LocalMembers>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
