//! Other people's lock clients: a script per library in `tests/interoperability/`, told what to do line by line.

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{RedisServer, build_directory, in_repository};

/// Longer than any command may wait for a lock.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerKind {
    RedisPy,
    /// node-redlock 4, or 5 beside it: its package's name.
    Redlock(&'static str),
}

/// One process with one lock at a time.
pub struct Peer {
    kind: PeerKind,
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// A client that keeps its locks on `nodes`, redis-py's on the first of them; `section` watches the critical
    /// section of a contention.
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
        let answers = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { kind, _process: process, commands, answers }
    }

    /// Whether it got the lock `key` for `ttl_ms`, waiting at most `wait_ms`.
    pub async fn acquire(&mut self, key: &str, ttl_ms: u64, wait_ms: u64) -> bool {
        self.ask(json!({ "do": "acquire", "key": key, "ttl_ms": ttl_ms, "wait_ms": wait_ms })).await["ok"] == true
    }

    /// Whether the last lock that it got was extended.
    pub async fn extend(&mut self, ttl_ms: u64) -> bool {
        self.ask(json!({ "do": "extend", "ttl_ms": ttl_ms })).await["ok"] == true
    }

    /// Whether the last lock that it got was released.
    pub async fn release(&mut self) -> bool {
        self.ask(json!({ "do": "release" })).await["ok"] == true
    }

    /// Goes through the critical section behind `key` again and again; in how many rounds it was not alone there.
    pub async fn contend(&mut self, key: &str, ttl_ms: u64, rounds: usize, name: &str) -> u64 {
        let command = json!({ "do": "contend", "key": key, "ttl_ms": ttl_ms, "rounds": rounds, "name": name });
        let answer = self.ask(command).await;
        answer["intruders"].as_u64().unwrap_or_else(|| panic!("{:?} gave up: {answer}", self.kind))
    }

    async fn ask(&mut self, command: Value) -> Value {
        let kind = self.kind;
        let asked = async {
            self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("sent");
            self.answers.next_line().await.expect("its output").unwrap_or_else(|| panic!("{kind:?} ended"))
        };
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.unwrap_or_else(|_| panic!("{kind:?} does not answer {command}"));
        serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{kind:?} says {answer}"))
    }
}

/// What `scripts/setup_tests.sh` installed; a missing one is a failure, never a skip.
fn installed(path: &str) -> std::path::PathBuf {
    let path = build_directory().join(path);
    assert!(path.exists(), "{} is missing: run scripts/setup_tests.sh", path.display());
    path
}
