//! Wire types of host metrics: host names, request bodies and response bodies.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};

use super::sample::{Cpu, Network, Sample, Space};
use crate::clock::UnixMillis;
use crate::http::{integer, times};
use crate::redis::Segment;

/// A host's name, 1 to 128 letters, digits, dots, hyphens, underscores and colons, and how it is stored.
///
/// Each organisation has its own names. The first organisation that reports a name stores the host under the name alone,
/// every other one under `name!organisation`. `!` is below all characters of names, so both have the same order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostId(Arc<str>);

const MAX_ID: usize = 128;

/// Separates a name from the organisation to which it belongs.
const OF: char = '!';
/// The character after it, also below all characters of names.
const AFTER_OF: char = '"';

impl HostId {
    /// # Errors
    /// The rule for host names, if `text` breaks it.
    pub(super) fn new(text: &str) -> Result<Self, &'static str> {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
        if text.is_empty() || text.len() > MAX_ID || !text.bytes().all(known) {
            return Err("must be 1 to 128 letters, digits, dots, hyphens, underscores or colons");
        }
        Ok(Self(text.into()))
    }

    /// The host that is stored under `text`, unless that is not the form of a stored host.
    pub(super) fn stored(text: &str) -> Option<Self> {
        let name = text.split_once(OF).map_or(text, |(name, _)| name);
        Self::new(name).ok().map(|_| Self(text.into()))
    }

    /// The host of this name that is stored under the organisation's own name.
    pub(super) fn of(&self, organisation: &str) -> Self {
        Self(format!("{}{OF}{}", self.name(), Segment(organisation)).into())
    }

    /// The host of this name that is stored under the name alone.
    pub(super) fn plain(&self) -> Self {
        if self.0.contains(OF) { Self(self.name().into()) } else { self.clone() }
    }

    /// A position in the order of hosts: after all forms of this name, and before every other name that follows it.
    pub(super) fn end(&self) -> Self {
        Self(format!("{}{AFTER_OF}", self.name()).into())
    }

    /// The text under which the host is stored.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as clients know it.
    pub(super) fn name(&self) -> &str {
        self.0.split_once(OF).map_or(&*self.0, |(name, _)| name)
    }
}

impl Serialize for HostId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl TryFrom<String> for HostId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl fmt::Display for HostId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The host after which a page begins.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostCursor(pub HostId);

impl TryFrom<String> for HostCursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        HostId::stored(&text).map(Self).ok_or("must be the next_cursor of a page")
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Path)]
pub(super) struct HostPath {
    /// The host.
    #[param(value_type = String, min_length = 1, max_length = 128, pattern = "^[A-Za-z0-9._:-]+$", example = "web-1")]
    pub id: HostId,
}

/// A sample that an agent sends.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HostSampleInput)]
pub(super) struct NewSample {
    /// Unix milliseconds, or text in RFC 3339, by the agent's clock; by the service's clock if absent. Only a sample with
    /// a timestamp can be sent again safely.
    #[serde(default, deserialize_with = "times::millis_or_rfc3339_if_given")]
    #[schema(value_type = Option<u64>, required = false)]
    pub timestamp: Option<UnixMillis>,
    /// Distinguishes samples of the same millisecond.
    #[serde(default, deserialize_with = "integer::unsigned_if_given")]
    #[schema(required = false, maximum = 9_007_199_254_740_992_u64)]
    pub seq: Option<u64>,
    pub cpu: Cpu,
    pub memory: Space,
    pub disk: Space,
    pub network: Network,
}

/// Up to 1,000 samples. A single sample may be sent without the brackets.
#[derive(Debug, ToSchema)]
#[schema(as = HostSamplesInput, example = json!([{
    "cpu": {"usage": 37.5, "cores": 8, "loadAvg": [0.52, 0.58, 0.61]},
    "memory": {"total": 17_179_869_184_u64, "used": 8_589_934_592_u64, "free": 8_589_934_592_u64, "usagePercent": 50.0},
    "disk": {"total": 512_000_000_000_u64, "used": 128_000_000_000_u64, "free": 384_000_000_000_u64, "usagePercent": 25.0},
    "network": {"bytesIn": 1_048_576, "bytesOut": 524_288, "packetsIn": 2_048, "packetsOut": 1_024}}]))]
#[expect(dead_code, reason = "documents the body in the API document; bodies are parsed item by item")]
pub(super) struct NewSamples(Vec<NewSample>);

/// What an agent reports about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HostAgent)]
#[expect(clippy::struct_field_names, reason = "the names that agents send")]
pub(super) struct Agent {
    pub hostname: String,
    pub agent_version: String,
    pub agent_status: String,
    /// Seconds since the machine started.
    pub uptime: f64,
}

/// The response that the platform's agents expect.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = HostHeartbeatAnswer)]
pub(super) struct HeartbeatAnswer {
    pub success: bool,
}

/// Where accepted samples are stored when the response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HostSamplesStored)]
pub(super) enum StorageState {
    /// In the service's memory. The next batch writes them to Redis; a crash before that loses them.
    Memory,
    /// Also on this replica's disk: not even a crash loses them.
    Spooled,
}

/// An item of an array that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HostRefusedSample)]
pub(super) struct RefusedSample {
    /// The item's index in the array, from 0.
    pub index: usize,
    /// JSON pointer into the body.
    #[schema(example = "/3/cpu/usage")]
    pub pointer: String,
    pub detail: String,
}

/// The accepted and the refused samples.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostSamplesAnswer)]
pub(super) struct IngestAnswer {
    /// The number of accepted samples.
    pub accepted: usize,
    pub stored: StorageState,
    /// The refused items of an array, one entry for each broken rule.
    pub refused: Vec<RefusedSample>,
}

impl IngestAnswer {
    /// How many samples were refused. The entries of a sample follow each other.
    pub(super) fn refused_samples(&self) -> usize {
        self.refused.chunk_by(|one, next| one.index == next.index).count()
    }
}

/// The source of the returned samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HostSamplesSource)]
pub(super) enum Source {
    /// This replica's memory, because it is recent enough or Redis is unavailable.
    Memory,
    /// Redis, and samples in memory that are not in Redis yet.
    Redis,
}

/// The newest sample of a host.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostLatestSample)]
pub(super) struct Latest {
    #[schema(value_type = String, example = "web-1")]
    pub host: HostId,
    #[schema(value_type = Sample)]
    pub metrics: Arc<Sample>,
    /// What its agent reported with the last heartbeat.
    #[schema(value_type = Option<Agent>, required = true)]
    pub agent: Option<Arc<Agent>>,
    pub source: Source,
}

/// The newest samples of a host.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostRecentSamples)]
pub(super) struct Recent {
    /// Newest first.
    #[schema(value_type = Vec<Sample>)]
    pub metrics: Vec<Arc<Sample>>,
    pub count: usize,
    pub source: Source,
}

/// A host of the caller's organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = HostEntry)]
pub(super) struct HostEntry {
    #[schema(value_type = String, example = "web-1")]
    pub id: HostId,
    /// When this replica last received a sample of the host, Unix milliseconds; absent if the host is not in its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<UnixMillis>,
}

/// The newer of a host's samples in memory and in Redis.
pub(super) fn newer(in_memory: Option<Latest>, published: Option<Latest>) -> Option<Latest> {
    let is_newer =
        |published: &Latest| in_memory.as_ref().is_none_or(|in_memory| in_memory.metrics.id() < published.metrics.id());
    published.filter(is_newer).or(in_memory)
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[schema(as = HostFlushedSamples)]
pub(super) struct Flushed {
    /// The number of samples written to Redis.
    pub written: u64,
}

/// A page of a window's samples.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostSamplesRange)]
pub(super) struct RangeAnswer {
    /// Oldest first.
    #[schema(value_type = Vec<Sample>)]
    pub metrics: Vec<Arc<Sample>>,
    pub count: usize,
    /// Whether the window has more samples after this page.
    pub truncated: bool,
    /// The `cursor` of the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    pub source: Source,
}

/// A page of hosts.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostPage)]
pub(super) struct HostList {
    pub items: Vec<HostEntry>,
    /// Pass this as `cursor` to get the next page; null on the last page.
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    /// `memory` if Redis is unavailable: hosts that only other replicas know are missing.
    pub source: Source,
}

/// A page of hosts' newest samples.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HostLatestSamples)]
pub(super) struct LatestPage {
    pub items: Vec<Latest>,
    #[schema(required = true)]
    pub next_cursor: Option<String>,
    pub source: Source,
}
