//! Load of pairs: 64 connections that each acquire an uncontended lock, release it and continue with the next.
//!
//! One thread with reused buffers: the load generator shares the cores with the measured service.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use super::scripts::ACQUIRE;
use crate::peers::{KEY_HEADER, Service};

const CONNECTIONS: usize = 64;
/// Digits of the number in a resource name, as in redis-benchmark.
const DIGITS: usize = 12;
const TOKEN: usize = 32;

/// Runs pairs for `time`; returns the pairs per second and the number of pairs.
pub fn run(service: &Service, time: Duration) -> (f64, f64) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let started = Instant::now();
    let until = started + time;
    let counts = runtime.block_on(join_all((0..CONNECTIONS).map(|_| run_pairs(service.address, until))));
    let pairs: u32 = counts.into_iter().sum();
    (f64::from(pairs) / started.elapsed().as_secs_f64(), f64::from(pairs))
}

async fn run_pairs(address: SocketAddr, until: Instant) -> u32 {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let mut connection = Connection::open(address).await;
    let target = format!("/locks/bench:{:0DIGITS$} HTTP/1.1\r\nhost: bench\r\n{KEY_HEADER}\r\n", 0);
    let body = String::from_utf8_lossy(ACQUIRE);
    let json = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut acquire = format!("POST {target}{json}").into_bytes();
    let mut release = format!("DELETE {target}lock-token: {}\r\n\r\n", "0".repeat(TOKEN)).into_bytes();
    let number_in = |request: &[u8]| memmem::find(request, b"bench:").expect("a resource") + b"bench:".len();
    let (number_to_acquire, number_to_release) = (number_in(&acquire), number_in(&release));
    let token_to_release = release.len() - TOKEN - b"\r\n\r\n".len();
    let mut pairs = 0;
    while Instant::now() < until {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        for (request, at) in [(&mut acquire, number_to_acquire), (&mut release, number_to_release)] {
            write!(&mut request[at..at + DIGITS], "{number:0DIGITS$}").expect("enough space for the number");
        }
        let grant = connection.exchange(&acquire, b"HTTP/1.1 201").await;
        let token = memmem::find(grant, b"\"token\":\"").expect("a token") + b"\"token\":\"".len();
        release[token_to_release..token_to_release + TOKEN].copy_from_slice(&grant[token..token + TOKEN]);
        connection.exchange(&release, b"HTTP/1.1 204").await;
        pairs += 1;
    }
    pairs
}

struct Connection {
    stream: TcpStream,
    response: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the service listens");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, response: vec![0; 4_096] }
    }

    /// Sends a request and returns the complete response, which must start with `beginning`.
    async fn exchange(&mut self, request: &[u8], beginning: &[u8]) -> &[u8] {
        self.stream.write_all(request).await.expect("the service reads");
        let mut filled = 0;
        while !is_complete(&self.response[..filled]) {
            let count = self.stream.read(&mut self.response[filled..]).await.expect("a response");
            assert!(count > 0, "the connection ended");
            filled += count;
        }
        let response = &self.response[..filled];
        assert!(response.starts_with(beginning), "{}", String::from_utf8_lossy(response));
        response
    }
}

fn is_complete(response: &[u8]) -> bool {
    let Some(end) = memmem::find(response, b"\r\n\r\n") else { return false };
    let (head, body) = response.split_at(end + b"\r\n\r\n".len());
    let length = memmem::find(head, b"content-length: ").map_or(0, |at| {
        let digits = head[at + b"content-length: ".len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
    });
    body.len() >= length
}
