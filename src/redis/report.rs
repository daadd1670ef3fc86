//! The condition of a server, as readiness shows it.

use serde::Serialize;
use utoipa::ToSchema;

use super::link::Link;
use super::node_info::{Node, Persistence};
use super::script::LuaScript;
use super::script_state::ScriptState;
use super::{Redis, Role};
use crate::config::redis::{Endpoint, Topology};
use crate::lifecycle::Finding;

/// Tells whether the server runs scripts.
pub(super) static PROBE: LuaScript = LuaScript::new(
    "redis/probe.lua",
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations-lua/redis/probe.lua")),
);

/// The last known condition of a server, or of a group of servers behind one address.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RedisRoleReport)]
pub struct RoleReport {
    /// The roles that it serves; both if no role has a server of its own.
    pub roles: &'static [Role],
    /// The configured addresses, without credentials; only administrators see them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "redis://redis:6379/0")]
    pub address: Option<String>,
    /// `single`, `sentinel` or `cluster`.
    pub topology: &'static str,
    /// Whether requests have a connection right now.
    pub connected: bool,
    /// Why there is no connection, if known.
    #[serde(skip)]
    pub refusal: Option<String>,
    /// Every version, if those of a cluster's nodes differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// `timeseries` and `json`, if the server supports their commands.
    pub modules: Vec<&'static str>,
    /// In a cluster, the least safe policy of any node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eviction_policy: Option<String>,
    /// `aof` if the server logs every write, `snapshots`, `none` if it keeps nothing, or `unknown` if it has not saved a
    /// snapshot yet and does not reveal whether it will; in a cluster, the least safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistence: Option<&'static str>,
    pub scripts: ScriptState,
    /// What is unsafe or broken, as text.
    pub findings: Vec<Finding>,
}

/// The share of `maxmemory`, percent, above which readiness warns.
const NEARLY_FULL: u64 = 90;
const SAFE_POLICY: &str = "noeviction";

impl RoleReport {
    pub(super) fn unknown(roles: &'static [Role], endpoint: &Endpoint) -> Self {
        let addresses: Vec<String> = endpoint.addresses().map(ToString::to_string).collect();
        Self {
            roles,
            address: Some(addresses.join(", ")),
            topology: match endpoint.topology {
                Topology::Single => "single",
                Topology::Sentinel => "sentinel",
                Topology::Cluster => "cluster",
            },
            connected: false,
            refusal: None,
            version: None,
            modules: Vec::new(),
            eviction_policy: None,
            persistence: None,
            scripts: ScriptState::Unknown,
            findings: Vec::new(),
        }
    }

    /// Every reason why the server is not fully healthy, including connection and scripts.
    pub fn conditions(&self) -> Vec<Finding> {
        let servers = words(self.roles);
        let mut all = Vec::new();
        if !self.connected {
            let why = self.refusal.as_ref().map(|refusal| format!(": {refusal}")).unwrap_or_default();
            all.push(Finding::down(format!("redis {servers}: not connected{why}")));
        }
        if let ScriptState::Refused(reason) = &self.scripts {
            all.push(Finding::down(format!("redis {servers}: {reason}")));
        }
        all.extend(self.findings.iter().cloned());
        all
    }

    /// Combines the nodes: the worst one counts.
    pub(super) fn take_in(&mut self, nodes: &[Node]) {
        let mut versions: Vec<&str> = nodes.iter().filter_map(|node| node.field("redis_version")).collect();
        versions.sort_unstable();
        versions.dedup();
        self.version = Some(versions.join(", ")).filter(|text| !text.is_empty());
        let policies = || nodes.iter().filter_map(|node| node.field("maxmemory_policy"));
        let worst = policies().find(|policy| *policy != SAFE_POLICY).or_else(|| policies().next());
        self.eviction_policy = worst.map(str::to_owned);
        self.persistence = nodes.iter().map(Node::persistence).min().map(Persistence::name);
        self.findings = nodes.iter().flat_map(|node| self.judge(node)).collect();
    }

    fn judge(&self, node: &Node) -> Vec<Finding> {
        let server = match &node.name {
            Some(name) => format!("redis {}, node {name},", words(self.roles)),
            None => format!("redis {}", words(self.roles)),
        };
        let mut reasons = Vec::new();
        if let Some(policy) = node.field("maxmemory_policy")
            && self.roles.contains(&Role::State)
            && policy != SAFE_POLICY
        {
            reasons.push(format!(
                "{server} has maxmemory-policy `{policy}`: locks, counters and series may be evicted; it needs \
                 `{SAFE_POLICY}`"
            ));
        }
        if self.roles.contains(&Role::State) && node.persistence() == Persistence::None {
            reasons.push(format!(
                "nothing persists in {}: a restart loses locks, counters, documents and series; enable its \
                 append-only file",
                server.trim_end_matches(',')
            ));
        }
        // A server that evicts works at its limit.
        if node.field("maxmemory_policy") == Some(SAFE_POLICY)
            && let Some(used) = node.memory_used().filter(|used| *used >= NEARLY_FULL)
        {
            let effect = if used >= 100 { "it refuses writes" } else { "it will refuse writes when that is full" };
            reasons.push(format!("{server} uses {used}% of its maxmemory: {effect}"));
        }
        if node.logs_writes() && node.field("aof_last_write_status") == Some("err") {
            reasons.push(format!("{server} cannot write its append-only file"));
        }
        if node.field("rdb_last_bgsave_status") == Some("err") {
            reasons.push(format!("{server} failed its last background save"));
        }
        if node.field("role") == Some("slave") {
            reasons.push(format!("{server} is a read-only replica"));
        }
        if node.field("redis_mode") == Some("cluster") && self.topology != "cluster" {
            reasons.push(format!("{server} belongs to a cluster; redis.topology must say so"));
        }
        reasons.into_iter().map(Finding::degraded).collect()
    }

    /// Notes that the server does not allow the service to inspect it.
    pub(super) fn take_in_denial(&mut self) {
        let servers = words(self.roles);
        self.findings = vec![Finding::degraded(format!(
            "redis {servers}: the service's Redis user may not use INFO and COMMAND, so its safety is unknown"
        ))];
    }
}

/// The roles as text.
pub(super) fn words(roles: &[Role]) -> String {
    let names: Vec<String> = roles.iter().map(|role| format!("`{}`", role.label())).collect();
    format!("{} {}", if names.len() == 1 { "role" } else { "roles" }, names.join(" and "))
}

impl Redis {
    /// The condition of the server: connection, version, modules, persistence, eviction policy, scripts.
    pub fn report(&self) -> RoleReport {
        let mut report = self.0.report.borrow().clone();
        let mut links = std::iter::once(&self.0.shared).chain(&self.0.lanes);
        report.connected = links.all(Link::is_up);
        report.refusal = self.0.shared.refusal().map(|fault| fault.to_string());
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: Option<&str>, info: &str) -> Node {
        Node { name: name.map(str::to_owned), info: info.to_owned(), clock_offset: 0.0, save_points: None }
    }

    fn report(roles: &'static [Role], info: &str) -> RoleReport {
        let mut report = RoleReport::unknown(roles, &Endpoint::default());
        report.take_in(&[node(None, info)]);
        report
    }

    #[test]
    fn eviction_is_unsafe_wherever_state_is_kept() {
        let unsafe_policy = "redis_version:7.0.15\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n";
        for roles in [[Role::State].as_slice(), &[Role::Cache, Role::State]] {
            let findings = report(roles, unsafe_policy).findings;
            assert!(findings.iter().any(|finding| finding.reason.contains("`state`")), "{findings:?}");
        }
        assert_eq!(report(&[Role::Cache], unsafe_policy).findings, []);
    }

    #[test]
    fn a_failing_append_only_file_is_named() {
        let state =
            report(&[Role::State], "maxmemory_policy:noeviction\r\naof_enabled:1\r\naof_last_write_status:err\r\n");
        assert_eq!(state.findings.len(), 1);
        assert_eq!(state.persistence, Some("aof"));
    }

    #[test]
    fn missing_persistence_is_found_with_and_without_the_configuration() {
        let info = |rest: &str| format!("maxmemory_policy:noeviction\r\naof_enabled:0\r\n{rest}");
        let old = "server_time_usec:9000000000\r\nrdb_last_save_time:100\r\nrdb_changes_since_last_save:";
        for (save_points, rest, persistence) in [
            (Some(""), String::new(), "none"),
            (Some("3600 1"), String::new(), "snapshots"),
            (None, format!("{old}1\r\n"), "none"),
            (None, format!("{old}0\r\nrdb_saves:1\r\n"), "snapshots"),
            (None, format!("{old}0\r\nrdb_saves:0\r\n"), "unknown"),
        ] {
            let node = Node { save_points: save_points.map(str::to_owned), ..node(None, &info(&rest)) };
            for roles in [[Role::State].as_slice(), &[Role::Cache]] {
                let mut report = RoleReport::unknown(roles, &Endpoint::default());
                report.take_in(std::slice::from_ref(&node));
                assert_eq!(report.persistence, Some(persistence), "{save_points:?} {rest}");
                let is_found = report.findings.iter().any(|finding| finding.reason.contains("nothing persists"));
                assert_eq!(is_found, persistence == "none" && roles == [Role::State], "{:?}", report.findings);
            }
        }
    }

    #[test]
    fn a_server_that_is_nearly_full_is_found_unless_it_evicts() {
        let used = |policy: &str, used: u64| {
            let memory = format!("maxmemory:1000\r\nused_memory:{used}\r\nmem_not_counted_for_evict:50\r\n");
            let info = format!("maxmemory_policy:{policy}\r\naof_enabled:1\r\n{memory}");
            report(&[Role::Cache], &info).findings.into_iter().map(|finding| finding.reason).collect::<String>()
        };
        assert_eq!(used("noeviction", 949), "");
        assert!(used("noeviction", 950).contains("90% of its maxmemory: it will refuse"));
        assert!(used("noeviction", 2_050).contains("200% of its maxmemory: it refuses"));
        assert_eq!(used("allkeys-lru", 1_050), "");
    }

    #[test]
    fn the_worst_node_of_a_cluster_counts_and_is_named() {
        let endpoint = Endpoint { topology: Topology::Cluster, ..Endpoint::default() };
        let mut report = RoleReport::unknown(&[Role::State], &endpoint);
        let good = "redis_version:7.0.15\r\nredis_mode:cluster\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n";
        let bad = "redis_version:7.2.4\r\nredis_mode:cluster\r\nmaxmemory_policy:volatile-lru\r\naof_enabled:0\r\n";
        report.take_in(&[node(Some("a:1"), good), node(Some("b:2"), bad), node(Some("c:3"), good)]);
        assert_eq!(report.version.as_deref(), Some("7.0.15, 7.2.4"));
        assert_eq!(report.eviction_policy.as_deref(), Some("volatile-lru"));
        assert_eq!(report.persistence, Some("unknown"));
        let reasons: Vec<&str> = report.findings.iter().map(|finding| finding.reason.as_str()).collect();
        assert!(matches!(reasons.as_slice(), [one] if one.contains("node b:2")), "{reasons:?}");
    }
}
