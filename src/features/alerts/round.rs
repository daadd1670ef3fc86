//! The background work: every round reads the conditions, agrees with the other replicas, and reports what has changed.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::board::{Change, ChangeKind, resolved};
use super::keys::HISTORY;
use super::message;
use super::model::{Alert, Status, StoredAlert};
use super::readings::Reader;
use super::service::{AlertService, Shared};
use crate::clock::UnixMillis;
use crate::events::EventsError;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, Key, RedisFault, server_metrics};

pub(super) const NAME: &str = "alerts";

/// The target of the log lines of alerts, which are logged at every level.
const LOG: &str = "alert";

/// Runs rounds from the start of the service until it stops.
pub(super) async fn run(alerts: Shared, reports: Tasks, stop: CancellationToken) {
    let mut reader = Reader::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // The first round waits too: a connection that is being made is no condition.
            () = tokio::time::sleep(alerts.interval) => {}
        }
        let done = alerts.round(&mut reader).await;
        reports.report(NAME, done.map_err(|error| error.to_string()));
    }
}

impl AlertService {
    async fn round(&self, reader: &mut Reader) -> Result<(), RedisFault> {
        let now = self.clock.now();
        let servers = server_metrics::families(&self.roles);
        let sees_redis = servers.iter().any(|family| family.name() == "redis_instance_info");
        let mut families = self.metrics.gather();
        families.retain(|family| !servers.iter().any(|of_redis| of_redis.name() == family.name()));
        families.extend(servers);
        {
            let mut board = self.board();
            let readings = reader.read(board.conditions(), &families, now);
            board.step(readings, sees_redis, now);
        }
        let shared = self.share(now).await;
        if shared.is_err() {
            for alert in self.board().speak_alone(now) {
                log(&alert);
            }
        }
        // Held while they are sent, so that a new stream neither misses a change nor receives it twice.
        let mut board = self.board();
        for change in board.show(now) {
            // Without streams there is no receiver.
            let _ = self.changes.send(change);
        }
        shared
    }

    /// Agrees with the other replicas on the alerts that fire. Without a change, nothing is written.
    async fn share(&self, now: UnixMillis) -> Result<(), RedisFault> {
        let stored: BTreeMap<String, StoredAlert> = self.read(&self.keys.state).await?;
        let acks = if stored.is_empty() { BTreeMap::new() } else { self.read(&self.keys.acks).await? };
        let mut changes = self.board().reconcile(stored, acks, now);
        if changes.iter().any(|change| change.is_shared) {
            // Less than a round, so that a turn is not missed by a moment.
            let interval = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).saturating_mul(9) / 10;
            let has_turn = self.redis.take_turn(&self.keys.turn, interval.max(1), &self.clock).await?;
            changes.retain(|change| has_turn || !change.is_shared);
        }
        for Change { key, alert, kind, .. } in changes {
            match kind {
                ChangeKind::Begin { is_logged } => self.begin(&key, &alert, is_logged, now).await?,
                ChangeKind::Confirm => {
                    self.write("HSET", &key, &alert, now).await?;
                }
                ChangeKind::End => self.end(&key, resolved(alert, now)).await?,
            }
        }
        Ok(())
    }

    /// Reports that an alert begins, unless another replica has.
    async fn begin(&self, key: &str, alert: &Alert, is_logged: bool, now: UnixMillis) -> Result<(), RedisFault> {
        self.publish(alert).await?;
        if self.write("HSETNX", key, alert, now).await? {
            self.board().stored(key, now);
            if !is_logged {
                log(alert);
            }
            self.remember(alert).await?;
        }
        Ok(())
    }

    /// Reports that an alert has ended, unless another replica has.
    async fn end(&self, key: &str, alert: Alert) -> Result<(), RedisFault> {
        self.publish(&alert).await?;
        let delete = |hash: &Key, field: &str| redis::cmd("HDEL").arg(hash).arg(field).take();
        let is_deleted = self.redis.query::<i64>(&delete(&self.keys.state, key), Effect::Write).await? == 1;
        self.board().ended(key);
        if is_deleted {
            log(&alert);
            self.remember(&alert).await?;
        }
        self.redis.query::<i64>(&delete(&self.keys.acks, &alert.id), Effect::Write).await.map(|_| ())
    }

    /// The entries of a hash; those that are not of this version are left out.
    async fn read<T: DeserializeOwned>(&self, key: &Key) -> Result<BTreeMap<String, T>, RedisFault> {
        let command = redis::cmd("HGETALL").arg(key).take();
        let fields: HashMap<String, String> = self.redis.query(&command, Effect::Read).await?;
        Ok(fields.into_iter().filter_map(|(field, text)| Some((field, serde_json::from_str(&text).ok()?))).collect())
    }

    /// Stores an alert that fires. Returns whether its field is new.
    async fn write(&self, verb: &str, key: &str, alert: &Alert, now: UnixMillis) -> Result<bool, RedisFault> {
        // Finite numbers and texts always serialise.
        let text = serde_json::to_string(&StoredAlert { alert: alert.clone(), seen: now }).unwrap_or_default();
        let command = redis::cmd(verb).arg(&self.keys.state).arg(key).arg(text).take();
        Ok(self.redis.query::<i64>(&command, Effect::Write).await? == 1)
    }

    /// Adds a change to the history.
    async fn remember(&self, alert: &Alert) -> Result<(), RedisFault> {
        let key = &self.keys.history;
        let text = serde_json::to_string(alert).unwrap_or_default();
        let push = redis::cmd("LPUSH").arg(key).arg(text).take();
        let trim = redis::cmd("LTRIM").arg(key).arg(0).arg(HISTORY - 1).take();
        self.redis.query_all(&[push, trim], Effect::Write).await.map(|_| ())
    }

    /// Publishes a change on the channel of alerts. A repetition is recognised by its id, even from another replica.
    async fn publish(&self, alert: &Alert) -> Result<(), RedisFault> {
        let Some((channel, message)) = message::of(alert) else { return Ok(()) };
        match self.events.publish(&channel, &message, None).await {
            Err(EventsError::Redis(fault)) => Err(fault),
            // The configuration may have no such channel.
            _ => Ok(()),
        }
    }
}

fn log(alert: &Alert) {
    let Alert { id, condition, subject, severity, status, summary, value, threshold, since, .. } = alert;
    let (severity, status_text) = (severity.as_str(), status.as_str());
    match status {
        Status::Firing => tracing::warn!(
            target: LOG, id, condition, subject, severity, status = status_text, value, threshold, since, "{summary}"
        ),
        Status::Resolved => tracing::info!(
            target: LOG, id, condition, subject, severity, status = status_text, value, threshold, since, "{summary}"
        ),
    }
}
