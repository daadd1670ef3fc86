//! Heartbeats of the platform's agents, in both forms that agents send. Fields that the service does not keep are ignored.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use super::model::{Agent, HostId, NewSample};
use super::sample::{self, Cpu, Network, Space, Violation};
use crate::clock::UnixMillis;
use crate::http::{integer, times};

/// A heartbeat of one of the platform's agents.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"organizationSlug": "grid-one", "hostId": "web-1", "heartbeat": {
    "hostname": "web-1.example.org", "agentVersion": "2.1.0", "agentStatus": "running", "uptime": 86_400,
    "metrics": {
        "cpu": {"usage": 37.5, "cores": 8, "model": "EPYC 7763", "loadAvg1": 0.52, "loadAvg5": 0.58, "loadAvg15": 0.61},
        "memory": {"total": 17_179_869_184_u64, "used": 8_589_934_592_u64, "available": 8_589_934_592_u64, "usagePercent": 50.0},
        "disk": {"total": 512_000_000_000_u64, "used": 128_000_000_000_u64, "available": 384_000_000_000_u64,
            "usagePercent": 25.0, "mountPoint": "/"}}}}))]
#[schema(as = HostHeartbeatRequest)]
pub(super) struct HeartbeatRequest {
    /// The credential's organisation.
    pub organization_slug: String,
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._:-]+$", max_length = 128)]
    pub host_id: HostId,
    pub heartbeat: Heartbeat,
}

#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HostHeartbeat)]
pub(super) struct Heartbeat {
    #[schema(max_length = 256)]
    pub hostname: String,
    #[schema(max_length = 256)]
    pub agent_version: String,
    #[schema(max_length = 256)]
    pub agent_status: String,
    /// Seconds since the machine started.
    #[serde(deserialize_with = "integer::float")]
    pub uptime: f64,
    pub metrics: AgentMetrics,
    /// Used if `metrics` has no network. The fields `bytesIn`, `bytesOut`, `packetsIn` and `packetsOut` are kept, if it has any.
    #[serde(default, deserialize_with = "network_if_known")]
    #[schema(value_type = Option<Value>)]
    pub network: Option<AgentNetwork>,
}

/// A heartbeat of an older agent, whose organisation is in the header `X-Organization-Id`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"hostId": "web-2", "agentVersion": "1.4.0", "agentStatus": "running", "agentPid": 4711, "metrics": {
    "cpu": {"usage": 37.5, "cores": 8, "loadAvg1": 0.52, "loadAvg5": 0.58, "loadAvg15": 0.61},
    "memory": {"total": 17_179_869_184_u64, "used": 8_589_934_592_u64, "available": 8_589_934_592_u64, "usagePercent": 50.0},
    "disk": {"total": 512_000_000_000_u64, "used": 128_000_000_000_u64, "available": 384_000_000_000_u64,
        "usagePercent": 25.0, "mountPoint": "/"}}}))]
#[schema(as = HostOlderHeartbeatRequest)]
pub(super) struct OlderHeartbeatRequest {
    #[schema(value_type = String, pattern = "^[A-Za-z0-9._:-]+$", max_length = 128)]
    pub host_id: HostId,
    #[schema(max_length = 256)]
    pub agent_version: String,
    #[schema(max_length = 256)]
    pub agent_status: String,
    pub metrics: AgentMetrics,
    /// Its fields `hostname` and `uptime` are kept.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub host_info: Option<Value>,
}

/// What an agent measured.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[schema(as = HostAgentMetrics)]
pub(super) struct AgentMetrics {
    /// Unix milliseconds, or text in RFC 3339, by the agent's clock; by the service's clock if absent.
    #[serde(default, deserialize_with = "times::millis_or_rfc3339_if_given")]
    #[schema(value_type = Option<u64>)]
    timestamp: Option<UnixMillis>,
    /// Distinguishes samples of the same millisecond.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_992_u64)]
    seq: Option<u64>,
    cpu: AgentCpu,
    memory: AgentSpace,
    disk: AgentSpace,
    /// Traffic since the machine started, in `bytesIn`, `bytesOut`, `packetsIn` and `packetsOut`.
    #[serde(default, deserialize_with = "network_if_known")]
    #[schema(value_type = Option<Value>)]
    network: Option<AgentNetwork>,
}

/// Processors, with the load averages in one list or apart.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HostAgentCpu)]
struct AgentCpu {
    /// Percentage of all cores together.
    #[schema(minimum = 0, maximum = 100)]
    usage: f64,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 65_536)]
    cores: u64,
    #[serde(default, deserialize_with = "three_if_given")]
    #[schema(value_type = Option<Vec<f64>>, min_items = 3, max_items = 3)]
    load_avg: Option<[f64; 3]>,
    #[serde(default, deserialize_with = "integer::float_if_given")]
    load_avg1: Option<f64>,
    #[serde(default, deserialize_with = "integer::float_if_given")]
    load_avg5: Option<f64>,
    #[serde(default, deserialize_with = "integer::float_if_given")]
    load_avg15: Option<f64>,
}

/// Memory or disk.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HostAgentSpace)]
struct AgentSpace {
    /// Bytes.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(maximum = 9_007_199_254_740_992_u64)]
    total: u64,
    /// Bytes, at most `total`.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(maximum = 9_007_199_254_740_992_u64)]
    used: u64,
    /// Bytes, at most `total`; kept as `free`.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_992_u64)]
    available: Option<u64>,
    /// Bytes, at most `total`; preferred to `available`. Without both, the rest of `total`.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(maximum = 9_007_199_254_740_992_u64)]
    free: Option<u64>,
    #[schema(minimum = 0, maximum = 100)]
    usage_percent: f64,
}

/// Traffic since the machine started. An agent that does not measure it is stored with zeros.
#[derive(Clone, Copy, Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = HostAgentNetwork)]
pub(super) struct AgentNetwork {
    #[serde(deserialize_with = "integer::unsigned")]
    bytes_in: u64,
    #[serde(deserialize_with = "integer::unsigned")]
    bytes_out: u64,
    #[serde(deserialize_with = "integer::unsigned")]
    packets_in: u64,
    #[serde(deserialize_with = "integer::unsigned")]
    packets_out: u64,
}

fn three_if_given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<[f64; 3]>, D::Error> {
    #[derive(Deserialize)]
    struct Given(#[serde(deserialize_with = "sample::three")] [f64; 3]);

    Ok(Option::<Given>::deserialize(deserializer)?.map(|Given(numbers)| numbers))
}

/// Agents also describe interfaces and addresses under this name, which are ignored.
fn network_if_known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AgentNetwork>, D::Error> {
    let given = Option::<Value>::deserialize(deserializer)?;
    let counters = given.filter(|given| given.get("bytesIn").is_some());
    counters.map(serde_json::from_value).transpose().map_err(D::Error::custom)
}

/// What both forms of a heartbeat contain.
#[derive(Clone, Debug)]
pub(super) struct HeartbeatContent {
    pub agent: Agent,
    pub sample: NewSample,
    /// JSON pointer of the object that describes the agent.
    pub place: &'static str,
}

impl From<Heartbeat> for HeartbeatContent {
    fn from(heartbeat: Heartbeat) -> Self {
        let Heartbeat { hostname, agent_version, agent_status, uptime, metrics, network } = heartbeat;
        let agent = Agent { hostname, agent_version, agent_status, uptime };
        Self { agent, sample: metrics.sample(network), place: "/heartbeat" }
    }
}

impl From<OlderHeartbeatRequest> for HeartbeatContent {
    fn from(request: OlderHeartbeatRequest) -> Self {
        let OlderHeartbeatRequest { host_id, agent_version, agent_status, metrics, host_info } = request;
        let hostname = host_info.as_ref().and_then(|info| info.get("hostname")?.as_str());
        let uptime = host_info.as_ref().and_then(|info| info.get("uptime")?.as_f64()).unwrap_or_default();
        let hostname = hostname.unwrap_or(host_id.name()).to_owned();
        let agent = Agent { hostname, agent_version, agent_status, uptime };
        Self { agent, sample: metrics.sample(None), place: "" }
    }
}

impl AgentMetrics {
    fn sample(self, network: Option<AgentNetwork>) -> NewSample {
        let Self { timestamp, seq, cpu, memory, disk, network: own } = self;
        let load_avg = cpu
            .load_avg
            .unwrap_or_else(|| [cpu.load_avg1, cpu.load_avg5, cpu.load_avg15].map(Option::unwrap_or_default));
        let AgentNetwork { bytes_in, bytes_out, packets_in, packets_out } = own.or(network).unwrap_or_default();
        NewSample {
            timestamp,
            seq,
            cpu: Cpu { usage: percentage(cpu.usage), cores: cpu.cores, load_avg },
            memory: memory.space(),
            disk: disk.space(),
            network: Network { bytes_in, bytes_out, packets_in, packets_out },
        }
    }
}

impl AgentSpace {
    fn space(self) -> Space {
        let Self { total, used, available, free, usage_percent } = self;
        let free = free.or(available).unwrap_or(total.saturating_sub(used));
        Space { total, used, free, usage_percent: percentage(usage_percent) }
    }
}

/// A percentage that an agent calculated, in which rounding may have exceeded 100.
fn percentage(value: f64) -> f64 {
    if (100.0..100.5).contains(&value) { 100.0 } else { value }
}

/// The longest text that an agent may report, bytes.
const MAX_TEXT: usize = 256;

impl HeartbeatContent {
    /// The rules that the heartbeat breaks, apart from those of its sample.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let Self { agent, place, .. } = self;
        let texts = [
            ("hostname", &agent.hostname),
            ("agentVersion", &agent.agent_version),
            ("agentStatus", &agent.agent_status),
        ];
        let invalid = texts.into_iter().filter(|(_, text)| text.len() > MAX_TEXT || text.chars().any(char::is_control));
        let rule = "must be at most 256 bytes without control characters";
        let mut violations: Vec<_> = invalid.map(|(name, _)| Violation::new(format!("{place}/{name}"), rule)).collect();
        if !(agent.uptime.is_finite() && agent.uptime >= 0.0) {
            violations
                .push(Violation::new(format!("{place}/uptime"), format!("must be at least 0, got {}", agent.uptime)));
        }
        violations
    }
}
