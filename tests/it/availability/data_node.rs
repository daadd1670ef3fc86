//! `start_data_node.sh`: a node without data never becomes the master of a group that has replicas.

use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{MASTER, RedisServer, SHIPPED, SentinelGroup, eventually, free_port};

struct Node {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Node {
    fn start(port: u16, sentinel: u16, variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let users = directory.path().join("users.acl");
        std::fs::write(&users, "user default on nopass ~* &* +@all\n").expect("a file");
        let child = Command::new(format!("{SHIPPED}/start_data_node.sh"))
            .arg(directory.path())
            .arg("--aclfile")
            .arg(users)
            .env("NODE", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("GROUP", MASTER)
            .env("SENTINELS", format!("127.0.0.1:{sentinel}"))
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the script starts");
        Self { child, port, directory }
    }

    /// What the script says before it ends by itself.
    fn refusal(mut self) -> String {
        let status = self.child.wait().expect("a status");
        assert_eq!(status.code(), Some(1));
        assert!(!self.directory.path().join("appendonlydir").exists(), "Redis was started");
        std::io::read_to_string(self.child.stderr.take().expect("a pipe")).expect("text")
    }

    fn replication(&self) -> String {
        let run = Command::new("redis-cli").args(["-p", &self.port.to_string(), "INFO", "replication"]).output();
        String::from_utf8(run.expect("redis-cli starts").stdout).expect("text")
    }

    async fn is_a(&self, role: &str) {
        let role = format!("role:{role}");
        eventually("the node has its role", async || self.replication().contains(&role)).await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Sentinel that knows a master on this port, and no replica. It never replaces it.
fn sentinel_of(master: u16) -> (RedisServer, u16) {
    let port = free_port();
    let file =
        format!("sentinel monitor {MASTER} 127.0.0.1 {master} 1\nsentinel down-after-milliseconds {MASTER} 600000\n");
    (RedisServer::with_file(&file, &["--sentinel", "--port", &port.to_string()]), port)
}

#[tokio::test]
async fn a_node_without_data_begins_a_group_only_on_request_and_with_a_sentinel() {
    for variables in [&[][..], &[("FIRST", "yes")]] {
        let said = Node::start(free_port(), free_port(), variables).refusal();
        assert!(said.contains("no Sentinel of 127.0.0.1"), "{said}");
    }
    let port = free_port();
    let (_sentinel, sentinel) = sentinel_of(port);
    let said = Node::start(port, sentinel, &[("PATIENCE", "0")]).refusal();
    assert!(said.contains("FIRST=yes"), "{said}");
    Node::start(port, sentinel, &[("FIRST", "yes")]).is_a("master").await;
}

#[tokio::test]
async fn a_node_without_data_does_not_replace_the_data_of_its_replicas() {
    let mut group = SentinelGroup::start().await;
    let port: u16 = group.master.command::<Vec<String>>(&["CONFIG", "GET", "port"])[1].parse().expect("a port");
    let _: String = group.master.command(&["SET", "kept", "1"]);
    let _: i64 = group.master.command(&["WAIT", "1", "0"]);
    let sentinel = group.port();
    // While the Sentinels name the node itself, it neither starts nor begins a group.
    let _: String = group.sentinel.command(&["SENTINEL", "SET", MASTER, "down-after-milliseconds", "600000"]);
    group.master.kill();
    for variables in [&[("PATIENCE", "0")][..], &[("PATIENCE", "0"), ("FIRST", "yes")]] {
        let said = Node::start(port, sentinel, variables).refusal();
        assert!(said.contains("still name it as the master"), "{said}");
    }
    let returned = Node::start(port, sentinel, &[("FIRST", "yes")]);
    // A replica that has been without its master for ten times as long is no candidate.
    let _: String = group.sentinel.command(&["SENTINEL", "SET", MASTER, "down-after-milliseconds", "3000"]);
    returned.is_a("slave").await;
    assert_eq!(group.replica.command::<String>(&["GET", "kept"]), "1");
    eventually("the former master follows", async || {
        group.replica.command::<String>(&["INFO", "replication"]).contains("connected_slaves:1")
    })
    .await;
}
