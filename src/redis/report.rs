//! What is known of a role's server, looked up in the background and shown by readiness.

use serde::Serialize;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use super::fault::{Effect, RedisFault};
use super::link::LinkState;
use super::script::LuaScript;
use super::{Redis, Role};
use crate::config::redis::Topology;
use crate::lua;

pub(super) static PROBE: LuaScript = lua!("redis/probe.lua");

/// One role's server, as last seen.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RoleReport {
    pub role: Role,
    /// `single`, `sentinel` or `cluster`.
    pub topology: &'static str,
    /// Whether requests have a connection at this moment.
    pub connected: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `timeseries` and `json`, where the server answers their commands.
    pub modules: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<String>,
    /// Whether the server logs every write (`aof`), snapshots (`rdb`), or keeps nothing (`none`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<&'static str>,
    pub scripts: ScriptState,
    /// What is unsafe or broken about it, in words.
    pub findings: Vec<Finding>,
}

/// Whether the role's Lua scripts can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScriptState {
    /// No connection has been made yet.
    Unknown,
    /// This many scripts are loaded.
    Loaded(usize),
    /// The server does not let us load or run scripts.
    Refused(String),
}

impl ScriptState {
    pub(super) fn of(loaded: &Result<(), RedisFault>, count: usize) -> Self {
        match loaded {
            Ok(()) => Self::Loaded(count),
            Err(fault) if fault.is_unknown_command() => {
                Self::Refused("SCRIPT or EVALSHA is disabled on the server".to_owned())
            }
            Err(fault) if fault.kind == super::FaultKind::Denied => {
                Self::Refused("our Redis user may not use SCRIPT or EVALSHA".to_owned())
            }
            Err(_) => Self::Unknown,
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// Served, but not as safely as it should be.
    Degraded,
    /// Not served.
    Down,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    pub condition: Condition,
    pub reason: String,
}

impl RoleReport {
    pub(super) fn unknown(role: Role, topology: Topology) -> Self {
        Self {
            role,
            topology: match topology {
                Topology::Single => "single",
                Topology::Sentinel => "sentinel",
                Topology::Cluster => "cluster",
            },
            connected: false,
            version: None,
            modules: Vec::new(),
            eviction_policy: None,
            persistence: None,
            scripts: ScriptState::Unknown,
            findings: Vec::new(),
        }
    }

    /// Every reason not to be content, the connection and the scripts included.
    pub fn conditions(&self) -> Vec<Finding> {
        let role = self.role.label();
        let mut all = Vec::new();
        if !self.connected {
            all.push(Finding { condition: Condition::Down, reason: format!("redis role `{role}` is not connected") });
        }
        if let ScriptState::Refused(reason) = &self.scripts {
            all.push(Finding { condition: Condition::Down, reason: format!("redis role `{role}`: {reason}") });
        }
        all.extend(self.findings.iter().cloned());
        all
    }

    fn take_in(&mut self, info: &str) {
        let field =
            |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
        self.version = field("redis_version").map(str::to_owned);
        self.eviction_policy = field("maxmemory_policy").map(str::to_owned);
        let aof = field("aof_enabled") == Some("1");
        self.persistence = Some(match (aof, field("rdb_last_save_time").is_some()) {
            (true, _) => "aof",
            (false, true) => "rdb",
            (false, false) => "none",
        });
        self.findings.clear();
        let role = self.role.label();
        let mut degraded = |reason: String| self.findings.push(Finding { condition: Condition::Degraded, reason });
        if let (Role::State, Some(policy)) = (self.role, self.eviction_policy.as_deref())
            && policy != "noeviction"
        {
            degraded(format!(
                "redis role `{role}` has maxmemory-policy `{policy}`: locks, counters and series may be evicted; it needs `noeviction`"
            ));
        }
        if aof && field("aof_last_write_status") == Some("err") {
            degraded(format!("redis role `{role}` cannot write its append-only file"));
        }
        if field("rdb_last_bgsave_status") == Some("err") {
            degraded(format!("redis role `{role}` failed its last background save"));
        }
        if field("role") == Some("slave") {
            degraded(format!("redis role `{role}` is a read-only replica"));
        }
    }
}

/// Looks at the server after every connect and every `redis.check_interval`.
pub(super) async fn watch(redis: &Redis, stop: CancellationToken) {
    let mut changes = redis.0.shared.subscribe();
    loop {
        let up = matches!(&*changes.borrow_and_update(), LinkState::Up(_));
        if up {
            match look(redis).await {
                Ok(()) => {}
                Err(fault) => {
                    tracing::debug!(role = redis.role().label(), %fault, "the server's condition is not known");
                }
            }
        }
        let pause = tokio::time::sleep(redis.0.limits.check_interval);
        tokio::select! {
            () = stop.cancelled() => return,
            () = pause => {}
            alive = changes.changed() => if alive.is_err() { return },
        }
    }
}

async fn look(redis: &Redis) -> Result<(), RedisFault> {
    let mut text = String::new();
    for section in ["server", "memory", "persistence", "replication"] {
        let answer: redis::Value = redis.query(redis::cmd("INFO").arg(section), Effect::Read).await?;
        collect_text(&answer, &mut text);
    }
    let mut modules = Vec::new();
    for (module, command) in [("timeseries", "TS.ADD"), ("json", "JSON.SET")] {
        // The command is probed, not the module's name: newer servers carry JSON in their core.
        let answer: redis::Value = redis.query(redis::cmd("COMMAND").arg("INFO").arg(command), Effect::Read).await?;
        if knows_command(&answer) {
            modules.push(module);
        }
    }
    let before = redis.report().conditions();
    redis.0.report.send_modify(|report| {
        report.take_in(&text);
        report.modules = modules;
    });
    for finding in redis.report().findings {
        if !before.contains(&finding) {
            tracing::warn!(role = redis.role().label(), reason = finding.reason, "redis is not as it should be");
        }
    }
    Ok(())
}

/// A single server answers text, a cluster one text per node.
fn collect_text(value: &redis::Value, text: &mut String) {
    match value {
        redis::Value::BulkString(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
        redis::Value::VerbatimString { text: part, .. } | redis::Value::SimpleString(part) => text.push_str(part),
        redis::Value::Map(nodes) => nodes.iter().for_each(|(_, part)| collect_text(part, text)),
        redis::Value::Array(parts) => parts.iter().for_each(|part| collect_text(part, text)),
        _ => {}
    }
}

fn knows_command(value: &redis::Value) -> bool {
    match value {
        redis::Value::Array(items) => items.iter().any(|item| !matches!(item, redis::Value::Nil)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(role: Role, info: &str) -> RoleReport {
        let mut report = RoleReport::unknown(role, Topology::Single);
        report.take_in(info);
        report
    }

    #[test]
    fn eviction_on_the_state_role_is_named() {
        let unsafe_policy = "redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n";
        let state = report(Role::State, unsafe_policy);
        assert!(state.findings.iter().any(|finding| finding.reason.contains("`state`")), "{:?}", state.findings);
        assert!(report(Role::Cache, unsafe_policy).findings.is_empty());
    }

    #[test]
    fn a_failing_append_only_file_is_named() {
        let state =
            report(Role::State, "maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:err\r\n");
        assert_eq!(state.findings.len(), 1);
        assert_eq!(state.persistence, Some("aof"));
    }
}
