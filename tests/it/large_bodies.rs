//! The memory of large bodies: slow senders and slow readers delay only themselves.

use std::net::SocketAddr;

use axum::http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::auth::{READER, WRITER, key};
use crate::support::{Reply, TestApp, eventually};

const SCOPES: &str =
    "scopes = [\"cache:read\", \"cache:write\", \"orders:match\", \"pubsub:write\", \"timeseries:write\"]";
/// Of seven values of this size, one batch is 7 MB.
const LARGE: usize = 1_000_000;
/// The receive buffer of a client that does not read, bytes.
const SMALL_BUFFER: u32 = 4_096;

/// A service with two clients, and seven large values.
async fn two_clients(more: &str) -> TestApp {
    let keys = format!("{}{}", key("a", READER, SCOPES), key("b", WRITER, SCOPES));
    let app = TestApp::builder().config(&format!("{more}{keys}")).spawn().await;
    for n in 0..7 {
        put(&app, READER, &format!("large-{n}")).await.expect(201);
    }
    app
}

async fn put(app: &TestApp, key: &str, name: &str) -> Reply {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    app.send(Method::PUT, &format!("/cache/{name}"), &headers, format!("\"{}\"", "x".repeat(LARGE - 2))).await
}

async fn get(app: &TestApp, key: &str) -> Reply {
    app.send(Method::GET, "/cache/large-0", &[("x-api-key", key)], "").await
}

/// Sends a request on a connection that receives little while the client does not read.
async fn sent(address: SocketAddr, head: &str, body: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(SMALL_BUFFER).expect("a size");
    let mut stream = socket.connect(address).await.expect("a connection");
    let request = format!("{head}\r\nHost: test\r\nX-API-Key: {READER}\r\nContent-Type: application/json\r\n");
    stream.write_all(format!("{request}\r\n{body}").as_bytes()).await.expect("sent");
    stream
}

/// Asks for 7 MB and reads only the status.
async fn unread(address: SocketAddr) -> (TcpStream, String) {
    let keys: Vec<String> = (0..7).map(|n| format!("large-{n}")).collect();
    let body = json!({ "get": keys }).to_string();
    let head = format!("POST /cache/batch HTTP/1.1\r\nContent-Length: {}", body.len());
    let mut stream = sent(address, &head, &body).await;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.expect("a status");
    (stream, String::from_utf8_lossy(&status[9..]).into_owned())
}

#[tokio::test]
async fn the_unfinished_bodies_of_one_client_take_at_most_half_of_the_memory() {
    let mut app = two_clients("http.request_deadline = \"30s\"\n").await;
    let address = app.serve();
    // Other formats of the last three are streamed.
    for operation in ["PUT /cache/a", "POST /pubsub", "POST /timeseries/samples", "PUT /orderbooks/GRID"] {
        let head = format!("{operation} HTTP/1.1\r\nContent-Length: {LARGE}");
        let mut unfinished = Vec::new();
        for _ in 0..20 {
            unfinished.push(sent(address, &head, "").await);
        }
        eventually("20 MB are in flight", async || app.app().deps.metrics.http.in_flight.get() == 20).await;
        let problem = put(&app, READER, "b").await.expect_problem(503, "overloaded");
        assert_eq!(problem["outcome"], "not_applied", "{operation}");
        assert!(problem["detail"].as_str().expect("a detail").contains("20 MiB"), "{operation}: {problem}");
        assert!(put(&app, WRITER, "c").await.status.is_success(), "{operation}");
        let small = [("x-api-key", READER), ("content-type", "text/plain")];
        assert!(app.send(Method::PUT, "/cache/small", &small, "x").await.status.is_success(), "{operation}");
        drop(unfinished);
        eventually("the share is free", async || put(&app, READER, "b").await.status.is_success()).await;
    }
}

#[tokio::test]
async fn the_unread_responses_of_one_client_take_at_most_half_of_the_memory() {
    let mut app = two_clients("").await;
    let address = app.serve();
    let mut unread_responses = Vec::new();
    // Two responses of 7 MB fit into 20 MiB.
    for expected in ["200", "200", "503", "503"] {
        let (stream, status) = unread(address).await;
        assert_eq!(status, expected, "{} responses before it", unread_responses.len());
        unread_responses.push(stream);
    }
    get(&app, WRITER).await.expect(200);
    drop(unread_responses);
    eventually("the share is free", async || get(&app, READER).await.is(200)).await;
    let (mut stream, status) = unread(address).await;
    assert_eq!(status, "200");
    let mut rest = Vec::new();
    while rest.len() < 7 * LARGE {
        assert!(stream.read_buf(&mut rest).await.expect("the rest") > 0, "the response is incomplete");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_is_disconnected() {
    let mut app = two_clients("http.body_idle_timeout = \"300ms\"\n").await;
    let address = app.serve();
    let (_stream, status) = unread(address).await;
    assert_eq!(status, "200");
    eventually("the connection is closed", async || app.app().deps.metrics.http.connections.get() == 0).await;
}

#[tokio::test]
async fn a_request_head_of_more_than_16_kib_is_rejected() {
    let mut app = two_clients("").await;
    let address = app.serve();
    for (length, status) in [(12 << 10, "HTTP/1.1 200"), (17 << 10, "HTTP/1.1 431")] {
        let head = format!("GET /health/live HTTP/1.1\r\nX-Long: {}", "x".repeat(length));
        let mut stream = sent(address, &head, "").await;
        let mut found = [0; 12];
        stream.read_exact(&mut found).await.expect("a status");
        assert_eq!(String::from_utf8_lossy(&found), status);
    }
}

#[tokio::test]
async fn reads_of_large_values_take_turns() {
    let config = "http.request_deadline = \"2s\"\nredis.command_timeout = \"2s\"\nredis.check_interval = \"1h\"\n";
    let keys = key("a", READER, SCOPES);
    let app = TestApp::builder().behind_proxy().config(&format!("{config}{keys}")).spawn().await;
    put(&app, READER, "large-0").await.expect(201);
    get(&app, READER).await.expect(200);
    app.proxy().stall();
    let replies = futures_util::future::join_all((0..8).map(|_| get(&app, READER))).await;
    let in_time = replies.iter().filter(|reply| reply.is(504)).count();
    let cores = std::thread::available_parallelism().expect("cores").get();
    assert_eq!(in_time, cores.clamp(2, 4), "as many requests reach Redis at a time as there are cores");
    for reply in replies.iter().filter(|reply| !reply.is(504)) {
        let problem = reply.expect_problem(503, "overloaded");
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
    }
}
