//! NewestSample samples in Redis: how replicas see each other's before the next batch, and what lists are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::features::hosts::ingest::memory::Host;
use crate::features::hosts::model::NewestSample;
use crate::features::hosts::model::{Agent, HostId, Latest, Source};
use crate::features::hosts::sample::Sample;
use crate::features::hosts::service::HostService;
use crate::features::hosts::store::scripts::Publish;
use crate::lifecycle::Tasks;
use crate::redis::{Effect, RedisFault};

const NAME: &str = "hosts.publish";

/// Hosts of one exchange with Redis.
const HOSTS: usize = 500;

/// `metrics:current:<host>` as it is read.
#[derive(Debug, Deserialize)]
pub(in crate::features::hosts) struct Current {
    pub metrics: Sample,
    pub agent: Option<Agent>,
}

impl Current {
    pub(in crate::features::hosts) fn into_latest(self, id: &HostId) -> Latest {
        let (metrics, agent) = (Arc::new(self.metrics), self.agent.map(Arc::new));
        Latest { host: id.clone(), metrics, agent, source: Source::Redis }
    }
}

/// The same as it is written.
#[derive(Serialize)]
struct Document<'a> {
    metrics: &'a Sample,
    agent: Option<&'a Agent>,
}

/// Publishes with the service's start, until it stops.
pub(in crate::features::hosts) fn plan(hosts: &HostService, tasks: &Tasks) {
    let (hosts, board) = (hosts.clone(), tasks.clone());
    tasks.plan(NAME, move |stop| async move { run(&hosts, stop, &board).await });
}

async fn run(hosts: &HostService, stop: CancellationToken, board: &Tasks) {
    loop {
        let is_last = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(hosts.config.publish_interval.duration()) => false,
        };
        let published = hosts.publish().await;
        board.report(NAME, published.map_err(|fault| fault.to_string()));
        if is_last {
            return;
        }
    }
}

impl HostService {
    /// Shows what is new since the last time.
    async fn publish(&self) -> Result<(), RedisFault> {
        let claimed = self.memory.all().into_iter().filter(|host| host.is_claimed());
        let changed: Vec<(Arc<Host>, NewestSample)> =
            claimed.filter_map(|host| host.take_unpublished().map(|newest| (host, newest))).collect();
        let mut changed = changed.as_slice();
        while let Some((part, rest)) =
            changed.split_at_checked(HOSTS.min(changed.len())).filter(|(part, _)| !part.is_empty())
        {
            if let Err(fault) = self.publish_some(part).await {
                for (host, _) in changed {
                    host.publish_again();
                }
                return Err(fault);
            }
            changed = rest;
        }
        Ok(())
    }

    async fn publish_some(&self, hosts: &[(Arc<Host>, NewestSample)]) -> Result<(), RedisFault> {
        let life = self.config.current_life.as_millis();
        let publication = |(host, newest): &(Arc<Host>, NewestSample)| {
            let document = Document { metrics: &newest.sample, agent: newest.agent.as_deref() };
            // Numbers and text always serialise.
            let document = serde_json::to_vec(&document).unwrap_or_default();
            Publish { key: self.keys.current(&host.id), id: newest.sample.id(), document, life }
        };
        let publications: Vec<Publish> = hosts.iter().map(publication).collect();
        for answer in self.redis.call_all(&publications).await? {
            answer?;
        }
        self.enlist(hosts.iter().map(|(host, _)| host).filter(|host| !host.is_listed())).await
    }

    /// Enters hosts into the indexes.
    async fn enlist(&self, hosts: impl Iterator<Item = &Arc<Host>>) -> Result<(), RedisFault> {
        let hosts: Vec<&Arc<Host>> = hosts.collect();
        let mut commands = Vec::with_capacity(3 * hosts.len());
        for host in &hosts {
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
        for host in hosts {
            host.mark_listed();
        }
        Ok(())
    }

    /// What was last published of each host that something was published of lately.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(in crate::features::hosts) async fn published_all(
        &self,
        ids: &[HostId],
    ) -> Result<BTreeMap<HostId, Latest>, RedisFault> {
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
                && let Ok(current) = serde_json::from_slice::<Current>(&text)
            {
                all.insert(id.clone(), current.into_latest(id));
            }
        }
        Ok(all)
    }

    /// What was last published of a host; what is no document of ours counts as nothing.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(in crate::features::hosts) async fn published(&self, id: &HostId) -> Result<Option<Current>, RedisFault> {
        let mut command = redis::cmd("GET");
        command.arg(self.keys.current(id));
        let text: Option<Vec<u8>> = self.redis.query(&command, Effect::Read).await?;
        Ok(text.and_then(|text| serde_json::from_slice(&text).ok()))
    }
}
