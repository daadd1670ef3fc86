//! Subscribed sockets, and the messages that they receive.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Peer;

/// Between this and the next quote, a message has the time of its publication in nanoseconds.
const STAMP: &[u8] = b"stamp-";

/// Sockets, spread over channels in turn.
#[derive(Clone, Copy)]
pub struct Sockets {
    pub count: usize,
    pub channels: usize,
}

/// Opens subscribed sockets.
pub async fn open(peer: &Peer<'_>, sockets: Sockets) -> Vec<TcpStream> {
    let mut opened = Vec::with_capacity(sockets.count);
    for at in 0..sockets.count {
        let channel = at % sockets.channels;
        let mut socket = connect(peer.service.address, &path(peer.is_service, channel)).await;
        if peer.is_service {
            subscribe(&mut socket, channel, "").await;
            let mut reply = [0; 512];
            assert!(socket.read(&mut reply).await.expect("a reply") > 0);
        }
        opened.push(socket);
    }
    opened
}

/// Where a socket connects. nchan subscribes it to the channel in the path.
pub fn path(is_service: bool, channel: usize) -> String {
    if is_service { "/pubsub/ws".to_owned() } else { format!("/sub/bench:{channel}") }
}

pub async fn connect(address: SocketAddr, path: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.expect("a connection");
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
    socket
}

/// Sends the command that subscribes; `since` is empty or a member `"since":{..},`.
pub async fn subscribe(socket: &mut TcpStream, channel: usize, since: &str) {
    let frame = format!("{{\"id\":1,\"cmd\":\"subscribe\",{since}\"channel\":\"bench:{channel}\"}}");
    let length = 0x80 | u8::try_from(frame.len()).expect("a short frame");
    // A mask of zeros leaves the text as it is.
    socket.write_all(&[&[0x81, length, 0, 0, 0, 0], frame.as_bytes()].concat()).await.expect("a frame");
}

/// The tasks that read sockets.
pub struct Readers(tokio::task::JoinSet<()>);

impl Readers {
    pub async fn abort_all_and_wait(mut self) {
        self.0.abort_all();
        while self.0.join_next().await.is_some() {}
    }
}

/// Reads the sockets, and passes on the stamps of complete messages.
pub fn read_all(sockets: Vec<TcpStream>) -> (mpsc::UnboundedReceiver<Vec<u64>>, Readers) {
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
pub fn frame(bytes: &[u8]) -> Option<(&[u8], usize)> {
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

/// The next stamps of all sockets.
pub async fn next(arrivals: &mut mpsc::UnboundedReceiver<Vec<u64>>, what: impl Fn() -> String) -> Vec<u64> {
    let stamps = tokio::time::timeout(Duration::from_secs(60), arrivals.recv()).await;
    stamps.unwrap_or_else(|_| panic!("{}", what())).expect("sockets")
}
