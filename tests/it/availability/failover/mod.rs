//! Masters with a replica fail under load, in several ways. What callers were told is compared with what is there after.
//!
//! The short forms have one fault of each kind. `GTX_HA_CHECK=long` is the form of `make ha-check`: 12 minutes of faults under
//! Sentinel and 20 faults of a cluster, in an order that `GTX_HA_CHECK_SEED` repeats, and partitions. They print what was lost.

mod cluster;
mod histories;
mod load;
mod partition;
mod record;
mod three_nodes;

use std::cell::Cell;
use std::mem::swap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;

use load::Load;
use record::{Count, Told, Write, conflicts, contradictions};

use super::retries::Retries;
use crate::lock_check::random::Random;
use crate::support::{MASTER, RedisServer, SentinelGroup, TestApp, UsedMaster, eventually, replication_has};

/// How the master fails.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// SIGKILL: it comes back without its data.
    Killed,
    /// SIGSTOP: it comes back with writes that the new master does not have.
    Frozen,
    /// `SENTINEL FAILOVER`: the master is well.
    Moved,
}

const FAULTS: [Fault; 3] = [Fault::Killed, Fault::Frozen, Fault::Moved];

/// The durable writes and leases that succeed before the fault, and as many after it.
const WRITES: u64 = 50;
const LEASES: usize = 5;
const LONG: Duration = Duration::from_secs(12 * 60);

#[tokio::test]
async fn no_write_that_a_replica_had_is_lost_when_the_master_fails() {
    let mut group = SentinelGroup::start().await;
    let app = TestApp::builder().system_clock().config(&config(&group.config())).spawn().await;
    open_book(&app).await;
    let mut first = 0;
    if is_long() {
        let (mut random, end) = (random(), Instant::now() + LONG);
        while Instant::now() < end {
            first = failover(&app, &mut group, FAULTS[random.index(FAULTS.len())], first).await;
        }
    } else {
        for fault in FAULTS {
            first = failover(&app, &mut group, fault, first).await;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the tests are not the service")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The numbers of a run that can be repeated.
fn random() -> Random {
    let seed = setting("GTX_HA_CHECK_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    println!("GTX_HA_CHECK_SEED={seed} repeats these faults");
    Random::new(seed)
}

/// Whether this is `make ha-check`.
fn is_long() -> bool {
    match setting("GTX_HA_CHECK").as_deref() {
        None => false,
        Some("long") => true,
        Some(other) => panic!("GTX_HA_CHECK is long or unset, not {other}"),
    }
}

/// The configuration of the load, on these servers.
fn config(servers: &str) -> String {
    format!("{servers}[streams]\nmax_streams = 1000000\n")
}

/// The book in which the load places orders.
async fn open_book(app: &TestApp) {
    let settings = json!({ "mode": "store", "kind": "orders" });
    app.put("/orderbooks/GRID/settings", settings).await.expect(201);
}

/// One fault of the master. Afterwards the former replica is the master, and the former master its replica.
async fn failover(app: &TestApp, group: &mut SentinelGroup, fault: Fault, first: u64) -> u64 {
    round(app, &format!("{fault:?}"), first, async || {
        fail(group, fault).await;
        swap(&mut group.master, &mut group.replica);
        in_sync(&group.master, &group.replica).await;
    })
    .await
}

/// One fault under load, after which nothing that a replica had may be missing. The names of what is written begin at the number
/// `first`; returns the next one.
async fn round(app: &TestApp, fault: &str, first: u64, happen: impl AsyncFnOnce()) -> u64 {
    let Observed { next, doubled, lost } = observe(app, fault, first, happen).await;
    assert!(doubled.is_empty() && lost.is_empty(), "{fault}: {doubled:#?} {lost:#?}");
    next
}

/// What a fault under load has shown.
struct Observed {
    /// The number of the next name.
    next: u64,
    /// What was made although callers were told the contrary, or twice.
    doubled: Vec<String>,
    /// What is missing although a replica had it.
    lost: Vec<String>,
}

async fn observe(app: &TestApp, fault: &str, first: u64, happen: impl AsyncFnOnce()) -> Observed {
    let (counted, before) = (counter(app).await, Retries::of(app).await);
    let load = Load::begin(app, first).await;
    let ((), ()) = tokio::join!(load.run(), async {
        writes(&load).await;
        load.record().outage = None;
        happen().await;
        writes(&load).await;
        load.is_over.store(true, Ordering::Relaxed);
    });
    let retries = Retries::of(app).await.since(before);
    let record = std::mem::take(&mut *load.record());
    let mut exists = Vec::with_capacity(record.writes.len());
    for some in record.writes.chunks(32) {
        exists.extend(join_all(some.iter().map(|write| exists_at(app, &write.path))).await);
    }
    let lost = |is_durable| {
        let is_lost =
            |(write, exists): &(&Write, &bool)| write.told == Told::Made && write.is_durable == is_durable && !**exists;
        record.writes.iter().zip(&exists).filter(is_lost).count()
    };
    println!(
        "{fault}: {} writes, lost {} of those that a replica had and {} of the others; {} increments, {} leases; \
         outage {:.1} s; {:?}, {} retries",
        record.writes.len(),
        lost(true),
        lost(false),
        record.increments.len(),
        record.leases.len(),
        record.outage().as_secs_f64(),
        record.statuses,
        retries.retries,
    );
    retries.assert_few();
    let count = Count::of(&record.increments, counted, counter(app).await);
    let mut doubled = contradictions(&record.writes, &exists, Told::NotMade);
    doubled.extend(count.doubled);
    let mut lost = contradictions(&record.writes, &exists, Told::Made);
    lost.extend(count.lost);
    lost.extend(conflicts(&record.leases));
    lost.extend(load.check_histories().await);
    Observed { next: load.numbers.load(Ordering::Relaxed), doubled, lost }
}

/// Whether a read finds what was written; an outage is no answer.
async fn exists_at(app: &TestApp, path: &str) -> bool {
    let read = Cell::new(None);
    eventually(&format!("a read of {path} is answered"), async || {
        let reply = app.get(path).await;
        let status = reply.status.as_u16();
        // A channel without messages and a limit that nobody used are not 404.
        let is_untouched = || {
            let body = reply.json();
            body["items"].as_array().is_some_and(Vec::is_empty)
                || body.get("remaining").is_some_and(|left| *left == body["limit"])
        };
        read.set(Some(status == 200 && !is_untouched()).filter(|_| [200, 404].contains(&status)));
        read.get().is_some()
    })
    .await;
    read.get() == Some(true)
}

async fn counter(app: &TestApp) -> u64 {
    let reply = app.get("/cache/counter").await;
    if reply.is(404) { 0 } else { reply.expect(200).json().as_u64().expect("a number") }
}

/// Waits until durable writes and leases succeed.
async fn writes(load: &Load<'_>) {
    let made = || load.made.load(Ordering::Relaxed);
    let (writes, leases) = (made() + WRITES, load.record().leases.len() + LEASES);
    eventually("writes and leases succeed", async || made() >= writes && load.record().leases.len() >= leases).await;
}

/// Lets the master fail until the replica is the master, and brings the former one back.
async fn fail(group: &mut SentinelGroup, fault: Fault) {
    match fault {
        Fault::Killed => group.master.kill(),
        Fault::Frozen => group.master.stall(),
        Fault::Moved => {}
    }
    // A master that came back earlier, without its data, would be found again.
    let port: u16 = group.replica.command::<Vec<String>>(&["CONFIG", "GET", "port"])[1].parse().expect("a port");
    eventually("the Sentinel uses the replica as the master", async || {
        let Some(used) = UsedMaster::of(&group.sentinel) else { return false };
        // A Sentinel gives up a failover for which it has no recent answer of the replica.
        if matches!(fault, Fault::Moved) && used.port != port && !used.is_being_replaced {
            let _ = group.sentinel.try_command::<String>(&["SENTINEL", "FAILOVER", MASTER]);
        }
        used.port == port && replication_has(&group.replica, "role:master")
    })
    .await;
    match fault {
        Fault::Killed => group.master.boot(),
        Fault::Frozen => group.master.resume(),
        Fault::Moved => {}
    }
}

async fn in_sync(master: &RedisServer, replica: &RedisServer) {
    eventually("the former master follows", async || {
        replication_has(replica, "master_link_status:up") && replication_has(master, "connected_slaves:1")
    })
    .await;
}
