//! What the servers say about themselves, as metrics with the names of `redis_exporter`.
//!
//! The values are those of the last check in the background (`report.rs`): reading them never contacts Redis. Status fields
//! are 1 for `ok` and 0 for `err`, as in `redis_exporter`.

use prometheus::proto::MetricFamily;

use super::node_info::{LastLook, Node};
use super::{Redis, RedisRoles};
use crate::telemetry::metrics::{Labels, Row, family};

/// The most commands whose counts are shown, those with the most calls.
const BUSIEST: usize = 40;

/// Where the samples of a metric come from.
#[derive(Clone, Copy)]
enum Source {
    /// A field with a number.
    Number(&'static str),
    /// A field that is `ok` or `err`.
    Status(&'static str),
    Samples(fn(&Node) -> Vec<(Labels, f64)>),
}

use Source::{Number, Samples, Status};

const UP: Row = Row::gauge("redis_up", "Whether the server answered the last check");
const LAST_LOOK: Row =
    Row::gauge("redis_last_look_timestamp_seconds", "When the server last answered a check; 0: never");
const SLOWLOG: Row = Row::gauge("redis_slowlog_length", "Entries in the log of slow commands");

/// The metrics of each node.
const METRICS: &[(Row, Source)] = &[
    (Row::gauge("redis_instance_info", "Always 1; the labels describe the server"), Samples(instance)),
    (Row::gauge("redis_uptime_in_seconds", "Time since the server started"), Number("uptime_in_seconds")),
    (
        Row::gauge("redis_clock_offset_seconds", "How far the clock of the server is ahead of the service's"),
        Samples(|node| vec![(Labels::new(), node.clock_offset)]),
    ),
    (Row::gauge("redis_connected_clients", "Client connections"), Number("connected_clients")),
    (Row::gauge("redis_blocked_clients", "Clients that wait in a blocking command"), Number("blocked_clients")),
    (Row::gauge("redis_config_maxclients", "The limit of client connections"), Number("maxclients")),
    (
        Row::counter("redis_connections_received_total", "Connections that were accepted"),
        Number("total_connections_received"),
    ),
    (
        Row::counter("redis_rejected_connections_total", "Connections rejected because of the limit"),
        Number("rejected_connections"),
    ),
    (Row::gauge("redis_memory_used_bytes", "Memory that the server has allocated"), Number("used_memory")),
    (Row::gauge("redis_memory_used_rss_bytes", "Resident memory of the server"), Number("used_memory_rss")),
    (Row::gauge("redis_memory_used_peak_bytes", "The most memory that was allocated"), Number("used_memory_peak")),
    (Row::gauge("redis_memory_max_bytes", "The limit of memory; 0: none"), Number("maxmemory")),
    (
        Row::gauge("redis_mem_not_counted_for_eviction_bytes", "Buffers that do not count against the limit of memory"),
        Number("mem_not_counted_for_evict"),
    ),
    (
        Row::gauge("redis_mem_fragmentation_ratio", "Resident memory divided by allocated memory"),
        Number("mem_fragmentation_ratio"),
    ),
    (
        Row::counter("redis_commands_processed_total", "Commands that were processed"),
        Number("total_commands_processed"),
    ),
    (
        Row::gauge("redis_instantaneous_ops_per_sec", "Commands per second at the last check"),
        Number("instantaneous_ops_per_sec"),
    ),
    (Row::counter("redis_keyspace_hits_total", "Lookups of keys that existed"), Number("keyspace_hits")),
    (Row::counter("redis_keyspace_misses_total", "Lookups of keys that did not exist"), Number("keyspace_misses")),
    (Row::counter("redis_expired_keys_total", "Keys that expired"), Number("expired_keys")),
    (Row::counter("redis_evicted_keys_total", "Keys that were evicted for lack of memory"), Number("evicted_keys")),
    (Row::counter("redis_net_input_bytes_total", "Bytes received"), Number("total_net_input_bytes")),
    (Row::counter("redis_net_output_bytes_total", "Bytes sent"), Number("total_net_output_bytes")),
    (Row::counter("redis_cpu_sys_seconds_total", "System CPU time"), Number("used_cpu_sys")),
    (Row::counter("redis_cpu_user_seconds_total", "User CPU time"), Number("used_cpu_user")),
    (Row::gauge("redis_loading_dump_file", "Whether the server loads its data"), Number("loading")),
    (
        Row::gauge("redis_rdb_last_bgsave_status", "Whether the last snapshot was saved"),
        Status("rdb_last_bgsave_status"),
    ),
    (
        Row::gauge("redis_rdb_last_save_timestamp_seconds", "When the last snapshot was saved"),
        Number("rdb_last_save_time"),
    ),
    (
        Row::gauge("redis_rdb_changes_since_last_save", "Changes since the last snapshot"),
        Number("rdb_changes_since_last_save"),
    ),
    (
        Row::gauge("redis_rdb_last_cow_size_bytes", "Memory copied during the last snapshot"),
        Number("rdb_last_cow_size"),
    ),
    (Row::gauge("redis_aof_enabled", "Whether the append-only file is on"), Number("aof_enabled")),
    (
        Row::gauge("redis_aof_last_write_status", "Whether the last write to the append-only file succeeded"),
        Status("aof_last_write_status"),
    ),
    (
        Row::gauge("redis_aof_last_bgrewrite_status", "Whether the last rewrite of the append-only file succeeded"),
        Status("aof_last_bgrewrite_status"),
    ),
    (Row::gauge("redis_aof_current_size_bytes", "Size of the append-only file"), Number("aof_current_size")),
    (Row::gauge("redis_connected_slaves", "Connected replicas"), Number("connected_slaves")),
    (Row::gauge("redis_master_repl_offset", "Replication offset of the server"), Number("master_repl_offset")),
    (
        Row::gauge("redis_connected_slave_offset_bytes", "Replication offset of each connected replica"),
        Samples(replica_offsets),
    ),
    (
        Row::gauge("redis_connected_slave_lag_seconds", "Time since each connected replica last answered"),
        Samples(replica_lags),
    ),
    (Row::gauge("redis_master_link_up", "Whether a replica is connected to its master"), Samples(master_link)),
    (Row::gauge("redis_latest_fork_usec", "Duration of the latest fork, microseconds"), Number("latest_fork_usec")),
    (Row::gauge("redis_db_keys", "Keys by database"), Samples(|node| databases(node, "keys"))),
    (Row::gauge("redis_db_keys_expiring", "Keys with a TTL by database"), Samples(|node| databases(node, "expires"))),
    (
        Row::counter("redis_commands_total", "Calls of the busiest commands"),
        Samples(|node| commands(node, "calls", 1.0)),
    ),
    (
        Row::counter("redis_commands_duration_seconds_total", "Time spent in the busiest commands"),
        Samples(|node| commands(node, "usec", 1e-6)),
    ),
];

/// The metrics of every server of the roles.
pub fn families(roles: &RedisRoles) -> Vec<MetricFamily> {
    let servers: Vec<Server> = roles.distinct().map(Server::new).collect();
    let of_each = |row: &Row, read: &dyn Fn(&Server) -> Option<f64>| {
        let samples = servers.iter().filter_map(|server| Some((server.labels(None), read(server)?)));
        family(row, samples.collect())
    };
    let mut all = vec![
        of_each(&UP, &|server| Some(f64::from(u8::from(server.is_up)))),
        of_each(&LAST_LOOK, &|server| Some(seconds(server.look.at))),
        of_each(&SLOWLOG, &|server| server.look.slow_commands.filter(|_| server.is_up).map(float)),
    ];
    all.extend(
        METRICS.iter().map(|(row, source)| family(row, servers.iter().flat_map(|at| at.read(*source)).collect())),
    );
    all.into_iter().flatten().collect()
}

/// A server, as it was last seen.
struct Server {
    store: String,
    is_up: bool,
    look: std::sync::Arc<LastLook>,
}

impl Server {
    fn new(redis: &Redis) -> Self {
        let look = redis.0.last_look.load_full();
        Self { store: redis.store(), is_up: look.succeeded && redis.0.shared.is_up(), look }
    }

    /// The nodes of a cluster have names; a single server has none.
    fn labels(&self, node: Option<&Node>) -> Labels {
        let name = node.and_then(|node| node.name.clone());
        vec![("store", self.store.clone()), ("node", name.unwrap_or_default())]
    }

    fn read(&self, source: Source) -> Vec<(Labels, f64)> {
        let nodes = self.look.nodes.iter().filter(|_| self.is_up);
        nodes
            .flat_map(|node| {
                let samples = match source {
                    Number(field) => single(node.field(field).and_then(|text| text.parse().ok())),
                    Status(field) => single(node.field(field).map(|text| f64::from(u8::from(text == "ok")))),
                    Samples(read) => read(node),
                };
                samples
                    .into_iter()
                    .map(|(labels, value)| (self.labels(Some(node)).into_iter().chain(labels).collect(), value))
            })
            .collect()
    }
}

fn single(value: Option<f64>) -> Vec<(Labels, f64)> {
    value.map(|value| (Labels::new(), value)).into_iter().collect()
}

fn instance(node: &Node) -> Vec<(Labels, f64)> {
    let label = |name, field| (name, node.field(field).unwrap_or_default().to_owned());
    let labels = vec![
        label("role", "role"),
        label("redis_version", "redis_version"),
        label("redis_mode", "redis_mode"),
        label("maxmemory_policy", "maxmemory_policy"),
        // Tells whether the replicas of the service use the same master.
        label("run_id", "run_id"),
    ];
    vec![(labels, 1.0)]
}

/// The fields `<prefix><name>:a=1,b=2`, with their names and members.
fn composite<'a>(node: &'a Node, prefix: &'a str) -> impl Iterator<Item = (&'a str, Members<'a>)> {
    node.info.lines().filter_map(move |line| {
        let (name, members) = line.trim().strip_prefix(prefix)?.split_once(':')?;
        Some((name, Members(members)))
    })
}

/// `a=1,b=2`.
#[derive(Clone, Copy)]
struct Members<'a>(&'a str);

impl<'a> Members<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        self.0.split(',').find_map(|member| member.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(self, name: &str) -> Option<f64> {
        self.get(name)?.parse().ok()
    }
}

fn replica_offsets(node: &Node) -> Vec<(Labels, f64)> {
    replicas(node, "offset")
}

fn replica_lags(node: &Node) -> Vec<(Labels, f64)> {
    replicas(node, "lag")
}

fn replicas(node: &Node, member: &str) -> Vec<(Labels, f64)> {
    let all = composite(node, "slave").filter_map(|(_, members)| {
        let label = |name, member| Some((name, members.get(member)?.to_owned()));
        let labels = vec![label("slave_ip", "ip")?, label("slave_port", "port")?, label("slave_state", "state")?];
        Some((labels, members.number(member)?))
    });
    all.collect()
}

fn master_link(node: &Node) -> Vec<(Labels, f64)> {
    let Some(status) = node.field("master_link_status") else { return Vec::new() };
    let label = |name, field| (name, node.field(field).unwrap_or_default().to_owned());
    let labels = vec![label("master_host", "master_host"), label("master_port", "master_port")];
    vec![(labels, f64::from(u8::from(status == "up")))]
}

fn databases(node: &Node, member: &str) -> Vec<(Labels, f64)> {
    let all = composite(node, "db").filter_map(|(number, members)| {
        number.parse::<u32>().ok()?;
        Some((vec![("db", format!("db{number}"))], members.number(member)?))
    });
    all.collect()
}

fn commands(node: &Node, member: &str, unit: f64) -> Vec<(Labels, f64)> {
    let mut all: Vec<(&str, Members<'_>)> = composite(node, "cmdstat_").collect();
    all.sort_by(|(_, a), (_, b)| {
        b.number("calls").unwrap_or_default().total_cmp(&a.number("calls").unwrap_or_default())
    });
    let busiest = all.into_iter().take(BUSIEST);
    let samples =
        busiest.filter_map(|(name, members)| Some((vec![("cmd", name.to_owned())], members.number(member)? * unit)));
    samples.collect()
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn seconds(at: crate::clock::UnixMillis) -> f64 {
    at as f64 / 1e3
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
fn float(value: u64) -> f64 {
    value as f64
}
