//! The hostile client: requests as bytes, and what it does with the responses.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::target::HOSTILE_KEY;
use crate::lock_check::random::Random;

pub const JSON: &str = "Content-Type: application/json\r\n";
pub const GZIP: &str = "Content-Encoding: gzip\r\n";

/// The receive buffer of a client that does not read, bytes.
const SMALL_BUFFER: u32 = 4_096;

/// How the client treats its connections.
#[derive(Clone, Copy)]
pub enum Manner {
    /// It reads each response to its end.
    Read,
    /// It reads only the status, and keeps the connection open.
    Stall,
    /// It closes the connection as soon as the status has arrived.
    Abandon,
    /// It never sends the last byte.
    Withhold,
}

/// Requests that one client sends over and over.
pub struct Attack {
    pub name: &'static str,
    manner: Manner,
    connections: usize,
    calls: Arc<Vec<Vec<u8>>>,
}

impl Attack {
    pub fn new(name: &'static str, manner: Manner, connections: usize, calls: Vec<Vec<u8>>) -> Self {
        Self { name, manner, connections, calls: Arc::new(calls) }
    }
}

/// The bytes of a request; each header ends with CRLF.
pub fn call(method: &str, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let end = if headers.contains("Upgrade") { "" } else { "Connection: close\r\n" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nX-API-Key: {HOSTILE_KEY}\r\n{end}{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// `text` as part of a query string.
pub fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

pub fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

/// Sends one request and reads the whole response; returns its status.
pub async fn send(port: u16, call: &[u8]) -> u16 {
    status_of(&text(port, call).await)
}

/// Sends one request; returns the head and the body of the response.
pub async fn text(port: u16, call: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(port)).await.expect("a connection");
    stream.write_all(call).await.expect("sent");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("a response");
    String::from_utf8_lossy(&response).into_owned()
}

/// Attacks for this time. Returns the number of responses with each status.
pub async fn run(attack: &Attack, port: u16, time: Duration, seed: u64) -> BTreeMap<u16, usize> {
    let end = Instant::now() + time;
    let mut connections = JoinSet::new();
    for at in 0..attack.connections {
        let (calls, manner) = (Arc::clone(&attack.calls), attack.manner);
        let mut random = Random::new(seed + u64::try_from(at).expect("small"));
        connections.spawn(async move {
            let mut statuses = Vec::new();
            while Instant::now() < end {
                let call = &calls[random.index(calls.len())];
                match timeout_at(end, converse(port, call, manner, end)).await {
                    Ok(Ok(status)) => statuses.push(status),
                    // A server may close a connection before it has read the whole request.
                    Ok(Err(_)) => statuses.push(0),
                    Err(_) => {}
                }
            }
            statuses
        });
    }
    // The first attack does nothing.
    tokio::time::sleep_until(end).await;
    let mut counts = BTreeMap::new();
    while let Some(statuses) = connections.join_next().await {
        statuses.expect("no panic").into_iter().for_each(|status| *counts.entry(status).or_default() += 1);
    }
    counts
}

/// One request on a new connection; returns the status of the response.
async fn converse(port: u16, call: &[u8], manner: Manner, end: Instant) -> std::io::Result<u16> {
    let socket = TcpSocket::new_v4()?;
    if matches!(manner, Manner::Stall) {
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
    }
    let mut stream = socket.connect(address(port)).await?;
    let length = if matches!(manner, Manner::Withhold) { call.len() - 1 } else { call.len() };
    // The server may respond before it has read everything.
    let written = stream.write_all(&call[..length]).await;
    let mut buffer = vec![0; 16 << 10];
    let first = if matches!(manner, Manner::Stall) { 12 } else { buffer.len() };
    let length = stream.read(&mut buffer[..first]).await?;
    if length == 0 {
        written?;
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let status = status_of(&String::from_utf8_lossy(&buffer[..length]));
    match manner {
        Manner::Read | Manner::Withhold => while stream.read(&mut buffer).await? > 0 {},
        Manner::Abandon => {}
        // Longer than `end`, so that the status is counted first.
        Manner::Stall => {
            tokio::time::sleep_until(end - Duration::from_millis(20)).await;
        }
    }
    Ok(status)
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn status_of(response: &str) -> u16 {
    response.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}
