//! Delivery of messages to `WebSocket`s, compared with nchan on the same Redis: memory of an idle socket, a burst, and the
//! latency of a steady stream. Then many sockets on many channels, a herd that reconnects, and publishing over HTTP.

#![expect(clippy::cast_precision_loss, reason = "counts and times of a few minutes")]

use std::time::{Duration, Instant};

mod fleet;
mod publish;
mod sockets;

use sockets::{Sockets, next, open, read_all};

use crate::client::Client;
use crate::get::ROUNDS;
use crate::median;
use crate::peers::{Bench, Service, Transport};
use crate::process::{cpu_seconds, resident_megabytes};
use crate::report::Report;

/// The subscribers of one channel.
const SOCKETS: usize = 1_000;
/// The sockets whose memory is measured.
const IDLE_SOCKETS: usize = 2_000;
/// The messages of a burst, published a hundred at a time.
const BURST: usize = 1_000;
/// The messages of the steady stream, one every 10 ms.
const STEADY: usize = 300;
const PERIOD: Duration = Duration::from_millis(10);
const SETTINGS: &str = "[http]\nmax_connections = 15000\n[pubsub]\nmax_sockets = 12000\nsockets_per_caller = 12000\n[[pubsub.namespaces]]\n\
     pattern = \"bench:{n}\"\nkeep = \"log\"\nhistory_size = 1000\nsubscribe = [\"authenticated\"]\n\
     publish = [\"scope:pubsub:write\"]\n";

/// A server whose clients subscribe and publish in its own way.
struct Peer<'a> {
    name: &'static str,
    service: &'a Service,
    /// Whether it speaks the native protocol of the service.
    is_service: bool,
    /// Publishes messages on the channel of this number.
    publish: fn(&mut Client, usize, &[String]),
}

pub fn run(bench: &Bench, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (ours, nchan) = (bench.service_with(Transport::Tcp, SETTINGS), bench.nchan());
    let peers = [
        Peer { name: "service", service: &ours, is_service: true, publish: publish_to_service },
        Peer { name: "nchan", service: &nchan, is_service: false, publish: publish_to_nchan },
    ];
    let mut results = [Figures::default(), Figures::default()];
    // Once: afterwards the servers use memory again that they kept.
    for (peer, figures) in peers.iter().zip(&mut results) {
        let before = resident_megabytes(peer.service.pid());
        let _idle = runtime.block_on(open(peer, Sockets { count: IDLE_SOCKETS, channels: 1 }));
        figures.kib.push((resident_megabytes(peer.service.pid()) - before) * 1e6 / 1_024.0 / IDLE_SOCKETS as f64);
    }
    for _ in 0..ROUNDS {
        for (peer, figures) in peers.iter().zip(&mut results) {
            runtime.block_on(burst(peer, figures));
            runtime.block_on(steady(peer, figures));
        }
    }
    let [ours, nchan] = results.map(Figures::medians);
    row(report, "memory of an idle subscribed socket", ours[0], nchan[0], "KiB", "at most 10 KiB, ratio at most 1");
    row(report, "burst: 1,000 messages to 1,000 sockets", ours[1], nchan[1], "thousand/s", "ratio at least 3");
    row(report, "burst: CPU per delivery", ours[2], nchan[2], "us", "");
    row(report, "100 messages/s to 1,000 sockets: p50", ours[3], nchan[3], "ms", "");
    row(report, "100 messages/s to 1,000 sockets: p99", ours[4], nchan[4], "ms", "ratio at most 1");
    row(report, "100 messages/s to 1,000 sockets: CPU per delivery", ours[5], nchan[5], "us", "ratio at most 1.1");
    fleet::run(&peers, &runtime, report);
    publish::run(bench, peers[0].service, report);
}

/// A row with the figures of the service and of nchan.
fn row(report: &mut Report, what: &str, one: f64, other: f64, unit: &str, target: &str) {
    report.row(what, format!("{one:.1} {unit}; nchan {other:.1}; ratio {:.2}", one / other), target);
}

#[derive(Default)]
struct Figures {
    kib: Vec<f64>,
    burst: Vec<f64>,
    burst_cpu: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    steady_cpu: Vec<f64>,
}

impl Figures {
    fn medians(self) -> [f64; 6] {
        [self.kib, self.burst, self.burst_cpu, self.p50, self.p99, self.steady_cpu].map(median)
    }
}

async fn burst(peer: &Peer<'_>, figures: &mut Figures) {
    let (mut arrivals, sockets) = read_all(open(peer, Sockets { count: SOCKETS, channels: 1 }).await);
    let (cpu, begun) = (cpu_seconds(peer.service.pid()), Instant::now());
    let (publish, address) = (peer.publish, peer.service.client());
    let publisher = std::thread::spawn(move || {
        let mut client = address;
        for _ in 0..BURST / 100 {
            let messages: Vec<String> = (0..100).map(|_| stamped(begun)).collect();
            publish(&mut client, 0, &messages);
        }
    });
    let mut count = 0;
    while count < BURST * SOCKETS {
        count += next(&mut arrivals, || format!("{}: {count} deliveries", peer.name)).await.len();
    }
    let deliveries = count as f64;
    figures.burst.push(deliveries / begun.elapsed().as_secs_f64() / 1e3);
    figures.burst_cpu.push((cpu_seconds(peer.service.pid()) - cpu) * 1e6 / deliveries);
    publisher.join().expect("published");
    sockets.abort_all_and_wait().await;
}

async fn steady(peer: &Peer<'_>, figures: &mut Figures) {
    let (mut arrivals, sockets) = read_all(open(peer, Sockets { count: SOCKETS, channels: 1 }).await);
    let (cpu, begun) = (cpu_seconds(peer.service.pid()), Instant::now());
    let (publish, address) = (peer.publish, peer.service.client());
    let publisher = std::thread::spawn(move || {
        let mut client = address;
        for at in 0..STEADY {
            let due = begun + PERIOD * u32::try_from(at).expect("few messages");
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publish(&mut client, 0, &[stamped(begun)]);
        }
    });
    let mut latencies = Vec::with_capacity(STEADY * SOCKETS);
    while latencies.len() < STEADY * SOCKETS {
        let batch = next(&mut arrivals, || format!("{}: {} deliveries", peer.name, latencies.len())).await;
        let now = begun.elapsed().as_nanos();
        latencies.extend(batch.iter().map(|stamp| now.saturating_sub(u128::from(*stamp))));
    }
    figures.steady_cpu.push((cpu_seconds(peer.service.pid()) - cpu) * 1e6 / latencies.len() as f64);
    latencies.sort_unstable();
    let at = |share: usize| latencies[latencies.len() * share / 100] as f64 / 1e6;
    figures.p50.push(at(50));
    figures.p99.push(at(99));
    publisher.join().expect("published");
    sockets.abort_all_and_wait().await;
}

/// 300 bytes with the time since `begun`.
fn stamped(begun: Instant) -> String {
    format!("{{\"t\":\"stamp-{:020}\",\"fill\":\"{}\"}}", begun.elapsed().as_nanos(), "x".repeat(250))
}

fn publish_to_service(client: &mut Client, channel: usize, messages: &[String]) {
    let items: Vec<String> = messages
        .iter()
        .map(|data| format!("{{\"channel\":\"bench:{channel}\",\"message_type\":\"B\",\"data\":{data}}}"))
        .collect();
    let body = format!("{{\"messages\":[{}]}}", items.join(","));
    client
        .send(
            "POST",
            "/pubsub",
            "content-type: application/json
",
            body.as_bytes(),
        )
        .expect_success("a batch");
}

fn publish_to_nchan(client: &mut Client, channel: usize, messages: &[String]) {
    let path = format!("/pub/bench:{channel}");
    for message in messages {
        client.send("POST", &path, "", message.as_bytes()).expect_success("a message");
    }
}
