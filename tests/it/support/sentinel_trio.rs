//! Data nodes and three Sentinels, of which two must agree; with a proxy on every link if the network shall fail.

use std::cell::Cell;
use std::net::IpAddr;

use super::groups::{hurry, replicated_with};
use super::link::{CLIENTS, source_address};
use super::{LinksTo, MASTER, RedisServer, UsedMaster, eventually, free_port, replication_has};

const SENTINELS: usize = 3;

pub struct SentinelTrio {
    nodes: Vec<RedisServer>,
    /// Which of the data nodes is the master.
    master: usize,
    pub sentinels: Vec<RedisServer>,
    /// Where the others find the data nodes, and then the Sentinels.
    ports: Vec<u16>,
    /// The links to each server, in the order of the ports; empty without proxies.
    links: Vec<LinksTo>,
    /// The addresses of the Sentinels are those of this network.
    network: u8,
}

impl SentinelTrio {
    /// A master and its replica.
    pub async fn start() -> Self {
        let own = free_ports(2);
        Self::with(&own.clone(), own, Vec::new()).await
    }

    /// A master and its replica, and a proxy on every link.
    pub async fn with_links() -> Self {
        Self::linked(2).await
    }

    /// A master and two replicas, and a proxy on every link.
    pub async fn of_three_nodes() -> Self {
        Self::linked(3).await
    }

    async fn linked(nodes: usize) -> Self {
        let own = free_ports(nodes);
        let mut links = Vec::new();
        for port in &own {
            links.push(LinksTo::start(*port).await);
        }
        let ports = links.iter().map(LinksTo::port).collect();
        Self::with(&own, ports, links).await
    }

    /// `own` are the ports of the servers, `ports` those at which the others find them.
    async fn with(own: &[u16], ports: Vec<u16>, links: Vec<LinksTo>) -> Self {
        let options = |node: usize| {
            // Redis takes only 127.0.0.1 for a client of its own machine.
            format!(
                "--bind 127.0.0.1 --protected-mode no --port {} --bind-source-addr {} --replica-announce-ip 127.0.0.1 \
                 --replica-announce-port {}",
                own[node],
                source_address(1, node),
                ports[node],
            )
        };
        let count = own.len() - SENTINELS;
        let options: Vec<String> = (0..count).map(options).collect();
        let options: Vec<Vec<&str>> = options.iter().map(|options| options.split(' ').collect()).collect();
        let nodes = replicated_with(&options, ports[0]).await;
        let mut sentinels = Vec::new();
        for number in count..own.len() {
            let mut file = format!(
                "sentinel monitor {MASTER} 127.0.0.1 {} 2\n\
                 sentinel down-after-milliseconds {MASTER} 1000\n\
                 sentinel failover-timeout {MASTER} 3000\n",
                ports[0]
            );
            // Behind proxies a Sentinel is found by the port of its proxy.
            let is_linked = !links.is_empty();
            if is_linked {
                let own_address = format!("sentinel announce-ip 127.0.0.1\nsentinel announce-port {}\n", ports[number]);
                file.push_str(&own_address);
            }
            let source = source_address(1, number).to_string();
            let listens = if is_linked { "127.0.0.1" } else { &source };
            let port = own[number].to_string();
            let options = ["--sentinel", "--port", &port, "--bind", listens, "--bind-source-addr", &source];
            let sentinel = RedisServer::with_file(&file, &options);
            hurry(&sentinel);
            sentinels.push(sentinel);
        }
        let trio = Self { nodes, master: 0, sentinels, ports, links, network: 1 };
        let known_to_all = format!("slaves={},sentinels={SENTINELS}", count - 1);
        eventually("the Sentinels know each other and the replicas", async || {
            trio.sentinels.iter().all(|sentinel| {
                let known: String = sentinel.command(&["INFO", "sentinel"]);
                known.contains(&known_to_all)
            })
        })
        .await;
        trio
    }

    pub fn master(&self) -> &RedisServer {
        &self.nodes[self.master]
    }

    /// The only replica of two data nodes.
    pub fn replica(&self) -> &RedisServer {
        &self.nodes[1 - self.master]
    }

    /// Where clients find the only replica of two data nodes.
    pub fn port_of_replica(&self) -> u16 {
        self.ports[1 - self.master]
    }

    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    fn is_replica(&self, server: usize) -> bool {
        server < self.nodes.len() && server != self.master
    }

    pub fn kill_master(&mut self) {
        self.nodes[self.master].kill();
    }

    /// Starts the former master, which was killed.
    pub fn boot_replica(&mut self) {
        self.nodes[1 - self.master].boot();
    }

    /// The configuration of a service that finds the Sentinels by these names or addresses.
    pub fn config_with(&self, hosts: [&str; 3]) -> String {
        let nodes: Vec<String> = hosts
            .iter()
            .zip(&self.ports[self.nodes.len()..])
            .map(|(host, port)| format!("\"redis://{host}:{port}\""))
            .collect();
        format!("[redis]\ntopology = \"sentinel\"\nsentinel_master = \"{MASTER}\"\nnodes = [{}]\n", nodes.join(", "))
    }

    pub fn config(&self) -> String {
        let hosts: [String; 3] = self.sentinel_addresses().map(|address| address.to_string());
        self.config_with([&hosts[0], &hosts[1], &hosts[2]])
    }

    pub fn sentinel_addresses(&self) -> [IpAddr; 3] {
        let is_linked = !self.links.is_empty();
        let number = |sentinel| self.nodes.len() + sentinel;
        [0, 1, 2].map(|sentinel| if is_linked { CLIENTS } else { source_address(self.network, number(sentinel)) })
    }

    /// Waits until the last two Sentinels use a replica as the master, and it is one.
    pub async fn failed_over(&mut self) {
        let next = Cell::new(None);
        eventually("two Sentinels use a replica as the master", async || {
            let used = UsedMaster::of(&self.sentinels[1]).map(|used| used.port);
            let node = self.ports.iter().position(|port| Some(*port) == used).filter(|node| self.is_replica(*node));
            next.set(node);
            node.is_some_and(|node| replication_has(&self.nodes[node], "role:master"))
                && UsedMaster::of(&self.sentinels[2]).map(|used| used.port) == used
        })
        .await;
        self.master = next.get().expect("the condition holds");
    }

    /// Waits until all other data nodes follow the master.
    pub async fn in_sync(&self) {
        let replicas = format!("connected_slaves:{}", self.nodes.len() - 1);
        eventually("the former master follows", async || {
            let follows = |node: usize| replication_has(&self.nodes[node], "master_link_status:up");
            let mut others = (0..self.nodes.len()).filter(|&node| self.is_replica(node));
            others.all(follows) && replication_has(self.master(), &replicas)
        })
        .await;
    }

    /// Starts a Sentinel that was killed.
    pub fn boot_sentinel(&mut self, number: usize) {
        self.sentinels[number].boot();
        hurry(&self.sentinels[number]);
    }

    /// Restarts all Sentinels with other addresses, and waits until they have found each other again.
    pub async fn move_sentinels(&mut self) {
        self.network += 1;
        self.sentinels.iter_mut().for_each(RedisServer::kill);
        let addresses = self.sentinel_addresses();
        for (number, address) in addresses.iter().enumerate() {
            for option in ["--bind", "--bind-source-addr"] {
                self.sentinels[number].set_option(option, &address.to_string());
            }
            self.boot_sentinel(number);
        }
        eventually("the Sentinels know their new addresses", async || {
            self.sentinels.iter().all(|sentinel| {
                let others: Vec<Vec<String>> = sentinel.command(&["SENTINEL", "SENTINELS", MASTER]);
                let is_new = |other: &Vec<String>| {
                    other
                        .chunks(2)
                        .any(|field| field[0] == "ip" && addresses.iter().any(|it| field[1] == it.to_string()))
                };
                others.len() == 2 && others.iter().all(is_new)
            })
        })
        .await;
    }

    /// Separates the master, the first Sentinel and the clients from all other servers.
    pub fn separate(&self) {
        self.separate_with(0);
    }

    /// Separates the master, the first Sentinel, the clients and some replicas from all other servers.
    pub fn separate_with(&self, replicas: usize) {
        self.separate_from_clients(&self.separate_servers(replicas));
    }

    /// Separates the master, the first Sentinel and some replicas from all other servers, which are the result. Clients reach all.
    pub fn separate_servers(&self, replicas: usize) -> Vec<usize> {
        let mut near: Vec<usize> = vec![self.master, self.nodes.len()];
        near.extend((0..self.nodes.len()).filter(|&node| self.is_replica(node)).take(replicas));
        let all = 0..self.links.len();
        for server in all.clone() {
            let across = all.clone().filter(|other| near.contains(other) != near.contains(&server));
            across.for_each(|other| self.links[server].lose(source_address(1, other)));
        }
        all.filter(|server| !near.contains(server)).collect()
    }

    pub fn separate_from_clients(&self, servers: &[usize]) {
        for &server in servers {
            self.links[server].lose(CLIENTS);
        }
    }

    /// Lets the clients reach all servers again.
    pub fn heal_clients(&self) {
        self.links.iter().for_each(|links| links.deliver(CLIENTS));
    }

    pub fn heal(&self) {
        self.links.iter().for_each(LinksTo::heal);
    }
}

/// Ports for data nodes and three Sentinels.
fn free_ports(nodes: usize) -> Vec<u16> {
    (0..nodes + SENTINELS).map(|_| free_port()).collect()
}
