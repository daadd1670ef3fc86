//! Reads of one server, each of a few commands and with a bounded reply.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::{Cmd, Value, from_redis_value_ref as read};
use tokio_util::sync::CancellationToken;

use super::error::InspectError;
use super::keys::InspectKeys;
use super::model::{HotKey, HotKeys, LatencyEvent, RedisClients, RedisCommand, SlowCommand};
use super::slow_log::SlowLog;
use crate::clock::Clock;
use crate::config::ConfigError;
use crate::deps::Deps;
use crate::holdings::{Holding, OTHER, Owners, names};
use crate::lifecycle::Tasks;
use crate::redis::{Effect, FaultKind, Redis, RedisFault, RedisRoles, Role, server_metrics};

/// The most slow commands that a server is asked for.
const SLOW_COMMANDS: usize = 128;
/// How many the background task asks for, and all of them only if so many are new: their arguments are long.
const FIRST_SLOW_COMMANDS: usize = 16;
/// How often it asks.
const SLOW_LOG_INTERVAL: Duration = Duration::from_secs(15);
/// The name of that task in `/health/ready`.
pub(super) const SLOW_LOG_TASK: &str = "inspect.slow_log";
/// The most commands that are named for clients with the same name.
const LAST_COMMANDS: usize = 5;
/// The most hot keys.
pub(super) const HOT_KEYS: usize = 200;
/// How often it is checked whether the counts of hot keys are a minute old.
const HOT_KEYS_INTERVAL: Duration = Duration::from_secs(5);
/// The name of that task in `/health/ready`.
pub(super) const HOT_KEYS_TASK: &str = "inspect.hot_keys";

#[derive(Debug)]
pub(super) struct InspectService {
    pub(super) roles: RedisRoles,
    /// Whether the service's user may not read the configuration of servers; it is not tried again.
    pub(super) is_config_denied: AtomicBool,
    pub(super) slow_log: SlowLog,
    pub(super) keys: InspectKeys,
    owners: Owners,
    pub(super) tasks: Tasks,
    pub(super) clock: Clock,
}

impl InspectService {
    /// # Errors
    /// If the configuration is invalid.
    pub(super) fn new(deps: &Deps) -> Result<Self, ConfigError> {
        Ok(Self {
            keys: InspectKeys::new(deps.redis.state.keys()),
            owners: Owners::new(&deps.config, deps.redis.state.keys().prefix())?,
            roles: deps.redis.clone(),
            is_config_denied: AtomicBool::default(),
            slow_log: SlowLog::default(),
            tasks: deps.tasks.clone(),
            clock: deps.clock.clone(),
        })
    }

    /// The holding of a complete key.
    pub(super) fn holding(&self, key: &str) -> Holding {
        self.owners.holding(key.as_bytes()).unwrap_or(OTHER)
    }

    pub(super) fn server(&self, role: Role) -> &Redis {
        match role {
            Role::Cache => &self.roles.cache,
            Role::State => &self.roles.state,
        }
    }

    /// The slow commands that the server has, and those that it had.
    ///
    /// # Errors
    /// [`InspectError::Redis`].
    pub(super) async fn slow_commands(&self, role: Role) -> Result<Vec<SlowCommand>, InspectError> {
        let redis = self.server(role);
        self.ask_slow_commands(redis, SLOW_COMMANDS).await?;
        Ok(self.slow_log.list(&redis.store()))
    }

    /// Asks the server for its newest slow commands, and keeps them. Returns how many are new.
    ///
    /// # Errors
    /// [`RedisFault`].
    pub(super) async fn ask_slow_commands(&self, redis: &Redis, count: usize) -> Result<usize, RedisFault> {
        let entries = self.entries(redis, redis::cmd("SLOWLOG").arg("GET").arg(count)).await?;
        let commands = entries.into_iter().filter_map(|(node, entry)| self.slow_command(redis, node, &entry));
        Ok(self.slow_log.keep(&redis.store(), commands.collect()))
    }

    /// Keeps slow commands until the service stops, or until a server denies it.
    pub(super) async fn keep_slow_commands(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SLOW_LOG_INTERVAL) => {}
            }
            let mut outcome = Ok(());
            for redis in self.roles.distinct() {
                let mut asked = self.ask_slow_commands(redis, FIRST_SLOW_COMMANDS).await;
                if matches!(asked, Ok(new) if new >= FIRST_SLOW_COMMANDS) {
                    asked = self.ask_slow_commands(redis, SLOW_COMMANDS).await;
                }
                match asked {
                    // The server's log of denied commands should not fill up.
                    Err(fault) if fault.kind == FaultKind::Denied => return,
                    // The Redis role's own report says if Redis cannot be reached.
                    Err(fault) if fault.kind != FaultKind::Unavailable => outcome = Err(fault.to_string()),
                    _ => {}
                }
            }
            self.tasks.report(SLOW_LOG_TASK, outcome);
        }
    }

    /// The kinds of latency spikes that the server has seen.
    ///
    /// # Errors
    /// [`InspectError::Redis`].
    pub(super) async fn latency_events(&self, role: Role) -> Result<Vec<LatencyEvent>, InspectError> {
        let entries = self.entries(self.server(role), redis::cmd("LATENCY").arg("LATEST")).await?;
        let event = |(node, entry): (Option<String>, Value)| {
            // Later versions add members.
            let Value::Array(members) = entry else { return None };
            let number = |at: usize| read::<i64>(members.get(at)?).ok();
            let event = read(members.first()?).ok()?;
            Some(LatencyEvent { node, event, at: number(1)? * 1_000, latest_ms: number(2)?, max_ms: number(3)? })
        };
        Ok(entries.into_iter().filter_map(event).collect())
    }

    /// The clients, counted by name and user, most connections first.
    ///
    /// # Errors
    /// [`InspectError::Cluster`], [`InspectError::Redis`].
    pub(super) async fn clients(&self, role: Role) -> Result<Vec<RedisClients>, InspectError> {
        let redis = self.server(role);
        if redis.is_cluster() {
            // The reply would be that of any one node.
            return Err(InspectError::Cluster);
        }
        let list: String = redis.query(redis::cmd("CLIENT").arg("LIST"), Effect::Read).await?;
        let mut groups: BTreeMap<(String, String), RedisClients> = BTreeMap::new();
        for line in list.lines() {
            let field = |name: &str| {
                let mut pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
                pairs.find(|(known, _)| *known == name).map_or("", |(_, value)| value)
            };
            let number = |name: &str| field(name).parse::<u64>().unwrap_or_default();
            let (name, user) = (field("name").to_owned(), field("user").to_owned());
            let group = groups.entry((name.clone(), user.clone())).or_insert_with(|| RedisClients {
                name,
                user,
                connections: 0,
                longest_idle_ms: 0,
                output_bytes: 0,
                commands: Vec::new(),
            });
            group.connections += 1;
            group.longest_idle_ms = group.longest_idle_ms.max(number("idle").saturating_mul(1_000));
            group.output_bytes += number("omem");
            let command = field("cmd").to_owned();
            if group.commands.len() < LAST_COMMANDS && !group.commands.contains(&command) {
                group.commands.push(command);
            }
        }
        let mut groups: Vec<RedisClients> = groups.into_values().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.connections));
        Ok(groups)
    }

    /// The busiest commands at the last check of the server, most time first.
    pub(super) fn commands(&self, role: Role) -> Vec<RedisCommand> {
        let store = self.server(role).store();
        // A counter of calls is an integer in INFO; prometheus keeps it as a float.
        let integer = |value: f64| format!("{value:.0}").parse::<u64>().unwrap_or_default();
        let mut commands: BTreeMap<(String, String), (f64, f64)> = BTreeMap::new();
        for family in server_metrics::families(&self.roles) {
            let is_calls = family.name() == "redis_commands_total";
            if !is_calls && family.name() != "redis_commands_duration_seconds_total" {
                continue;
            }
            for metric in family.get_metric() {
                let label = |name: &str| {
                    let pair = metric.get_label().iter().find(|pair| pair.name() == name);
                    pair.map(|pair| pair.value().to_owned()).unwrap_or_default()
                };
                if label("store") != store {
                    continue;
                }
                let (calls, seconds) = commands.entry((label("node"), label("cmd"))).or_default();
                *(if is_calls { calls } else { seconds }) = metric.get_counter().get_value();
            }
        }
        let mut all: Vec<_> = commands.into_iter().collect();
        all.sort_by(|(_, (_, a)), (_, (_, b))| b.total_cmp(a));
        let shown = all.into_iter().map(|((node, command), (calls, seconds))| RedisCommand {
            node: Some(node).filter(|node| !node.is_empty()),
            command,
            calls: integer(calls),
            mean_us: if calls > 0.0 { integer(seconds * 1e6 / calls) } else { 0 },
        });
        shown.collect()
    }

    /// The keys that this replica uses most often at the server.
    ///
    /// # Errors
    /// [`InspectError::UnknownHolding`].
    pub(super) fn hot_keys(&self, role: Role, only: Option<&str>, limit: usize) -> Result<HotKeys, InspectError> {
        let known = names();
        if only.is_some_and(|name| !known.contains(name)) {
            return Err(InspectError::UnknownHolding(known.into_iter().collect::<Vec<_>>().join(", ")));
        }
        let redis = self.server(role);
        let is_wanted = |key: &str| only.is_none_or(|only| self.holding(key).name == only);
        let now = self.clock.elapsed();
        redis.hot_keys().advance(now);
        let list = redis.hot_keys().list(now, limit, is_wanted);
        let item = |hot: crate::hot_keys::HotKey| HotKey {
            holding: self.holding(&hot.key).name,
            key: hot.key,
            uses: hot.uses,
            error: hot.error,
        };
        Ok(HotKeys {
            items: list.keys.into_iter().map(item).collect(),
            uses: list.uses,
            uncounted: list.uncounted,
            sampled: list.sampled,
            window_ms: u64::try_from(list.window.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// Lets old counts of hot keys go until the service stops.
    pub(super) async fn age_hot_keys(self: Arc<Self>, stop: CancellationToken) {
        loop {
            for redis in self.roles.distinct() {
                redis.hot_keys().advance(self.clock.elapsed());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(HOT_KEYS_INTERVAL) => {}
            }
        }
    }

    fn slow_command(&self, redis: &Redis, node: Option<String>, entry: &Value) -> Option<SlowCommand> {
        let Value::Array(members) = entry else { return None };
        let number = |at: usize| read::<i64>(members.get(at)?).ok();
        let arguments: Vec<Vec<u8>> = read(members.get(3)?).ok()?;
        let argument = |at: usize| arguments.get(at).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let command = argument(0)?.to_ascii_uppercase();
        let is_script = matches!(command.as_str(), "EVAL" | "EVALSHA");
        let script = argument(1).filter(|_| command == "EVALSHA").and_then(|sha| redis.script_name(&sha));
        let key = argument(if is_script { 3 } else { 1 });
        let holding = key.map_or(OTHER, |key| self.holding(&key)).name;
        let client = members.get(5).and_then(|name| read(name).ok()).unwrap_or_default();
        Some(SlowCommand {
            node,
            id: number(0)?,
            at: number(1)? * 1_000,
            duration_us: number(2)?,
            command,
            script,
            holding,
            client,
        })
    }

    /// The members of a reply that is an array, or of one for each node.
    async fn entries(&self, redis: &Redis, command: &Cmd) -> Result<Vec<(Option<String>, Value)>, RedisFault> {
        let answer = redis.query(command, Effect::Read).await?;
        let of_node = |(node, answer): (Option<String>, Value)| {
            let entries = if let Value::Array(entries) = answer { entries } else { Vec::new() };
            entries.into_iter().map(move |entry| (node.clone(), entry))
        };
        Ok(by_node(answer).into_iter().flat_map(of_node).collect())
    }
}

/// A cluster replies with one answer for each node.
fn by_node(answer: Value) -> Vec<(Option<String>, Value)> {
    match answer {
        Value::Map(answers) => answers.into_iter().map(|(node, answer)| (read::<String>(&node).ok(), answer)).collect(),
        answer => vec![(None, answer)],
    }
}
