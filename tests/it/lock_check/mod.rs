//! Are the locks locks? Seeded load on real processes while they and their Redis are stopped, killed and emptied; the
//! recorded history is judged by a checker that is itself tried on broken locks.
//!
//! `GTX_LOCK_CHECK_SEED` repeats a run's choices (not the scheduler's). `make lock-check` runs the long form, by
//! `GTX_LOCK_CHECK=long`.

mod checker;
mod controls;
mod load;
mod random;
mod service;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checker::check;
use load::Scene;
use random::Random;
use service::Service;

use crate::support::RedisServer;

const SERVICES: usize = 3;
const CLIENTS: usize = 48;

/// How much is run: until so many grants, but no longer.
struct Size {
    grants: usize,
    limit: Duration,
    /// Fewer would prove nothing.
    least: usize,
}

/// For every commit: how far it gets depends on the machine, what it finds does not.
const SHORT: Size = Size { grants: 4_000, limit: Duration::from_secs(12), least: 50 };
const LONG: Size = Size { grants: 100_000, limit: Duration::from_secs(1_800), least: 100_000 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_redis_never_has_two_holders() {
    run(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_lock_nodes_never_have_two_holders() {
    run(5).await;
}

async fn run(nodes: usize) {
    let setting = |wanted| std::env::vars().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let seed = setting("GTX_LOCK_CHECK_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let size = if setting("GTX_LOCK_CHECK").is_some_and(|form| form == "long") { &LONG } else { &SHORT };
    let mut stage = Stage::set(nodes);
    let scene = Scene::new(stage.services.iter().map(|service| service.port).collect());
    #[expect(clippy::disallowed_methods, reason = "the harness is not the service")]
    let clients: Vec<_> = (0..CLIENTS).map(|id| tokio::spawn(load::client(Arc::clone(&scene), id, seed))).collect();
    let deadline = Instant::now() + size.limit;
    let mut random = Random::new(seed);
    let mut faults = 0;
    while scene.grants() < size.grants && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(200 + random.below(600))).await;
        stage.disturb(&mut random).await;
        faults += 1;
    }
    scene.stop();
    for client in clients {
        client.await.expect("a client that ends");
    }
    let history = scene.history.lock().expect("the history").clone();
    let refused = history.writes.iter().filter(|write| !write.accepted).count();
    println!(
        "seed {seed}, {nodes} lock nodes: {} grants, {} writes ({refused} stale ones refused), {faults} faults",
        history.grants.len(),
        history.writes.len(),
    );
    assert_eq!(check(&history), [], "seed {seed}");
    assert!(history.grants.len() >= size.least, "only {} grants: too few to prove anything", history.grants.len());
}

/// The processes, and what is done to them.
struct Stage {
    redis: RedisServer,
    nodes: Vec<RedisServer>,
    services: Vec<Service>,
    directory: tempfile::TempDir,
}

impl Stage {
    fn set(nodes: usize) -> Self {
        let redis = RedisServer::start();
        let nodes: Vec<RedisServer> = (0..nodes).map(|_| RedisServer::start()).collect();
        let urls: Vec<String> = nodes.iter().map(RedisServer::url).collect();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut stage = Self { redis, nodes, services: Vec::new(), directory };
        let config = format!("[http]\nworkers = 1\n[locks]\nmax_ttl = \"500ms\"\nnamed = []\nnodes = {urls:?}\n");
        std::fs::write(stage.config(), config).expect("the configuration is written");
        stage.services = (0..SERVICES).map(|_| Service::start(&stage.config(), &stage.redis)).collect();
        stage
    }

    fn config(&self) -> PathBuf {
        self.directory.path().join("check.toml")
    }

    /// One fault at a time, and healed: at most a minority of lock nodes is ever away or in quarantine.
    async fn disturb(&mut self, random: &mut Random) {
        let pause = Duration::from_millis(50 + random.below(900));
        let config = self.config();
        let victim = random.index(SERVICES);
        match random.below(if self.nodes.is_empty() { 4 } else { 7 }) {
            0 | 1 => {
                self.services[victim].pause();
                tokio::time::sleep(pause).await;
                self.services[victim].go_on();
            }
            2 => self.services[victim].replace(&config, &self.redis),
            3 => {
                self.redis.stall();
                tokio::time::sleep(pause).await;
                self.redis.resume();
            }
            4 | 5 => {
                let first = random.index(self.nodes.len());
                let second = (first + 1) % self.nodes.len();
                self.nodes[first].stall();
                self.nodes[second].stall();
                tokio::time::sleep(pause).await;
                self.nodes[first].resume();
                self.nodes[second].resume();
            }
            _ => {
                let node = random.index(self.nodes.len());
                self.nodes[node].kill();
                tokio::time::sleep(pause).await;
                self.nodes[node].boot();
                // Empty, it stays out for the longest lease; the next fault may take two others.
                tokio::time::sleep(Duration::from_millis(load::TTL + 100)).await;
            }
        }
    }
}
