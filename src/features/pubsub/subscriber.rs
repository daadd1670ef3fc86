//! The subscriptions of one connection, whatever its protocol: where it is in each channel, and what it receives next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::Channel;
use super::channels::Channels;
use super::delivery::{Delivery, Position};
use super::error::PubSubError;
use super::hub::{Hub, Registration, Signal};
use super::presence::Attendance;
use super::subscription::{Delivering, Event, Subscription};
use crate::events::{ChannelName, Keep};
use crate::redis::{Effect, FaultKind, Outcome, RedisFault};

/// The most subscriptions of one connection.
pub(super) const MAX_SUBSCRIPTIONS: usize = 128;
/// The most messages that a subscription recovers.
const MAX_RECOVERED: u64 = 300;
/// About how many bytes of them it begins with. The others follow as those of a slow client do, so that clients that recover
/// and do not read take no memory.
const RECOVERED_BYTES: usize = 128 << 10;
/// The pause before the log is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// A new subscription.
#[derive(Debug)]
pub(super) struct Subscribed {
    /// Where the subscription begins, after the recovered messages.
    pub position: Position,
    /// Whether no message since the requested position is missing: those that are not among `messages` follow; `None`: no
    /// position was requested.
    pub recovered: Option<bool>,
    pub messages: Vec<Arc<Delivery>>,
}

/// The subscriptions of one connection.
#[derive(Debug)]
pub(super) struct Subscriber {
    channels: Arc<Channels>,
    hub: Arc<Hub>,
    signal: Arc<Signal>,
    subscriptions: Vec<Subscription>,
    is_stale: bool,
}

impl Subscriber {
    /// A subscriber that is used on the current thread.
    pub(super) fn new(channels: &Arc<Channels>) -> Self {
        let (hub, signal) = (channels.hub(), Arc::default());
        Self { channels: Arc::clone(channels), hub, signal, subscriptions: Vec::new(), is_stale: false }
    }

    /// What wakes the connection.
    pub(super) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Subscribes to a channel, and recovers the messages since a position.
    ///
    /// # Errors
    /// - [`PubSubError::AlreadySubscribed`], [`PubSubError::TooManySubscriptions`].
    /// - [`PubSubError::Events`] if there is no such channel, or if Redis does not confirm the subscription in time.
    pub(super) async fn subscribe(
        &mut self,
        name: &ChannelName,
        since: Option<Position>,
        delivering: Delivering,
    ) -> Result<Subscribed, PubSubError> {
        if self.is_subscribed(name) {
            return Err(PubSubError::AlreadySubscribed { channel: name.clone() });
        }
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS {
            return Err(PubSubError::TooManySubscriptions { limit: MAX_SUBSCRIPTIONS });
        }
        let namespace = self.channels.events.namespace(name)?;
        let registration = Arc::new(Registration::new(Arc::clone(&self.signal)));
        let (channel, id) = self.channels.join(name, &namespace, &self.hub, Arc::clone(&registration));
        self.channels.metrics.subscriptions.inc();
        let start = Position { epoch: Box::default(), offset: 0 };
        let (_, presence_seen) = channel.presence.last();
        // Dropped with its registration if anything below fails.
        let mut subscription = Joined {
            channels: Arc::clone(&self.channels),
            hub: Arc::clone(&self.hub),
            subscription: Some(Subscription {
                channel,
                id,
                registration,
                since: Instant::now(),
                position: start,
                delivering,
                is_pending: true,
                due: None,
                presence_seen,
                attendance: None,
            }),
        };
        let subscribed = subscription.begin(since).await?;
        if let Some(subscription) = subscription.subscription.take() {
            self.subscriptions.push(subscription);
        }
        Ok(subscribed)
    }

    /// Returns whether there was such a subscription.
    pub(super) fn unsubscribe(&mut self, name: &ChannelName) -> bool {
        let Some(at) = self.subscriptions.iter().position(|subscription| subscription.channel.name == *name) else {
            return false;
        };
        let subscription = self.subscriptions.swap_remove(at);
        leave(&self.channels, &self.hub, &subscription);
        true
    }

    /// Shows the client to others as long as it is subscribed to a channel.
    pub(super) fn attend(&mut self, name: &ChannelName, join: impl FnOnce() -> Attendance) {
        if let Some(subscription) = self.subscriptions.iter_mut().find(|known| known.channel.name == *name) {
            // A former attendance ends before this one begins.
            subscription.attendance = None;
            subscription.attendance = Some(join());
        }
    }

    pub(super) fn is_subscribed(&self, name: &ChannelName) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.channel.name == *name)
    }

    /// The channels of the subscriptions.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Arc<Channel>> {
        self.subscriptions.iter().map(|subscription| &subscription.channel)
    }

    /// The positions behind the last delivered messages, by channel.
    pub(super) fn positions(&self) -> impl Iterator<Item = (&ChannelName, &Position)> {
        self.subscriptions.iter().map(|subscription| (&subscription.channel.name, &subscription.position))
    }

    /// Resolves when [`Subscriber::collect`] may return something.
    pub(super) async fn ready(&self) {
        let pending = self.subscriptions.iter().filter(|subscription| subscription.is_pending);
        match pending.map(|subscription| subscription.due).min() {
            Some(None) => {}
            Some(Some(due)) => {
                tokio::select! {
                    () = self.signal.fired() => {}
                    () = tokio::time::sleep_until(due.into()) => {}
                }
            }
            None => self.signal.fired().await,
        }
    }

    /// Adds what is due to `events`, about `budget` bytes of it.
    pub(super) async fn collect(&mut self, budget: usize, events: &mut Vec<Event>) {
        let is_stale = self.channels.is_stale();
        if is_stale != self.is_stale {
            self.is_stale = is_stale;
            events.push(if is_stale { Event::Stale } else { Event::Fresh });
        }
        let now = Instant::now();
        let mut left = budget;
        for subscription in &mut self.subscriptions {
            subscription.is_pending |= subscription.registration.take_news();
            if left == 0 || !subscription.is_pending || subscription.due.is_some_and(|due| due > now) {
                continue;
            }
            subscription.due = subscription.delivering.interval.map(|interval| now + interval);
            let before = events.len();
            let delivered = subscription.deliver(&self.channels, left, events).await;
            if delivered.is_err() {
                subscription.due = Some(now + RETRY);
            } else if events.len() == before {
                // Nothing was sent, so the next message need not wait.
                subscription.due = None;
            }
            left = left.saturating_sub(events.iter().skip(before).map(Event::size).sum());
        }
        // The subscription whose messages exhausted the budget must not always be the first.
        if left == 0 && self.subscriptions.len() > 1 {
            self.subscriptions.rotate_left(1);
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        for subscription in &self.subscriptions {
            leave(&self.channels, &self.hub, subscription);
        }
    }
}

fn leave(channels: &Channels, hub: &Arc<Hub>, subscription: &Subscription) {
    subscription.channel.leave(hub, subscription.id);
    channels.metrics.subscriptions.dec();
}

/// Redis denies the service the channel: see `users.acl`.
fn denied() -> RedisFault {
    RedisFault::new(FaultKind::Denied, Outcome::NotApplied)
}

/// A subscription that has joined its channel; it leaves if it does not begin.
struct Joined {
    channels: Arc<Channels>,
    hub: Arc<Hub>,
    subscription: Option<Subscription>,
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(subscription) = &self.subscription {
            leave(&self.channels, &self.hub, subscription);
        }
    }
}

impl Joined {
    async fn begin(&mut self, since: Option<Position>) -> Result<Subscribed, PubSubError> {
        let channels = Arc::clone(&self.channels);
        let Some(subscription) = &mut self.subscription else {
            return Err(PubSubError::TooManySubscriptions { limit: MAX_SUBSCRIPTIONS });
        };
        if channels.is_disconnected() && !subscription.channel.is_live() {
            return Err(RedisFault::new(FaultKind::Unavailable, Outcome::NotApplied).into());
        }
        // The subscription and the newest messages take a round trip each.
        let patience = 2 * channels.events.timeout();
        let late = |_| RedisFault::timeout(Effect::Read);
        if subscription.delivering.snapshot {
            let snapshot = tokio::time::timeout(patience, channels.snapshot(&subscription.channel));
            let (messages, position) = snapshot.await.map_err(late)?.ok_or_else(denied)?;
            subscription.position = position.clone();
            return Ok(Subscribed { position, recovered: None, messages });
        }
        let live = channels.live(&subscription.channel, since.as_ref());
        let now = tokio::time::timeout(patience, live).await.map_err(late)??.ok_or_else(denied)?;
        let Some(since) = since else {
            subscription.position = now.clone();
            return Ok(Subscribed { position: now, recovered: None, messages: Vec::new() });
        };
        let is_too_old =
            subscription.channel.keep() == Keep::Log && now.offset.saturating_sub(since.offset) > MAX_RECOVERED;
        if !now.reaches(&since) || is_too_old {
            subscription.position = now.clone();
            return Ok(Subscribed { position: now, recovered: Some(false), messages: Vec::new() });
        }
        subscription.position = since;
        let (mut events, mut messages, mut left) = (Vec::new(), Vec::new(), RECOVERED_BYTES);
        loop {
            let is_complete = subscription.step(&channels, left, &mut events).await?;
            let mut is_whole = true;
            for event in events.drain(..) {
                left = left.saturating_sub(event.size());
                match event {
                    Event::Message { delivery, .. } => messages.push(delivery),
                    Event::Gap(_) => is_whole = false,
                    Event::Presence { .. } | Event::Stale | Event::Fresh => {}
                }
            }
            if !is_whole {
                break;
            }
            if is_complete || left == 0 {
                return Ok(Subscribed { position: subscription.position.clone(), recovered: Some(true), messages });
            }
        }
        // Messages are missing: the subscription begins now.
        let position = subscription.channel.live().await.ok_or_else(denied)?;
        subscription.position = position.clone();
        Ok(Subscribed { position, recovered: Some(false), messages: Vec::new() })
    }
}
