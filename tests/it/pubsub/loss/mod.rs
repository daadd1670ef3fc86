//! What clients observe while links are cut, replicas die, and Redis stops, restarts, fails over and forgets everything:
//! each message once and in order, or a gap that covers exactly what is missing.
//!
//! The short form runs with all other tests. `make loss-check` runs the long form: 20,000 messages, and 50 clients of each
//! kind.

mod client;
mod deployment;
mod observer;
mod unchecked;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{ServiceProcess, TestApp, eventually};
use client::{Client, KINDS};
use deployment::Deployment;
#[cfg(debug_assertions)]
use gridtokenx_redis::features::pubsub::IGNORES_HOLES;
pub use observer::{Observer, PAGE, Position, Published};
use unchecked::Recorder;

/// The channels of the test: their logs hold what a client misses while it is away.
const CONFIG: &str = "pubsub.drain_spread = \"0s\"\n\
    [[pubsub.namespaces]]\npattern = \"market:loss:{number}\"\nkeep = \"log\"\nhistory_size = 1000\n\
    subscribe = [\"public\"]\npublish = [\"public\"]\n";

/// The size of a run.
struct Size {
    messages: u64,
    channels: u64,
    /// Of each kind.
    clients: u64,
}

const SHORT: Size = Size { messages: 2_400, channels: 2, clients: 4 };
const LONG: Size = Size { messages: 20_000, channels: 4, clients: 50 };

#[tokio::test]
async fn nothing_is_lost_silently_on_a_single_redis() {
    run(Deployment::single(), &SHORT).await;
}

#[tokio::test]
async fn nothing_is_lost_silently_in_a_failover() {
    run(Deployment::sentinel().await, &SHORT).await;
}

#[tokio::test]
async fn nothing_is_lost_silently_on_a_cluster() {
    run(Deployment::cluster().await, &SHORT).await;
}

/// The control of the test itself. Release builds always check.
#[cfg(debug_assertions)]
#[tokio::test]
async fn a_service_that_does_not_check_offsets_loses_messages_silently() {
    let mut deployment = Deployment::restless();
    let config = format!("{CONFIG}{}", deployment.config());
    let mut app = TestApp::builder().config(&config).system_clock().spawn().await;
    let mut replicas = Replicas::only(app.serve());
    IGNORES_HOLES.store(true, Ordering::SeqCst);
    let wrong = follow(&mut deployment, &app, &mut replicas, &SHORT).await.expect_err("messages are missing");
    assert!(wrong.contains(" after "), "{wrong}");
}

#[tokio::test]
#[ignore = "takes minutes: make loss-check"]
async fn nothing_is_lost_silently_by_many_clients_on_a_single_redis() {
    run(Deployment::single(), &LONG).await;
}

#[tokio::test]
#[ignore = "takes minutes: make loss-check"]
async fn nothing_is_lost_silently_by_many_clients_in_a_failover() {
    run(Deployment::sentinel().await, &LONG).await;
}

#[tokio::test]
#[ignore = "takes minutes: make loss-check"]
async fn nothing_is_lost_silently_by_many_clients_on_a_cluster() {
    run(Deployment::cluster().await, &LONG).await;
}

/// Two replicas with the clients. A third one, of the test itself, publishes.
struct Replicas {
    /// Absent if the clients connect to a service inside the test.
    folder: Option<TempDir>,
    running: Vec<ServiceProcess>,
    /// Where clients connect.
    addresses: Arc<Mutex<Vec<String>>>,
}

impl Replicas {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("service.toml"), config).expect("a file");
        let mut replicas = Self { folder: Some(folder), running: Vec::new(), addresses: Arc::default() };
        replicas.add();
        replicas.add();
        replicas
    }

    fn only(address: SocketAddr) -> Self {
        let addresses = Arc::new(Mutex::new(vec![address.to_string()]));
        Self { folder: None, running: Vec::new(), addresses }
    }

    fn add(&mut self) {
        let Some(folder) = &self.folder else { return };
        let mut replica = ServiceProcess::start_with(&folder.path().join("service.toml"), &[]);
        replica.ready();
        self.addresses.lock().expect("the addresses").push(replica.address().to_string());
        self.running.push(replica);
    }

    /// Kills the oldest replica without warning, after a new one has started.
    fn replace_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        self.add();
        self.addresses.lock().expect("the addresses").remove(0);
        self.running.remove(0).signal("KILL");
    }
}

fn channel(number: u64) -> String {
    format!("market:loss:{number}")
}

/// Publishes until the message is accepted. Returns its position, and how often it was sent.
async fn publish(app: &TestApp, channel: &str, number: u64) -> (Position, usize) {
    let message =
        json!({ "message_type": "message", "id": format!("p{number}"), "data": { "price": number.to_string() } });
    for sent in 1.. {
        let reply = app.post(&format!("/pubsub/{channel}"), message.clone()).await;
        if reply.is(201) {
            return (Position::of(&reply.json()), sent);
        }
        // The pause of a client before it tries again.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    unreachable!("it is sent until it is accepted")
}

async fn run(mut deployment: Deployment, size: &Size) {
    let config = format!("{CONFIG}{}", deployment.config());
    let app = TestApp::builder().config(&config).system_clock().spawn().await;
    let mut replicas = Replicas::start(&config);
    follow(&mut deployment, &app, &mut replicas, size).await.unwrap_or_else(|wrong| panic!("{wrong}"));
}

/// Publishes through `app` while clients follow at the replicas. Fails with the first observation that is wrong.
async fn follow(
    deployment: &mut Deployment,
    app: &TestApp,
    replicas: &mut Replicas,
    size: &Size,
) -> Result<(), String> {
    let begun = Instant::now();
    let mut published: Vec<Published> = Vec::new();
    for number in 0..size.channels {
        published.push(Published::begin(publish(app, &channel(number), number).await.0));
    }
    let done = Arc::new(AtomicBool::new(false));
    let recorder = Recorder::start(deployment.pubsub_link(), channel(0), &done);
    let (mut observers, mut clients) = (Vec::new(), tokio::task::JoinSet::new());
    for number in 0..size.clients {
        let at = number % size.channels;
        for kind in KINDS {
            let start = published[usize::try_from(at).expect("few")].start().clone();
            let observer = Arc::new(Mutex::new(Observer::new(format!("{kind:?} {number}"), start)));
            observers.push((at, Arc::clone(&observer)));
            let (channel, addresses, done) = (channel(at), Arc::clone(&replicas.addresses), Arc::clone(&done));
            clients.spawn(Client { kind, number, channel, addresses, done, observer }.follow());
        }
    }
    let all_listen = async || observers.iter().all(|(_, observer)| observer.lock().expect("it").listens);
    eventually("every client listens", all_listen).await;
    for at in 0..size.messages {
        let (number, to) = (size.channels + at, at % size.channels);
        let (position, sent) = publish(app, &channel(to), number).await;
        published[usize::try_from(to).expect("few")].add(position, number, sent);
        let percent = 100 * at / size.messages;
        if percent != 100 * (at + 1) / size.messages {
            if percent == 40 {
                replicas.replace_one();
            }
            deployment.disturb(percent).await;
        }
    }
    let all_arrived = async {
        let arrived = |(at, observer): &(u64, Arc<Mutex<Observer>>)| {
            observer.lock().expect("it").position == *published[usize::try_from(*at).expect("few")].end()
        };
        while !observers.iter().all(arrived) {
            // Polls a condition; what is missing is reported below.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), all_arrived).await;
    done.store(true, Ordering::SeqCst);
    clients.join_all().await;
    for (at, observer) in &observers {
        let observer = observer.lock().expect("it");
        observer.verify(&published[usize::try_from(*at).expect("few")])?;
    }
    let count =
        |of: fn(&Observer) -> usize| observers.iter().map(|(_, one)| of(&one.lock().expect("it"))).sum::<usize>();
    let (received, gaps) = (count(Observer::received), count(Observer::gaps));
    let (clients, time) = (observers.len(), begun.elapsed());
    println!("{clients} clients received {received} messages of {} and {gaps} gaps in {time:?}", size.messages);
    recorder.expect_loss(&published[0]);
    Ok(())
}
