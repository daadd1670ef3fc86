//! Masters of a cluster fail, are replaced by hand, and lose slots to another one, all under load.

use super::{config, in_sync, is_long, open_book, random, round};
use crate::support::{Cluster, TestApp, eventually, replication_has};

/// The slots that are moved from one master to another.
const MOVED_SLOTS: i64 = 500;

#[tokio::test]
async fn no_write_that_a_replica_had_is_lost_when_the_masters_of_a_cluster_change() {
    let mut cluster = Cluster::with_replicas().await;
    let app = TestApp::builder().system_clock().config(&config(&cluster.config())).spawn().await;
    open_book(&app).await;
    let mut first = round(&app, "500 slots move", 0, async || move_slots(&cluster, 0, 1).await).await;
    for shard in 0..3 {
        first = replace(&app, &mut cluster, shard, first).await;
    }
    if is_long() {
        let mut random = random();
        for _ in 0..20 {
            let shard = random.index(3);
            first = match random.index(2) {
                0 => replace(&app, &mut cluster, shard, first).await,
                _ => kill(&app, &mut cluster, shard, first).await,
            };
        }
    } else {
        kill(&app, &mut cluster, 0, first).await;
    }
}

/// The replica takes over while its master is well.
async fn replace(app: &TestApp, cluster: &mut Cluster, shard: usize, first: u64) -> u64 {
    round(app, &format!("master {shard} is replaced by hand"), first, async || {
        cluster.replace_master(shard).await;
        in_sync(&cluster.nodes[shard], &cluster.replicas[shard]).await;
    })
    .await
}

/// The replica takes over after its master was killed, which comes back without its data.
async fn kill(app: &TestApp, cluster: &mut Cluster, shard: usize, first: u64) -> u64 {
    let (master, replica) = (&mut cluster.nodes[shard], &cluster.replicas[shard]);
    let next = round(app, &format!("master {shard} is killed"), first, async || {
        master.kill();
        eventually("the replica is the master", async || replication_has(replica, "role:master")).await;
        master.boot();
        in_sync(replica, master).await;
    })
    .await;
    cluster.swap_roles(shard);
    next
}

/// Moves the first slots of one master to another, with their keys, as `redis-cli --cluster reshard` does.
async fn move_slots(cluster: &Cluster, from: usize, to: usize) {
    let id = |node: usize| cluster.nodes[node].command::<String>(&["CLUSTER", "MYID"]);
    let (source, target, port) = (&cluster.nodes[from], &cluster.nodes[to], cluster.ports[to].to_string());
    let (from, to) = (id(from), id(to));
    for slot in 0..MOVED_SLOTS {
        let slot = slot.to_string();
        let _: String = target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
        let _: String = source.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
        loop {
            let keys: Vec<String> = source.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "KEYS"];
            command.extend(keys.iter().map(String::as_str));
            let _: String = source.command(&command);
        }
        for node in [target, source].into_iter().chain(&cluster.nodes) {
            let _: String = node.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]);
        }
        // The load runs on the thread of the test.
        tokio::task::yield_now().await;
    }
}
