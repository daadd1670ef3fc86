//! The channels with subscribers at this replica, fed by one subscribed connection.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::channel::Channel;
use super::control::{ControlMessage, control_channel};
use super::delivery::{Delivery, Position};
use super::error::PubSubError;
use super::hub::{Hub, Registration};
use super::metrics::PubSubMetrics;
use super::revocation::Revocations;
use super::ring::{Accepted, RingBudget};
use super::sockets::Sockets;
use crate::clock::{Clock, UnixMillis};
use crate::deps::Deps;
use crate::events::{CLEARED, ChannelName, Events, HistoryOrder, HistoryRange, Namespace};
use crate::lifecycle::{Component, ComponentHealth, ComponentMember, Finding, Tasks};
use crate::redis::{Key, ListenerChange, News, Redis};

/// How long a channel without subscribers stays subscribed, for clients that reconnect.
const LINGER: Duration = Duration::from_secs(10);
/// How often idle channels are removed.
const SWEEP: Duration = Duration::from_secs(1);
/// Subscribers learn that messages may be late after this time without a subscribed connection.
const STALE_AFTER: Duration = Duration::from_secs(5);
/// New subscriptions are refused at once after this time without a subscribed connection.
const DISCONNECTED_AFTER: Duration = Duration::from_secs(1);
/// How long readiness shows a gap.
const GAPS_SHOWN: Duration = Duration::from_secs(60);

/// Every channel with subscribers at this replica.
#[derive(Debug)]
pub(super) struct Channels {
    pub events: Events,
    pub metrics: PubSubMetrics,
    tasks: Tasks,
    sockets: Arc<Sockets>,
    pub revocations: Revocations,
    control: Key,
    /// By the name of the Redis channel.
    open: Mutex<HashMap<String, Arc<Channel>>>,
    hubs: Mutex<HashMap<ThreadId, Arc<Hub>>>,
    changes: mpsc::UnboundedSender<ListenerChange>,
    loads: mpsc::UnboundedSender<Arc<Channel>>,
    rings: Arc<RingBudget>,
    lost_since: Mutex<Option<Instant>>,
    /// When the last message or probe arrived, Unix milliseconds.
    heard: Mutex<Option<UnixMillis>>,
    clock: Clock,
    is_stale: AtomicBool,
    component_health: ComponentHealth,
}

impl Channels {
    pub(super) fn new(deps: &Deps, metrics: PubSubMetrics, sockets: &Arc<Sockets>) -> Arc<Self> {
        let (changes, to_follow) = mpsc::unbounded_channel();
        let (loads, to_load) = mpsc::unbounded_channel();
        let control = control_channel(deps.redis.state.keys());
        // The receiver lives as long as the service.
        let _ = changes.send(ListenerChange::Subscribe(control.clone()));
        let channels = Arc::new(Self {
            control,
            events: deps.events.clone(),
            metrics,
            tasks: deps.tasks.clone(),
            sockets: Arc::clone(sockets),
            revocations: Revocations::new(deps.redis.state.clone()),
            component_health: deps.component_health.clone(),
            open: Mutex::default(),
            hubs: Mutex::default(),
            changes,
            loads,
            // Not connected yet.
            lost_since: Mutex::new(Some(Instant::now())),
            is_stale: AtomicBool::new(false),
            rings: Arc::default(),
            heard: Mutex::default(),
            clock: deps.clock.clone(),
        });
        let (listener, loader, sweeper) = (Arc::clone(&channels), Arc::clone(&channels), Arc::clone(&channels));
        let redis = deps.redis.state.clone();
        deps.tasks.plan("pubsub.listener", |stop| async move { listener.listen(&redis, to_follow, stop).await });
        deps.tasks.plan("pubsub.loader", |stop| async move { loader.load(to_load, stop).await });
        deps.tasks.plan("pubsub.sweeper", |stop| async move { sweeper.sweep(stop).await });
        channels
    }

    /// Opens a channel and adds a subscriber of the current thread. Returns the number with which it leaves.
    pub(super) fn join(
        &self,
        name: &ChannelName,
        namespace: &Arc<Namespace>,
        hub: &Arc<Hub>,
        registration: Arc<Registration>,
    ) -> (Arc<Channel>, u64) {
        let key = self.events.redis_channel(name);
        let mut open = self.lock();
        let channel = open.entry(key.as_str().to_owned()).or_insert_with(|| {
            // The receiver lives as long as the service.
            let _ = self.changes.send(ListenerChange::Subscribe(key));
            self.metrics.channels.inc();
            Arc::new(Channel::new(name.clone(), Arc::clone(namespace), Arc::clone(&self.rings)))
        });
        // While the channels are locked, so that it is not removed as idle.
        let id = channel.join(hub, registration);
        (Arc::clone(channel), id)
    }

    /// The open channels with a prefix, by name.
    pub(super) fn list(&self, prefix: &str) -> Vec<Arc<Channel>> {
        let open = self.lock();
        let mut channels: Vec<_> =
            open.values().filter(|channel| channel.name.as_str().starts_with(prefix)).cloned().collect();
        channels.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        channels
    }

    /// The hub of the current thread.
    pub(super) fn hub(&self) -> Arc<Hub> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let hub = hubs.entry(std::thread::current().id()).or_insert_with(|| {
            let hub = Arc::new(Hub::default());
            self.tasks.spawn("pubsub.hub", |stop| Arc::clone(&hub).run(stop));
            hub
        });
        Arc::clone(hub)
    }

    /// Whether a channel that is not subscribed yet will not be soon.
    pub(super) fn is_disconnected(&self) -> bool {
        self.lost().is_some_and(|since| since.elapsed() >= DISCONNECTED_AFTER)
    }

    /// Whether the subscribed connection has been lost for some time.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    /// Resolves when a channel receives messages, with its position; with `None` if Redis denies it. A client that comes
    /// from another replica may have received more than this one: then the position reaches `since`, unless no message has it.
    ///
    /// # Errors
    /// A fault of Redis.
    pub(super) async fn live(
        &self,
        channel: &Arc<Channel>,
        since: Option<&Position>,
    ) -> Result<Option<Position>, PubSubError> {
        let Some(mut now) = channel.live().await else { return Ok(None) };
        let Some(since) = since.filter(|since| !now.reaches(since)) else { return Ok(Some(now)) };
        let range = HistoryRange { order: HistoryOrder::Asc, offset: None, limit: 0, bytes: 0 };
        let stored = self.events.history(&channel.name, range).await?;
        if !(Position { epoch: stored.epoch.into(), offset: stored.offset }).reaches(since) {
            return Ok(Some(now));
        }
        while !now.reaches(since) {
            channel.reload();
            self.request_load(Arc::clone(channel));
            let Some(loaded) = channel.live().await else { return Ok(None) };
            now = loaded;
        }
        Ok(Some(now))
    }

    /// Takes what Redis publishes, until `stop`.
    async fn listen(
        &self,
        redis: &Redis,
        mut changed: mpsc::UnboundedReceiver<ListenerChange>,
        stop: CancellationToken,
    ) {
        redis
            .listen(&mut changed, stop, |news| {
                if matches!(news, News::Message { .. } | News::Probed) {
                    *self.heard() = Some(self.clock.now());
                }
                match news {
                    News::Subscribed(keys) => {
                        *self.lost() = None;
                        self.set_stale(false);
                        for key in keys {
                            let channel = self.lock().get(key.as_str()).cloned();
                            if let Some(channel) = channel {
                                self.request_load(channel);
                            }
                        }
                    }
                    News::Message { channel, payload } => self.receive(channel, payload),
                    News::Denied(key) => self.deny(key),
                    News::Lost => *self.lost() = Some(Instant::now()),
                    News::Probed => {}
                }
            })
            .await;
    }

    /// Subscribers of a channel that Redis denies learn it; the next one asks again.
    fn deny(&self, key: &Key) {
        let mut open = self.lock();
        if open.get(key.as_str()).is_some_and(|channel| channel.deny()) {
            open.remove(key.as_str());
            self.metrics.channels.dec();
        }
    }

    fn receive(&self, channel: &str, payload: &[u8]) {
        if channel == self.control.as_str() {
            match serde_json::from_slice(payload) {
                Ok(ControlMessage::Order(order)) => self.sockets.order(&order),
                Ok(ControlMessage::Presence(digest)) => {
                    let key = self.events.redis_channel(&digest.channel);
                    if let Some(channel) = self.lock().get(key.as_str()) {
                        channel.presence.note(digest);
                    }
                }
                Ok(ControlMessage::Revoked { subject, before }) => self.revocations.note(&subject, before),
                Err(error) => tracing::warn!(%error, "unknown message on the control channel"),
            }
            return;
        }
        let Some(channel) = self.lock().get(channel).cloned() else { return };
        if payload == CLEARED.as_bytes() {
            self.request_load(channel);
            return;
        }
        let Some(delivery) = Delivery::parse(Bytes::copy_from_slice(payload)) else {
            self.metrics.foreign.inc();
            return;
        };
        if channel.accept(Arc::new(delivery.received_now())) == Accepted::Hole {
            self.metrics.holes.inc();
            self.request_load(channel);
        }
        self.bound_rings();
    }

    /// Measures how long a message took to a subscription that began at `since`. Repetitions of older messages say nothing
    /// about the delivery.
    pub(super) fn measure(&self, messages: &[Arc<Delivery>], since: Instant) {
        let live = messages.iter().filter(|delivery| delivery.received.is_some_and(|at| at >= since));
        let now = self.clock.now();
        for delivery in live {
            let age = u64::try_from(now.saturating_sub(delivery.timestamp)).unwrap_or_default();
            self.metrics.delivery.observe(Duration::from_millis(age).as_secs_f64());
        }
    }

    /// Empties the rings that were not used for the longest time until those of all channels are small enough.
    pub(super) fn bound_rings(&self) {
        if !self.rings.is_exceeded() {
            return;
        }
        let open = self.list("");
        let mut used: Vec<_> = open.iter().filter_map(|channel| Some((channel.ring_used()?, channel))).collect();
        used.sort_unstable_by_key(|(used, _)| *used);
        for (_, channel) in used {
            if !self.rings.is_exceeded() {
                break;
            }
            channel.empty_ring();
        }
    }

    /// Takes the rules of every open channel again, and lets every connection check what it may still do.
    pub(super) fn apply_rules(&self) {
        for channel in self.list("") {
            let changed = self.events.namespace(&channel.name).is_ok_and(|namespace| channel.set_namespace(namespace));
            if changed {
                channel.reload();
                self.request_load(channel);
            }
        }
        self.sockets.check_rights();
    }

    pub(super) fn request_load(&self, channel: Arc<Channel>) {
        // The receiver lives as long as the service.
        let _ = self.loads.send(channel);
    }

    /// Unsubscribes from idle channels, delivers who joined and left, and reports the health, until `stop`.
    async fn sweep(&self, stop: CancellationToken) {
        let mut gaps = (self.metrics.gaps(), None);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SWEEP) => {}
            }
            let lost = self.lost().map(|since| since.elapsed()).filter(|time| *time >= STALE_AFTER);
            if lost.is_some() {
                self.set_stale(true);
            }
            let count = self.metrics.gaps();
            if count > gaps.0 {
                gaps = (count, Some(Instant::now()));
            }
            let has_gaps = gaps.1.is_some_and(|last| last.elapsed() < GAPS_SHOWN);
            self.metrics.ring_bytes.set(i64::try_from(self.rings.bytes()).unwrap_or(i64::MAX));
            let heard = *self.heard();
            self.component_health.report("pubsub", health(lost, has_gaps, heard));
            self.lock().retain(|name, channel| {
                channel.forget_page();
                if channel.presence.release() {
                    channel.wake_all();
                }
                let is_idle = channel.is_idle(LINGER);
                if is_idle {
                    let key = self.events.redis_channel(&channel.name);
                    debug_assert_eq!(key.as_str(), name);
                    // The receiver lives as long as the service.
                    let _ = self.changes.send(ListenerChange::Unsubscribe(key));
                    self.metrics.channels.dec();
                }
                !is_idle
            });
        }
    }

    /// Tells every subscriber if this changes.
    fn set_stale(&self, is_stale: bool) {
        if self.is_stale.swap(is_stale, Ordering::Relaxed) != is_stale {
            self.list("").iter().for_each(|channel| channel.wake_all());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Channel>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> MutexGuard<'_, Option<UnixMillis>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lost(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lost_since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What readiness shows: messages may be late or missing, but requests are served.
fn health(lost: Option<Duration>, has_gaps: bool, heard: Option<UnixMillis>) -> Component {
    let state = if lost.is_some() { "lost" } else { "subscribed" };
    let members = vec![ComponentMember { name: "subscriber".to_owned(), state, until: None, heard }];
    let late = lost.map(|time| format!("real-time messages are late: not subscribed for {} s", time.as_secs()));
    let missing =
        has_gaps.then(|| "real-time messages were lost within the last minute: subscribers had gaps".to_owned());
    Component { members, findings: late.into_iter().chain(missing).map(Finding::degraded).collect() }
}
