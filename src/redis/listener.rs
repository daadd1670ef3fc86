//! Subscriptions to any number of channels over one separate connection, kept alive in the background.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::{Mutex, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Redis;
use super::fault::{Effect, FaultKind};
use super::key::Key;
use crate::random::unique_text;

/// An event of the subscriptions.
#[derive(Debug)]
pub enum News<'a> {
    /// The subscriptions to these channels are active. Messages published before may have been missed.
    Subscribed(&'a [Key]),
    /// A message and its channel.
    Message { channel: &'a str, payload: &'a [u8] },
    /// Redis denies the service the subscription to this channel, which is not repeated.
    Denied(&'a Key),
    /// A probe arrived: a connection without messages is alive.
    Probed,
    /// The connection is lost; until the channels are subscribed again, messages are missed.
    Lost,
}

/// A change of the channels that a listener follows.
#[derive(Clone, Debug)]
pub enum ListenerChange {
    Subscribe(Key),
    Unsubscribe(Key),
}

/// The probe of all listeners of a server in this process: each hears those of the others, so one of them publishes for all.
#[derive(Debug, Default)]
pub(super) struct ListenerProbe {
    channel: OnceLock<Key>,
    /// When the last one was published.
    published: Mutex<Option<Instant>>,
}

/// A connection without messages is probed after this time ...
const SILENCE: Duration = Duration::from_secs(5);
/// ... and replaced if the probe does not arrive within this time.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// A connection that does not hear a probe of this age is about to hear it, or does not hear it at all.
const PROBE_IS_RECENT: Duration = Duration::from_secs(2);
/// The most channels of one SUBSCRIBE.
const CHUNK: usize = 512;

impl Redis {
    /// Follows the channels that `changes` names, until `stop` or until nothing can send changes any more. A lost connection is replaced, with full jitter.
    ///
    /// The probe is a published message: a server that no longer receives the messages of the others, such as a former
    /// master, still answers PING.
    pub async fn listen(
        &self,
        changes: &mut mpsc::UnboundedReceiver<ListenerChange>,
        stop: CancellationToken,
        mut deliver: impl FnMut(News<'_>) + Send,
    ) {
        let named = || self.keys().key(format_args!("pubsub:probe:{}", unique_text()));
        let probe = self.0.listener_probe.channel.get_or_init(named);
        let mut channels = BTreeSet::from([probe.clone()]);
        let mut backoff = self.0.limits.backoff;
        loop {
            let subscriber = tokio::select! {
                () = stop.cancelled() => return,
                subscriber = self.0.private_pool.manager().subscriber() => subscriber,
            };
            match subscriber {
                Ok(subscriber) => {
                    backoff.reset();
                    let (sink, messages) = subscriber.split();
                    let mut listener = Listener { redis: self, sink, messages, probe, channels: &mut channels };
                    if listener.run(changes, &stop, &mut deliver).await {
                        return;
                    }
                    deliver(News::Lost);
                }
                Err(error) => tracing::debug!(%error, "subscription failed"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(backoff.pause()) => {}
            }
        }
    }
}

/// One connection with its subscriptions.
struct Listener<'a> {
    redis: &'a Redis,
    sink: PubSubSink,
    messages: PubSubStream,
    probe: &'a Key,
    channels: &'a mut BTreeSet<Key>,
}

impl Listener<'_> {
    /// Delivers until the connection is lost, or until `stop`: then the result is true.
    async fn run(
        &mut self,
        changes: &mut mpsc::UnboundedReceiver<ListenerChange>,
        stop: &CancellationToken,
        deliver: &mut (impl FnMut(News<'_>) + Send),
    ) -> bool {
        let all: Vec<Key> = self.channels.iter().cloned().collect();
        if !self.subscribe(&all, deliver).await {
            return false;
        }
        let mut heard = Instant::now();
        let mut batch = Vec::new();
        // Pinned here, so that a message does not set up either of them again.
        let (mut stopped, mut silence) = (pin!(stop.cancelled()), pin!(tokio::time::sleep(SILENCE)));
        loop {
            tokio::select! {
                () = &mut stopped => return true,
                message = self.messages.next() => {
                    // The stream ends with its connection.
                    let Some(message) = message else { return false };
                    heard = Instant::now();
                    let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
                    let is_probe = channel == self.probe.as_str();
                    deliver(if is_probe { News::Probed } else { News::Message { channel, payload } });
                }
                count = changes.recv_many(&mut batch, CHUNK) => {
                    if count == 0 {
                        return true;
                    }
                    if !self.change(batch.drain(..), deliver).await {
                        return false;
                    }
                }
                () = &mut silence => {
                    if heard.elapsed() >= SILENCE {
                        if !self.is_alive(deliver).await {
                            tracing::debug!("the subscribed connection receives no messages");
                            return false;
                        }
                        heard = Instant::now();
                    }
                    silence.as_mut().reset(heard + SILENCE);
                }
            }
        }
    }

    async fn change(
        &mut self,
        changes: impl Iterator<Item = ListenerChange>,
        deliver: &mut (impl FnMut(News<'_>) + Send),
    ) -> bool {
        let (mut added, mut removed) = (Vec::new(), BTreeSet::new());
        for change in changes {
            match change {
                ListenerChange::Subscribe(channel) => {
                    removed.remove(&channel);
                    self.channels.insert(channel.clone());
                    added.push(channel);
                }
                ListenerChange::Unsubscribe(channel) => {
                    self.channels.remove(&channel);
                    added.retain(|other| *other != channel);
                    removed.insert(channel);
                }
            }
        }
        if !removed.is_empty() {
            let removed: Vec<Key> = removed.into_iter().collect();
            let unsubscribed =
                tokio::time::timeout(self.redis.command_timeout(), self.sink.unsubscribe(&removed)).await;
            if !matches!(unsubscribed, Ok(Ok(()))) {
                return false;
            }
        }
        self.subscribe(&added, deliver).await
    }

    /// Subscribes and reports it. Returns whether the server has confirmed all channels.
    async fn subscribe(&mut self, channels: &[Key], deliver: &mut (impl FnMut(News<'_>) + Send)) -> bool {
        for chunk in channels.chunks(CHUNK) {
            match tokio::time::timeout(self.redis.command_timeout(), self.sink.subscribe(chunk)).await {
                Ok(Ok(())) => deliver(News::Subscribed(chunk)),
                // The others of the chunk may be permitted.
                Ok(Err(error)) if error.code() == Some("NOPERM") => {
                    if let [channel] = chunk {
                        tracing::warn!(channel = channel.as_str(), "Redis denies the subscription: see users.acl");
                        self.channels.remove(channel);
                        deliver(News::Denied(channel));
                    } else {
                        for channel in chunk {
                            if !Box::pin(self.subscribe(std::slice::from_ref(channel), deliver)).await {
                                return false;
                            }
                        }
                    }
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "subscription failed");
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Waits for a probe, which it publishes unless another listener just has. Returns whether the connection still
    /// receives messages.
    async fn is_alive(&mut self, deliver: &mut (impl FnMut(News<'_>) + Send)) -> bool {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        {
            let mut published = self.redis.0.listener_probe.published.lock().await;
            if published.is_none_or(|last| last.elapsed() >= PROBE_IS_RECENT) {
                let mut publish = redis::cmd("PUBLISH");
                publish.arg(self.probe).arg("");
                if let Err(fault) = self.redis.query::<i64>(&publish, Effect::Write).await {
                    // Without the permission to publish it there is no probe, and no reason to doubt the connection.
                    return fault.kind == FaultKind::Denied;
                }
                *published = Some(Instant::now());
            }
        }
        while let Ok(Some(message)) = tokio::time::timeout_at(deadline, self.messages.next()).await {
            let (channel, payload) = (message.get_channel_name(), message.get_payload_bytes());
            if channel == self.probe.as_str() {
                deliver(News::Probed);
                return true;
            }
            deliver(News::Message { channel, payload });
            // Messages of other publishers also show that the connection is alive, but not which server it reaches.
        }
        false
    }
}
