//! Every acknowledged sample comes back once: agents write to two replicas while Redis dies and returns, and replicas are
//! stopped, killed and started again. What was acknowledged is kept in a ledger, and compared with what is read at last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gridtokenx_redis::clock::Clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::sample;
use crate::support::wire::{Question, Wire};
use crate::support::{RedisServer, ServiceProcess};

const HOSTS: u64 = 100;
/// Samples of one request, and what an agent rests between two: 20 samples a second of each host, if the machine can.
const SAMPLES: u64 = 5;
const REST: Duration = Duration::from_millis(250);
const AGENTS: u64 = 4;

/// A sample's host, number, and how safe it was said to be. Numbers are unique.
type Entry = (u64, u64, String);

/// What agents share.
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

    /// Waits until so many more samples are acknowledged.
    fn grows(&self, by: usize) {
        let (goal, deadline) = (self.count() + by, Instant::now() + Duration::from_secs(30));
        while self.count() < goal {
            assert!(Instant::now() < deadline, "agents get no answers");
            // Polls a blocking connection; `eventually` needs a runtime.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// One agent's life, for a part of the hosts.
    fn write(&self, agent: u64) {
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
            std::thread::sleep(REST.saturating_sub(begun.elapsed()));
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
        let question = Question { method: "POST", path, header: None, body: Value::Array(samples).to_string() };
        // Who gets no answer knows nothing.
        let Ok(answer) = wire.ask(&question) else { return };
        if answer.status == 202 {
            let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(answer["accepted"], SAMPLES);
            let stored = answer["stored"].as_str().expect("a word").to_owned();
            let mut acknowledged = self.acknowledged.lock().expect("the ledger");
            acknowledged.extend((first..first + SAMPLES).map(|seq| (host, seq, stored.clone())));
        }
    }
}

/// Two replicas, agents, and a Redis that keeps what it has confirmed.
struct Stage {
    redis: RedisServer,
    replicas: [Option<ServiceProcess>; 2],
    spools: [TempDir; 2],
    with_spool: bool,
    ledger: Arc<Ledger>,
    agents: Vec<std::thread::JoinHandle<()>>,
}

impl Stage {
    fn set(with_spool: bool) -> Self {
        let redis = RedisServer::with_options(&["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        let spools = [0, 1].map(|_| tempfile::tempdir().expect("a directory"));
        let ledger = Arc::new(Ledger::default());
        let mut stage = Self { redis, replicas: [None, None], spools, with_spool, ledger, agents: Vec::new() };
        stage.start(0);
        stage.start(1);
        for agent in 0..AGENTS {
            let ledger = Arc::clone(&stage.ledger);
            stage.agents.push(std::thread::spawn(move || ledger.write(agent)));
        }
        stage
    }

    fn start(&mut self, replica: usize) {
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

    /// Stops the agents, has everything written, and reads what there is: the numbers of every host, each once.
    fn read(&mut self) -> BTreeMap<u64, BTreeSet<u64>> {
        self.ledger.stop.store(true, Ordering::SeqCst);
        for agent in self.agents.drain(..) {
            agent.join().expect("the agent's life");
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

    /// The acknowledged samples that are not among `found`, for which `is_promised` holds.
    fn missing(&self, found: &BTreeMap<u64, BTreeSet<u64>>, is_promised: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let acknowledged = self.ledger.acknowledged.lock().expect("the ledger");
        println!("{} samples were acknowledged", acknowledged.len());
        let lost = |(host, seq, _): &&Entry| !found[host].contains(seq);
        acknowledged.iter().filter(lost).filter(|entry| is_promised(entry)).cloned().collect()
    }
}

#[test]
fn every_acknowledged_sample_comes_back_once_through_outages_and_restarts() {
    let mut stage = Stage::set(false);
    let ledger = Arc::clone(&stage.ledger);
    ledger.grows(2_000);
    stage.redis.kill();
    ledger.grows(2_000);
    stage.redis.boot();
    ledger.grows(2_000);
    // Stopped in the middle of it all, and started again.
    let stopped = stage.replicas[1].take().expect("it runs");
    let (status, output) = stopped.terminate();
    assert!(status.success(), "{output}");
    stage.start(1);
    ledger.grows(2_000);
    let found = stage.read();
    assert_eq!(stage.missing(&found, |_| true), []);
}

#[test]
fn with_a_spool_a_killed_replica_loses_nothing_that_it_called_spooled() {
    let mut stage = Stage::set(true);
    let ledger = Arc::clone(&stage.ledger);
    ledger.grows(1_000);
    // Redis is away when the replica dies, so that its spool is all there is.
    stage.redis.kill();
    ledger.grows(1_000);
    stage.kill(1);
    stage.redis.boot();
    stage.start(1);
    ledger.grows(1_000);
    let found = stage.read();
    let spooled = |entry: &Entry| entry.2 == "spooled";
    assert!(ledger.acknowledged.lock().expect("the ledger").iter().filter(|entry| spooled(entry)).count() >= 3_000);
    assert_eq!(stage.missing(&found, spooled), []);
}

#[test]
fn without_a_spool_a_killed_replica_loses_at_most_what_it_called_in_memory_since_its_last_batch() {
    let mut stage = Stage::set(false);
    let ledger = Arc::clone(&stage.ledger);
    ledger.grows(1_000);
    // Whatever is acknowledged now is in Redis after two batches.
    let before: BTreeSet<u64> = ledger.acknowledged.lock().expect("the ledger").iter().map(|entry| entry.1).collect();
    let written = |stage: &mut Stage| {
        let (_, text) = stage.replica(1).get("/health/ready");
        let health: Value = serde_json::from_str(&text).expect("JSON");
        health["tasks"]["hosts.write"]["last_run"].as_i64().unwrap_or_default()
    };
    let now = Clock::System.now();
    let deadline = Instant::now() + Duration::from_secs(20);
    // A round that ended this late began after the last of them.
    while written(&mut stage) < now + 400 {
        assert!(Instant::now() < deadline, "no batch is written");
        // Polls a blocking connection; `eventually` needs a runtime.
        std::thread::sleep(Duration::from_millis(20));
    }
    stage.kill(1);
    stage.start(1);
    ledger.grows(1_000);
    let found = stage.read();
    assert!(ledger.acknowledged.lock().expect("the ledger").iter().all(|entry| entry.2 == "memory"));
    assert_eq!(stage.missing(&found, |entry| before.contains(&entry.1)), []);
}
