//! Nothing is done or delivered with a credential that has ended.

use axum::body::Bytes;
use axum::http::Method;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::socket::{Socket, price};
use crate::auth::{SECRET, platform_token};
use crate::support::{ADMIN_KEY, TestApp, eventually};

const CONFIG: &str = "[auth]\nroles = { publisher = [\"pubsub:read\", \"pubsub:write\"] }";

async fn spawn() -> TestApp {
    let config = format!("{CONFIG}\njwt_secret = \"{SECRET}\"");
    TestApp::builder().config(&config).admin_key().system_clock().spawn().await
}

/// A token of a publisher that ends within two seconds, and its end in Unix milliseconds.
fn token(app: &TestApp) -> (String, i64) {
    let ends = app.clock().now() / 1_000 + 2;
    (platform_token(&json!({ "sub": "ann", "role": "publisher", "exp": ends })), ends * 1_000)
}

/// Sends commands until the socket closes. Returns its code.
async fn until_closed(socket: &mut Socket, command: impl Fn(u64) -> Value, reply: impl Fn(&Value)) -> u16 {
    let mut id = 10;
    loop {
        // A socket that the service has closed takes nothing; its code is read below.
        let _ = socket.try_send(&command(id)).await;
        id += 1;
        loop {
            match socket.next().await {
                Ok(message) if message["id"].is_u64() => {
                    reply(&message);
                    break;
                }
                Ok(_) => {}
                Err(code) => return code,
            }
        }
        // Below the limit of commands.
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
}

#[tokio::test]
async fn a_native_socket_closes_with_its_credential() {
    let mut app = spawn().await;
    let address = app.serve();
    let (token, ends) = token(&app);
    let mut socket = Socket::connect(&format!("ws://{address}/pubsub/ws")).await;
    socket.command(json!({ "id": 1, "cmd": "connect", "token": token })).await;
    socket.subscribe("market:events").await;
    let publish = |id| {
        let mut command = price(id);
        command["message_id"] = command["id"].take();
        (command["id"], command["cmd"], command["channel"]) = (json!(id), json!("publish"), json!("market:events"));
        command
    };
    let reply = |reply: &Value| {
        let published = reply["ok"]["timestamp"].as_i64().unwrap_or_else(|| panic!("{reply}"));
        assert!(published < ends + 100, "published {} ms after the end", published - ends);
    };
    assert_eq!(until_closed(&mut socket, publish, reply).await, 4401);
    let late = app.clock().now() - ends;
    assert!((0..2_000).contains(&late), "closed {late} ms after the end");
}

#[tokio::test]
async fn a_centrifugo_socket_closes_with_its_credential_after_it_asked_for_another() {
    let mut app = spawn().await;
    let address = app.serve();
    let (token, ends) = token(&app);
    let mut socket = Socket::connect(&format!("ws://{address}/connection/websocket")).await;
    socket.send(&json!({ "id": 1, "connect": { "token": token } })).await;
    let connected = socket.event().await;
    let ttl = connected["connect"]["ttl"].as_i64().unwrap_or_else(|| panic!("{connected}"));
    assert_eq!(ttl, 1, "the client asks for another token before this one ends");
    let history = |id| json!({ "id": id, "history": { "channel": "market:events" } });
    let reply = |reply: &Value| assert!(reply["history"].is_object(), "{reply}");
    assert_eq!(until_closed(&mut socket, history, reply).await, 3005);
    let late = app.clock().now() - ends;
    assert!((0..2_000).contains(&late), "closed {late} ms after the end");
}

#[tokio::test]
async fn a_credential_that_is_replaced_in_time_keeps_its_socket() {
    let mut app = spawn().await;
    let address = app.serve();
    let (first, ends) = token(&app);
    let second = platform_token(&json!({ "sub": "ann", "role": "publisher", "exp": ends / 1_000 + 600 }));
    let mut socket = Socket::connect(&format!("ws://{address}/pubsub/ws")).await;
    socket.command(json!({ "id": 1, "cmd": "connect", "token": first })).await;
    socket.subscribe("market:events").await;
    let reply = socket.command(json!({ "id": 2, "cmd": "refresh", "token": second })).await;
    assert!(reply["ok"]["expires_in_ms"].as_u64() > Some(500_000), "{reply}");
    eventually("the first token has ended", async || app.clock().now() > ends).await;
    assert!(socket.command(json!({ "id": 3, "cmd": "history", "channel": "market:events" })).await["ok"].is_object());
}

#[tokio::test]
async fn streams_whose_clients_take_nothing_lose_their_places() {
    let config = "[http]\nbody_idle_timeout = \"300ms\"\n[pubsub]\nsockets_per_caller = 5";
    let mut app = TestApp::builder().config(config).admin_key().system_clock().spawn().await;
    let connection = TcpStream::connect(app.serve()).await.expect("a connection");
    // These streams receive nothing, on a connection that is well.
    let mut client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(0);
    let (mut sender, connection) = client.handshake(TokioIo::new(connection)).await.expect("HTTP/2");
    let streams = async {
        let mut unread = Vec::new();
        let mut open = async || {
            let request =
                hyper::Request::get("http://test/pubsub/sse?channel=market:events").header("x-api-key", ADMIN_KEY);
            let request = request.body(Empty::<Bytes>::new()).expect("a request");
            let response = sender.send_request(request).await.expect("a response");
            let status = response.status().as_u16();
            unread.push(response);
            status
        };
        for _ in 0..5 {
            assert_eq!(open().await, 200);
        }
        // Messages that none of them takes.
        for number in 0..5 {
            let headers = [("content-type", "application/json"), ("x-api-key", ADMIN_KEY)];
            app.send(Method::POST, "/pubsub/market:events", &headers, price(number).to_string()).await.expect(201);
        }
        let metrics = async || {
            let metrics = app.send(Method::GET, "/metrics", &[("x-api-key", ADMIN_KEY)], "").await;
            metrics.text().contains("pubsub_connections{transport=\"sse\"} 0")
        };
        eventually("the places are free", metrics).await;
    };
    tokio::select! {
        () = streams => {}
        ended = connection => panic!("the connection ended: {ended:?}"),
    }
}
