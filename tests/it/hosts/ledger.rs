//! Every acknowledged sample is read back once: agents write to two replicas while Redis and the replicas are stopped,
//! killed and restarted. A ledger records the acknowledged samples, and the test compares it with the samples read at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gridtokenx_redis::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::sample;
use crate::support::wire::{Request, Wire};
use crate::support::{RedisServer, ServiceProcess};

const HOSTS: u64 = 100;
/// Samples of one request, and the interval between two requests of an agent: 20 samples per second of each host if the
/// machine is fast enough.
const SAMPLES: u64 = 5;
const INTERVAL: Duration = Duration::from_millis(250);
const AGENTS: u64 = 4;

/// A sample's host, its unique number, and the `stored` of its response.
type Entry = (u64, u64, String);

/// The state that the agents share.
#[derive(Default)]
struct Ledger {
    acknowledged: Mutex<Vec<Entry>>,
    numbers: AtomicU64,
    ports: [AtomicU16; 2],
    stop: AtomicBool,
}

impl Ledger {
    fn count(&self) -> usize {
        self.acknowledged.lock().expect("the ledger").len()
    }

    /// Waits until this many more samples are acknowledged.
    fn wait_for(&self, by: usize) {
        let (goal, deadline) = (self.count() + by, Instant::now() + Duration::from_secs(30));
        while self.count() < goal {
            assert!(Instant::now() < deadline, "the service acknowledges no samples");
            // Polls a blocking connection; `eventually` needs a runtime.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs one agent, which sends samples of its share of the hosts until the end of the test.
    fn run_agent(&self, agent: u64) {
        let mut round = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            for host in (0..HOSTS).filter(|host| host % AGENTS == agent) {
                let replica = usize::try_from((host + round) % 2).expect("0 or 1");
                let mut wire = Wire::new(self.ports[replica].load(Ordering::SeqCst));
                self.send(&mut wire, host);
            }
            round += 1;
            // Agents send at a fixed rate.
            std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
        }
    }

    fn send(&self, wire: &mut Wire, host: u64) {
        let now = Clock::System.now();
        let first = self.numbers.fetch_add(SAMPLES, Ordering::SeqCst);
        let samples: Vec<Value> = (first..first + SAMPLES)
            .map(|seq| {
                let mut sample = sample(0);
                (sample["timestamp"], sample["seq"]) = (json!(now), json!(seq));
                sample
            })
            .collect();
        let path = format!("/hosts/host-{host}/metrics");
        let request = Request { method: "POST", path, header: None, body: Value::Array(samples).to_string() };
        // Without a response the outcome is unknown.
        let Ok(answer) = wire.send(&request) else { return };
        if answer.status == 202 {
            let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(answer["accepted"], SAMPLES);
            let stored = answer["stored"].as_str().expect("a word").to_owned();
            let mut acknowledged = self.acknowledged.lock().expect("the ledger");
            acknowledged.extend((first..first + SAMPLES).map(|seq| (host, seq, stored.clone())));
        }
    }
}

/// Two replicas, agents, and a Redis that syncs every write to disk.
struct Deployment {
    redis: RedisServer,
    replicas: [Option<ServiceProcess>; 2],
    spools: [TempDir; 2],
    with_spool: bool,
    ledger: Arc<Ledger>,
    agents: Vec<std::thread::JoinHandle<()>>,
}

impl Deployment {
    fn start(with_spool: bool) -> Self {
        let redis = RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        let spools = [0, 1].map(|_| tempfile::tempdir().expect("a directory"));
        let ledger = Arc::new(Ledger::default());
        let mut deployment = Self { redis, replicas: [None, None], spools, with_spool, ledger, agents: Vec::new() };
        deployment.start_replica(0);
        deployment.start_replica(1);
        for agent in 0..AGENTS {
            let ledger = Arc::clone(&deployment.ledger);
            deployment.agents.push(std::thread::spawn(move || ledger.run_agent(agent)));
        }
        deployment
    }

    fn start_replica(&mut self, replica: usize) {
        let directory = self.spools[replica].path().display().to_string();
        let mut variables = vec![("REDIS_BATCH_WRITE_INTERVAL_MS", "300")];
        if self.with_spool {
            variables.push(("GTX__HOSTS__SPOOL_DIR", directory.as_str()));
        }
        let mut service = ServiceProcess::start_on(&self.redis, &variables);
        self.ledger.ports[replica].store(service.address().port(), Ordering::SeqCst);
        self.replicas[replica] = Some(service);
    }

    fn replica(&mut self, replica: usize) -> &mut ServiceProcess {
        self.replicas[replica].as_mut().expect("it runs")
    }

    /// SIGKILL.
    fn kill(&mut self, replica: usize) {
        self.replica(replica).signal("KILL");
        self.replica(replica).ended_within(Duration::from_secs(5));
        self.replicas[replica] = None;
    }

    /// Stops the agents, flushes the replicas, and returns the numbers of every host's stored samples. Each must occur once.
    fn read(&mut self) -> BTreeMap<u64, BTreeSet<u64>> {
        self.ledger.stop.store(true, Ordering::SeqCst);
        for agent in self.agents.drain(..) {
            agent.join().expect("the agent does not panic");
        }
        for replica in [0, 1] {
            self.replica(replica).ready();
            assert_eq!(self.replica(replica).send("POST", "/hosts/flush", "").0, 200);
        }
        let mut found = BTreeMap::new();
        for host in 0..HOSTS {
            let numbers: &mut BTreeSet<u64> = found.entry(host).or_default();
            let mut query = "limit=1000".to_owned();
            loop {
                let (status, body) = self.replica(0).get(&format!("/hosts/host-{host}/metrics/range?{query}"));
                assert_eq!(status, 200, "{body}");
                let page: Value = serde_json::from_str(&body).expect("JSON");
                assert_eq!(page["source"], "redis");
                for sample in page["metrics"].as_array().expect("samples") {
                    let seq = sample["seq"].as_u64().expect("a number");
                    assert!(numbers.insert(seq), "host-{host} has {seq} twice");
                }
                let Some(cursor) = page["next_cursor"].as_str() else { break };
                query = format!("limit=1000&cursor={cursor}");
            }
        }
        found
    }

    /// The acknowledged samples for which `is_promised` holds and that are not in `found`.
    fn missing(&self, found: &BTreeMap<u64, BTreeSet<u64>>, is_promised: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let acknowledged = self.ledger.acknowledged.lock().expect("the ledger");
        println!("{} samples were acknowledged", acknowledged.len());
        let lost = |(host, seq, _): &&Entry| !found[host].contains(seq);
        acknowledged.iter().filter(lost).filter(|entry| is_promised(entry)).cloned().collect()
    }
}

#[test]
fn every_acknowledged_sample_is_stored_once_despite_outages_and_restarts() {
    let mut deployment = Deployment::start(false);
    let ledger = Arc::clone(&deployment.ledger);
    ledger.wait_for(2_000);
    deployment.redis.kill();
    ledger.wait_for(2_000);
    deployment.redis.boot();
    ledger.wait_for(2_000);
    // A replica is stopped under load and started again.
    let stopped = deployment.replicas[1].take().expect("it runs");
    let (status, output) = stopped.terminate();
    assert!(status.success(), "{output}");
    deployment.start_replica(1);
    ledger.wait_for(2_000);
    let found = deployment.read();
    assert_eq!(deployment.missing(&found, |_| true), []);
}

#[test]
fn a_replica_that_stops_stores_its_samples_in_a_redis_that_is_starting() {
    let mut redis = RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
    let mut service = ServiceProcess::start_on(&redis, &[]);
    service.ready();
    redis.kill();
    let mut sample = sample(0);
    sample["timestamp"] = json!(Clock::System.now());
    let path = "/hosts/host-1/metrics".to_owned();
    let request = Request { method: "POST", path, header: None, body: sample.to_string() };
    assert_eq!(Wire::new(service.address().port()).send(&request).expect("a response").status, 202);
    service.signal("TERM");
    service.line_with("draining");
    redis.boot();
    let (status, output) = service.ended();
    assert!(status.success() && !output.contains("lost at shutdown"), "{output}");
    let mut next = ServiceProcess::start_on(&redis, &[]);
    next.ready();
    let (status, page) = next.get("/hosts/host-1/metrics/range");
    let page: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((status, page["metrics"].as_array().map(Vec::len)), (200, Some(1)), "{page}");
}

#[test]
fn a_killed_replica_loses_no_spooled_sample() {
    let mut deployment = Deployment::start(true);
    let ledger = Arc::clone(&deployment.ledger);
    ledger.wait_for(1_000);
    // Redis is unavailable when the replica is killed, so the samples are only in its spool.
    deployment.redis.kill();
    ledger.wait_for(1_000);
    deployment.kill(1);
    deployment.redis.boot();
    deployment.start_replica(1);
    ledger.wait_for(1_000);
    let found = deployment.read();
    let spooled = |entry: &Entry| entry.2 == "spooled";
    assert!(ledger.acknowledged.lock().expect("the ledger").iter().filter(|entry| spooled(entry)).count() >= 3_000);
    assert_eq!(deployment.missing(&found, spooled), []);
}

#[test]
fn a_killed_replica_without_a_spool_loses_at_most_the_samples_since_its_last_batch() {
    let mut deployment = Deployment::start(false);
    let ledger = Arc::clone(&deployment.ledger);
    ledger.wait_for(1_000);
    // The samples that are acknowledged now are in Redis after two batches.
    let before: BTreeSet<u64> = ledger.acknowledged.lock().expect("the ledger").iter().map(|entry| entry.1).collect();
    let written = |deployment: &mut Deployment| {
        let (_, text) = deployment.replica(1).get("/health/ready");
        let health: Value = serde_json::from_str(&text).expect("JSON");
        health["tasks"]["hosts.write"]["last_run"].as_i64().unwrap_or_default()
    };
    let now = Clock::System.now();
    let deadline = Instant::now() + Duration::from_secs(20);
    // A batch that ended this late began after the last of them.
    while written(&mut deployment) < now + 400 {
        assert!(Instant::now() < deadline, "no batch is written");
        // Polls a blocking connection; `eventually` needs a runtime.
        std::thread::sleep(Duration::from_millis(20));
    }
    deployment.kill(1);
    deployment.start_replica(1);
    ledger.wait_for(1_000);
    let found = deployment.read();
    assert!(ledger.acknowledged.lock().expect("the ledger").iter().all(|entry| entry.2 == "memory"));
    assert_eq!(deployment.missing(&found, |entry| before.contains(&entry.1)), []);
}
