//! One sample of a host: what its agent saw at one moment.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::clock::{MAX_TIMESTAMP, UnixMillis};
use crate::http::integer;

/// Beyond 2^53 a count would not survive JSON.
const MAX_COUNT: u64 = 1 << 53;

/// More than any machine has; a larger number is a mistake.
const MAX_CORES: u64 = 1 << 16;

/// Processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = HostCpu)]
pub(super) struct Cpu {
    /// Per cent, of all cores together.
    #[schema(minimum = 0, maximum = 100, example = 37.5)]
    pub usage: f64,
    #[serde(deserialize_with = "integer::unsigned")]
    #[schema(minimum = 1, maximum = 65_536, example = 8)]
    pub cores: u64,
    /// Runnable processes over 1, 5 and 15 minutes.
    #[serde(deserialize_with = "three")]
    #[schema(min_items = 3, max_items = 3, example = json!([0.52, 0.58, 0.61]))]
    pub load_avg: [f64; 3],
}

/// Reads three numbers. By itself `serde_json` takes a fourth one for a mistake in the text, and names no field.
fn three<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; 3], D::Error> {
    struct Three;

    impl<'de> Visitor<'de> for Three {
        type Value = [f64; 3];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("three numbers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<[f64; 3], A::Error> {
            let mut loads = [0.0; 3];
            for (at, load) in loads.iter_mut().enumerate() {
                *load = items.next_element()?.ok_or_else(|| A::Error::invalid_length(at, &self))?;
            }
            let mut count = loads.len();
            while items.next_element::<IgnoredAny>()?.is_some() {
                count += 1;
            }
            if count == loads.len() { Ok(loads) } else { Err(A::Error::invalid_length(count, &self)) }
        }
    }

    deserializer.deserialize_seq(Three)
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

/// Traffic since the machine started; counters may begin anew.
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

/// A sample's identity among those of its host: sent again, it is stored once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SampleId {
    pub timestamp: UnixMillis,
    pub seq: u64,
}

/// A sample as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = HostSample)]
pub(super) struct Sample {
    /// Unix milliseconds.
    #[schema(example = 1_767_225_600_000_u64)]
    pub timestamp: UnixMillis,
    /// Tells samples of one millisecond apart.
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

/// A rule that a sample breaks: where, as a JSON pointer into it, and how.
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
    /// Every rule about values that the sample breaks.
    pub(super) fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut require = |holds: bool, pointer: &str, rule: &str| {
            if !holds {
                violations.push(Violation::new(pointer, rule));
            }
        };
        let is_percentage = |value: f64| (0.0..=100.0).contains(&value);
        require(is_percentage(self.cpu.usage), "/cpu/usage", "must be from 0 to 100");
        require((1..=MAX_CORES).contains(&self.cpu.cores), "/cpu/cores", "must be from 1 to 65536");
        for (at, load) in self.cpu.load_avg.iter().enumerate() {
            require(*load >= 0.0 && load.is_finite(), &format!("/cpu/loadAvg/{at}"), "must not be negative");
        }
        for (part, space) in [("memory", &self.memory), ("disk", &self.disk)] {
            require(space.total <= MAX_COUNT, &format!("/{part}/total"), "must be at most 2^53");
            require(space.used <= space.total, &format!("/{part}/used"), "must not be more than total");
            require(space.free <= space.total, &format!("/{part}/free"), "must not be more than total");
            require(is_percentage(space.usage_percent), &format!("/{part}/usagePercent"), "must be from 0 to 100");
        }
        let Network { bytes_in, bytes_out, packets_in, packets_out } = self.network;
        for (name, count) in
            [("bytesIn", bytes_in), ("bytesOut", bytes_out), ("packetsIn", packets_in), ("packetsOut", packets_out)]
        {
            require(count <= MAX_COUNT, &format!("/network/{name}"), "must be at most 2^53");
        }
        require(self.seq <= MAX_COUNT, "/seq", "must be at most 2^53");
        violations
    }
}

/// By how much an agent's clock may be off, milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skew {
    pub ahead: i64,
    pub behind: i64,
}

impl Skew {
    /// The rule that a timestamp breaks at `now`.
    pub(super) fn violation(self, timestamp: UnixMillis, now: UnixMillis) -> Option<Violation> {
        let (earliest, latest) = (now.saturating_sub(self.behind).max(0), now.saturating_add(self.ahead));
        if (earliest..=latest.min(MAX_TIMESTAMP)).contains(&timestamp) {
            return None;
        }
        let rule = format!("must be Unix milliseconds from {earliest} to {latest}: the clock of the agent is far off");
        Some(Violation::new("/timestamp", rule))
    }
}

impl AsRef<Self> for Sample {
    fn as_ref(&self) -> &Self {
        self
    }
}
