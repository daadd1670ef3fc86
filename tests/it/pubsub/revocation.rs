//! Revoked tokens, and what readiness shows.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::socket::Socket;
use crate::auth::{SECRET, platform_token};
use crate::support::{ADMIN_KEY, TestApp, TestAppBuilder, eventually};

fn builder() -> TestAppBuilder {
    TestApp::builder().config(&format!("[auth]\njwt_secret = \"{SECRET}\"")).admin_key().system_clock()
}

fn token(subject: &str, issued: &Value) -> String {
    platform_token(&json!({ "sub": subject, "exp": 4_000_000_000_u64, "iat": issued }))
}

/// The close code of a client that connects with a token over the native protocol; 0 if it may.
async fn connect(url: &str, token: &str) -> u16 {
    let mut socket = Socket::connect(url).await;
    socket.send(&json!({ "id": 1, "cmd": "connect", "token": token })).await;
    socket.next().await.err().unwrap_or_default()
}

async fn disconnect(app: &TestApp, order: Value) -> crate::support::Reply {
    let headers = [("x-api-key", ADMIN_KEY), ("content-type", "application/json")];
    app.send(Method::POST, "/pubsub/disconnect", &headers, order.to_string()).await
}

#[tokio::test]
async fn revoked_tokens_may_not_connect_to_any_replica() {
    let mut app = builder().spawn().await;
    let mut other = builder().beside(&app).behind_proxy().spawn().await;
    let urls = [&mut app, &mut other].map(|app| format!("ws://{}/pubsub/ws", app.serve()));
    let now = app.clock().now() / 1_000;
    let [old, undated] = [token("ann", &json!(now - 100)), token("ann", &json!(null))];
    let [new, bob] = [token("ann", &json!(now + 100)), token("bob", &json!(now - 100))];
    let mut socket = Socket::connect(&urls[1]).await;
    assert!(socket.command(json!({ "id": 1, "cmd": "connect", "token": old })).await["ok"].is_object());
    let with_client = json!({ "subject": "ann", "client": "x", "revoke": true });
    let problem = disconnect(&app, with_client).await.expect_problem(422, "invalid-body");
    assert_eq!(problem["errors"][0]["pointer"], "/revoke", "{problem}");
    assert_eq!(connect(&urls[0], &undated).await, 0);
    disconnect(&app, json!({ "subject": "ann", "revoke": true })).await.expect(204);
    assert_eq!(socket.next().await, Err(4403));
    for url in &urls {
        for (token, code) in [(&old, 4401), (&undated, 4401), (&new, 0), (&bob, 0)] {
            assert_eq!(connect(url, token).await, code, "{token}");
        }
    }
    let mut centrifugo = Socket::connect(&urls[1].replace("/pubsub/ws", "/connection/websocket")).await;
    centrifugo.send(&json!({ "id": 1, "connect": { "token": old } })).await;
    assert_eq!(centrifugo.next().await, Err(3500));
    let bearer = format!("Bearer {old}");
    let headers = [("authorization", bearer.as_str())];
    let stream = app.send(Method::GET, "/pubsub/sse?channel=market:events", &headers, Body::empty()).await;
    stream.expect_problem(401, "unauthenticated");
    let stream = app.get(&format!("/pubsub/sse?channel=market:events&token={old}")).await;
    stream.expect_problem(401, "unauthenticated");
    // Without Redis, the last known revocations count.
    other.proxy().cut();
    for (token, code) in [(&old, 4401), (&new, 0), (&bob, 0)] {
        assert_eq!(connect(&urls[1], token).await, code, "{token}");
    }
}

#[tokio::test]
async fn readiness_tells_that_messages_are_late() {
    let app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    let state = async || app.get("/health/ready").await.json()["parts"]["pubsub"][0]["state"].clone();
    eventually("the subscriber is reported", async || state().await == "subscribed").await;
    let heard = async || app.get("/health/ready").await.json()["parts"]["pubsub"][0]["heard"].as_i64();
    eventually("a probe arrives", async || heard().await.is_some()).await;
    app.proxy().cut();
    eventually("the subscriber is lost", async || state().await == "lost").await;
    let ready = app.get("/health/ready").await.json();
    assert!(ready.to_string().contains("real-time messages are late"), "{ready}");
    app.proxy().heal();
    eventually("the subscriber is back", async || state().await == "subscribed").await;
}
