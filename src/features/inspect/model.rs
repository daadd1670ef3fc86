//! Wire types of looks into Redis.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::clock::UnixMillis;
use crate::redis::{AppendOnlyState, Role, SnapshotState};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RoleQuery {
    /// The role whose server is inspected.
    #[serde(default = "state")]
    #[param(required = false, value_type = String, pattern = "^(cache|state)$", default = "state", example = "state")]
    pub role: Role,
}

const fn state() -> Role {
    Role::State
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HotKeysQuery {
    /// The role whose keys are listed.
    #[serde(default = "state")]
    #[param(required = false, value_type = String, pattern = "^(cache|state)$", default = "state")]
    pub role: Role,
    /// Only keys of this capability; `other` belongs to none.
    #[param(
        pattern = "^(alerts|archive|audit|backup|cache|epoch|hosts|idempotency|inspect|json|locks|orderbook|other|pubsub|ratelimit|replication|streams|subjects|timeseries|trades|warming)$"
    )]
    pub holding: Option<String>,
    /// The most keys.
    #[serde(default = "twenty")]
    #[param(required = false, minimum = 1, maximum = 200, default = 20)]
    pub limit: usize,
}

const fn twenty() -> usize {
    20
}

/// The keys that this replica uses most often, in the last four to five minutes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisHotKeys)]
pub(super) struct HotKeys {
    /// The most used first.
    pub items: Vec<HotKey>,
    /// The uses of all keys, those of other capabilities included.
    pub uses: u64,
    /// A key that is not among the counted ones was used at most so often.
    pub uncounted: u64,
    /// Of a busy worker, one of so many exchanges with Redis was counted, with that weight; 1: every exchange.
    pub sampled: u64,
    /// The time in which the keys were used, up to now.
    pub window_ms: u64,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisHotKey)]
pub(super) struct HotKey {
    #[schema(example = "cache:session:7")]
    pub key: String,
    #[schema(example = "cache")]
    pub holding: &'static str,
    /// Exchanges with Redis about the key.
    pub uses: u64,
    /// `uses` differs from the true number by at most this; if exchanges were sampled, in 99.7 of 100 cases.
    pub error: u64,
}

/// How the servers keep their data.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisPersistence)]
pub(super) struct PersistenceView {
    /// One for each server, or node of a cluster; empty before the first check.
    pub items: Vec<ServerPersistence>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisServerPersistence)]
pub(super) struct ServerPersistence {
    /// The roles that the server has.
    pub roles: Vec<&'static str>,
    /// The node of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// When the server last answered a check, Unix milliseconds.
    pub checked_at: UnixMillis,
    /// `aof`, `snapshots`, `none` or `unknown`.
    #[schema(example = "aof")]
    pub kind: &'static str,
    /// When the append-only file is synced to the disk: `always`, `everysec` or `no`.
    #[schema(required = true, example = "everysec")]
    pub fsync: Option<String>,
    /// The intervals and changes after which snapshots are saved; empty: never.
    #[schema(required = true, example = "3600 1")]
    pub save_points: Option<String>,
    pub snapshots: SnapshotState,
    pub append_only: AppendOnlyState,
    /// What a crash of the server loses.
    #[schema(example = "the last second, or two if the disk is slow")]
    pub loss: String,
    /// What is unsafe or broken.
    pub findings: Vec<String>,
}

/// A list of one server.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisItems)]
pub(super) struct Items<T> {
    pub items: Vec<T>,
}

/// A slow command. Its arguments are not shown.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RedisSlowCommand)]
pub(super) struct SlowCommand {
    /// The node of a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    pub id: i64,
    /// When it ran, Unix milliseconds.
    pub at: UnixMillis,
    pub duration_us: i64,
    #[schema(example = "EVALSHA")]
    pub command: String,
    /// The script that it called, if the script is the service's.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "timeseries/append.lua")]
    pub script: Option<&'static str>,
    /// The capability of its first key.
    #[schema(example = "timeseries")]
    pub holding: &'static str,
    /// The name that its client has set.
    pub client: String,
}

/// A kind of latency spike, as Redis's latency monitor has seen it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RedisLatencyEvent)]
pub(super) struct LatencyEvent {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[schema(example = "command")]
    pub event: String,
    /// When the last spike was, Unix milliseconds.
    pub at: UnixMillis,
    pub latest_ms: i64,
    pub max_ms: i64,
}

/// Clients with the same name and user.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedisClients {
    /// The name that the clients have set; empty: none.
    pub name: String,
    #[schema(example = "gridtokenx")]
    pub user: String,
    pub connections: u64,
    pub longest_idle_ms: u64,
    /// The memory of their replies that wait.
    pub output_bytes: u64,
    /// The last commands that they sent.
    pub commands: Vec<String>,
}

/// One of the busiest commands, since the server started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RedisCommand {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    #[schema(example = "evalsha")]
    pub command: String,
    pub calls: u64,
    pub mean_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = RedisInventoryStatus)]
pub(super) enum InventoryStatus {
    /// A run that has reported nothing for 30 s has ended with its replica.
    Running,
    Done,
    /// It stopped before it had seen every key; `reason` says why.
    Stopped,
}

/// What a server holds. The numbers are those of the keys that were seen; keys that change meanwhile may be missed.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RedisInventory)]
pub(super) struct Inventory {
    pub role: Role,
    pub status: InventoryStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub started: UnixMillis,
    pub updated: UnixMillis,
    pub keys: u64,
    pub bytes: u64,
    /// By capability, the largest first.
    pub holdings: Vec<HoldingSize>,
    /// The 100 largest keys.
    pub largest: Vec<KeySize>,
    /// Up to 100 keys that should expire and do not.
    pub never_expiring: Vec<KeySize>,
    /// The most frequent beginnings of names that belong to no capability.
    pub unknown: Vec<UnknownNames>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RedisHoldingSize)]
pub(super) struct HoldingSize {
    #[schema(example = "timeseries")]
    pub holding: String,
    pub keys: u64,
    pub bytes: u64,
    pub without_ttl: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[schema(as = RedisKeySize)]
pub(super) struct KeySize {
    pub bytes: u64,
    pub key: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = RedisUnknownNames)]
pub(super) struct UnknownNames {
    #[schema(example = "session:*")]
    pub names: String,
    pub keys: u64,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_of_the_api_names_every_holding() {
        let listed: Vec<&str> = crate::holdings::names().into_iter().collect();
        let pattern = format!("^({})$", listed.join("|"));
        assert!(include_str!("model.rs").contains(&pattern), "the document of the API names {pattern}");
    }
}
