//! The processes of a run: three replicas, 16 client processes, Redis servers for locks, queues and values.

use std::time::{Duration, Instant};

use super::client::{Orders, guarded};
use super::client_process::{ClientProcess, Record};
use super::history::Event;
use super::service::Service;
use crate::support::wire::{Request, Wire};
use crate::support::{Proxy, RedisServer};

const SERVICES: usize = 3;
/// Each has a client at every replica.
const CLIENT_PROCESSES: usize = 16;
const NAMES: usize = 4;

/// A Redis that keeps its data when it is killed: it hands writes to the kernel before it responds.
const DURABLE: &[&str] = &["--save", "", "--appendonly", "yes", "--appendfsync", "no"];
/// A Redis that restarts empty.
const FORGETFUL: &[&str] = &["--save", "", "--appendonly", "no"];

pub struct Stage {
    /// The Redis of the state role. It keeps the queues, and without lock nodes also the locks.
    pub state_role: RedisServer,
    lock_nodes: Vec<RedisServer>,
    /// The Redis of the cache role. It keeps what the locks protect.
    _values: RedisServer,
    pub services: Vec<Service>,
    /// Between the first replica and each Redis.
    pub links: Vec<Proxy>,
    pub clients: Vec<ClientProcess>,
    pub record: Record,
    seed: u64,
    is_fenced: bool,
    /// Client processes that were started so far.
    started: usize,
    _directory: tempfile::TempDir,
}

impl Stage {
    /// Starts everything but the clients.
    pub fn set(nodes: usize, seed: u64) -> Self {
        let state_role = RedisServer::with_options(DURABLE);
        let values = RedisServer::with_options(FORGETFUL);
        let lock_nodes: Vec<RedisServer> = (0..nodes).map(|_| RedisServer::with_options(FORGETFUL)).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let links: Vec<Proxy> = [&state_role, &values]
            .into_iter()
            .chain(&lock_nodes)
            .map(|server| Proxy::start(&server.socket()))
            .collect();
        let direct: Vec<String> = [&state_role, &values].into_iter().chain(&lock_nodes).map(RedisServer::url).collect();
        let linked: Vec<String> = links.iter().map(Proxy::url).collect();
        let services = (0..SERVICES)
            .map(|at| {
                let path = directory.path().join(format!("replica-{at}.toml"));
                let config = configuration(if at == 0 { &linked } else { &direct });
                std::fs::write(&path, config).expect("the configuration is written");
                Service::start(path)
            })
            .collect();
        Self {
            state_role,
            lock_nodes,
            _values: values,
            services,
            links,
            clients: Vec::new(),
            record: Record::default(),
            seed,
            is_fenced: true,
            started: 0,
            _directory: directory,
        }
    }

    /// The servers that keep the leases.
    pub fn nodes(&mut self) -> &mut [RedisServer] {
        if self.lock_nodes.is_empty() { std::slice::from_mut(&mut self.state_role) } else { &mut self.lock_nodes }
    }

    /// How many nodes may fail at a time. The only node may, too; then no lock is granted.
    pub fn minority(&mut self) -> usize {
        (self.nodes().len() / 2).max(1)
    }

    pub fn start_clients(&mut self, is_fenced: bool) {
        self.is_fenced = is_fenced;
        for at in 0..CLIENT_PROCESSES {
            let process = self.client_process(at);
            self.clients.push(process);
        }
    }

    /// SIGKILL, and new clients in their place.
    pub fn replace_clients(&mut self, at: usize) {
        self.clients[at].kill();
        self.clients[at] = self.client_process(at);
    }

    fn client_process(&mut self, at: usize) -> ClientProcess {
        let orders: Vec<Orders> = (0..SERVICES)
            .map(|service| {
                let client = self.started * SERVICES + service;
                Orders {
                    client,
                    // Always the same lock, so that a stuck lock does not affect the clients of the others.
                    name: name((at * SERVICES + service) % NAMES),
                    port: self.services[service].port,
                    seed: self.seed ^ (u64::try_from(client).expect("small") << 32),
                    is_fenced: self.is_fenced,
                }
            })
            .collect();
        self.started += 1;
        ClientProcess::start(&orders, &self.record)
    }

    /// Stops the clients and records what the targets hold.
    pub fn end(&mut self) -> Vec<Event> {
        self.clients.iter_mut().for_each(ClientProcess::stop);
        self.clients.iter_mut().for_each(ClientProcess::end);
        for name in names() {
            let text = self.kept(&name);
            self.record.push(Event::Kept { name, fence: text.parse().expect("a token") });
        }
        self.record.events()
    }

    /// What a lock protects, from the first replica that responds: one may have just started.
    fn kept(&self, name: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            for service in &self.services {
                let request = Request { method: "GET", path: guarded(name), header: None, body: String::new() };
                match Wire::new(service.port).send(&request) {
                    Ok(answer) if answer.status == 200 => return String::from_utf8(answer.body).expect("a token"),
                    _ => assert!(Instant::now() < deadline, "no replica returns the value that {name} protects"),
                }
            }
            // A pause between polls, so that the loop does not slow the starting replica down.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The locks of the load.
pub fn names() -> impl Iterator<Item = String> {
    (0..NAMES).map(name)
}

fn name(number: usize) -> String {
    format!("resource:{number}")
}

/// `servers`: the state role's URL, the cache role's, and those of the lock nodes.
fn configuration(servers: &[String]) -> String {
    let (state_role, values, nodes) = (&servers[0], &servers[1], &servers[2..]);
    format!(
        "[http]\nworkers = 1\n[redis]\nurl = {state_role:?}\n[redis.cache]\nurl = {values:?}\n\
         [locks]\nmax_ttl = \"500ms\"\nnamed = []\nnodes = {nodes:?}\n"
    )
}
