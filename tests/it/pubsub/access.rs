//! Who may do what with channels, over every transport, and what ends a subscription.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::socket::{Socket, price};
use crate::auth::{READER, SECRET as USER_SECRET, key, platform_token};
use crate::support::{ADMIN_KEY, Reply, TestApp, TestAppBuilder};

const SECRET: &str = "pubsub.token_secret = \"0123456789abcdef0123456789abcdef\"";

/// A service that knows users, an administrator and `pubsub.token_secret`.
fn builder() -> TestAppBuilder {
    TestApp::builder()
        .config(SECRET)
        .config(&format!("[auth]\njwt_secret = \"{USER_SECRET}\""))
        .admin_key()
        .system_clock()
}

/// The token of a user.
fn user_token(subject: &str) -> String {
    platform_token(&json!({ "sub": subject, "role": null, "exp": 4_000_000_000_u64 }))
}

async fn send(app: &TestApp, key: &str, method: Method, path: &str, body: Value) -> Reply {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    app.send(method, path, &headers, body.to_string()).await
}

async fn subscribes(app: &mut TestApp, token: &str, channel: &str) -> bool {
    let mut socket = Socket::open(app).await;
    socket.command(json!({ "id": 1, "cmd": "connect", "token": token })).await;
    let reply = socket.command(json!({ "id": 2, "cmd": "subscribe", "channel": channel })).await;
    reply["ok"]["epoch"].is_string()
}

#[tokio::test]
async fn http_events_and_sockets_agree_on_who_may_subscribe() {
    let reader = key("reader", READER, "scopes = [\"pubsub:read\"]");
    let mut app = builder().config(&reader).spawn().await;
    let (ann, bob) = (user_token("ann"), user_token("bob"));
    for (credential, channel, may) in [
        (ann.as_str(), "orders:ann", true),
        (&bob, "orders:ann", false),
        (READER, "orders:ann", true),
        (&ann, "market:events", true),
        (&ann, "system:alerts", false),
        (READER, "system:alerts", true),
    ] {
        let header = if credential == READER {
            ("x-api-key", credential.to_owned())
        } else {
            ("authorization", format!("Bearer {credential}"))
        };
        let headers = [(header.0, header.1.as_str())];
        let history = app.send(Method::GET, &format!("/pubsub/{channel}/history"), &headers, Body::empty()).await;
        assert_eq!(history.is(200), may, "{channel}: {}", history.text());
        if !may {
            history.expect_problem(403, "forbidden");
            let path = format!("/pubsub/sse?channel={channel}");
            app.send(Method::GET, &path, &headers, Body::empty()).await.expect_problem(403, "forbidden");
        }
        assert_eq!(subscribes(&mut app, credential, channel).await, may, "{channel}");
    }
    app.get("/pubsub/orders:ann/history").await.expect_problem(401, "unauthenticated");
    send(&app, READER, Method::POST, "/pubsub/market:events", price(1)).await.expect_problem(403, "forbidden");
}

#[tokio::test]
async fn a_channel_token_permits_its_channels_for_its_subject_and_time() {
    let namespace = "[[pubsub.namespaces]]\npattern = \"market:room:{name}\"\nkeep = \"log\"\nsubscribe = [\"token\"]\npublish = [\"scope:pubsub:write\"]";
    let mut app = builder().config(namespace).spawn().await;
    let request = json!({ "channels": ["market:room:a*"], "ttl_ms": 3_000 });
    let issued = send(&app, ADMIN_KEY, Method::POST, "/pubsub/tokens", request).await.expect(201).json();
    let token = &issued["token"];
    let mut socket = Socket::open(&mut app).await;
    socket.command(json!({ "id": 1, "cmd": "connect", "token": ADMIN_KEY })).await;
    for (channel, token, code) in [
        ("market:room:abc", json!(null), "forbidden"),
        ("market:room:b", token.clone(), "channel-token-invalid"),
        ("market:room:abc", json!("x"), "channel-token-invalid"),
    ] {
        let command = json!({ "id": 2, "cmd": "subscribe", "channel": channel, "token": token });
        assert_eq!(socket.command(command).await["error"]["code"], code, "{channel}");
    }
    let command = json!({ "id": 3, "cmd": "subscribe", "channel": "market:room:abc", "token": token });
    assert!(socket.command(command).await["ok"]["epoch"].is_string());
    let ended = socket.event().await;
    assert_eq!((&ended["event"], &ended["code"]), (&json!("unsubscribed"), &json!("expired")), "{ended}");
    for (request, pointer) in [
        (json!({ "channels": [], "ttl_ms": 5_000 }), "/channels"),
        (json!({ "channels": ["a::b"], "ttl_ms": 5_000 }), "/channels/0"),
        (json!({ "channels": ["a"], "ttl_ms": 5 }), "/ttl_ms"),
    ] {
        let problem = send(&app, ADMIN_KEY, Method::POST, "/pubsub/tokens", request).await;
        let problem = problem.expect_problem(422, "invalid-body");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
    let without = TestApp::builder().admin_key().spawn().await;
    let request = json!({ "channels": ["a"], "ttl_ms": 5_000 });
    let refused = send(&without, ADMIN_KEY, Method::POST, "/pubsub/tokens", request).await;
    refused.expect_problem(409, "channel-tokens-disabled");
}

#[tokio::test]
async fn an_operator_ends_subscriptions_and_connections_at_every_replica() {
    let mut app = builder().spawn().await;
    let mut other = builder().beside(&app).spawn().await;
    let (ann, bob) = (user_token("ann"), user_token("bob"));
    let mut sockets = Vec::new();
    let urls = [&mut app, &mut other].map(|app| format!("ws://{}/pubsub/ws", app.serve()));
    for (url, token) in [(&urls[0], &ann), (&urls[1], &ann), (&urls[1], &bob)] {
        let mut socket = Socket::connect(url).await;
        socket.command(json!({ "id": 1, "cmd": "connect", "token": token })).await;
        socket.subscribe("market:events").await;
        sockets.push(socket);
    }
    let order = json!({ "subject": "ann", "channel": "market:events" });
    send(&app, ADMIN_KEY, Method::POST, "/pubsub/unsubscribe", order).await.expect(204);
    for socket in &mut sockets[..2] {
        assert_eq!(socket.event().await["code"], "revoked");
    }
    send(&app, ADMIN_KEY, Method::POST, "/pubsub/disconnect", json!({ "subject": "ann" })).await.expect(204);
    for socket in &mut sockets[..2] {
        assert_eq!(socket.next().await, Err(4403));
    }
    send(&app, ADMIN_KEY, Method::POST, "/pubsub/market:events", price(1)).await.expect(201);
    assert_eq!(sockets[2].event().await["event"], "message", "bob stays");
}

#[tokio::test]
async fn a_credential_has_a_limited_number_of_connections() {
    let mut app = TestApp::builder().config("pubsub.sockets_per_caller = 2").admin_key().system_clock().spawn().await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let mut socket = Socket::open(&mut app).await;
        socket.command(json!({ "id": 1, "cmd": "connect", "token": ADMIN_KEY })).await;
        sockets.push(socket);
    }
    let mut third = Socket::open(&mut app).await;
    third.send(&json!({ "id": 1, "cmd": "connect", "token": ADMIN_KEY })).await;
    assert_eq!(third.next().await, Err(4429));
}

#[tokio::test]
async fn limits_of_connections_and_subscriptions_are_refused_by_name() {
    let mut app = TestApp::builder().config("pubsub.sockets_per_caller = 1").system_clock().spawn().await;
    app.get("/pubsub/ws").await.expect_problem(426, "upgrade-required");
    let mut socket = Socket::open(&mut app).await;
    app.get("/pubsub/sse?channel=market:events").await.expect_problem(429, "too-many-sockets");
    let unsubscribe = json!({ "id": 1, "cmd": "unsubscribe", "channel": "market:events" });
    assert_eq!(socket.command(unsubscribe).await["error"]["code"], "not-subscribed");
    for at in 0..128 {
        let channel = format!("orders:user-{at}");
        let reply = socket.command(json!({ "id": at, "cmd": "subscribe", "channel": channel })).await;
        assert!(reply["ok"]["epoch"].is_string(), "{reply}");
    }
    let one_more = json!({ "id": 200, "cmd": "subscribe", "channel": "market:events" });
    assert_eq!(socket.command(one_more).await["error"]["code"], "too-many-subscriptions");
}
