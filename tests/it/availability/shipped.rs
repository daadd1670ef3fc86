//! The shipped configuration of groups of servers, on real ones.

use crate::support::{RedisServer, SHIPPED, TestApp, eventually, free_port, replication_has};

const LOGIN: &str = "username = \"gridtokenx\"\npassword = \"gridtokenx\"\n";
const ONE: (&str, &str) = ("durability", "replicated=1");

async fn put(app: &TestApp, key: &str) -> crate::support::Reply {
    let headers = [("content-type", "application/json"), ONE];
    app.send(axum::http::Method::PUT, &format!("/cache/{key}"), &headers, "1").await
}

/// A data node; the first one has no master.
fn data_node(file: &str, port: u16, master: Option<u16>) -> RedisServer {
    let (port, master) = (port.to_string(), master.map(|port| format!("localhost {port}")));
    let mut options = vec!["--port", &port, "--masterauth", "replica", "--replica-announce-ip", "localhost"];
    options.extend(master.iter().flat_map(|master| ["--replicaof", master]));
    RedisServer::shipped(file, &options)
}

async fn in_sync(replica: &RedisServer) {
    eventually("the replica is in sync", async || replication_has(replica, "master_link_status:up")).await;
}

#[tokio::test]
async fn the_shipped_sentinels_replace_a_killed_master_and_no_replicated_write_is_lost() {
    let (master_port, replica_port) = (free_port(), free_port());
    let mut master = data_node("replica.conf", master_port, None);
    let replica = data_node("replica.conf", replica_port, Some(master_port));
    in_sync(&replica).await;
    let text = std::fs::read_to_string(format!("{SHIPPED}/sentinel.conf")).expect("the shipped file");
    let text = text.replace("redis-1 6379", &format!("localhost {master_port}")).replace("port 26379", "");
    let text = format!("{text}\nsentinel auth-pass gridtokenx sentinel\n");
    let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let sentinels: Vec<RedisServer> =
        ports.iter().map(|port| RedisServer::with_file(&text, &["--sentinel", "--port", &port.to_string()])).collect();
    eventually("the Sentinels know each other and the replica", async || {
        sentinels.iter().all(|sentinel| {
            let known: String = sentinel.command(&["INFO", "sentinel"]);
            known.contains("slaves=1,sentinels=3")
        })
    })
    .await;
    let nodes: Vec<String> = ports.iter().map(|port| format!("\"redis://localhost:{port}\"")).collect();
    let config = format!(
        "[redis]\ntopology = \"sentinel\"\nsentinel_master = \"gridtokenx\"\nnodes = [{}]\n{LOGIN}",
        nodes.join(", ")
    );
    let app = TestApp::builder().config(&config).spawn().await;
    put(&app, "before").await.expect(201);
    master.kill();
    // Sentinel closes the connections of clients when it changes a role.
    eventually("the replica is the master", async || replication_has(&replica, "role:master")).await;
    eventually("the service has found the new master", async || app.get("/cache/before").await.is(200)).await;
    put(&app, "after").await.expect_problem(503, "replication-unmet");
    // The former master comes back as a replica of the new one.
    master.boot();
    eventually("the former master follows", async || put(&app, "again").await.is(204)).await;
    in_sync(&master).await;
}

#[tokio::test]
async fn a_node_with_the_shipped_cluster_configuration_serves_and_replicates() {
    let (port, replica_port) = (free_port(), free_port());
    let node = |port: u16| {
        let (port, bus) = (port.to_string(), free_port().to_string());
        RedisServer::shipped("cluster.conf", &["--port", &port, "--cluster-port", &bus, "--masterauth", "replica"])
    };
    let (master, replica) = (node(port), node(replica_port));
    let _: String = master.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    let bus: Vec<String> = master.command(&["CONFIG", "GET", "cluster-port"]);
    let _: String = replica.command(&["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus[1]]);
    let id: String = master.command(&["CLUSTER", "MYID"]);
    eventually("the replica follows", async || replica.try_command::<String>(&["CLUSTER", "REPLICATE", &id]).is_ok())
        .await;
    in_sync(&replica).await;
    let config = format!("[redis]\ntopology = \"cluster\"\nnodes = [\"redis://127.0.0.1:{port}\"]\n{LOGIN}");
    let app = TestApp::builder().config(&config).spawn().await;
    eventually("the cluster is known", async || put(&app, "a").await.is(204)).await;
}
