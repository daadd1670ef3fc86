//! Third-party lock clients: one script per library in `tests/interoperability/`, which reads commands line by line.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{RedisServer, build_directory, in_repository};

/// Longer than any command may wait for a lock.
const TIMEOUT: Duration = Duration::from_secs(90);

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
    _process: Child,
    commands: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// A client that keeps its locks on `nodes` (redis-py: on the first node). `section` stores who is in the critical
    /// section.
    pub fn start(kind: PeerKind, section: &RedisServer, nodes: &[&RedisServer]) -> Self {
        let script = |name: &str| in_repository("tests/interoperability").join(name);
        let mut command = match kind {
            PeerKind::RedisPy => {
                let mut python = Command::new(installed("test-venv/bin/python"));
                python.arg(script("redis_py.py")).arg(nodes[0].socket());
                python
            }
            PeerKind::Redlock(package) => {
                let mut node = Command::new("node");
                node.env("NODE_PATH", installed("test-node/node_modules")).arg(script("redlock.js")).arg(package);
                node.arg(section.socket()).args(nodes.iter().map(|server| server.socket()));
                node
            }
        };
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the peer starts");
        let commands = process.stdin.take().expect("its input");
        let replies = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { kind, _process: process, commands, replies }
    }

    /// Whether the client acquired the lock `key` for `ttl_ms`; it waits at most `wait_ms`.
    pub async fn acquire(&mut self, key: &str, ttl_ms: u64, wait_ms: u64) -> bool {
        self.request(json!({ "do": "acquire", "key": key, "ttl_ms": ttl_ms, "wait_ms": wait_ms })).await["ok"] == true
    }

    /// Whether the client could extend its last lock.
    pub async fn extend(&mut self, ttl_ms: u64) -> bool {
        self.request(json!({ "do": "extend", "ttl_ms": ttl_ms })).await["ok"] == true
    }

    /// Whether the client could release its last lock.
    pub async fn release(&mut self) -> bool {
        self.request(json!({ "do": "release" })).await["ok"] == true
    }

    /// Enters the critical section of lock `key` repeatedly; returns the number of rounds in which it was not alone.
    pub async fn contend(&mut self, key: &str, ttl_ms: u64, rounds: usize, name: &str) -> u64 {
        let command = json!({ "do": "contend", "key": key, "ttl_ms": ttl_ms, "rounds": rounds, "name": name });
        let reply = self.request(command).await;
        reply["intruders"].as_u64().unwrap_or_else(|| panic!("{:?} gave up: {reply}", self.kind))
    }

    async fn request(&mut self, command: Value) -> Value {
        let kind = self.kind;
        let exchange = async {
            self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("sent");
            self.replies.next_line().await.expect("its output").unwrap_or_else(|| panic!("{kind:?} ended"))
        };
        let reply = tokio::time::timeout(TIMEOUT, exchange).await;
        let reply = reply.unwrap_or_else(|_| panic!("{kind:?} does not reply to {command}"));
        serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{kind:?} replied {reply}"))
    }
}

/// A file that `scripts/setup_tests.sh` installs; the test fails, and is not skipped, if the file is missing.
fn installed(path: &str) -> std::path::PathBuf {
    let path = build_directory().join(path);
    assert!(path.exists(), "{} is missing: run scripts/setup_tests.sh", path.display());
    path
}
