//! Groups of servers: a master with a replica and a Sentinel, and a cluster of three masters.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::link::{CLIENTS, source_address};
use super::{LinksTo, RedisServer, eventually, free_port};

/// The name under which the Sentinel knows the master.
pub const MASTER: &str = "gridtokenx";
/// A replica that could not replace its master for five seconds has given up.
const GIVEN_UP: Duration = Duration::from_secs(6);

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
        hurry(&sentinel);
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

/// A Sentinel polls every ten seconds by default, which is too slow for a test. A replica is a candidate only while its last
/// INFO is younger than five times PING-PERIOD, and a Sentinel sends INFO once a second while the master is away. A Sentinel that
/// was stopped watches for TILT-PERIOD before it acts again.
pub(super) fn hurry(sentinel: &RedisServer) {
    let periods = ["INFO-PERIOD", "100", "PING-PERIOD", "250", "PUBLISH-PERIOD", "100", "ASK-PERIOD", "100"];
    let _: String = sentinel.command(&[&["SENTINEL", "DEBUG"], &periods[..], &["TILT-PERIOD", "1000"]].concat());
}

/// The master that a Sentinel uses. While a failover lasts, a Sentinel already answers clients with the address of the replica, but
/// still uses the former master.
pub struct UsedMaster {
    pub port: u16,
    pub is_being_replaced: bool,
}

impl UsedMaster {
    /// `None` if the Sentinel does not answer.
    pub fn of(sentinel: &RedisServer) -> Option<Self> {
        let fields = sentinel.try_command::<Vec<String>>(&["SENTINEL", "MASTER", MASTER]).ok()?;
        let field = |name: &str| Some(fields.chunks(2).find(|field| field[0] == name)?[1].as_str());
        let port = field("port")?.parse().ok()?;
        Some(Self { port, is_being_replaced: field("flags")?.contains("failover_in_progress") })
    }
}

/// Whether `INFO replication` of the server contains this text.
pub fn replication_has(server: &RedisServer, text: &str) -> bool {
    server.try_command::<String>(&["INFO", "replication"]).is_ok_and(|info| info.contains(text))
}

/// A master on this port and its replica, in sync.
pub async fn replicated(port: u16) -> (RedisServer, RedisServer) {
    let options = [port, free_port()].map(|port| vec!["--port".to_owned(), port.to_string()]);
    let options: Vec<Vec<&str>> = options.iter().map(|options| options.iter().map(String::as_str).collect()).collect();
    let mut nodes = replicated_with(&options, port).await;
    let replica = nodes.pop().expect("a replica");
    (nodes.pop().expect("a master"), replica)
}

/// A master and its replicas with these options, in sync. The replicas find the master at the port `at`.
pub(super) async fn replicated_with(options: &[Vec<&str>], at: u16) -> Vec<RedisServer> {
    let of_master = ["--replicaof", &format!("127.0.0.1 {at}")];
    let mut nodes: Vec<RedisServer> = Vec::new();
    for options in options {
        let common = ["--save", "", "--repl-diskless-sync-delay", "0"];
        let of_master = if nodes.is_empty() { &[][..] } else { &of_master };
        nodes.push(RedisServer::with_options(&[&common, &options[..], of_master].concat()));
    }
    let [master, replicas @ ..] = &nodes[..] else { panic!("no server") };
    let all = |has: &dyn Fn(&RedisServer) -> bool| replicas.iter().all(has);
    eventually("the replicas have loaded the data", async || {
        all(&|replica| replication_has(replica, "master_link_status:up"))
    })
    .await;
    // The master sends a replica no writes before its first acknowledgement, up to a second after it has loaded the data.
    let _: String = master.command(&["SET", "in-sync", ""]);
    eventually("the replicas follow", async || all(&|replica| replica.command(&["EXISTS", "in-sync"]))).await;
    let _: i64 = master.command(&["DEL", "in-sync"]);
    nodes
}

pub struct Cluster {
    /// The masters.
    pub nodes: Vec<RedisServer>,
    /// Where the others and clients find the masters.
    pub ports: Vec<u16>,
    /// The replica of each master, if there are any.
    pub replicas: Vec<RedisServer>,
    /// The proxies before the masters and then the replicas, if there are any.
    links: Vec<NodeLinks>,
}

/// The links to one node of a cluster.
struct NodeLinks {
    /// From where the node connects to others.
    source: IpAddr,
    clients: LinksTo,
    bus: LinksTo,
}

/// Where the others find a node of a cluster.
struct NodePorts {
    clients: u16,
    bus: u16,
}

impl Cluster {
    /// Three masters with a third of the slots each.
    pub async fn start() -> Self {
        Self::of_masters(false).await
    }

    /// Three masters with one replica each.
    pub async fn with_replicas() -> Self {
        Self::of_masters(false).await.and_replicas(false).await
    }

    /// Three masters with one replica each, and a proxy on every link.
    pub async fn with_links() -> Self {
        Self::of_masters(true).await.and_replicas(true).await
    }

    async fn of_masters(has_links: bool) -> Self {
        let mut cluster = Self { nodes: Vec::new(), ports: Vec::new(), replicas: Vec::new(), links: Vec::new() };
        for nth in 0..3 {
            let (node, ports) = cluster.node(has_links).await;
            let first = nth * 5_461;
            let last = if nth == 2 { 16_383 } else { first + 5_460 };
            let range = [first.to_string(), last.to_string()];
            let _: String = node.command(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
            let _: String = node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(nth + 1).to_string()]);
            cluster.nodes.push(node);
            cluster.ports.push(ports.clients);
            if nth > 0 {
                cluster.meet(&ports);
            }
        }
        cluster.complete(3).await;
        cluster
    }

    async fn and_replicas(mut self, has_links: bool) -> Self {
        for _ in 0..3 {
            let (replica, ports) = self.node(has_links).await;
            self.meet(&ports);
            self.replicas.push(replica);
        }
        self.complete(6).await;
        for (master, replica) in self.nodes.iter().zip(&self.replicas) {
            let id: String = master.command(&["CLUSTER", "MYID"]);
            let _: String = replica.command(&["CLUSTER", "REPLICATE", &id]);
        }
        eventually("every replica is in sync", async || {
            self.replicas.iter().all(|replica| replication_has(replica, "master_link_status:up"))
        })
        .await;
        self
    }

    async fn node(&mut self, has_links: bool) -> (RedisServer, NodePorts) {
        let mut ports = NodePorts { clients: free_port(), bus: free_port() };
        let mut options = format!(
            "--port {} --cluster-enabled yes --cluster-port {} --cluster-node-timeout 2000 --repl-diskless-sync-delay 0",
            ports.clients, ports.bus
        );
        if has_links {
            let source = source_address(1, self.links.len());
            let (clients, bus) = (LinksTo::start(ports.clients).await, LinksTo::start(ports.bus).await);
            ports = NodePorts { clients: clients.port(), bus: bus.port() };
            let announced = format!(
                " --bind 127.0.0.1 --protected-mode no --bind-source-addr {source} --cluster-announce-ip 127.0.0.1 \
                 --cluster-announce-port {} --cluster-announce-bus-port {}",
                ports.clients, ports.bus
            );
            options.push_str(&announced);
            self.links.push(NodeLinks { source, clients, bus });
        }
        let options: Vec<&str> = options.split(' ').chain(["--save", ""]).collect();
        (RedisServer::with_options(&options), ports)
    }

    /// Lets the replica of a master take over while the master is well.
    pub async fn replace_master(&mut self, shard: usize) {
        let asked = Cell::new(None::<Instant>);
        let replica = &self.replicas[shard];
        eventually("the replica is the master", async || {
            if asked.get().is_none_or(|at| at.elapsed() > GIVEN_UP) {
                let _: String = replica.command(&["CLUSTER", "FAILOVER"]);
                asked.set(Some(Instant::now()));
            }
            replication_has(replica, "role:master")
        })
        .await;
        self.swap_roles(shard);
    }

    /// The replica of a master has taken over.
    pub fn swap_roles(&mut self, shard: usize) {
        std::mem::swap(&mut self.nodes[shard], &mut self.replicas[shard]);
        if !self.links.is_empty() {
            self.links.swap(shard, self.nodes.len() + shard);
        }
    }

    /// Separates a master and the clients from all other nodes.
    pub fn separate(&self, shard: usize) {
        let master = &self.links[shard];
        for other in self.links.iter().filter(|other| other.source != master.source) {
            for (to, from) in [(master, other), (other, master)] {
                to.clients.lose(from.source);
                to.bus.lose(from.source);
            }
            other.clients.lose(CLIENTS);
        }
    }

    pub fn heal(&self) {
        for node in &self.links {
            node.clients.heal();
            node.bus.heal();
        }
    }

    fn meet(&self, node: &NodePorts) {
        let (port, bus) = (node.clients.to_string(), node.bus.to_string());
        let _: String = self.nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
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

    /// Moves the remaining keys and assigns the slot to the target on all nodes.
    pub fn finish(self) {
        self.finish_with(|_| {});
    }

    /// Finishes; `before_the_source` is called with the target, before the source redirects clients to it.
    pub fn finish_with(self, before_the_source: impl FnOnce(&RedisServer)) {
        for key in self.keys() {
            self.move_key(&key);
        }
        let (owner, target, source) = (self.id(self.to), self.target(), self.source());
        let assign = |node: &RedisServer| node.command::<String>(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &owner]);
        assign(target);
        before_the_source(target);
        let at = [self.from, self.to];
        let others = self.cluster.nodes.iter().enumerate().filter(|(node, _)| !at.contains(node));
        others.for_each(|(_, node)| _ = assign(node));
        assign(source);
    }

    fn id(&self, node: usize) -> String {
        self.cluster.nodes[node].command(&["CLUSTER", "MYID"])
    }
}
