//! One subscription: where a connection is in a channel, and what it receives next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::channel::Channel;
use super::channels::Channels;
use super::delivery::{Delivery, Position, within};
use super::error::PubSubError;
use super::filter::Filter;
use super::hub::Registration;
use super::presence::Attendance;
use super::presence_digest::PresenceDigest;
use super::ring::Found;
use crate::events::{ChannelName, Keep};

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
    /// Tell who joins and leaves.
    pub presence: bool,
}

/// Which messages a subscription receives.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    #[default]
    All,
    Latest,
}

impl Delivering {
    /// Checks what a client asks for; without snapshot and presence.
    ///
    /// # Errors
    /// [`PubSubError::Invalid`], naming the field.
    pub(super) fn new(mode: Mode, max_rate: Option<f64>, filter: Option<Filter>) -> Result<Self, PubSubError> {
        if let Some(filter) = &filter {
            filter.check().map_err(|rule| PubSubError::invalid("/filter", rule))?;
        }
        let interval = match max_rate {
            None => None,
            Some(rate) if (0.01..=1_000.0).contains(&rate) => Some(Duration::from_secs_f64(1.0 / rate)),
            Some(rate) => {
                let rule = format!("must be between 0.01 and 1000, got {rate}");
                return Err(PubSubError::invalid("/max_rate", rule));
            }
        };
        Ok(Self { interval, latest_only: mode == Mode::Latest, filter, ..Self::default() })
    }
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
    Presence {
        digest: Arc<PresenceDigest>,
        /// The subscriber did not receive the digest before it.
        is_incomplete: bool,
    },
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

/// A position in one channel.
#[derive(Debug)]
pub(super) struct Subscription {
    pub channel: Arc<Channel>,
    pub id: u64,
    pub registration: Arc<Registration>,
    pub since: Instant,
    pub position: Position,
    pub delivering: Delivering,
    /// Something is new that was not delivered yet.
    pub is_pending: bool,
    /// When the next delivery is due at the earliest.
    pub due: Option<Instant>,
    /// The number of the last digest of the presence that was delivered.
    pub presence_seen: u64,
    /// Shows the client to others until the subscription ends.
    pub attendance: Option<Attendance>,
}

impl Subscription {
    /// Adds what is due to `events`, about `budget` bytes of it.
    ///
    /// # Errors
    /// A fault of Redis; the subscription goes on where it was.
    pub(super) async fn deliver(
        &mut self,
        channels: &Channels,
        budget: usize,
        events: &mut Vec<Event>,
    ) -> Result<(), PubSubError> {
        let begin = events.len();
        if self.delivering.presence
            && let (Some(digest), count) = self.channel.presence.last()
            && count > self.presence_seen
        {
            events.push(Event::Presence { digest, is_incomplete: count > self.presence_seen + 1 });
            self.presence_seen = count;
        }
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
    ///
    /// # Errors
    /// A fault of Redis; the subscription goes on where it was.
    pub(super) async fn step(
        &mut self,
        channels: &Channels,
        budget: usize,
        events: &mut Vec<Event>,
    ) -> Result<bool, PubSubError> {
        if self.delivering.latest_only {
            self.deliver_latest(channels, events);
            return Ok(true);
        }
        match self.channel.after(&self.position, budget) {
            Found::UpToDate => Ok(true),
            Found::Messages(messages) => {
                // A client may ask for messages at longer intervals.
                if self.delivering.interval.is_none() {
                    channels.measure(&messages, self.since);
                }
                self.add(messages, events);
                Ok(matches!(self.channel.after(&self.position, 0), Found::UpToDate))
            }
            Found::Behind if self.channel.keep() == Keep::Latest => {
                self.deliver_latest(channels, events);
                Ok(true)
            }
            Found::Behind if self.channel.keep() == Keep::Log => {
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
                let behind = page.messages.iter().filter(|delivery| delivery.offset > self.position.offset);
                let messages = within(budget, behind).cloned().collect();
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
                if self.channel.keep() == Keep::Log {
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
        if let Some(to) = self.channel.forgotten_after(&self.position) {
            self.gap(channels, position.epoch.clone(), to, GapReason::Trimmed, events);
        }
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
    /// Its bytes, roughly.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Message { delivery, .. } => delivery.text().len(),
            Self::Presence { digest, .. } => 64 * (digest.joined.len() + digest.left.len()),
            Self::Gap(_) | Self::Stale | Self::Fresh => 64,
        }
    }
}
