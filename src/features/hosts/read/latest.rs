//! Newest samples in Redis: each replica publishes those of its hosts, so that the others see them before the next batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::super::ingest::memory::Host;
use super::super::model::{Agent, HostId, Latest, Source};
use super::super::sample::Sample;
use super::super::service::{HostService, PUBLISH_INTERVAL_MS};
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
        let published = hosts.publish().await;
        reports.report(NAME, published.map_err(|fault| fault.to_string()));
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

    async fn publish_some(&self, hosts: &[(Arc<Host>, Latest)]) -> Result<(), RedisFault> {
        let publication = |(host, newest): &(Arc<Host>, Latest)| {
            let document = PublishedSample { metrics: Arc::clone(&newest.metrics), agent: newest.agent.clone() };
            // Numbers and text always serialize.
            let document = serde_json::to_vec(&document).unwrap_or_default();
            scripts::publish(&self.keys.current(&host.id), newest.metrics.id(), &document, TTL_MS)
        };
        for answer in self.redis.call_all(hosts.iter().map(publication)).await? {
            answer?;
        }
        let unlisted: Vec<&Arc<Host>> = hosts.iter().map(|(host, _)| host).filter(|host| !host.is_listed()).collect();
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
