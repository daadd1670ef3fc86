//! What the routes call: the alerts that fire, their history, and acknowledgements.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;

use super::board::Board;
use super::conditions;
use super::config::AlertsConfig;
use super::episode::Times;
use super::error::AlertError;
use super::keys::AlertKeys;
use super::model::{Acknowledgement, Alert};
use crate::clock::{Clock, UnixMillis};
use crate::config::http::HttpConfig;
use crate::deps::Deps;
use crate::events::Events;
use crate::features::feature::StartError;
use crate::http::slots::Slots;
use crate::lifecycle::{Phase, Tasks};
use crate::redis::{Effect, Redis, RedisRoles};
use crate::telemetry::metrics::Metrics;

/// The most open streams of alerts.
const MAX_STREAMS: usize = 100;
/// The most changes that wait for a stream that does not read; it then starts again with all alerts.
const WAITING: usize = 64;

#[derive(Debug)]
pub(super) struct AlertService {
    pub(super) redis: Redis,
    pub(super) roles: RedisRoles,
    pub(super) events: Events,
    pub(super) metrics: Metrics,
    pub(super) keys: AlertKeys,
    pub(super) clock: Clock,
    pub(super) interval: Duration,
    pub(super) phase: Phase,
    pub(super) tasks: Tasks,
    /// The longest time in which a client of a stream takes nothing.
    pub(super) idle: Duration,
    pub(super) changes: broadcast::Sender<Alert>,
    board: Mutex<Board>,
    pub(super) streams: Slots,
}

impl AlertService {
    /// # Errors
    /// A section of the configuration that cannot be read.
    pub(super) fn new(deps: &Deps, config: AlertsConfig) -> Result<Self, StartError> {
        let instance = if config.instance.is_empty() { deps.replica.to_string() } else { config.instance };
        let millis = |span: crate::config::value::Span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        let times = Times { hold: millis(config.hold), clear: millis(config.clear) };
        let redis = deps.redis.state.clone();
        Ok(Self {
            keys: AlertKeys::new(redis.keys()),
            redis,
            roles: deps.redis.clone(),
            events: deps.events.clone(),
            metrics: deps.metrics.clone(),
            clock: deps.clock.clone(),
            interval: config.interval.duration(),
            phase: deps.phase.clone(),
            tasks: deps.tasks.clone(),
            idle: deps.config.section::<HttpConfig>()?.body_idle_timeout.duration(),
            changes: broadcast::Sender::new(WAITING),
            board: Mutex::new(Board::new(conditions::all(config.redis_replicas), times, instance)),
            streams: Slots::new(MAX_STREAMS),
        })
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The alerts that fire, the latest first.
    pub(super) fn alerts(&self) -> Vec<Alert> {
        self.board().alerts()
    }

    /// The newest changes, newest first.
    ///
    /// # Errors
    /// [`AlertError::Redis`].
    pub(super) async fn history(&self, limit: usize) -> Result<Vec<Alert>, AlertError> {
        let command = redis::cmd("LRANGE").arg(&self.keys.history).arg(0).arg(limit.saturating_sub(1)).take();
        let entries: Vec<String> = self.redis.query(&command, Effect::Read).await?;
        Ok(entries.iter().filter_map(|entry| serde_json::from_str(entry).ok()).collect())
    }

    /// Notes until when the caller `by` takes charge of an alert.
    ///
    /// # Errors
    /// [`AlertError::NotFound`], [`AlertError::Past`], [`AlertError::Redis`].
    pub(super) async fn acknowledge(&self, id: &str, until: UnixMillis, by: &str) -> Result<Alert, AlertError> {
        if until <= self.clock.now() {
            return Err(AlertError::Past);
        }
        let not_found = || AlertError::NotFound(id.to_owned());
        if !self.alerts().iter().any(|alert| alert.id == id) {
            return Err(not_found());
        }
        let ack = Acknowledgement { by: by.to_owned(), until };
        // Texts and integers always serialise.
        let text = serde_json::to_string(&ack).unwrap_or_default();
        let command = redis::cmd("HSET").arg(&self.keys.acks).arg(id).arg(text).take();
        self.redis.query::<i64>(&command, Effect::Write).await?;
        self.board().acknowledge(id, ack).ok_or_else(not_found)
    }

    /// The alerts that fire, and every change after this call.
    pub(super) fn follow(&self) -> (Vec<Alert>, broadcast::Receiver<Alert>) {
        let board = self.board();
        (board.alerts(), self.changes.subscribe())
    }

    /// Resolves when the service stops.
    pub(super) async fn draining(&self) {
        self.phase.draining().await;
    }
}

/// The state that handlers share.
pub(super) type Shared = Arc<AlertService>;
