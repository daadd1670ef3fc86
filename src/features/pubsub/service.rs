//! What clients do with channels: publish, read the history, wait for messages.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::access::{Verb, may};
use super::channel_token::ChannelTokens;
use super::channels::Channels;
use super::control::{self, ControlMessage, Order};
use super::delivery::Position;
use super::error::PubSubError;
use super::event_types;
use super::metrics::PubSubMetrics;
use super::model::{HistoryReply, PAGE_BYTES, PresenceReply, PublishReply, PublishRequest};
use super::presence::Presence;
use super::sockets::Sockets;
use super::subscriber::{Subscribed, Subscriber};
use super::subscription::{Delivering, Event};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::events::{ChannelName, Events, EventsError, HistoryOrder, HistoryRange, Message, Namespace, PubSubConfig};
use crate::http::auth::Principal;
use crate::lifecycle::{Phase, Tasks, large_work};
use crate::redis::{FencingToken, Outcome, Redis, RedisFault};

/// Serves the channels.
#[derive(Debug)]
pub(super) struct PubSubService {
    pub config: PubSubConfig,
    pub redis: Redis,
    pub events: Events,
    pub channels: Arc<Channels>,
    pub presence: Arc<Presence>,
    pub sockets: Arc<Sockets>,
    /// Absent without a secret.
    pub tokens: Option<ChannelTokens>,
    pub metrics: PubSubMetrics,
    pub clock: Clock,
    pub tasks: Tasks,
    pub phase: Phase,
    /// The origins whose pages may connect.
    pub origins: Vec<String>,
    /// The most bytes of a JSON body.
    pub body_limit: usize,
    /// The longest pause in a streamed body.
    pub body_idle: Duration,
}

/// The largest frame of a client, beside the data of a message that it publishes.
const FRAME_OVERHEAD: usize = 4 << 10;

impl PubSubService {
    pub(super) fn new(deps: &Deps, config: PubSubConfig, http: HttpConfig) -> Arc<Self> {
        let namespaces = config.namespaces.iter().map(|namespace| namespace.pattern.as_str());
        let metrics = PubSubMetrics::new(&deps.metrics, namespaces);
        // One credential leaves half of all connections to others.
        let sockets_per_caller = config.sockets_per_caller.min(http.max_connections.div_ceil(2));
        let sockets = Sockets::new(config.max_sockets, sockets_per_caller);
        let redis = deps.redis.state.clone();
        let presence = Presence::new(deps.events.clone(), redis.clone(), deps.clock.clone());
        let writer = Arc::clone(&presence);
        deps.tasks.plan("pubsub.presence", |stop| writer.run(stop));
        let channels = Channels::new(deps, metrics.clone(), &sockets);
        let (ruled, configs) = (Arc::clone(&channels), deps.configs.subscribe());
        deps.tasks.plan("pubsub.rules", |stop| follow(ruled, configs, stop));
        Arc::new(Self {
            presence,
            tokens: config.token_secret.as_ref().map(|secret| ChannelTokens::new(secret.expose())),
            channels,
            sockets,
            redis,
            config,
            events: deps.events.clone(),
            metrics,
            clock: deps.clock.clone(),
            tasks: deps.tasks.clone(),
            phase: deps.phase.clone(),
            origins: http.cors_origins,
            body_limit: http.body_limit.as_usize(),
            body_idle: http.body_idle_timeout.duration(),
        })
    }

    /// The largest frame of a client, bytes.
    pub(super) fn largest_frame(&self) -> usize {
        self.config.message_limit.as_usize() + FRAME_OVERHEAD
    }

    /// The rules of a channel, if the caller may do this with it.
    ///
    /// # Errors
    /// [`PubSubError::Forbidden`], [`PubSubError::Unauthenticated`], or an unknown channel.
    pub(super) fn require(
        &self,
        caller: Option<&Principal>,
        verb: Verb,
        channel: &ChannelName,
    ) -> Result<Arc<Namespace>, PubSubError> {
        let namespace = self.events.namespace(channel)?;
        may(caller, verb, channel, &namespace, false)?;
        Ok(namespace)
    }

    /// Refuses a caller whose token is revoked.
    ///
    /// # Errors
    /// [`PubSubError::Revoked`].
    pub(super) async fn refuse_revoked(&self, caller: Option<&Principal>) -> Result<(), PubSubError> {
        match caller {
            Some(caller) if self.channels.revocations.is_revoked(caller).await => Err(PubSubError::Revoked),
            _ => Ok(()),
        }
    }

    /// The rules of a channel, if the caller may read it and its token is not revoked.
    ///
    /// # Errors
    /// Those of [`PubSubService::require`], or [`PubSubError::Revoked`].
    pub(super) async fn admit_reader(
        &self,
        caller: Option<&Principal>,
        channel: &ChannelName,
    ) -> Result<Arc<Namespace>, PubSubError> {
        self.refuse_revoked(caller).await?;
        self.require(caller, Verb::Subscribe, channel)
    }

    /// Checks a message before it is published.
    ///
    /// # Errors
    /// [`PubSubError`] of the field, the schema or the permission.
    pub(super) fn check(
        &self,
        caller: Option<&Principal>,
        channel: &ChannelName,
        request: PublishRequest,
    ) -> Result<Message, PubSubError> {
        let namespace = self.require(caller, Verb::Publish, channel)?;
        let limit = self.config.message_limit.as_usize();
        let size = request.data.get().len();
        if size > limit {
            return Err(PubSubError::TooLarge { limit, size });
        }
        let message = request.into_message()?;
        if let Some(family) = &namespace.schema {
            event_types::check(family, &message.message_type, &message.data)?;
        }
        Ok(message)
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// [`PubSubError`]; after a fault with an unknown outcome, repeat it with the same id.
    pub(super) async fn publish(
        &self,
        caller: Option<&Principal>,
        channel: ChannelName,
        request: PublishRequest,
        token: Option<FencingToken>,
    ) -> Result<PublishReply, PubSubError> {
        let message = self.check(caller, &channel, request)?;
        let published = self.events.publish(&channel, &message, token).await;
        self.count(&channel, published.as_ref());
        Ok(PublishReply::new(channel, message.id, published?))
    }

    /// Publishes messages that have been checked, in one round trip.
    ///
    /// # Errors
    /// [`RedisFault`] if the round trip as a whole failed.
    pub(super) async fn publish_all(
        &self,
        items: Vec<(ChannelName, Message)>,
    ) -> Result<Vec<Result<PublishReply, PubSubError>>, RedisFault> {
        let borrowed: Vec<_> = items.iter().map(|(channel, message)| (channel, message)).collect();
        let results = self.events.publish_all(&borrowed).await?;
        let pairs = items.into_iter().zip(results);
        Ok(pairs
            .map(|((channel, message), published)| {
                self.count(&channel, published.as_ref());
                Ok(PublishReply::new(channel, message.id, published?))
            })
            .collect())
    }

    fn count(&self, channel: &ChannelName, published: Result<&crate::events::Published, &EventsError>) {
        let outcome = match published {
            Ok(published) if published.duplicate => "duplicate",
            Ok(_) => "published",
            Err(EventsError::Superseded { .. }) => "superseded",
            Err(EventsError::Redis(_)) => "failed",
            Err(EventsError::UnknownChannel { .. } | EventsError::LatestFull { .. }) => "refused",
        };
        let namespace = self.events.namespace(channel).ok();
        let pattern = namespace.as_ref().map_or("", |namespace| namespace.pattern.as_str());
        self.metrics.published.with_label_values(&[pattern, outcome]).inc();
    }

    /// Sends an order to the connections of all replicas, and records who gave it.
    ///
    /// # Errors
    /// [`PubSubError::Invalid`], or a fault of Redis.
    pub(super) async fn order(&self, order: Order, by: &Principal) -> Result<(), PubSubError> {
        order.check()?;
        if order.revoke {
            // Tokens count seconds.
            let before = self.clock.now().div_euclid(1_000) * 1_000;
            self.channels.revocations.revoke(&order.subject, before).await?;
            let revoked = ControlMessage::Revoked { subject: order.subject.clone(), before };
            control::send(&self.redis, &revoked).await.map_err(after_revocation)?;
        }
        let sent = control::send(&self.redis, &ControlMessage::Order(order.clone())).await;
        sent.map_err(|fault| if order.revoke { after_revocation(fault) } else { fault })?;
        let Order { subject, client, channel, revoke } = order;
        let channel = channel.as_ref().map(ChannelName::as_str);
        let text = if channel.is_some() { "subscriptions ended" } else { "real-time clients disconnected" };
        tracing::warn!(target: "audit", subject, client, channel, revoke, by = %by.id, "{text}");
        Ok(())
    }

    /// The clients of a channel; only their numbers unless `is_list`.
    ///
    /// # Errors
    /// [`PubSubError::PresenceDisabled`], or a fault of Redis.
    pub(super) async fn presence(&self, channel: &ChannelName, is_list: bool) -> Result<PresenceReply, PubSubError> {
        if !self.events.namespace(channel)?.presence {
            return Err(PubSubError::PresenceDisabled { channel: channel.clone() });
        }
        let presence = if is_list { self.presence.list(channel).await } else { self.presence.count(channel).await };
        Ok(presence?)
    }

    /// Deletes the stored messages of a channel, and records who did it.
    ///
    /// # Errors
    /// [`PubSubError::Events`].
    pub(super) async fn clear_history(&self, channel: &ChannelName, by: &Principal) -> Result<(), PubSubError> {
        self.events.clear(channel).await?;
        tracing::warn!(target: "audit", %channel, by = %by.id, "channel history deleted");
        Ok(())
    }

    /// Reads a page of the history, of at most `limit` messages and `bytes`; a larger message comes alone.
    ///
    /// # Errors
    /// [`PubSubError::Events`].
    pub(super) async fn history(
        &self,
        channel: &ChannelName,
        since: Option<Position>,
        order: HistoryOrder,
        limit: usize,
        bytes: usize,
    ) -> Result<HistoryReply, PubSubError> {
        let offset = since.as_ref().map(|since| since.offset);
        let mut history = self.events.history(channel, HistoryRange { order, offset, limit, bytes }).await?;
        let mut recovered = None;
        if let Some(since) = &since {
            let is_same = *since.epoch == *history.epoch;
            let reaches = since.offset <= history.offset && history.first.is_none_or(|first| first <= since.offset + 1);
            let is_whole = is_same && reaches && (history.first.is_some() || since.offset == history.offset);
            recovered = (order == HistoryOrder::Asc).then_some(is_whole);
            if !is_same {
                // Offsets of another epoch say nothing about these messages. The position is taken from this read as well: it may
                // already have further messages.
                let range = HistoryRange { order, offset: None, limit, bytes };
                history = self.events.history(channel, range).await?;
            }
        }
        let items: Vec<_> = history.messages.into_iter().filter_map(|text| RawValue::from_string(text).ok()).collect();
        let last = items.last().filter(|_| history.has_more).and_then(|last| offset_of(last));
        let next_cursor = last.map(|offset| format!("{}.{offset}", history.epoch));
        Ok(HistoryReply { items, offset: history.offset, epoch: history.epoch, recovered, next_cursor })
    }

    /// Reads the messages after a position, or after now, and waits for the first if there is none.
    ///
    /// # Errors
    /// [`PubSubError::Events`].
    pub(super) async fn wait(
        &self,
        channel: &ChannelName,
        since: Option<Position>,
        limit: usize,
        wait: Duration,
    ) -> Result<HistoryReply, PubSubError> {
        let mut subscriber = Subscriber::new(&self.channels);
        let Subscribed { mut position, mut recovered, mut messages } =
            subscriber.subscribe(channel, since, Delivering::default()).await?;
        let mut events = Vec::new();
        let deadline = tokio::time::Instant::now() + wait;
        while messages.is_empty() && recovered != Some(false) {
            let ready = large_work::idle(tokio::time::timeout_at(deadline, subscriber.ready())).await;
            subscriber.collect(PAGE_BYTES, &mut events).await;
            for event in events.drain(..) {
                match event {
                    Event::Message { delivery, .. } => messages.push(delivery),
                    Event::Gap(_) => recovered = Some(false),
                    Event::Presence { .. } | Event::Stale | Event::Fresh => {}
                }
            }
            if ready.is_err() || self.phase.is_draining() {
                break;
            }
        }
        if let Some((_, reached)) = subscriber.positions().next() {
            position = reached.clone();
        }
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        if let Some(last) = messages.last().filter(|_| has_more) {
            // The next call begins here.
            position = last.position();
        }
        let next_cursor = has_more.then(|| format!("{}.{}", position.epoch, position.offset));
        let raw = |delivery: &Arc<super::delivery::Delivery>| RawValue::from_string(delivery.text().to_string()).ok();
        let items = messages.iter().filter_map(raw).collect();
        Ok(HistoryReply { items, offset: position.offset, epoch: position.epoch.into(), recovered, next_cursor })
    }
}

/// Applies the namespaces of each reloaded configuration until `stop`. Other settings need a restart.
async fn follow(channels: Arc<Channels>, mut configs: watch::Receiver<Config>, stop: CancellationToken) {
    while let Some(Ok(())) = stop.run_until_cancelled(configs.changed()).await {
        let section = configs.borrow_and_update().section::<PubSubConfig>();
        match section {
            Ok(section) => {
                channels.events.replace_namespaces(section.namespaces);
                channels.apply_rules();
            }
            // Unexpected: a reload validates the configuration first.
            Err(error) => tracing::error!(%error, "invalid namespaces ignored: the previous ones stay in force"),
        }
    }
}

/// A part of the order is carried out.
fn after_revocation(mut fault: RedisFault) -> RedisFault {
    fault.outcome = Outcome::Unknown;
    fault
}

fn offset_of(message: &RawValue) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        offset: u64,
    }
    serde_json::from_str::<Numbered>(message.get()).ok().map(|numbered| numbered.offset)
}
