//! The subscriptions of one connection, whatever its protocol: where it is in each channel, and what it receives next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::channel::{Channel, Found};
use super::channels::Channels;
use super::delivery::{Delivery, Position};
use super::error::PubSubError;
use super::filter::Filter;
use super::hub::{Hub, Registration, Signal};
use crate::events::{ChannelName, Keep};
use crate::redis::{Effect, RedisFault};

/// The most subscriptions of one connection.
pub(super) const MAX_SUBSCRIPTIONS: usize = 128;
/// The most messages that a subscription recovers before it begins.
pub(super) const MAX_RECOVERED: usize = 300;
/// The pause before the log is read again after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// How a subscription receives messages.
#[derive(Debug, Default)]
pub(super) struct Delivering {
    /// The shortest time between two deliveries.
    pub interval: Option<Duration>,
    /// Only the newest message of each key, at each delivery.
    pub latest_only: bool,
    pub filter: Option<Filter>,
    /// Begin with the newest message of each key.
    pub snapshot: bool,
}

/// What a connection receives.
#[derive(Debug)]
pub(super) enum Event {
    Message {
        channel: Arc<Channel>,
        delivery: Arc<Delivery>,
        /// How many messages conflation left out before it.
        skipped: u64,
    },
    Gap(Gap),
    /// The connection to Redis has been lost for some time: messages may be late.
    Stale,
    Fresh,
}

/// Messages that a subscriber does not receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub channel: ChannelName,
    /// The first offset that may be missing, in the epoch that the subscriber knows.
    pub from: u64,
    /// The last one, in the epoch from which the subscription goes on.
    pub to: u64,
    pub epoch: Box<str>,
    pub reason: GapReason,
}

/// Why messages are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GapReason {
    /// Redis restarted, failed over or lost its data, or the history was deleted.
    Epoch,
    /// The messages are no longer stored.
    Trimmed,
}

impl GapReason {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Epoch => "epoch",
            Self::Trimmed => "trimmed",
        }
    }
}

/// A new subscription.
#[derive(Debug)]
pub(super) struct Subscribed {
    /// Where the subscription begins, after the recovered messages.
    pub position: Position,
    /// Whether every message since the requested position is among `messages`; `None`: no position was requested.
    pub recovered: Option<bool>,
    pub messages: Vec<Arc<Delivery>>,
}

#[derive(Debug)]
struct Subscription {
    channel: Arc<Channel>,
    id: u64,
    registration: Arc<Registration>,
    position: Position,
    delivering: Delivering,
    /// Something is new that was not delivered yet.
    is_pending: bool,
    /// When the next delivery is due at the earliest.
    due: Option<Instant>,
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
        let namespace = Arc::clone(self.channels.events.namespace(name)?);
        let registration = Arc::new(Registration::new(Arc::clone(&self.signal)));
        let (channel, id) = self.channels.join(name, &namespace, &self.hub, Arc::clone(&registration));
        self.channels.metrics.subscriptions.inc();
        let start = Position { epoch: Box::default(), offset: 0 };
        // Dropped with its registration if anything below fails.
        let mut subscription = Joined {
            channels: Arc::clone(&self.channels),
            hub: Arc::clone(&self.hub),
            subscription: Some(Subscription {
                channel,
                id,
                registration,
                position: start,
                delivering,
                is_pending: true,
                due: None,
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
        // The subscription and the newest messages take a round trip each.
        let live = tokio::time::timeout(2 * channels.events.timeout(), subscription.channel.live()).await;
        let Ok(now) = live else {
            return Err(RedisFault::timeout(Effect::Read).into());
        };
        if subscription.delivering.snapshot {
            let (messages, position) =
                subscription.channel.latest_after(&Position { epoch: Box::default(), offset: 0 });
            subscription.position = position.clone();
            return Ok(Subscribed { position, recovered: None, messages });
        }
        let Some(since) = since else {
            subscription.position = now.clone();
            return Ok(Subscribed { position: now, recovered: None, messages: Vec::new() });
        };
        if since.epoch != now.epoch || since.offset > now.offset {
            subscription.position = now.clone();
            return Ok(Subscribed { position: now, recovered: Some(false), messages: Vec::new() });
        }
        subscription.position = since;
        let (mut events, mut messages) = (Vec::new(), Vec::new());
        while messages.len() < MAX_RECOVERED {
            let is_complete = subscription.step(&channels, usize::MAX, &mut events).await?;
            let mut is_whole = true;
            for event in events.drain(..) {
                match event {
                    Event::Message { delivery, .. } => messages.push(delivery),
                    Event::Gap(_) => is_whole = false,
                    Event::Stale | Event::Fresh => {}
                }
            }
            if !is_whole {
                break;
            }
            if is_complete {
                return Ok(Subscribed { position: subscription.position.clone(), recovered: Some(true), messages });
            }
        }
        // Too much is missing: the subscription begins now.
        let position = subscription.channel.live().await;
        subscription.position = position.clone();
        Ok(Subscribed { position, recovered: Some(false), messages: Vec::new() })
    }
}

impl Subscription {
    async fn deliver(
        &mut self,
        channels: &Channels,
        budget: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), PubSubError> {
        let begin = events.len();
        loop {
            let before = events.len();
            self.is_pending = !self.step(channels, budget, events).await?;
            let size: usize = events.iter().skip(begin).map(Event::size).sum();
            if !self.is_pending || size >= budget || events.len() == before {
                return Ok(());
            }
        }
    }

    /// Adds the next messages. Returns whether the subscription is up to date.
    async fn step(&mut self, channels: &Channels, budget: usize, events: &mut Vec<Event>) -> Result<bool, PubSubError> {
        if self.delivering.latest_only {
            self.deliver_latest(channels, events);
            return Ok(true);
        }
        match self.channel.after(&self.position, budget) {
            Found::UpToDate => Ok(true),
            Found::Messages(messages) => {
                self.add(messages, events);
                Ok(matches!(self.channel.after(&self.position, 0), Found::UpToDate))
            }
            Found::Behind if self.channel.namespace.keep == Keep::Latest => {
                self.deliver_latest(channels, events);
                Ok(true)
            }
            Found::Behind if self.channel.namespace.keep == Keep::Log => {
                let page = channels.read_log(&self.channel, &self.position).await?;
                if page.epoch != self.position.epoch {
                    self.gap(
                        channels,
                        page.epoch.clone(),
                        page.first.unwrap_or(page.top + 1) - 1,
                        GapReason::Epoch,
                        events,
                    );
                    return Ok(false);
                }
                let first = page.first.unwrap_or(page.top + 1);
                if first > self.position.offset + 1 {
                    self.gap(channels, page.epoch.clone(), first - 1, GapReason::Trimmed, events);
                }
                let behind = |delivery: &&Arc<Delivery>| delivery.offset > self.position.offset;
                let messages = page.messages.iter().filter(behind).cloned().collect();
                self.add(messages, events);
                Ok(false)
            }
            Found::Behind => {
                let epoch = self.position.epoch.clone();
                let to = self.channel.first_offset() - 1;
                self.gap(channels, epoch, to, GapReason::Trimmed, events);
                Ok(false)
            }
            Found::NewEpoch(position) => {
                let mut to = position.offset;
                if self.channel.namespace.keep == Keep::Log {
                    // The ring may not reach back to the beginning of the epoch.
                    let start = Position { epoch: position.epoch.clone(), offset: 0 };
                    let page = channels.read_log(&self.channel, &start).await?;
                    to = page.first.unwrap_or(page.top + 1) - 1;
                }
                self.gap(channels, position.epoch, to, GapReason::Epoch, events);
                Ok(false)
            }
        }
    }

    fn add(&mut self, messages: Vec<Arc<Delivery>>, events: &mut Vec<Event>) {
        if let Some(last) = messages.last() {
            self.position = last.position();
        }
        let passes = |delivery: &Arc<Delivery>| {
            self.delivering.filter.as_ref().is_none_or(|filter| filter.passes(&delivery.tags))
        };
        let channel = &self.channel;
        let message = |delivery| Event::Message { channel: Arc::clone(channel), delivery, skipped: 0 };
        events.extend(messages.into_iter().filter(passes).map(message));
    }

    /// Adds the newest message of each key.
    fn deliver_latest(&mut self, channels: &Channels, events: &mut Vec<Event>) {
        let (messages, position) = self.channel.latest_after(&self.position);
        let passed = if position.epoch == self.position.epoch {
            position.offset.saturating_sub(self.position.offset)
        } else {
            0
        };
        let skipped = passed.saturating_sub(u64::try_from(messages.len()).unwrap_or(u64::MAX));
        channels.metrics.skipped.inc_by(skipped);
        let before = events.len();
        self.add(messages, events);
        if let Some(Event::Message { skipped: of_message, .. }) = events.get_mut(before) {
            *of_message = skipped;
        }
        self.position = position;
    }

    /// Goes on behind messages that are missing.
    fn gap(&mut self, channels: &Channels, epoch: Box<str>, to: u64, reason: GapReason, events: &mut Vec<Event>) {
        channels.metrics.gaps.with_label_values(&[reason.text()]).inc();
        let (channel, from) = (self.channel.name.clone(), self.position.offset + 1);
        self.position = Position { epoch: epoch.clone(), offset: to };
        events.push(Event::Gap(Gap { channel, from, to, epoch, reason }));
    }
}

impl Event {
    fn size(&self) -> usize {
        match self {
            Self::Message { delivery, .. } => delivery.text().len(),
            Self::Gap(_) | Self::Stale | Self::Fresh => 64,
        }
    }
}
