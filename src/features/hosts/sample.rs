//! One sample of a host: what its agent measured at one moment, and the rules for its values.

use std::fmt;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::clock::{MAX_TIMESTAMP, UnixMillis};
use crate::http::integer;

/// JSON numbers above 2^53 lose precision.
const MAX_COUNT: u64 = 1 << 53;

/// No machine has more processors; a larger number is a mistake.
const MAX_CORES: u64 = 1 << 16;

/// Processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HostCpu)]
pub(super) struct Cpu {
    /// Percentage of all cores together.
    #[schema(minimum = 0, maximum = 100, example = 37.5)]
    pub usage: f64,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 65_536, example = 8)]
    pub cores: u64,
    /// Average number of runnable processes over 1, 5 and 15 minutes.
    #[serde(deserialize_with = "three")]
    #[schema(min_items = 3, max_items = 3, example = json!([0.52, 0.58, 0.61]))]
    pub load_avg: [f64; 3],
}

/// Reads exactly three numbers. `serde_json` itself reports a fourth one as a syntax error that names no field.
pub(super) fn three<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; 3], D::Error> {
    let numbers = Vec::<integer::Float>::deserialize(deserializer)?;
    let numbers: Vec<f64> = numbers.into_iter().map(|integer::Float(number)| number).collect();
    numbers.try_into().map_err(|numbers: Vec<f64>| D::Error::invalid_length(numbers.len(), &"three numbers"))
}

/// Memory or disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HostSpace)]
pub(super) struct Space {
    /// Bytes.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 17_179_869_184_u64)]
    pub total: u64,
    /// Bytes, at most `total`.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 8_589_934_592_u64)]
    pub used: u64,
    /// Bytes, at most `total`.
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 8_589_934_592_u64)]
    pub free: u64,
    #[schema(minimum = 0, maximum = 100, example = 50.0)]
    pub usage_percent: f64,
}

/// Traffic since the machine started; counters may restart at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HostNetwork)]
pub(super) struct Network {
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 1_048_576)]
    pub bytes_in: u64,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 524_288)]
    pub bytes_out: u64,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 2_048)]
    pub packets_in: u64,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_u64, example = 1_024)]
    pub packets_out: u64,
}

/// Identifies a sample of a host. A sample that is sent twice is stored once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SampleId {
    pub timestamp: UnixMillis,
    pub seq: u64,
}

/// A stored sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = HostSample)]
pub(super) struct Sample {
    /// Unix milliseconds.
    pub timestamp: UnixMillis,
    /// Distinguishes samples of the same millisecond.
    #[schema(example = 0)]
    pub seq: u64,
    pub cpu: Cpu,
    pub memory: Space,
    pub disk: Space,
    pub network: Network,
}

impl Sample {
    pub(super) fn id(&self) -> SampleId {
        SampleId { timestamp: self.timestamp, seq: self.seq }
    }
}

/// A rule that a sample breaks: the JSON pointer of the value, and the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub pointer: String,
    pub detail: String,
}

impl Violation {
    pub(super) fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Sample {
    /// Every rule that the sample's values break.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut require = |holds: bool, pointer: &str, rule: &str, got: &dyn fmt::Display| {
            if !holds {
                violations.push(Violation::new(pointer, format!("must be {rule}, got {got}")));
            }
        };
        let is_percentage = |value: f64| (0.0..=100.0).contains(&value);
        let Cpu { usage, cores, load_avg } = self.cpu;
        require(is_percentage(usage), "/cpu/usage", "between 0 and 100", &usage);
        require((1..=MAX_CORES).contains(&cores), "/cpu/cores", "between 1 and 65536", &cores);
        for (at, load) in load_avg.iter().enumerate() {
            require(*load >= 0.0 && load.is_finite(), &format!("/cpu/loadAvg/{at}"), "at least 0", load);
        }
        for (part, space) in [("memory", &self.memory), ("disk", &self.disk)] {
            let Space { total, used, free, usage_percent } = *space;
            require(total <= MAX_COUNT, &format!("/{part}/total"), "at most 2^53", &total);
            require(used <= total, &format!("/{part}/used"), "at most total", &used);
            require(free <= total, &format!("/{part}/free"), "at most total", &free);
            require(
                is_percentage(usage_percent),
                &format!("/{part}/usagePercent"),
                "between 0 and 100",
                &usage_percent,
            );
        }
        let Network { bytes_in, bytes_out, packets_in, packets_out } = self.network;
        for (name, count) in
            [("bytesIn", bytes_in), ("bytesOut", bytes_out), ("packetsIn", packets_in), ("packetsOut", packets_out)]
        {
            require(count <= MAX_COUNT, &format!("/network/{name}"), "at most 2^53", &count);
        }
        require(self.seq <= MAX_COUNT, "/seq", "at most 2^53", &self.seq);
        violations
    }
}

/// How far an agent's clock may be ahead of the service's, milliseconds. Clocks under NTP differ by much less; a later
/// timestamp is a mistake that would hide newer samples.
pub(super) const MAX_AHEAD: i64 = 5 * 60 * 1_000;

/// The rule that a timestamp breaks at `now`; it may be at most `max_behind` milliseconds old.
pub(super) fn check_timestamp(timestamp: UnixMillis, now: UnixMillis, max_behind: i64) -> Option<Violation> {
    let (earliest, latest) = (now.saturating_sub(max_behind).max(0), now.saturating_add(MAX_AHEAD));
    if (earliest..=latest.min(MAX_TIMESTAMP)).contains(&timestamp) {
        return None;
    }
    let rule = format!(
        "must be Unix milliseconds between {earliest} and {latest}, got {timestamp}; check the clock of the agent"
    );
    Some(Violation::new("/timestamp", rule))
}

impl AsRef<Self> for Sample {
    fn as_ref(&self) -> &Self {
        self
    }
}
