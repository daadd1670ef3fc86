//! How connections end that the service closes: the documented codes, and replicas that stop.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::frames::Wire;
use super::idle::{events, fast_service, line_with};
use super::many::with_small_buffer;
use super::socket::{Socket, number, price};
use crate::auth::SECRET;
use crate::support::{Exposition, ServiceProcess, TestApp};

#[tokio::test]
async fn clients_that_say_nothing_answer_nothing_or_read_nothing_are_closed() {
    let app = TestApp::builder().system_clock().spawn().await;
    let mut service = fast_service(&app, &[]);
    let address = service.address();
    let mut protected = fast_service(&app, &[("GTX__AUTH__JWT_SECRET", SECRET)]);
    let mut silent = Wire::open(protected.address(), "/pubsub/ws").await;
    assert_eq!(silent.close_code().await, 4408);
    let mut deaf = Wire::open(address, "/pubsub/ws").await;
    deaf.send_text(r#"{"id":1,"cmd":"connect"}"#).await;
    assert_eq!(deaf.close_code().await, 3012, "it answers no ping");
    let mut deaf = Wire::open(address, "/connection/websocket").await;
    deaf.send_text(r#"{"id":1,"connect":{}}"#).await;
    assert_eq!(deaf.close_code().await, 3012, "it answers no ping");
    // A client that reads nothing does not read a code: the service counts it.
    let mut slow = with_small_buffer(&mut service).await;
    slow.subscribe("market:events").await;
    let closed = |service: &mut ServiceProcess| {
        Exposition::parse(&service.get("/metrics").1).value("pubsub_closed_total", &[("code", "3008")])
    };
    let begun = Instant::now();
    let mut at = 0;
    while closed(&mut service) < 1.0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "the connection stays open");
        let padded = |at: u64| {
            json!({ "channel": "market:events", "message_type": "PriceUpdate", "data": { "symbol": "E",
            "price": at.to_string(), "timestamp": 1, "change_percent": "0" }, "tags": { "padding": "x".repeat(64) } })
        };
        let messages: Vec<_> = (at..at + 500).map(padded).collect();
        let reply = app.post("/pubsub", json!({ "messages": messages })).await.expect(200).json();
        assert_eq!(reply["published"], 500, "{reply}");
        at += 500;
    }
}

#[tokio::test]
async fn too_many_commands_close_the_connection() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let address = app.serve();
    for (path, connect, command, code) in [
        ("/pubsub/ws", r#"{"id":1,"cmd":"connect"}"#, r#"{"id":2,"cmd":"ping"}"#, 4429),
        (
            "/connection/websocket",
            r#"{"id":1,"connect":{}}"#,
            r#"{"id":2,"history":{"channel":"market:events"}}"#,
            3013,
        ),
    ] {
        let mut wire = Wire::open(address, path).await;
        wire.send_text(connect).await;
        // One by one: a connection that is closed with unread commands may lose its code.
        let mut count = 0;
        let ended = loop {
            let (opcode, payload) = wire.next().await.expect("a reply");
            if opcode == 8 {
                break u16::from_be_bytes([payload[0], payload[1]]);
            }
            wire.send_text(command).await;
            count += 1;
        };
        assert!(ended == code && count >= 200, "{path}: closed with {ended} after {count} commands");
    }
    let mut binary = Socket::open(&mut app).await;
    binary.send_binary(b"{\"id\":1,\"cmd\":\"connect\"}").await;
    assert_eq!(binary.next().await, Err(4400));
}

#[tokio::test]
async fn a_compression_that_clients_offer_is_declined() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    for path in ["/pubsub/ws", "/connection/websocket"] {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n";
        let wire = Wire::open_with(app.serve(), path, offer).await;
        assert!(!wire.head().to_ascii_lowercase().contains("sec-websocket-extensions"), "{}", wire.head());
    }
}

#[tokio::test]
async fn a_stopping_replica_closes_its_connections_one_after_the_other() {
    const SOCKETS: usize = 40;
    let config = "pubsub.drain_spread = \"1s\"";
    let mut app = TestApp::builder().config(config).system_clock().spawn().await;
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let mut socket = Socket::open(&mut app).await;
        socket.subscribe("market:events").await;
        sockets.push(socket);
    }
    let request = Request::builder().uri("/pubsub/sse?channel=market:events").body(Body::empty()).expect("a request");
    let stream = app.app().answer(request).await.into_body().into_data_stream();
    app.app().deps.phase.begin_draining();
    let ends = futures_util::future::join_all(sockets.iter_mut().map(|socket| async {
        let (code, reason) = socket.closed().await;
        assert_eq!(code, 1001);
        let reason: Value = serde_json::from_str(&reason).expect("JSON");
        (reason["reconnect_after_ms"].as_u64().expect("milliseconds"), Instant::now())
    }))
    .await;
    let (first, last) = (ends.iter().map(|end| end.1).min(), ends.iter().map(|end| end.1).max());
    let spread = last.expect("the last") - first.expect("the first");
    assert!(spread >= Duration::from_millis(200), "all connections were closed within {spread:?}");
    let distinct: std::collections::BTreeSet<u64> = ends.iter().map(|end| end.0).collect();
    assert!(distinct.len() > SOCKETS / 2, "clients reconnect together: {distinct:?}");
    let chunks: Vec<_> = stream.map(|chunk| chunk.expect("a chunk")).collect().await;
    let text = String::from_utf8(chunks.concat()).expect("text");
    let last = text.trim_end().rsplit("\n\n").next().unwrap_or_default();
    assert!(text.starts_with("retry: ") && last.starts_with("retry: "), "{text}");
}

#[tokio::test]
async fn ten_thousand_messages_leave_no_memory_behind() {
    const MESSAGES: u64 = 10_000;
    const SUBSCRIBERS: usize = 5;
    let app = TestApp::builder().system_clock().spawn().await;
    let mut service = ServiceProcess::start_on(&app.redis(), &[]);
    service.ready();
    let address = service.address();
    let mut sockets = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut socket = Socket::connect(&format!("ws://{address}/pubsub/ws")).await;
        socket.subscribe("market:events").await;
        let stream = events(address, "/pubsub/sse?channel=market:events", "").await;
        sockets.push((socket, stream));
    }
    let mut sizes = Vec::new();
    // The first half fills the ring, the log's page and the buffers.
    for batch in 0..MESSAGES / 250 {
        let message = |at: u64| {
            let mut message = price(250 * batch + at);
            message["channel"] = json!("market:events");
            message
        };
        let messages: Vec<_> = (0..250).map(message).collect();
        app.post("/pubsub", json!({ "messages": messages })).await.expect(200);
        for (socket, stream) in &mut sockets {
            for at in 0..250 {
                assert_eq!(number(&socket.event().await), 250 * batch + at);
            }
            for at in 0..250 {
                let data: Value = serde_json::from_str(&line_with(stream, "data: ").await).expect("JSON");
                assert_eq!(number(&data), 250 * batch + at);
            }
        }
        sizes.push(service.resident_kib());
    }
    let (half, end) = (sizes[sizes.len() / 2], sizes[sizes.len() - 1]);
    assert!(end < half + (4 << 10), "from {half} to {end} KiB: {sizes:?}");
}
