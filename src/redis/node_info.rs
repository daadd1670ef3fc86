//! What a server says about itself in its reply to INFO.

use crate::clock::UnixMillis;

/// What the last check of a server has found.
#[derive(Debug, Default)]
pub(super) struct LastLook {
    /// When the server last answered a check; 0: never.
    pub at: UnixMillis,
    /// Whether it answered the last check.
    pub succeeded: bool,
    /// Its nodes, as they last answered.
    pub nodes: Vec<Node>,
    /// The number of entries in its log of slow commands, if the service's user may ask for it.
    pub slow_commands: Option<u64>,
}

/// One node's reply to INFO.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// The node's address, if there are several.
    pub name: Option<String>,
    pub info: String,
    /// How far the node's clock is ahead of the service's, seconds; negative if it is behind.
    pub clock_offset: f64,
    /// When the server saves snapshots, if it says so; empty if it never does.
    pub save_points: Option<String>,
}

/// Whether a server's data outlives it, from the least safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Persistence {
    None,
    Unknown,
    Snapshots,
    Aof,
}

impl Persistence {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Unknown => "unknown",
            Self::Snapshots => "snapshots",
            Self::Aof => "aof",
        }
    }
}

/// Under Redis's default configuration a change is in a snapshot after an hour; one that is older will not be.
const UNSAVED: u64 = 2 * 3_600;

impl Node {
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.field(name)?.parse().ok()
    }

    /// The node's time, Unix seconds.
    #[expect(clippy::cast_precision_loss, reason = "a float of this size is exact to a microsecond")]
    fn time(&self) -> Option<f64> {
        self.number("server_time_usec").map(|micros| micros as f64 / 1e6)
    }

    pub(super) fn logs_writes(&self) -> bool {
        self.field("aof_enabled") == Some("1")
    }

    pub(super) fn persistence(&self) -> Persistence {
        match &self.save_points {
            _ if self.logs_writes() => Persistence::Aof,
            Some(points) if points.is_empty() => Persistence::None,
            Some(_) => Persistence::Snapshots,
            None if self.is_unsaved() => Persistence::None,
            None if self.number("rdb_saves").is_some_and(|saves| saves > 0) => Persistence::Snapshots,
            None => Persistence::Unknown,
        }
    }

    /// Whether changes have waited for a snapshot for so long that none is likely to come. A server that starts counts
    /// its data as saved at that time.
    fn is_unsaved(&self) -> bool {
        let has_changes = self.number("rdb_changes_since_last_save").is_some_and(|changes| changes > 0);
        let now = self.number("server_time_usec").map(|micros| micros / 1_000_000);
        let age = now.zip(self.number("rdb_last_save_time")).map(|(now, saved)| now.saturating_sub(saved));
        has_changes && age.is_some_and(|age| age > UNSAVED)
    }

    /// How much of `maxmemory` is used, percent, if there is a limit. Like the server, leaves out buffers that it does not
    /// count against the limit.
    pub(super) fn memory_used(&self) -> Option<u64> {
        let limit = self.number("maxmemory").filter(|limit| *limit > 0)?;
        let uncounted = self.number("mem_not_counted_for_evict").unwrap_or_default();
        Some(self.number("used_memory")?.saturating_sub(uncounted).saturating_mul(100) / limit)
    }
}

/// A single server replies with text, a cluster with one text per node. `now` is the service's time, Unix seconds.
pub(super) fn collect(value: &redis::Value, name: Option<&str>, now: f64, nodes: &mut Vec<Node>) {
    let text = match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(bytes),
        redis::Value::VerbatimString { text, .. } | redis::Value::SimpleString(text) => text.into(),
        redis::Value::Map(answers) => {
            for (address, answer) in answers {
                if let redis::Value::BulkString(address) = address {
                    collect(answer, Some(&String::from_utf8_lossy(address)), now, nodes);
                }
            }
            return;
        }
        _ => return,
    };
    let mut node =
        Node { name: name.map(str::to_owned), info: text.into_owned(), clock_offset: 0.0, save_points: None };
    node.clock_offset = node.time().map_or(0.0, |time| time - now);
    nodes.push(node);
}
