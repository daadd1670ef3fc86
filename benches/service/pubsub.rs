//! Delivery of messages to `WebSocket`s, compared with nchan on the same Redis: memory of an idle socket, a burst, and the
//! latency of a steady stream.

#![expect(clippy::cast_precision_loss, reason = "counts and times of a few minutes")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

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
/// Between this and the next quote, a message has the time of its publication in nanoseconds.
const STAMP: &[u8] = b"stamp-";
const NAMESPACE: &str = "[pubsub]\nsockets_per_caller = 12000\n[[pubsub.namespaces]]\npattern = \"bench\"\nkeep = \"log\"\n\
     history_size = 100\nsubscribe = [\"authenticated\"]\npublish = [\"scope:pubsub:write\"]\n";

/// A server whose clients subscribe and publish in its own way.
struct Peer<'a> {
    name: &'static str,
    service: &'a Service,
    /// The request line of the handshake, and the frame that subscribes.
    subscribe: (&'static str, &'static str),
    publish: fn(&mut Client, &[String]),
}

pub fn run(bench: &Bench, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let (ours, nchan) = (bench.service_with(Transport::Tcp, NAMESPACE), bench.nchan());
    let peers = [
        Peer {
            name: "service",
            service: &ours,
            subscribe: ("/pubsub/ws", "{\"id\":1,\"cmd\":\"subscribe\",\"channel\":\"bench\"}"),
            publish: publish_to_service,
        },
        Peer { name: "nchan", service: &nchan, subscribe: ("/sub/bench", ""), publish: publish_to_nchan },
    ];
    let mut results = [Figures::default(), Figures::default()];
    for _ in 0..ROUNDS {
        for (peer, figures) in peers.iter().zip(&mut results) {
            let before = resident_megabytes(peer.service.pid());
            let idle = runtime.block_on(open(peer, IDLE_SOCKETS));
            figures.kib.push((resident_megabytes(peer.service.pid()) - before) * 1e6 / 1_024.0 / IDLE_SOCKETS as f64);
            drop(idle);
            runtime.block_on(burst(peer, figures));
            runtime.block_on(steady(peer, figures));
        }
    }
    let [ours, nchan] = results.map(Figures::medians);
    let row = |report: &mut Report, what: &str, one: f64, other: f64, unit: &str, target: &str| {
        report.row(what, format!("{one:.1} {unit}; nchan {other:.1}; ratio {:.2}", one / other), target);
    };
    row(report, "memory of an idle subscribed socket", ours[0], nchan[0], "KiB", "at most 10 KiB, ratio at most 1");
    row(report, "burst: 1,000 messages to 1,000 sockets", ours[1], nchan[1], "thousand/s", "ratio at least 3");
    row(report, "burst: CPU per delivery", ours[2], nchan[2], "us", "");
    row(report, "100 messages/s to 1,000 sockets: p50", ours[3], nchan[3], "ms", "");
    row(report, "100 messages/s to 1,000 sockets: p99", ours[4], nchan[4], "ms", "ratio at most 1");
    row(report, "100 messages/s to 1,000 sockets: CPU per delivery", ours[5], nchan[5], "us", "ratio at most 1.1");
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
    let (mut arrivals, sockets) = read_all(open(peer, SOCKETS).await);
    let (cpu, begun) = (cpu_seconds(peer.service.pid()), Instant::now());
    let (publish, address) = (peer.publish, peer.service.client());
    let publisher = std::thread::spawn(move || {
        let mut client = address;
        for _ in 0..BURST / 100 {
            let messages: Vec<String> = (0..100).map(|_| stamped(begun)).collect();
            publish(&mut client, &messages);
        }
    });
    let mut count = 0;
    while count < BURST * SOCKETS {
        let batch = tokio::time::timeout(Duration::from_secs(60), arrivals.recv()).await;
        count += batch.unwrap_or_else(|_| panic!("{}: {count} deliveries", peer.name)).expect("sockets").len();
    }
    let deliveries = count as f64;
    figures.burst.push(deliveries / begun.elapsed().as_secs_f64() / 1e3);
    figures.burst_cpu.push((cpu_seconds(peer.service.pid()) - cpu) * 1e6 / deliveries);
    publisher.join().expect("published");
    sockets.abort_all_and_wait().await;
}

async fn steady(peer: &Peer<'_>, figures: &mut Figures) {
    let (mut arrivals, sockets) = read_all(open(peer, SOCKETS).await);
    let (cpu, begun) = (cpu_seconds(peer.service.pid()), Instant::now());
    let (publish, address) = (peer.publish, peer.service.client());
    let publisher = std::thread::spawn(move || {
        let mut client = address;
        for at in 0..STEADY {
            let due = begun + PERIOD * u32::try_from(at).expect("few messages");
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            publish(&mut client, &[stamped(begun)]);
        }
    });
    let mut latencies = Vec::with_capacity(STEADY * SOCKETS);
    while latencies.len() < STEADY * SOCKETS {
        let batch = tokio::time::timeout(Duration::from_secs(60), arrivals.recv()).await;
        let batch = batch.unwrap_or_else(|_| panic!("{}: {} deliveries", peer.name, latencies.len())).expect("sockets");
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

fn publish_to_service(client: &mut Client, messages: &[String]) {
    let items: Vec<String> = messages
        .iter()
        .map(|data| format!("{{\"channel\":\"bench\",\"message_type\":\"B\",\"data\":{data}}}"))
        .collect();
    let body = format!("{{\"messages\":[{}]}}", items.join(","));
    client.send("POST", "/pubsub", "content-type: application/json\r\n", body.as_bytes()).expect_success("a batch");
}

fn publish_to_nchan(client: &mut Client, messages: &[String]) {
    for message in messages {
        client.send("POST", "/pub/bench", "", message.as_bytes()).expect_success("a message");
    }
}

/// Opens subscribed sockets.
async fn open(peer: &Peer<'_>, count: usize) -> Vec<TcpStream> {
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let mut socket = TcpStream::connect(peer.service.address).await.expect("a connection");
        let (path, frame) = peer.subscribe;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\n{}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            crate::peers::KEY_HEADER
        );
        socket.write_all(head.as_bytes()).await.expect("a handshake");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.expect("a handshake"));
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        if !frame.is_empty() {
            let length = 0x80 | u8::try_from(frame.len()).expect("a short frame");
            // A mask of zeros leaves the text as it is.
            socket.write_all(&[&[0x81, length, 0, 0, 0, 0], frame.as_bytes()].concat()).await.expect("a frame");
            let mut reply = [0; 512];
            assert!(socket.read(&mut reply).await.expect("a reply") > 0);
        }
        sockets.push(socket);
    }
    sockets
}

/// The tasks that read sockets.
struct Readers(tokio::task::JoinSet<()>);

impl Readers {
    async fn abort_all_and_wait(mut self) {
        self.0.abort_all();
        while self.0.join_next().await.is_some() {}
    }
}

/// Reads the sockets, and passes on the stamps of complete messages.
fn read_all(sockets: Vec<TcpStream>) -> (mpsc::UnboundedReceiver<Vec<u64>>, Readers) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let mut readers = tokio::task::JoinSet::new();
    for mut socket in sockets {
        let sender = sender.clone();
        readers.spawn(async move {
            let (mut buffer, mut filled) = (vec![0; 64 << 10], 0);
            loop {
                let Ok(read @ 1..) = socket.read(&mut buffer[filled..]).await else { return };
                filled += read;
                let (mut stamps, mut begin) = (Vec::new(), 0);
                while let Some((payload, end)) = frame(&buffer[begin..filled]) {
                    stamps.extend(stamp(payload));
                    begin += end;
                }
                buffer.copy_within(begin..filled, 0);
                filled -= begin;
                if !stamps.is_empty() && sender.send(stamps).is_err() {
                    return;
                }
            }
        });
    }
    (receiver, Readers(readers))
}

/// The payload of the first frame, and where the frame ends.
fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (begin, length) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        short => (2, usize::from(short)),
    };
    Some((bytes.get(begin..begin + length)?, begin + length))
}

fn stamp(payload: &[u8]) -> Option<u64> {
    let at = payload.windows(STAMP.len()).position(|window| window == STAMP)? + STAMP.len();
    std::str::from_utf8(payload.get(at..at + 20)?).ok()?.parse().ok()
}
