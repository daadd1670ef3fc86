//! What the servers say about their snapshots and append-only files.

use serde::Serialize;
use utoipa::ToSchema;

use super::Redis;
use super::node_info::Node;
use crate::clock::UnixMillis;

/// The snapshots of a server.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = RedisSnapshots)]
pub struct SnapshotState {
    /// When the last one was saved, Unix milliseconds; a server that starts counts as saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_save: Option<UnixMillis>,
    /// Whether the last one could be saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_ok: Option<bool>,
    /// How long the last one took, seconds; absent if none was saved since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seconds: Option<u64>,
    pub is_running: bool,
    /// Changes that no snapshot has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes_since: Option<u64>,
    /// Memory that was copied while the last one was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copied_bytes: Option<u64>,
}

/// The append-only file of a server.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = RedisAppendOnlyFile)]
pub struct AppendOnlyState {
    pub is_enabled: bool,
    /// Whether the last write to it succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_write_ok: Option<bool>,
    /// Whether the last rewrite succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rewrite_ok: Option<bool>,
    /// How long the last rewrite took, seconds; absent if there was none since the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_rewrite_seconds: Option<u64>,
    pub is_rewriting: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Its size after the last rewrite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_bytes: Option<u64>,
    /// How often a write waited for the disk because a sync took longer than a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delayed_syncs: Option<u64>,
}

/// What a node last said about its persistence.
#[derive(Clone, Debug)]
pub struct NodePersistence {
    /// The address of a node of a cluster.
    pub node: Option<String>,
    /// When it said so, Unix milliseconds.
    pub checked_at: UnixMillis,
    pub snapshots: SnapshotState,
    pub append_only: AppendOnlyState,
    /// `aof`, `snapshots`, `none` or `unknown`.
    pub kind: &'static str,
    /// The intervals and changes after which snapshots are saved, if the server says so; empty: never.
    pub save_points: Option<String>,
}

impl NodePersistence {
    fn new(node: &Node, checked_at: UnixMillis) -> Self {
        let status = |name: &str| node.field(name).map(|status| status == "ok");
        let flag = |name: &str| node.field(name) == Some("1");
        Self {
            node: node.name.clone(),
            checked_at,
            snapshots: SnapshotState {
                last_save: node.number("rdb_last_save_time").and_then(|time| i64::try_from(time * 1_000).ok()),
                last_ok: status("rdb_last_bgsave_status"),
                last_seconds: node.number("rdb_last_bgsave_time_sec"),
                is_running: flag("rdb_bgsave_in_progress"),
                changes_since: node.number("rdb_changes_since_last_save"),
                copied_bytes: node.number("rdb_last_cow_size"),
            },
            append_only: AppendOnlyState {
                is_enabled: node.logs_writes(),
                last_write_ok: status("aof_last_write_status"),
                last_rewrite_ok: status("aof_last_bgrewrite_status"),
                last_rewrite_seconds: node.number("aof_last_rewrite_time_sec"),
                is_rewriting: flag("aof_rewrite_in_progress"),
                bytes: node.number("aof_current_size"),
                base_bytes: node.number("aof_base_size"),
                delayed_syncs: node.number("aof_delayed_fsync"),
            },
            kind: node.persistence().name(),
            save_points: node.save_points.clone(),
        }
    }
}

impl Redis {
    /// What the nodes said about their persistence at the last check; empty before the first one.
    pub fn persistence(&self) -> Vec<NodePersistence> {
        let look = self.0.last_look.load();
        look.nodes.iter().map(|node| NodePersistence::new(node, look.at)).collect()
    }
}
