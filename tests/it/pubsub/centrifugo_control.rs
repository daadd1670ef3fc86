//! Orders of Centrifugo's server API, and the tokens of subscriptions.

use std::net::SocketAddr;

use axum::http::Method;
use serde_json::{Value, json};

use super::socket::Socket;
use crate::auth::{READER, SECRET, key, platform_token};
use crate::support::{ADMIN_KEY, Reply, TestApp, eventually};

const TOKENS: &str = "pubsub.token_secret = \"0123456789abcdef0123456789abcdef\"\n\
                      [[pubsub.namespaces]]\npattern = \"market:room:{name}\"\nkeep = \"log\"\nsubscribe = [\"token\"]\n\
                      publish = [\"scope:pubsub:write\"]";

async fn open(address: SocketAddr, token: &str) -> Socket {
    let mut socket = Socket::connect(&format!("ws://{address}/connection/websocket")).await;
    let reply = call(&mut socket, json!({ "id": 1, "connect": { "token": token } })).await;
    assert!(reply["connect"]["client"].is_string(), "{reply}");
    socket
}

/// Sends a command and returns the next object, which is its reply.
async fn call(socket: &mut Socket, command: Value) -> Value {
    socket.send(&command).await;
    let reply = socket.event().await;
    assert_eq!(reply["id"], command["id"], "{reply}");
    reply
}

async fn post(app: &TestApp, credential: &str, path: &str, body: Value) -> Reply {
    let headers = [("x-api-key", credential), ("content-type", "application/json")];
    app.send(Method::POST, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn orders_of_the_server_api_reach_the_connections_of_every_replica() {
    let auth = format!("[auth]\njwt_secret = \"{SECRET}\"");
    let reader = key("reader", READER, "scopes = [\"pubsub:read\"]");
    let app = TestApp::builder().config(&reader).config(&auth).admin_key().system_clock().spawn().await;
    let mut other = TestApp::builder().config(&auth).admin_key().system_clock().beside(&app).spawn().await;
    let address = other.serve();
    let [mut ann, mut bob] = [open(address, &token("ann")).await, open(address, &token("bob")).await];
    for socket in [&mut ann, &mut bob] {
        call(socket, json!({ "id": 2, "subscribe": { "channel": "market:events" } })).await;
    }
    let order = json!({ "user": "ann", "channel": "market:events" });
    post(&app, READER, "/unsubscribe", order.clone()).await.expect_problem(403, "forbidden");
    assert_eq!(post(&app, ADMIN_KEY, "/unsubscribe", order).await.expect(200).json(), json!({ "result": {} }));
    let ended = json!({ "channel": "market:events", "unsubscribe": { "code": 2000, "reason": "server unsubscribe" } });
    assert_eq!(ann.event().await["push"], ended);
    let order = json!({ "user": "ann", "client": "another" });
    assert_eq!(post(&app, ADMIN_KEY, "/disconnect", order).await.expect(200).json(), json!({ "result": {} }));
    call(&mut ann, json!({ "id": 3, "history": { "channel": "market:events" } })).await;
    let commands = json!({ "commands": [{ "disconnect": { "user": "ann" } }, { "disconnect": { "user": "" } },
        { "disconnect": { "user": "bob", "whitelist": [] } }] });
    let replies = post(&app, ADMIN_KEY, "/batch", commands.clone()).await.expect(200).json()["replies"].clone();
    assert_eq!(replies[0], json!({ "disconnect": {} }), "{replies}");
    assert_eq!((&replies[1]["error"]["code"], &replies[2]["error"]["code"]), (&json!(107), &json!(107)), "{replies}");
    assert_eq!(ann.next().await, Err(3503));
    let replies = post(&app, READER, "/batch", commands).await.expect(200).json()["replies"].clone();
    assert_eq!(replies[0]["error"]["code"], 103, "{replies}");
    call(&mut bob, json!({ "id": 3, "history": { "channel": "market:events" } })).await;
}

fn token(subject: &str) -> String {
    platform_token(&json!({ "sub": subject, "exp": 4_000_000_000_u64 }))
}

#[tokio::test]
async fn a_token_of_a_subscription_is_renewed_before_it_ends() {
    let mut app = TestApp::builder().config(TOKENS).admin_key().system_clock().spawn().await;
    let issue = async |app: &TestApp, channel: &str, ttl_ms: u64| {
        let request = json!({ "channels": [channel], "ttl_ms": ttl_ms });
        post(app, ADMIN_KEY, "/pubsub/tokens", request).await.expect(201).json()["token"].clone()
    };
    let short = issue(&app, "market:room:a", 3_000).await;
    let address = app.serve();
    let mut socket = open(address, ADMIN_KEY).await;
    let reply =
        call(&mut socket, json!({ "id": 2, "subscribe": { "channel": "market:room:a", "token": short } })).await;
    let (expires, ttl) = (&reply["subscribe"]["expires"], reply["subscribe"]["ttl"].as_u64());
    assert!(*expires == true && ttl.is_some_and(|ttl| (1..=3).contains(&ttl)), "{reply}");
    let refresh =
        |id: u64, token: &Value| json!({ "id": id, "sub_refresh": { "channel": "market:room:a", "token": token } });
    let other = issue(&app, "market:room:b", 60_000).await;
    assert_eq!(call(&mut socket, refresh(3, &other)).await["error"]["code"], 103);
    let long = issue(&app, "market:room:a", 60_000).await;
    let reply = call(&mut socket, refresh(4, &long)).await;
    let (expires, ttl) = (&reply["sub_refresh"]["expires"], reply["sub_refresh"]["ttl"].as_u64());
    assert!(*expires == true && ttl.is_some_and(|ttl| (50..=60).contains(&ttl)), "{reply}");
    // The first token ends, and the subscription goes on: nothing arrives but the message.
    eventually("the first token has expired", async || {
        let mut late = open(address, ADMIN_KEY).await;
        let command = json!({ "id": 2, "subscribe": { "channel": "market:room:a", "token": short } });
        call(&mut late, command).await["error"]["code"] == 109
    })
    .await;
    post(&app, ADMIN_KEY, "/pubsub/market:room:a", json!({ "message_type": "x", "data": 1 })).await.expect(201);
    assert_eq!(socket.event().await["push"]["pub"]["data"], 1);
    let unsubscribed = json!({ "id": 5, "sub_refresh": { "channel": "market:room:b", "token": other } });
    assert_eq!(call(&mut socket, unsubscribed).await["error"]["code"], 107);
}
