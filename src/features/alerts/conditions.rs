//! The conditions: which metric each one reads, and from which value it holds.

use super::model::Severity;
use Limit::{Above, Below, Beyond, Rise};
use Severity::{Critical, Warning};

/// Whom a condition concerns, and so who reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// A Redis server, which all replicas see: one of them reports it.
    Redis,
    /// This replica, which reports it itself.
    Replica,
}

/// When a condition holds. The second number of a pair is the value at which it is over again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Limit {
    /// The value is higher.
    Above(f64, f64),
    /// The value is lower.
    Below(f64, f64),
    /// The value, or its negative, is higher.
    Beyond(f64, f64),
    /// A counter has grown by so much within a minute.
    Rise(f64),
}

/// The labels of a sample, by name; empty if the sample has no such label.
pub(super) type LabelValue<'a> = &'a dyn Fn(&str) -> String;

#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub name: &'static str,
    pub severity: Severity,
    pub scope: Scope,
    pub summary: &'static str,
    pub metric: &'static str,
    /// The metric by which the value is divided; samples without a positive one are left out.
    pub of: Option<&'static str>,
    /// The labels that name the subject. Samples that differ in other labels are added.
    pub subject: &'static [&'static str],
    /// Which samples count.
    pub matching: fn(LabelValue<'_>) -> bool,
    pub limit: Limit,
}

fn every(_: LabelValue<'_>) -> bool {
    true
}

const fn redis(
    name: &'static str,
    severity: Severity,
    summary: &'static str,
    metric: &'static str,
    limit: Limit,
) -> Condition {
    let (scope, subject) = (Scope::Redis, &["store", "node"]);
    Condition { name, severity, scope, summary, metric, of: None, subject, matching: every, limit }
}

const fn replica(
    name: &'static str,
    severity: Severity,
    summary: &'static str,
    metric: &'static str,
    limit: Limit,
) -> Condition {
    Condition { name, severity, scope: Scope::Replica, summary, metric, of: None, subject: &[], matching: every, limit }
}

/// Conditions of the Redis servers.
const OF_REDIS: &[Condition] = &[
    Condition {
        subject: &["role"],
        ..redis(
            "RedisConnectionLost",
            Critical,
            "The service has no connection to Redis",
            "redis_connection_state",
            Below(1.0, 1.0),
        )
    },
    Condition {
        of: Some("redis_memory_max_bytes"),
        ..redis("HighMemoryUsage", Warning, "Redis runs out of memory", "redis_memory_used_bytes", Above(0.85, 0.8))
    },
    Condition {
        matching: |label| label("store").contains("state"),
        ..redis(
            "EvictionOfState",
            Critical,
            "Redis evicts locks, counters and series",
            "redis_evicted_keys_total",
            Rise(1.0),
        )
    },
    redis("SnapshotFailed", Critical, "Redis cannot save snapshots", "redis_rdb_last_bgsave_status", Below(1.0, 1.0)),
    redis(
        "PersistenceFailed",
        Critical,
        "Redis cannot write its append-only file",
        "redis_aof_last_write_status",
        Below(1.0, 1.0),
    ),
    redis(
        "RewriteFailed",
        Warning,
        "Redis cannot rewrite its append-only file",
        "redis_aof_last_bgrewrite_status",
        Below(1.0, 1.0),
    ),
    redis("ReplicaLost", Warning, "Redis has fewer replicas than it should", "redis_connected_slaves", Below(0.0, 0.0)),
    Condition {
        subject: &["store", "node", "slave_ip", "slave_port"],
        ..redis(
            "ReplicaLags",
            Warning,
            "A replica of Redis does not keep up",
            "redis_connected_slave_lag_seconds",
            Above(10.0, 5.0),
        )
    },
    Condition {
        subject: &["role"],
        ..redis("Failover", Warning, "A replica has become the Redis of a role", "redis_failovers_total", Rise(1.0))
    },
    Condition {
        of: Some("redis_config_maxclients"),
        ..redis(
            "RedisClientsHigh",
            Warning,
            "Redis runs out of connections",
            "redis_connected_clients",
            Above(0.8, 0.7),
        )
    },
    redis(
        "RedisRejectsConnections",
        Warning,
        "Redis rejects connections",
        "redis_rejected_connections_total",
        Rise(1.0),
    ),
    redis(
        "ClockJump",
        Warning,
        "The clocks of Redis and of the service differ",
        "redis_clock_offset_seconds",
        Beyond(1.0, 0.5),
    ),
];

/// Conditions of this replica.
const OF_REPLICA: &[Condition] = &[
    Condition {
        matching: |label| label("event") == "overlong",
        ..replica(
            "LeaseOverlong",
            Critical,
            "A lease is longer than any that is granted: a clock has jumped",
            "lock_events_total",
            Rise(1.0),
        )
    },
    Condition {
        matching: |label| label("event") == "lost",
        ..replica("LocksLost", Warning, "Leases end before their holders are done", "lock_events_total", Rise(10.0))
    },
    replica(
        "MarketDataDelay",
        Warning,
        "Changes of order books are published late",
        "orderbook_follower_lag_seconds",
        Above(5.0, 1.0),
    ),
    Condition {
        matching: |label| matches!(label("status").as_str(), "401" | "403"),
        ..replica(
            "SecurityEvent",
            Warning,
            "Many requests have no valid credential",
            "http_requests_total",
            Rise(100.0),
        )
    },
    Condition {
        matching: |label| label("status").starts_with('5') && !label("route").starts_with("/health"),
        ..replica("RequestsFailing", Warning, "Many requests fail", "http_requests_total", Rise(100.0))
    },
    Condition {
        subject: &["task"],
        ..replica("TaskFailing", Warning, "A background task fails", "task_failing", Above(0.5, 0.5))
    },
    Condition {
        subject: &["part"],
        // The connection to Redis has a condition of its own.
        matching: |label| !label("part").starts_with("redis "),
        ..replica("PartDown", Critical, "A part of the service is down", "health_condition", Above(1.5, 1.5))
    },
    Condition {
        subject: &["limiter"],
        matching: |label| label("decision") == "degraded",
        ..replica("LimitsDegraded", Warning, "Limits are decided without Redis", "ratelimit_decisions_total", Rise(1.0))
    },
    Condition {
        of: Some("disk_size_bytes"),
        subject: &["dir"],
        ..replica("DiskLow", Warning, "A disk is nearly full", "disk_free_bytes", Below(0.1, 0.12))
    },
    replica("Panic", Critical, "A handler panicked", "http_panics_total", Rise(1.0)),
    Condition {
        of: Some("process_max_fds"),
        ..replica("FilesHigh", Warning, "The service runs out of file descriptors", "process_open_fds", Above(0.8, 0.7))
    },
    replica("LogLinesLost", Warning, "Log lines are lost", "log_lines_dropped_total", Rise(1.0)),
    Condition {
        matching: |label| label("result") == "refused",
        ..replica("ReloadRefused", Warning, "A changed configuration was refused", "config_reloads_total", Rise(1.0))
    },
    replica(
        "ArchiveLag",
        Warning,
        "Minutes of trades wait for their files",
        "trades_archive_lag_seconds",
        Above(900.0, 600.0),
    ),
    replica(
        "ArchiveDamaged",
        Critical,
        "A verification found files of trades missing or damaged",
        "trades_archive_verify_failures_total",
        Rise(1.0),
    ),
    Condition {
        of: Some("host_samples_unstored_limit"),
        ..replica("HostsWaiting", Warning, "Host samples wait for Redis", "host_samples_unstored", Above(0.5, 0.3))
    },
    Condition {
        matching: |label| label("event") == "dropped",
        ..replica("HostSamplesLost", Critical, "Host samples were dropped", "host_samples_total", Rise(1.0))
    },
    Condition {
        of: Some("host_spool_limit_bytes"),
        ..replica("SpoolFull", Warning, "The spool of host samples is nearly full", "host_spool_bytes", Above(0.8, 0.7))
    },
    Condition {
        matching: |label| label("reason") == "epoch",
        ..replica(
            "MessagesLost",
            Warning,
            "Clients of channels may have missed messages",
            "pubsub_gaps_total",
            Rise(1.0),
        )
    },
];

/// Every condition. `redis_replicas` is the number of replicas that each Redis server should have.
pub(super) fn all(redis_replicas: u32) -> Vec<Condition> {
    let mut conditions = [OF_REDIS, OF_REPLICA].concat();
    let replicas = f64::from(redis_replicas);
    for condition in conditions.iter_mut().filter(|condition| condition.name == "ReplicaLost") {
        condition.limit = Below(replicas, replicas);
    }
    conditions
}
