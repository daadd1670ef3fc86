//! Third-party lock clients: one script per library in `tests/interoperability/`, which reads commands line by line.

use serde_json::json;

use super::line_process::{LineProcess, node, python};
use super::{RedisServer, in_repository};

/// The library of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    RedisPy,
    /// node-redlock 4 or 5: the name of the package.
    Redlock(&'static str),
}

/// A client process that holds one lock at a time.
pub struct Peer {
    kind: PeerKind,
    process: LineProcess,
}

impl Peer {
    /// A client that keeps its locks on `nodes` (redis-py: on the first node). `section` stores who is in the critical
    /// section.
    pub fn start(kind: PeerKind, section: &RedisServer, nodes: &[&RedisServer]) -> Self {
        let script = |name: &str| in_repository("tests/interoperability").join(name);
        let command = match kind {
            PeerKind::RedisPy => {
                let mut python = python(&script("redis_py.py"));
                python.arg(nodes[0].socket());
                python
            }
            PeerKind::Redlock(package) => {
                let mut node = node(&script("redlock.js"));
                node.arg(package).arg(section.socket()).args(nodes.iter().map(|server| server.socket()));
                node
            }
        };
        Self { kind, process: LineProcess::start(&format!("{kind:?}"), command) }
    }

    /// Whether the client acquired the lock `key` for `ttl_ms`; it waits at most `wait_ms`.
    pub async fn acquire(&mut self, key: &str, ttl_ms: u64, wait_ms: u64) -> bool {
        self.process.request(json!({ "do": "acquire", "key": key, "ttl_ms": ttl_ms, "wait_ms": wait_ms })).await["ok"]
            == true
    }

    /// Whether the client could extend its last lock.
    pub async fn extend(&mut self, ttl_ms: u64) -> bool {
        self.process.request(json!({ "do": "extend", "ttl_ms": ttl_ms })).await["ok"] == true
    }

    /// Whether the client could release its last lock.
    pub async fn release(&mut self) -> bool {
        self.process.request(json!({ "do": "release" })).await["ok"] == true
    }

    /// Enters the critical section of lock `key` repeatedly; returns the number of rounds in which it was not alone.
    pub async fn contend(&mut self, key: &str, ttl_ms: u64, rounds: usize, name: &str) -> u64 {
        let command = json!({ "do": "contend", "key": key, "ttl_ms": ttl_ms, "rounds": rounds, "name": name });
        let reply = self.process.request(command).await;
        reply["intruders"].as_u64().unwrap_or_else(|| panic!("{:?} gave up: {reply}", self.kind))
    }
}
