//! The check of a server in the background, which finds its condition.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::Redis;
use super::connection::{self, Packet};
use super::fault::{Effect, FaultKind, RedisFault};
use super::limits::SAVE_POINTS_CHECKS;
use super::node_info::{LastLook, Node, collect};
use super::report::words;
use crate::clock::Clock;
use crate::lifecycle::Finding;

/// How long readiness shows that the server refused writes.
const REFUSAL_SHOWN: Duration = Duration::from_secs(60);

/// Checks the server after every connect and every `redis.check_interval`.
pub(super) async fn watch(redis: &Redis, stop: CancellationToken) {
    let mut changes = redis.0.shared.subscribe();
    let mut observed = Observed::default();
    loop {
        let up = changes.borrow_and_update().is_up();
        let round = async {
            if up {
                look(redis, &mut observed).await;
            }
            tokio::select! {
                () = tokio::time::sleep(redis.0.limits.check_interval) => {}
                // The sender lives as long as the facade.
                _ = changes.changed() => {}
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = round => {}
        }
    }
}

/// What earlier checks have found out.
#[derive(Debug, Default)]
struct Observed {
    /// Whether the service's user may not read the server's configuration; it is not tried again.
    is_config_denied: bool,
    /// When each node says that it saves snapshots, and when they said so.
    save_points: Option<(Instant, BTreeMap<Option<String>, String>)>,
    /// Whether it may not read the log of slow commands.
    is_slowlog_denied: bool,
    refused_writes: Growth,
    denied_writes: Growth,
}

/// A counter, and when it was last seen to grow.
#[derive(Debug, Default)]
struct Growth {
    seen: u64,
    at: Option<Instant>,
}

impl Growth {
    /// Whether the counter has grown recently.
    fn is_recent(&mut self, count: &AtomicU64) -> bool {
        let count = count.load(Ordering::Relaxed);
        if count > self.seen {
            *self = Self { seen: count, at: Some(Instant::now()) };
        }
        self.at.is_some_and(|at| at.elapsed() < REFUSAL_SHOWN)
    }
}

/// The nodes of a server, and the modules that it has.
type Seen = (Vec<Node>, Vec<&'static str>);

async fn look(redis: &Redis, observed: &mut Observed) {
    let known = redis.report().findings;
    let metrics = &redis.0.metrics;
    let refusals = [
        (observed.refused_writes.is_recent(&metrics.refused_writes), "refused writes"),
        (observed.denied_writes.is_recent(&metrics.denied_writes), "denied the service's user a write"),
    ];
    let seen = inspect(redis, observed).await;
    remember(redis, observed, &seen).await;
    redis.0.report.send_modify(|report| match &seen {
        Ok((nodes, modules)) => {
            report.take_in(nodes);
            report.modules.clone_from(modules);
            for (_, what) in refusals.into_iter().filter(|(is_recent, _)| *is_recent) {
                let reason = format!("redis {} {what} within the last minute", words(report.roles));
                report.findings.push(Finding::degraded(reason));
            }
        }
        Err(fault) if fault.kind == FaultKind::Denied => report.take_in_denial(),
        Err(fault) => tracing::debug!(redis = redis.servers(), %fault, "server condition unknown"),
    });
    for finding in redis.report().findings {
        if !known.contains(&finding) {
            tracing::warn!(reason = finding.reason, "redis is degraded");
        }
    }
}

/// Keeps what the check found for `/metrics/redis` and counts failovers: the server has become another one, whose data is
/// that of the former.
async fn remember(redis: &Redis, observed: &mut Observed, seen: &Result<Seen, RedisFault>) {
    let last = redis.0.last_look.load_full();
    let Ok((nodes, _)) = seen else {
        let (at, nodes, slow_commands) = (last.at, last.nodes.clone(), last.slow_commands);
        redis.0.last_look.store(Arc::new(LastLook { at, succeeded: false, nodes, slow_commands }));
        return;
    };
    if let ([before], [now]) = (last.nodes.as_slice(), nodes.as_slice())
        && before.field("run_id") != now.field("run_id")
        && before.field("master_replid") == now.field("master_replid2")
    {
        redis.0.metrics.failovers.inc();
    }
    let mut slow_commands = None;
    if !observed.is_slowlog_denied {
        slow_commands = redis.query(redis::cmd("SLOWLOG").arg("LEN"), Effect::Read).await.ok();
        observed.is_slowlog_denied = slow_commands.is_none();
    }
    let look = LastLook { at: Clock::System.now(), succeeded: true, nodes: nodes.clone(), slow_commands };
    redis.0.last_look.store(Arc::new(look));
}

/// The sections of INFO that the service reads, in one reply.
const SECTIONS: &[&str] =
    &["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "commandstats", "keyspace"];

/// The processes of the servers.
fn runs(nodes: &[Node]) -> BTreeSet<&str> {
    nodes.iter().filter_map(|node| node.field("run_id")).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are exact as a float")]
async fn inspect(redis: &Redis, observed: &mut Observed) -> Result<Seen, RedisFault> {
    let mut nodes = Vec::new();
    let answer: redis::Value = redis.query(redis::cmd("INFO").arg(SECTIONS), Effect::Read).await?;
    collect(&answer, None, Clock::System.now() as f64 / 1e3, &mut nodes);
    if runs(&nodes) != runs(&redis.0.last_look.load().nodes) {
        redis.0.known_commands.forget();
        observed.save_points = None;
    }
    if nodes.iter().any(|node| !node.logs_writes()) && !observed.is_config_denied {
        observed.save_points.take_if(|(at, _)| at.elapsed() >= redis.0.limits.check_interval * SAVE_POINTS_CHECKS);
        if observed.save_points.is_none() {
            match save_points(redis, &nodes).await {
                Ok(points) => observed.save_points = Some((Instant::now(), points)),
                Err(_) => observed.is_config_denied = true,
            }
        }
    }
    for node in &mut nodes {
        node.save_points = observed.save_points.as_ref().and_then(|(_, points)| points.get(&node.name).cloned());
    }
    let mut modules = Vec::new();
    for (module, command) in [("timeseries", "TS.ADD"), ("json", "JSON.SET")] {
        // The command is probed, not the module's name: newer servers include JSON in their core.
        if redis.knows(command).await? {
            modules.push(module);
        }
    }
    Ok((nodes, modules))
}

/// When each node saves snapshots, by its name. Those that fail to answer are left out.
///
/// # Errors
/// The [`RedisFault`] of a node that does not tell the service.
async fn save_points(redis: &Redis, nodes: &[Node]) -> Result<BTreeMap<Option<String>, String>, RedisFault> {
    let command = redis::cmd("CONFIG").arg("GET").arg("save").take();
    let mut all = BTreeMap::new();
    for Node { name, .. } in nodes {
        let address = name.as_ref().and_then(|name| name.rsplit_once(':'));
        let at =
            address.and_then(|(host, port)| Some(connection::Node { host: host.to_owned(), port: port.parse().ok()? }));
        let packet = at.as_ref().map_or(Packet::Command(&command), |node| Packet::At(&command, node));
        match redis
            .exchange(packet, Effect::Read, redis.deadline())
            .await
            .map(redis::from_redis_value::<(String, String)>)
        {
            Ok(Ok((_, points))) => drop(all.insert(name.clone(), points)),
            Ok(Err(error)) => return Err(RedisFault::bad_reply(error, Effect::Read)),
            Err(fault) if matches!(fault.kind, FaultKind::Denied | FaultKind::Internal) => return Err(fault),
            Err(_) => {}
        }
    }
    Ok(all)
}
