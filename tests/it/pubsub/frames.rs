//! WebSocket frames that clients rarely send, and those that RFC 6455 forbids: each violation ends its connection with the
//! close code of the RFC, and no other connection notices.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::socket::{Socket, price};
use crate::support::{ADMIN_KEY, TestApp, eventually};

/// The routes of the two protocols, and a command that each answers.
const PROTOCOLS: [(&str, &str); 2] =
    [("/pubsub/ws", r#"{"id":1,"cmd":"connect"}"#), ("/connection/websocket", r#"{"id":1,"connect":{}}"#)];

const FINAL: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;

/// A client that writes frames byte by byte.
pub(super) struct Wire(TcpStream, String);

impl Wire {
    pub(super) async fn open(address: SocketAddr, path: &str) -> Self {
        Self::open_with(address, path, "").await
    }

    /// Opens a connection; each of the additional headers ends with CRLF.
    pub(super) async fn open_with(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut wire = Self(TcpStream::connect(address).await.expect("a connection"), String::new());
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        wire.send(head.as_bytes()).await;
        let mut reply = Vec::new();
        while !reply.ends_with(b"\r\n\r\n") {
            reply.push(wire.0.read_u8().await.expect("a reply"));
        }
        wire.1 = String::from_utf8(reply).expect("text");
        assert!(wire.1.starts_with("HTTP/1.1 101 "), "{}", wire.1);
        wire
    }

    /// The head of the response to the handshake.
    pub(super) fn head(&self) -> &str {
        &self.1
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        // A connection that the service has closed takes nothing; its code is read later.
        let _ = self.0.write_all(&frame(FINAL | TEXT, text.as_bytes())).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("sent");
    }

    /// The opcode and the payload of the next frame; `None` at the end of the connection.
    pub(super) async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let read = async {
            let [first, length] = self.read().await?;
            let length = match length {
                126 => usize::from(u16::from_be_bytes(self.read().await?)),
                127 => usize::try_from(u64::from_be_bytes(self.read().await?)).expect("a length"),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            Some((first & 0xf, payload))
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("in time")
    }

    async fn read<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).await.ok()?;
        Some(bytes)
    }

    /// The code of the close frame; 1006 if the connection ends without one.
    pub(super) async fn close_code(&mut self) -> u16 {
        while let Some((opcode, payload)) = self.next().await {
            if opcode == CLOSE {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
        1006
    }
}

/// A masked frame; `first` is its opcode and its flags.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut bytes = head(first, payload.len());
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

fn head(first: u8, length: usize) -> Vec<u8> {
    const MASKED: u8 = 0x80;
    // The lengths that stand for a length of two and of eight bytes.
    const TWO_BYTES: u8 = 0x7e;
    const EIGHT_BYTES: u8 = 0x7f;
    match u16::try_from(length) {
        Ok(short) if short < 126 => vec![first, MASKED | u8::try_from(short).expect("below 126")],
        Ok(medium) => [&[first, MASKED | TWO_BYTES][..], &medium.to_be_bytes()].concat(),
        Err(_) => {
            [&[first, MASKED | EIGHT_BYTES][..], &u64::try_from(length).expect("a length").to_be_bytes()].concat()
        }
    }
}

#[tokio::test]
async fn a_command_may_be_split_into_frames() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    for (path, command) in PROTOCOLS {
        let mut wire = Wire::open(app.serve(), path).await;
        let (begin, end) = command.split_at(5);
        let frames = [
            frame(TEXT, begin.as_bytes()),
            frame(FINAL | PING, b"x"),
            frame(CONTINUATION, b""),
            frame(FINAL | CONTINUATION, end.as_bytes()),
        ];
        // Byte by byte, so that every frame arrives in parts.
        for byte in frames.concat() {
            wire.send(&[byte]).await;
        }
        assert_eq!(wire.next().await, Some((10, b"x".to_vec())), "{path}: a pong");
        let (opcode, reply) = wire.next().await.expect("a reply");
        let reply: Value = serde_json::from_slice(&reply).expect("JSON");
        assert_eq!((opcode, &reply["id"]), (TEXT, &json!(1)), "{path}: {reply}");
    }
}

#[tokio::test]
async fn violations_close_the_connection_with_the_code_of_the_rfc() {
    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    let large = vec![b'x'; 69 << 10];
    let unmasked = [&[FINAL | TEXT, 5][..], b"hello"].concat();
    let violations: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a frame without a mask", unmasked, 1002),
        ("a ping of 126 bytes", frame(FINAL | PING, &[0; 126]), 1002),
        ("a ping in parts", frame(PING, b"x"), 1002),
        ("a reserved bit", frame(FINAL | 0x40 | TEXT, b"{}"), 1002),
        ("a reserved opcode", frame(FINAL | 3, b"{}"), 1002),
        ("a reserved control opcode", frame(FINAL | 0xb, b""), 1002),
        ("a continuation of nothing", frame(FINAL | CONTINUATION, b"{}"), 1002),
        ("a message within a message", [frame(TEXT, b"{"), frame(FINAL | TEXT, b"{}")].concat(), 1002),
        ("text that is not UTF-8", frame(FINAL | TEXT, b"{\"id\":\"\xc3\x28\"}"), 1007),
        ("text that ends within a character", frame(FINAL | TEXT, b"\xe2\x82"), 1007),
        ("a frame above the limit", frame(FINAL | TEXT, &large), 1009),
        ("the head of an endless frame", [head(FINAL | TEXT, 1 << 40), vec![0; 4]].concat(), 1009),
        ("parts above the limit", [frame(TEXT, &large[..40_000]), frame(FINAL, &large[..40_000])].concat(), 1009),
    ];
    for (path, _) in PROTOCOLS {
        let mut other = Wire::open(app.serve(), path).await;
        for (what, bytes, code) in &violations {
            let mut wire = Wire::open(app.serve(), path).await;
            wire.send(bytes).await;
            assert_eq!(wire.close_code().await, *code, "{path}: {what}");
        }
        other.send(&frame(FINAL | PING, b"still here")).await;
        assert_eq!(other.next().await, Some((10, b"still here".to_vec())));
    }
    for (at, (what, bytes, code)) in violations.iter().enumerate() {
        let path = format!("/locks/violation-{at}/hold?ttl_ms=60000");
        let mut wire = Wire::open_with(app.serve(), &path, &format!("X-API-Key: {ADMIN_KEY}\r\n")).await;
        wire.send(bytes).await;
        assert_eq!(wire.close_code().await, *code, "{path}: {what}");
    }
    eventually("no socket is left", async || {
        let metrics = app.send(Method::GET, "/metrics", &[("x-api-key", ADMIN_KEY)], Body::empty()).await;
        metrics.text().contains("pubsub_connections{transport=\"websocket\"} 0")
    })
    .await;
}

#[tokio::test]
async fn a_close_frame_is_answered() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    for path in ["/pubsub/ws", "/connection/websocket", "/locks/a/hold?ttl_ms=60000"] {
        for payload in [&b""[..], &1_000_u16.to_be_bytes()] {
            let mut wire = Wire::open(app.serve(), path).await;
            if path.starts_with("/locks") {
                assert_eq!(wire.next().await.map(|(opcode, _)| opcode), Some(TEXT), "the lock");
            }
            wire.send(&frame(FINAL | CLOSE, payload)).await;
            let answer = loop {
                match wire.next().await {
                    Some((opcode, _)) if opcode != CLOSE => {}
                    other => break other,
                }
            };
            assert_eq!(answer, Some((CLOSE, payload.to_vec())), "{path}");
            assert_eq!(wire.next().await, None, "{path}: the connection ends");
            eventually("the lock is free", async || app.get("/locks/a").await.json()["held"] == false).await;
        }
    }
}

#[tokio::test]
async fn the_largest_message_is_published_and_a_larger_one_is_refused_by_name() {
    let mut app = TestApp::builder().config(super::centrifugo::LOGGED).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("orderbook:E").await;
    // Two bytes are the quotes.
    for (id, length) in [(2, (64 << 10) - 2), (3, (64 << 10) - 1)] {
        let text = "x".repeat(length);
        let command =
            json!({ "id": id, "cmd": "publish", "channel": "orderbook:E", "message_type": "X", "data": text });
        socket.send(&command).await;
    }
    // The reply and the message come in any order.
    let (mut replies, mut messages) = (Vec::new(), 0);
    while replies.len() < 2 || messages < 1 {
        match socket.event().await {
            message if message["event"] == "message" => messages += 1,
            reply => replies.push(reply),
        }
    }
    assert_eq!((&replies[0]["id"], &replies[0]["ok"]["offset"]), (&json!(2), &json!(1)));
    let error = &replies[1]["error"];
    assert!(error["detail"].as_str().is_some_and(|detail| detail.contains("data")), "{error}");
    // The connection is of use.
    let more = json!({ "id": 4, "cmd": "publish", "channel": "orderbook:E", "message_type": "X", "data": 1 });
    assert_eq!(socket.command(more).await["ok"]["offset"], 2);
}

#[tokio::test]
async fn a_handshake_that_is_not_finished_ends() {
    let mut app = TestApp::builder().config("http.header_timeout = \"200ms\"").system_clock().spawn().await;
    let address = app.serve();
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let begin =
        "GET /pubsub/ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ";
    stream.write_all(begin.as_bytes()).await.expect("sent");
    let mut reply = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut reply)).await;
    assert!(end.is_ok(), "the connection stays open");
    let mut socket = Socket::open(&mut app).await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    assert_eq!(socket.subscribe("market:events").await["offset"], 1);
}

#[tokio::test]
async fn long_frames_share_a_fixed_amount_of_memory() {
    // 7 sockets with frames of 8 MiB.
    let config = "[pubsub]\nmessage_limit = \"8MiB\"";
    let mut app = TestApp::builder().config(config).system_clock().spawn().await;
    let address = app.serve();
    let long = format!("{{\"id\":1,\"cmd\":\"ping\"}}{}", " ".repeat(20_000));
    let mut sockets = Vec::new();
    for _ in 0..7 {
        let mut wire = Wire::open(address, "/pubsub/ws").await;
        wire.send_text(&long).await;
        assert_eq!(wire.next().await.map(|(opcode, _)| opcode), Some(TEXT), "a reply");
        sockets.push(wire);
    }
    // The rest of the frame never comes.
    let mut wire = Wire::open(address, "/pubsub/ws").await;
    wire.send(&frame(FINAL | TEXT, long.as_bytes())[..18_000]).await;
    assert_eq!(wire.close_code().await, 1013);
    // The rest of the message never comes, and pings come between its frames.
    let mut wire = Wire::open(address, "/connection/websocket").await;
    wire.send(&frame(TEXT, &[b' '; 2_000])).await;
    for _ in 0..8 {
        wire.send(&[frame(FINAL | PING, b"x"), frame(CONTINUATION, &[b' '; 2_000])].concat()).await;
    }
    assert_eq!(wire.close_code().await, 1013);
    // Short messages need none of it, however many there are, and neither do pings.
    let mut wire = Wire::open(address, "/pubsub/ws").await;
    for _ in 0..150 {
        wire.send(&frame(FINAL | PING, &[b'x'; 100])).await;
        wire.send_text(&format!("{{\"id\":1,\"cmd\":\"ping\"}}{}", " ".repeat(500))).await;
        assert_eq!(wire.next().await.map(|(opcode, _)| opcode), Some(10), "a pong");
        assert_eq!(wire.next().await.map(|(opcode, _)| opcode), Some(TEXT), "a reply");
    }
    drop(sockets.pop());
    eventually("the memory of a socket that has ended is free", async || {
        let mut wire = Wire::open(address, "/pubsub/ws").await;
        wire.send_text(&long).await;
        wire.next().await.is_some_and(|(opcode, _)| opcode == TEXT)
    })
    .await;
}
