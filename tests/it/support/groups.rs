//! Groups of servers: a master with a replica and a Sentinel, and a cluster of three masters.

use super::{RedisServer, eventually, free_port};

/// The name under which the Sentinel knows the master.
pub const MASTER: &str = "gridtokenx";

pub struct SentinelGroup {
    pub master: RedisServer,
    pub replica: RedisServer,
    pub sentinel: RedisServer,
    port: u16,
}

impl SentinelGroup {
    /// A master, its replica and one Sentinel with a quorum of 1, which replaces a master that is silent for a second: for four
    /// pings, so that a busy machine does not look like a fault.
    pub async fn start() -> Self {
        let (master_port, port) = (free_port(), free_port());
        let (master, replica) = replicated(master_port).await;
        let file = format!(
            "sentinel monitor {MASTER} 127.0.0.1 {master_port} 1\n\
             sentinel down-after-milliseconds {MASTER} 1000\n\
             sentinel failover-timeout {MASTER} 3000\n"
        );
        let sentinel = RedisServer::with_file(&file, &["--sentinel", "--port", &port.to_string()]);
        // A Sentinel polls every ten seconds by default, which is too slow for a test. A replica is a candidate only while its last
        // INFO is younger than five times PING-PERIOD, and a Sentinel sends INFO once a second while the master is away.
        for (period, ms) in
            [("INFO-PERIOD", "100"), ("PING-PERIOD", "250"), ("PUBLISH-PERIOD", "100"), ("ASK-PERIOD", "100")]
        {
            let _: String = sentinel.command(&["SENTINEL", "DEBUG", period, ms]);
        }
        let group = Self { master, replica, sentinel, port };
        eventually("the Sentinel knows the replica", async || {
            let masters: String = group.sentinel.command(&["INFO", "sentinel"]);
            masters.contains("slaves=1")
        })
        .await;
        group
    }

    /// The port of the Sentinel.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The configuration of a service that uses the Sentinel.
    pub fn config(&self) -> String {
        format!(
            "[redis]\ntopology = \"sentinel\"\nsentinel_master = \"{MASTER}\"\nnodes = [\"redis://127.0.0.1:{}\"]\n",
            self.port
        )
    }
}

/// A master on this port and its replica, in sync.
pub async fn replicated(port: u16) -> (RedisServer, RedisServer) {
    let tcp = |port: u16| ["--save".to_owned(), String::new(), "--port".to_owned(), port.to_string()];
    let master = start(&[&tcp(port)[..], &["--repl-diskless-sync-delay".to_owned(), "0".to_owned()]].concat());
    let mut options = tcp(free_port()).to_vec();
    options.extend(["--replicaof".to_owned(), format!("127.0.0.1 {port}")]);
    options.extend(["--repl-diskless-sync-delay".to_owned(), "0".to_owned()]);
    let replica = start(&options);
    eventually("the replica has loaded the data", async || {
        replica.command::<String>(&["INFO", "replication"]).contains("master_link_status:up")
    })
    .await;
    // The master sends a replica no writes before its first acknowledgement, up to a second after it has loaded the data.
    let _: String = master.command(&["SET", "in-sync", ""]);
    eventually("the replica follows", async || replica.command(&["EXISTS", "in-sync"])).await;
    let _: i64 = master.command(&["DEL", "in-sync"]);
    (master, replica)
}

pub struct Cluster {
    /// The masters.
    pub nodes: Vec<RedisServer>,
    pub ports: Vec<u16>,
    /// The replica of each master, if there are any.
    pub replicas: Vec<RedisServer>,
}

/// A node of a cluster, and its port.
fn node() -> (RedisServer, u16) {
    let (port, bus) = (free_port(), free_port());
    let options = format!(
        "--port {port} --cluster-enabled yes --cluster-port {bus} --cluster-node-timeout 2000 --repl-diskless-sync-delay 0"
    );
    let mut options: Vec<String> = options.split(' ').map(str::to_owned).collect();
    options.extend(["--save".to_owned(), String::new()]);
    (start(&options), port)
}

impl Cluster {
    /// Three masters with a third of the slots each.
    pub async fn start() -> Self {
        let (nodes, ports): (Vec<RedisServer>, Vec<u16>) = (0..3).map(|_| node()).unzip();
        let cluster = Self { nodes, ports, replicas: Vec::new() };
        let mut first = 0;
        for (nth, node) in cluster.nodes.iter().enumerate() {
            let last = if nth == 2 { 16_383 } else { first + 5_460 };
            let range = [first.to_string(), last.to_string()];
            let _: String = node.command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
            let _: String = node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(nth + 1).to_string()]);
            first = last + 1;
        }
        for (node, port) in cluster.nodes.iter().zip(&cluster.ports).skip(1) {
            cluster.meet(node, *port);
        }
        cluster.complete(3).await;
        cluster
    }

    /// Three masters with one replica each.
    pub async fn with_replicas() -> Self {
        let mut cluster = Self::start().await;
        for _ in 0..3 {
            let (replica, port) = node();
            cluster.meet(&replica, port);
            cluster.replicas.push(replica);
        }
        cluster.complete(6).await;
        for (master, replica) in cluster.nodes.iter().zip(&cluster.replicas) {
            let id: String = master.command(&["CLUSTER", "MYID"]);
            let _: String = replica.command(&["CLUSTER", "REPLICATE", &id]);
        }
        eventually("every replica is in sync", async || {
            let synced = |replica: &RedisServer| {
                replica.command::<String>(&["INFO", "replication"]).contains("master_link_status:up")
            };
            cluster.replicas.iter().all(synced)
        })
        .await;
        cluster
    }

    fn meet(&self, node: &RedisServer, port: u16) {
        let config: Vec<String> = node.command(&["CONFIG", "GET", "cluster-port"]);
        let _: String = self.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &config[1]]);
    }

    async fn complete(&self, nodes: usize) {
        let known = format!("cluster_known_nodes:{nodes}\r\n");
        eventually("the cluster is complete", async || {
            self.nodes.iter().chain(&self.replicas).all(|node| {
                let info: String = node.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            })
        })
        .await;
    }

    /// The configuration of a service that knows one node and discovers the others.
    pub fn config(&self) -> String {
        format!("[redis]\ntopology = \"cluster\"\nnodes = [\"redis://127.0.0.1:{}\"]\n", self.ports[0])
    }
}

/// A slot that is being moved from one node of a cluster to another.
pub struct SlotMove<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: usize,
    to: usize,
}

impl Cluster {
    /// Starts to move the slot of an existing key to another node.
    pub fn begin_to_move(&self, key: &str) -> SlotMove<'_> {
        let slot = self.nodes[0].command::<i64>(&["CLUSTER", "KEYSLOT", key]).to_string();
        let owns = |node: &RedisServer| node.command::<i64>(&["CLUSTER", "COUNTKEYSINSLOT", &slot]) > 0;
        let from = self.nodes.iter().position(owns).expect("a node with the key");
        let moving = SlotMove { cluster: self, slot, from, to: (from + 1) % self.nodes.len() };
        let (from, to) = (moving.id(moving.from), moving.id(moving.to));
        let _: String = moving.target().command(&["CLUSTER", "SETSLOT", &moving.slot, "IMPORTING", &from]);
        let _: String = moving.source().command(&["CLUSTER", "SETSLOT", &moving.slot, "MIGRATING", &to]);
        moving
    }
}

impl SlotMove<'_> {
    /// The node that owns the slot before the move.
    pub fn source(&self) -> &RedisServer {
        &self.cluster.nodes[self.from]
    }

    /// The node that owns the slot after the move.
    pub fn target(&self) -> &RedisServer {
        &self.cluster.nodes[self.to]
    }

    /// The keys that have not moved yet.
    pub fn keys(&self) -> Vec<String> {
        self.source().command(&["CLUSTER", "GETKEYSINSLOT", &self.slot, "100"])
    }

    pub fn move_key(&self, key: &str) {
        let port = self.cluster.ports[self.to].to_string();
        let _: String = self.source().command(&["MIGRATE", "127.0.0.1", &port, key, "0", "1000"]);
    }

    /// Moves the remaining keys and assigns the slot to the target on both nodes.
    pub fn finish(self) {
        for key in self.keys() {
            self.move_key(&key);
        }
        let owner = self.id(self.to);
        for node in [self.target(), self.source()] {
            let _: String = node.command(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &owner]);
        }
    }

    fn id(&self, node: usize) -> String {
        self.cluster.nodes[node].command(&["CLUSTER", "MYID"])
    }
}

fn start(options: &[String]) -> RedisServer {
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    RedisServer::with_options(&options)
}
