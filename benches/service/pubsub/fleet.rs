//! 10,000 sockets on 100 channels: memory, latency beside cached reads, and a herd that reconnects.

#![expect(clippy::cast_precision_loss, reason = "counts and times of a few minutes")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::sockets::{Sockets, connect, frame, next, open, path, read_all, subscribe};
use super::{Peer, row, stamped};
use crate::client::Client;
use crate::get::{self, PATH};
use crate::process::resident_megabytes;
use crate::report::Report;

const FLEET: Sockets = Sockets { count: 10_000, channels: 100 };
/// The messages of the stream, to the channels in turn.
const MESSAGES: usize = 1_500;
/// 300 messages per second.
const PERIOD: Duration = Duration::from_micros(3_333);
/// The time between two cached reads.
const READ_PERIOD: Duration = Duration::from_millis(5);
/// The messages that each socket of the herd missed.
const MISSED: usize = 50;

pub fn run(peers: &[Peer<'_>; 2], runtime: &Runtime, report: &mut Report) {
    get::store(peers[0].service);
    let mut figures = Vec::new();
    for peer in peers {
        let before = resident_megabytes(peer.service.pid());
        let sockets = runtime.block_on(open(peer, FLEET));
        let kib = (resident_megabytes(peer.service.pid()) - before) * 1e6 / 1_024.0 / FLEET.count as f64;
        let readers = peer.is_service.then(|| CachedReads::start(peer.service.client()));
        let p99 = runtime.block_on(stream(peer, sockets));
        figures.push((kib, p99, readers.map(CachedReads::p99)));
    }
    let (ours, nchan) = (&figures[0], &figures[1]);
    row(
        report,
        "memory of a socket, 10,000 on 100 channels",
        ours.0,
        nchan.0,
        "KiB",
        "at most 10 KiB, ratio at most 1",
    );
    row(report, "10,000 sockets, 100 channels, 300 messages/s: p99", ours.1, nchan.1, "ms", "below 10 ms");
    let read = ours.2.expect("cached reads");
    report.row("cached reads meanwhile: p99", format!("{read:.1} ms"), "below 5 ms");
    let seconds = runtime.block_on(reconnect(&peers[0]));
    let what = format!("10,000 sockets reconnect and recover {MISSED} messages each");
    report.row(what, format!("{seconds:.1} s; {}", recoveries(&mut peers[0].service.client())), "below 5 s");
}

/// The 99th percentile of the time from publishing to delivery, ms.
async fn stream(peer: &Peer<'_>, sockets: Vec<tokio::net::TcpStream>) -> f64 {
    let (mut arrivals, sockets) = read_all(sockets);
    let (begun, publish, mut client) = (Instant::now(), peer.publish, peer.service.client());
    let publisher = std::thread::spawn(move || {
        for at in 0..MESSAGES {
            let due = begun + PERIOD * u32::try_from(at).expect("few messages");
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publish(&mut client, at % FLEET.channels, &[stamped(begun)]);
        }
    });
    let expected = MESSAGES * FLEET.count / FLEET.channels;
    let mut latencies = Vec::with_capacity(expected);
    while latencies.len() < expected {
        let batch = next(&mut arrivals, || format!("{}: {} deliveries", peer.name, latencies.len())).await;
        let now = begun.elapsed().as_nanos();
        latencies.extend(batch.iter().map(|stamp| now.saturating_sub(u128::from(*stamp))));
    }
    publisher.join().expect("published");
    sockets.abort_all_and_wait().await;
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100] as f64 / 1e6
}

/// Reads a cached value at a steady rate.
struct CachedReads {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<f64>>,
}

impl CachedReads {
    fn start(mut client: Client) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut latencies, mut due) = (Vec::new(), Instant::now());
            while !is_stopped.load(Ordering::Relaxed) {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                client.get(PATH).expect_success("a cached value");
                latencies.push(due.elapsed().as_secs_f64() * 1e3);
                due += READ_PERIOD;
            }
            latencies
        });
        Self { stop, thread }
    }

    fn p99(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut latencies = self.thread.join().expect("the latencies");
        latencies.sort_by(f64::total_cmp);
        latencies[latencies.len() * 99 / 100]
    }
}

/// The seconds until all sockets have connected again and received what they missed.
async fn reconnect(peer: &Peer<'_>) -> f64 {
    let mut client = peer.service.client();
    let position = |client: &mut Client, channel: usize| {
        let page = client.get(&format!("/pubsub/bench:{channel}/history?limit=1&order=desc"));
        let page: serde_json::Value = serde_json::from_slice(&page.body).expect("a page");
        format!("\"since\":{{\"offset\":{},\"epoch\":{}}},", page["offset"], page["epoch"])
    };
    let positions: Vec<String> = (0..FLEET.channels).map(|channel| position(&mut client, channel)).collect();
    for channel in 0..FLEET.channels {
        let messages: Vec<String> = (0..MISSED).map(|_| stamped(Instant::now())).collect();
        (peer.publish)(&mut client, channel, &messages);
    }
    let begun = Instant::now();
    let (mut herd, address) = (JoinSet::new(), peer.service.address);
    for at in 0..FLEET.count {
        let channel = at % FLEET.channels;
        let since = positions[channel].clone();
        herd.spawn(async move {
            let mut socket = connect(address, &path(true, channel)).await;
            subscribe(&mut socket, channel, &since).await;
            // The reply holds the messages.
            let mut reply = Vec::new();
            while frame(&reply).is_none() {
                assert!(socket.read_buf(&mut reply).await.expect("a reply") > 0, "the socket was closed");
            }
            (socket, reply)
        });
    }
    let replies = herd.join_all().await;
    let seconds = begun.elapsed().as_secs_f64();
    for (_, reply) in replies {
        let reply = String::from_utf8_lossy(&reply);
        assert!(reply.contains("\"recovered\":true") && reply.matches("stamp-").count() == MISSED, "{reply}");
    }
    seconds
}

/// The counters of recoveries.
fn recoveries(client: &mut Client) -> String {
    let metrics = client.get("/metrics");
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    text.lines().filter(|line| line.starts_with("pubsub_recoveries_total")).collect::<Vec<_>>().join(", ")
}
