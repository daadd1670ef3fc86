//! A lock held by a WebSocket.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use futures_util::{SinkExt, StreamExt};
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::support::{ADMIN_KEY, RedisServer, ServiceProcess, TestApp, eventually};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn hold(app: &mut TestApp, query: &str) -> Socket {
    let url = format!("ws://{}/locks/a/hold?{query}", app.serve());
    tokio_tungstenite::connect_async(url).await.expect("a handshake").0
}

/// The next event, or the close code.
async fn next(socket: &mut Socket) -> Result<Value, CloseCode> {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(15), socket.next()).await.expect("in time");
        match message.expect("a message").expect("a whole message") {
            Message::Text(text) => return Ok(serde_json::from_str(&text).expect("JSON")),
            Message::Close(frame) => return Err(frame.expect("a code").code),
            _ => {}
        }
    }
}

async fn is_held(app: &TestApp) -> bool {
    app.get("/locks/a").await.json()["held"] == true
}

#[tokio::test]
async fn a_socket_holds_the_lock_beyond_its_lease_and_releases_it_when_it_closes() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = hold(&mut app, "ttl_ms=300&owner=guard").await;
    let acquired = next(&mut socket).await.expect("an event");
    assert_eq!(acquired["event"], "acquired");
    for _ in 0..6 {
        let extended = next(&mut socket).await.expect("an event");
        assert_eq!(extended["event"], "extended");
        assert_eq!(extended["fencing_token"], acquired["fencing_token"]);
        assert!(is_held(&app).await);
    }
    assert_eq!(app.get("/locks/a").await.json()["owner"], "guard");
    socket.close(None).await.expect("closed");
    eventually("the lock is free", async || !is_held(&app).await).await;
}

#[tokio::test]
async fn a_client_that_crashes_releases_the_lock_long_before_its_lease_ends() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = hold(&mut app, "ttl_ms=60000").await;
    assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
    drop(socket);
    eventually("the lock is free", async || !is_held(&app).await).await;
}

#[tokio::test]
async fn a_holder_receives_an_event_when_the_lock_is_lost() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = hold(&mut app, "ttl_ms=300").await;
    assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
    app.delete("/locks/a?force=true").await.expect(204);
    let event = loop {
        let event = next(&mut socket).await.expect("an event");
        if event["event"] != "extended" {
            break event;
        }
    };
    assert_eq!(event["event"], "lost");
    assert_eq!(next(&mut socket).await.expect_err("closed"), CloseCode::Library(4410));
}

#[tokio::test]
async fn a_holder_receives_an_event_before_its_lease_ends_when_redis_fails() {
    let mut app = TestApp::builder().system_clock().behind_proxy().spawn().await;
    let mut socket = hold(&mut app, "ttl_ms=900").await;
    assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
    app.proxy().stall();
    let event = loop {
        let event = next(&mut socket).await.expect("an event");
        if event["event"] != "extended" {
            break event;
        }
    };
    assert_eq!(event["event"], "lost");
}

#[tokio::test]
async fn a_held_lock_is_refused_or_waited_for() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let grant = app.post("/locks/a", json!({ "ttl_ms": 60_000 })).await.expect(201).json();
    let mut refused = hold(&mut app, "ttl_ms=1000").await;
    let event = next(&mut refused).await.expect("an event");
    assert_eq!((&event["event"], &event["code"]), (&json!("refused"), &json!("lock-held")), "{event}");
    assert!(event["retry_after_ms"].as_u64().is_some(), "{event}");
    assert_eq!(next(&mut refused).await.expect_err("closed"), CloseCode::Library(4409));
    let mut waiting = hold(&mut app, "ttl_ms=1000&wait_ms=15000").await;
    eventually("it waits in the queue", async || app.get("/locks/a").await.json()["waiters"] == 1).await;
    let seen = app.get("/locks/a").await.json();
    let since = seen["waiting_since"].as_i64().expect("a time");
    assert!(since >= seen["acquired_at"].as_i64().expect("a time"), "{seen}");
    eventually("the wait is listed", async || app.get("/locks").await.json()["items"][0]["waiting_since"] == since)
        .await;
    let token = grant["token"].as_str().expect("a token");
    app.send(Method::DELETE, "/locks/a", &[("lock-token", token)], Body::empty()).await.expect(204);
    assert_eq!(next(&mut waiting).await.expect("an event")["event"], "acquired");
}

#[tokio::test]
async fn a_waiting_socket_that_closes_leaves_the_queue() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    app.post("/locks/a", json!({ "ttl_ms": 60_000 })).await.expect(201);
    let waiting = hold(&mut app, "ttl_ms=1000&wait_ms=20000").await;
    eventually("it waits in the queue", async || app.get("/locks/a").await.json()["waiters"] == 1).await;
    drop(waiting);
    eventually("its queue entry is gone", async || app.get("/locks/a").await.json()["waiters"] == 0).await;
}

#[tokio::test]
async fn a_stopping_replica_releases_the_lock_and_closes_the_socket() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = hold(&mut app, "ttl_ms=60000").await;
    assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
    app.app().deps.phase.begin_draining();
    assert_eq!(next(&mut socket).await.expect_err("closed"), CloseCode::Away);
    assert!(!is_held(&app).await, "the lock is free before the socket closes");
}

#[tokio::test]
async fn data_from_a_client_ends_the_hold() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = hold(&mut app, "ttl_ms=60000").await;
    assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
    socket.send(Message::text("hello")).await.expect("sent");
    assert_eq!(next(&mut socket).await.expect_err("closed"), CloseCode::Unsupported);
    eventually("the lock is free", async || !is_held(&app).await).await;
    let mut socket = hold(&mut app, "ttl_ms=60000").await;
    assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
    let _ = socket.send(Message::text("x".repeat(1 << 20))).await;
    eventually("the lock is free again", async || !is_held(&app).await).await;
}

#[tokio::test]
async fn a_request_without_a_handshake_is_refused() {
    let app = TestApp::spawn().await;
    let refused = app.get("/locks/a/hold?ttl_ms=1000").await;
    refused.expect_problem(426, "upgrade-required");
    assert_eq!(refused.header("upgrade"), Some("websocket"));
    assert_eq!(refused.header("sec-websocket-version"), Some("13"));
}

const KEY: &str = "ak_00000000000000000000000000000007";

async fn connect(app: &mut TestApp, query: &str, headers: &[(&'static str, &str)]) -> Result<Socket, u16> {
    let mut request = format!("ws://{}/locks/a/hold?{query}", app.serve()).into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_socket_counts_as_a_connection_until_it_closes() {
    let mut app = TestApp::builder().system_clock().config("[http]\nmax_connections = 1").spawn().await;
    let mut first = hold(&mut app, "ttl_ms=60000").await;
    assert_eq!(next(&mut first).await.expect("an event")["event"], "acquired");
    assert_eq!(app.app().deps.metrics.http.connections.get(), 1);
    let address = app.serve();
    let url = format!("ws://{address}/locks/b/hold?ttl_ms=60000");
    match tokio_tungstenite::connect_async(&url).await {
        Err(Error::Http(response)) => assert_eq!(response.status(), 503),
        other => panic!("{other:?}"),
    }
    for path in ["/health/live", "/metrics"] {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.expect("sent");
        // The connection is closed after its only request.
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.expect("a reply");
        assert!(reply.starts_with("HTTP/1.1 200"), "{path}: {reply}");
    }
    drop(first);
    let connections = app.app().deps.metrics.http.connections.clone();
    eventually("the connection is closed", async || connections.get() == 0).await;
    let (mut second, _) = tokio_tungstenite::connect_async(&url).await.expect("a socket");
    assert_eq!(next(&mut second).await.expect("an event")["event"], "acquired");
    second.close(None).await.expect("closed");
    eventually("the connection is closed", async || connections.get() == 0).await;
}

#[tokio::test]
async fn one_credential_holds_at_most_half_of_the_sockets() {
    let digest = api_key::hex(&api_key::digest(KEY.as_bytes()));
    let config = format!(
        "[http]\nmax_connections = 6\n[[auth.keys]]\nid = \"k\"\nsha256 = \"{digest}\"\nscopes = [\"locks:write\"]"
    );
    let mut app = TestApp::builder().system_clock().config(&config).spawn().await;
    let (query, key) = ("ttl_ms=60000&wait_ms=30000", [("x-api-key", KEY)]);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(connect(&mut app, query, &key).await.expect("a socket"));
    }
    assert_eq!(connect(&mut app, query, &key).await.err(), Some(503));
    held.pop();
    while let Err(status) = connect(&mut app, query, &key).await {
        assert_eq!(status, 503);
    }
}

#[tokio::test]
async fn a_socket_closes_when_its_credential_expires() {
    let expires = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let digest = api_key::hex(&api_key::digest(KEY.as_bytes()));
    let config = format!(
        "[[auth.keys]]\nid = \"k\"\nsha256 = \"{digest}\"\nscopes = [\"locks:write\", \"locks:read\"]\nexpires = \"{expires}\""
    );
    let mut app = TestApp::builder().system_clock().config(&config).admin_key().spawn().await;
    let mut holder = connect(&mut app, "ttl_ms=60000", &[("x-api-key", KEY)]).await.expect("a handshake");
    let mut waiting =
        connect(&mut app, "ttl_ms=60000&wait_ms=30000", &[("x-api-key", KEY)]).await.expect("a handshake");
    let mut events = Vec::new();
    let code = loop {
        match next(&mut holder).await {
            Ok(event) => events.push(event["event"].clone()),
            Err(code) => break code,
        }
    };
    assert_eq!((events, code), (vec![json!("acquired")], CloseCode::Library(4401)));
    assert_eq!(next(&mut waiting).await.expect_err("closed"), CloseCode::Library(4401));
    assert!(jiff::Timestamp::now() >= expires);
    let free = async || {
        let seen = app.send(Method::GET, "/locks/a", &[("x-api-key", ADMIN_KEY)], Body::empty()).await.json();
        seen["held"] == false && seen["waiters"] == 0
    };
    eventually("the lock is free", free).await;
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_open_a_socket() {
    let mut app =
        TestApp::builder().system_clock().config("[http]\ncors_origins = [\"https://app.example\"]").spawn().await;
    let own = format!("http://{}", app.serve());
    for origin in ["https://evil.example", "null", "https://app.example.evil", "http://app.example", "file://"] {
        let refused = connect(&mut app, "ttl_ms=60000", &[("origin", origin)]).await;
        assert_eq!(refused.map(drop), Err(403), "{origin}");
    }
    for origin in ["https://app.example", &own] {
        let mut socket = connect(&mut app, "ttl_ms=60000", &[("origin", origin)]).await.expect(origin);
        assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
        drop(socket);
        eventually("the lock is free", async || !is_held(&app).await).await;
    }
}

#[tokio::test]
async fn an_idle_socket_uses_little_memory() {
    const SOCKETS: u64 = 300;
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[]);
    service.ready();
    let address = service.address();
    let open = async |number: u64| {
        let url = format!("ws://{address}/locks/r{number}/hold?ttl_ms=60000");
        let mut socket = tokio_tungstenite::connect_async(url).await.expect("a handshake").0;
        assert_eq!(next(&mut socket).await.expect("an event")["event"], "acquired");
        socket
    };
    // The first sockets also fill caches and pools.
    let mut sockets = Vec::new();
    for number in 0..20 {
        sockets.push(open(number).await);
    }
    let before = service.resident_kib();
    for number in 20..20 + SOCKETS {
        sockets.push(open(number).await);
    }
    let each = service.resident_kib().saturating_sub(before) / SOCKETS;
    assert!(each < 48, "{each} KiB per socket");
}
