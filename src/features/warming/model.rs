//! Wire types of warming, some of which Redis also stores.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::http::portable_json::{text_if_given, unique_names_if_given};

/// Which tasks run first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WarmingPriority)]
pub(super) enum Priority {
    Critical,
    High,
    #[default]
    Medium,
    Low,
}

/// When a task runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = WarmingStrategy)]
pub(super) enum Strategy {
    /// When the service starts, unless it ran within `every_ms`, and then every `every_ms` (default: 80 % of the TTL).
    #[schema(title = "WarmingStartup")]
    Startup {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_ms: Option<u64>,
    },
    /// Every `every_ms`, or daily at the time of day `at`, such as `03:15`, of `time_zone` (default: UTC).
    #[schema(title = "WarmingScheduled")]
    Scheduled {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        every_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        time_zone: Option<String>,
    },
    /// Keys that clients used at least `threshold` times in the last five minutes, when they are absent or have less than
    /// half of their TTL left.
    #[schema(title = "WarmingAccessPattern")]
    AccessPattern { threshold: u64 },
    /// A key is fetched when it is asked for. One that clients used at least `trigger` times in the last five minutes is
    /// fetched again once less than `1 - 1 / factor` of its TTL is left.
    #[schema(title = "WarmingOnDemand")]
    OnDemand { factor: f64, trigger: u64 },
}

/// What a task does.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WarmingTaskDefinition)]
#[schema(example = json!({ "key": "market:limits:{zone}", "values": { "market:limits:north": { "max": 40 } },
    "strategy": { "kind": "startup" }, "ttl_ms": 600_000 }))]
pub(super) struct TaskDefinition {
    /// The template of its keys: fixed text with parts such as `{id:uuid}`, `{n:int8}`, `{flag:bool}` or `{name}`.
    #[schema(min_length = 1, max_length = 256, example = "market:limits:{zone}")]
    pub key: String,
    /// The name of a configured source. Either this or `values`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The values themselves, by key.
    #[serde(default, deserialize_with = "unique_names_if_given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::HashMap<String, serde_json::Value>>)]
    pub values: Option<BTreeMap<String, Box<RawValue>>>,
    /// The keys that a run fetches, for sources that cannot list them; at most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1_000)]
    pub keys: Vec<String>,
    pub strategy: Strategy,
    #[serde(default)]
    pub priority: Priority,
    /// Tasks that must have succeeded before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub after: Vec<String>,
    /// How long values live, milliseconds. Each life differs by up to 10 %, so that they do not end together.
    #[schema(minimum = 1_000, example = 600_000)]
    pub ttl_ms: u64,
    /// How long the cache remembers that the source has no such value, at most 60,000 milliseconds; absent: not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 60_000)]
    pub negative_ttl_ms: Option<u64>,
    /// How often the source is asked what has changed, milliseconds, between complete runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_000)]
    pub changes_ms: Option<u64>,
    /// How old a value may be, milliseconds. The schedule must be able to hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1_000)]
    pub freshness_ms: Option<u64>,
    /// The tags of its values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub tags: Vec<String>,
    /// How often a fetch is tried; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub attempts: Option<u32>,
    /// Whether another task may have the same template.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub overlap: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WarmingResult)]
pub(super) enum RunResult {
    Succeeded,
    /// Some keys failed.
    Partial,
    Failed,
    Stopped,
}

impl RunResult {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

/// Which keys a run fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WarmingRunKind)]
pub(super) enum RunKind {
    /// All keys.
    Full,
    /// Those that changed in the source.
    Changes,
    /// Those that clients use most.
    Hot,
    /// Those of a request.
    Requested,
}

/// A run of a task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WarmingRun)]
#[expect(clippy::struct_field_names, reason = "the name of the field in the answer")]
pub(super) struct Run {
    #[schema(example = "limits.1")]
    pub id: String,
    pub task: String,
    pub kind: RunKind,
    pub dry_run: bool,
    /// The replica of the service that runs it.
    pub replica: String,
    /// Unix milliseconds.
    pub started: UnixMillis,
    /// Unix milliseconds; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UnixMillis>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<RunResult>,
    #[serde(flatten)]
    pub counts: Counts,
    /// Fetches of batches, including repeated ones.
    pub attempts: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Up to 20 keys that failed; of a dry run, up to 20 keys that would change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

/// What became of the keys of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WarmingCounts)]
pub(super) struct Counts {
    pub fetched: u64,
    pub new: u64,
    pub changed: u64,
    /// The cache had the value already, which got its whole TTL again.
    pub unchanged: u64,
    /// Another write came first, and stays.
    pub overtaken: u64,
    /// The source has no such value.
    pub absent: u64,
    pub failed: u64,
    /// The bytes of the values that were written.
    pub bytes: u64,
}

/// The state of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WarmingState)]
pub(super) enum TaskState {
    /// It waits until no database is missing.
    Disabled,
    Paused,
    Running,
    /// A task before it has not succeeded.
    Waiting,
    Idle,
}

/// A task with its state.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WarmingTask)]
pub(super) struct TaskView {
    pub name: String,
    /// Whether it is in the configuration, and not made by a request.
    pub configured: bool,
    pub definition: TaskDefinition,
    pub state: TaskState,
    /// When it runs next, Unix milliseconds; absent if it follows the use of keys, or does not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run: Option<UnixMillis>,
    /// When it last succeeded, Unix milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<UnixMillis>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_result: Option<RunResult>,
    /// The run in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WarmingTaskList)]
pub(super) struct TaskList {
    pub items: Vec<TaskView>,
}

/// What a run is to do.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WarmingRunRequest, example = json!({ "dry_run": true, "wait_ms": 20_000 }))]
pub(super) struct RunRequest {
    /// Only fetches and compares: nothing is written.
    #[serde(default)]
    pub dry_run: bool,
    /// Only these keys; at most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 1_000)]
    pub keys: Vec<String>,
    /// How long the call waits for the end of the run, at most 30,000 milliseconds.
    #[serde(default)]
    #[schema(maximum = 30_000)]
    pub wait_ms: u64,
}

/// The most keys that a request may name.
pub(super) const MAX_KEYS: usize = 1_000;

/// A run that was asked for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = WarmingRequestedRun)]
pub(super) struct RequestedRun {
    /// The id of the run, which is unknown to `GET /warming/runs/{id}` until the run begins.
    #[schema(example = "limits.08b4cc800fcc8387")]
    pub id: String,
    /// The run, if it ended within `wait_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Run>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WarmingRunList)]
pub(super) struct RunList {
    pub items: Vec<Run>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RunsQuery {
    /// The most runs.
    #[serde(default = "default_limit")]
    #[param(required = false, minimum = 1, maximum = 200, default = 50, example = 50)]
    pub limit: usize,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HotQuery {
    /// The task whose keys are listed.
    #[param(example = "limits")]
    pub task: String,
    /// The most keys.
    #[serde(default = "default_limit")]
    #[param(required = false, minimum = 1, maximum = 200, default = 50, example = 50)]
    pub limit: usize,
}

const fn default_limit() -> usize {
    50
}

/// A key that clients use often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WarmingHotKey)]
pub(super) struct HotKey {
    pub key: String,
    /// How often it was used in about the last five minutes, on all replicas.
    pub uses: u64,
    /// `uses` differs from the true number by at most this.
    pub error: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WarmingHotKeys)]
pub(super) struct HotKeys {
    pub items: Vec<HotKey>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ValueQuery {
    /// How long the call waits for the source, milliseconds.
    #[serde(default = "default_wait")]
    #[param(required = false, minimum = 1, maximum = 10_000, default = 2_000, example = 2_000)]
    pub wait_ms: u64,
}

/// The longest wait for a source, milliseconds.
pub(super) const LONGEST_VALUE_WAIT: u64 = 10_000;

const fn default_wait() -> u64 {
    2_000
}

/// What was committed in the source.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WarmingWritten, example = json!({ "invalidate": ["profile-lists"] }))]
pub(super) struct Written {
    /// The new value; absent: it is fetched from the source.
    #[serde(default, deserialize_with = "text_if_given")]
    #[schema(value_type = Option<serde_json::Value>)]
    pub value: Option<Box<RawValue>>,
    /// Tags whose values depend on this one, and become invalid.
    #[serde(default)]
    #[schema(max_items = 16)]
    pub invalidate: Vec<String>,
}

/// What the cache has after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = WarmingWrittenState)]
pub(super) enum WrittenState {
    /// The new value.
    Stored,
    /// Nothing: the source has no such value.
    Absent,
    /// Nothing: the source failed, and the next read asks it again.
    Deleted,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WarmingWrittenReply)]
pub(super) struct WrittenReply {
    pub state: WrittenState,
}
