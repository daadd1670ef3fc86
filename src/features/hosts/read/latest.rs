//! Newest samples in Redis: each replica publishes those of its hosts, so that the others see them before the next batch.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::super::ingest::memory::Host;
use super::super::model::{Agent, HostId, Latest, Source};
use super::super::sample::Sample;
use super::super::service::{HostService, PUBLISH_INTERVAL_MS};
use super::super::store::keys::{DELETIONS, DELETIONS_LIFE};
use super::super::store::scripts;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, RedisFault};

const NAME: &str = "hosts.publish";

/// Hosts of one pipeline.
const HOSTS: usize = 500;

/// How long the newest sample of a silent host stays in Redis, milliseconds. A host that has been silent for longer is
/// left out of lists; its newest sample is then read from its history.
const TTL_MS: u64 = 3_600_000;

/// The JSON document of `metrics:current:<host>`.
#[derive(Debug, Serialize, Deserialize)]
struct PublishedSample {
    metrics: Arc<Sample>,
    agent: Option<Arc<Agent>>,
}

/// Publishes every [`PUBLISH_INTERVAL_MS`] from the start of the service, and a last time when it stops.
pub(in super::super) fn plan(hosts: &HostService, tasks: &Tasks) {
    let (hosts, reports) = (hosts.clone(), tasks.clone());
    tasks.plan(NAME, move |stop| async move { run(&hosts, stop, &reports).await });
}

async fn run(hosts: &HostService, stop: CancellationToken, reports: &Tasks) {
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(Duration::from_millis(PUBLISH_INTERVAL_MS)) => false,
        };
        // First what is new: an unpublished host is not forgotten.
        let published = hosts.publish().await;
        let result = published.and(hosts.follow_deletions().await);
        reports.report(NAME, result.map_err(|fault| fault.to_string()));
        if is_last {
            return;
        }
    }
}

impl HostService {
    /// Publishes the newest samples that have changed since the last call.
    async fn publish(&self) -> Result<(), RedisFault> {
        let claimed = self.memory.all().into_iter().filter(|host| host.is_claimed());
        let changed: Vec<(Arc<Host>, Latest)> =
            claimed.filter_map(|host| host.take_unpublished().map(|newest| (host, newest))).collect();
        let mut parts = changed.chunks(HOSTS);
        while let Some(part) = parts.next() {
            if let Err(fault) = self.publish_some(part).await {
                for (host, _) in part.iter().chain(parts.flatten()) {
                    host.publish_again();
                }
                return Err(fault);
            }
        }
        Ok(())
    }

    /// Tells other replicas that a host was deleted. Without that, they answer from memory until the host reports to them.
    pub(in super::super) async fn tell_deletion(&self, id: &HostId) {
        let key = self.keys.deletions();
        let mut add = redis::cmd("XADD");
        add.arg(&key).arg("MAXLEN").arg("~").arg(DELETIONS).arg("*").arg("host").arg(id.as_str());
        let mut expire = redis::cmd("PEXPIRE");
        expire.arg(&key).arg(DELETIONS_LIFE);
        let told = self.redis.query_all(&[add, expire], Effect::Write).await;
        if let Err(fault) = told.and_then(|answers| answers.into_iter().collect::<Result<Vec<_>, _>>()) {
            tracing::debug!(host = id.as_str(), %fault, "other replicas do not learn that a host was deleted");
        }
    }

    /// Forgets idle hosts that other replicas have deleted. What waits is dropped when it would be stored or published.
    async fn follow_deletions(&self) -> Result<(), RedisFault> {
        let last = self.last_deletion.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut range = redis::cmd("XRANGE");
        range.arg(self.keys.deletions()).arg(format!("({last}")).arg("+");
        let deletions: Vec<(String, Vec<String>)> = self.redis.query(&range, Effect::Read).await?;
        for (_, fields) in &deletions {
            if let Some(host) = fields.get(1).and_then(|host| HostId::stored(host)) {
                self.memory.forget_idle(&host);
            }
        }
        if let Some((last, _)) = deletions.into_iter().last() {
            *self.last_deletion.lock().unwrap_or_else(PoisonError::into_inner) = last;
        }
        Ok(())
    }

    async fn publish_some(&self, hosts: &[(Arc<Host>, Latest)]) -> Result<(), RedisFault> {
        let now = self.clock.now();
        let publication = |(host, newest): &(Arc<Host>, Latest)| {
            let document = PublishedSample { metrics: Arc::clone(&newest.metrics), agent: newest.agent.clone() };
            // Numbers and text always serialize.
            let document = serde_json::to_vec(&document).unwrap_or_default();
            let age = (&self.clock, host.age(now));
            scripts::publish(&self.keys.current(&host.id), age, newest.metrics.id(), &document, TTL_MS)
        };
        let mut unlisted: Vec<&Arc<Host>> = Vec::new();
        for ((host, _), answer) in hosts.iter().zip(self.redis.call_all(hosts.iter().map(publication)).await?) {
            match answer? {
                Some(ago) => self.renew(host, now - ago),
                None if host.is_listed() => {}
                None => unlisted.push(host),
            }
        }
        let mut commands = Vec::with_capacity(3 * unlisted.len());
        for host in &unlisted {
            let mut set = redis::cmd("SADD");
            set.arg(self.keys.hosts()).arg(host.id.as_str());
            commands.push(set);
            for index in [self.keys.index(), self.keys.index_of(&host.owner)] {
                let mut entry = redis::cmd("ZADD");
                entry.arg(index).arg(0).arg(host.id.as_str());
                commands.push(entry);
            }
        }
        if commands.is_empty() {
            return Ok(());
        }
        for answer in self.redis.query_all(&commands, Effect::Write).await? {
            answer?;
        }
        for host in unlisted {
            host.mark_listed();
        }
        Ok(())
    }

    /// The published samples of these hosts; hosts without one, or with a value that is not such a document, are left out.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(in super::super) async fn published(&self, ids: &[HostId]) -> Result<BTreeMap<HostId, Latest>, RedisFault> {
        let command = |id: &HostId| {
            let mut command = redis::cmd("GET");
            command.arg(self.keys.current(id));
            command
        };
        let commands: Vec<_> = ids.iter().map(command).collect();
        if commands.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut all = BTreeMap::new();
        for (id, answer) in ids.iter().zip(self.redis.query_all(&commands, Effect::Read).await?) {
            if let redis::Value::BulkString(text) = answer?
                && let Ok(PublishedSample { metrics, agent }) = serde_json::from_slice(&text)
            {
                all.insert(id.clone(), Latest { host: id.clone(), metrics, agent, source: Source::Redis });
            }
        }
        Ok(all)
    }
}
