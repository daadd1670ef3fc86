//! The rules of channels: they alone decide over every transport, and a reload replaces them for open connections as well.

use axum::http::Method;
use gridtokenx_redis::config::Config;
use serde_json::{Value, json};

use super::socket::Socket;
use crate::support::{ADMIN_KEY, TestApp, eventually};

/// The rules of one channel.
fn rules(pattern: &str, keep: &str, subscribe: &str) -> String {
    format!(
        "[[pubsub.namespaces]]\npattern = \"{pattern}\"\nkeep = \"{keep}\"\nsubscribe = [\"{subscribe}\"]\n\
         publish = [\"public\"]\n"
    )
}

fn reload(app: &TestApp, config: &str) {
    app.app().reloader().reload(Config::with_overrides(config).expect("TOML")).expect("valid");
}

fn patterns(namespaces: &Value) -> Vec<&str> {
    let items = namespaces["items"].as_array().expect("items").iter();
    items.map(|item| item["pattern"].as_str().expect("a pattern")).collect()
}

#[tokio::test]
async fn the_rule_alone_decides_who_publishes_over_http_and_sockets() {
    let closed =
        rules("market:closed", "log", "public").replace("publish = [\"public\"]", "publish = [\"authenticated\"]");
    let both = [rules("market:chat", "log", "public"), closed].concat();
    let mut app = TestApp::builder().config(&both).admin_key().system_clock().spawn().await;
    let message = json!({ "message_type": "X", "data": 1 });
    app.post("/pubsub/market:chat", message.clone()).await.expect(201);
    let mut in_batch = message.clone();
    in_batch["channel"] = json!("market:chat");
    let batch = json!({ "messages": [in_batch, { "channel": "market:closed", "message_type": "X", "data": 1 }] });
    let reply = app.post("/pubsub", batch).await.expect(200).json();
    assert_eq!((&reply["results"][0]["status"], &reply["results"][1]["status"]), (&json!(201), &json!(401)), "{reply}");
    app.post("/pubsub/market:closed", message.clone()).await.expect_problem(401, "unauthenticated");
    let mut socket = Socket::open(&mut app).await;
    socket.command(json!({ "id": 1, "cmd": "connect" })).await;
    let mut command = message;
    command["id"] = json!(2);
    command["cmd"] = json!("publish");
    command["channel"] = json!("market:chat");
    assert_eq!(socket.command(command).await["ok"]["offset"], 3);
}

#[tokio::test]
async fn channels_of_the_service_itself_are_not_published_to() {
    let app = TestApp::builder().config(&rules("{a}:{b}", "log", "public")).spawn().await;
    let message = json!({ "message_type": "X", "data": 1 });
    for channel in ["json:changes", "pubsub:control", "locks:wake"] {
        let reply = app.post(&format!("/pubsub/{channel}"), message.clone()).await;
        reply.expect_problem(422, "invalid-path");
    }
    app.post("/pubsub/market:other", message).await.expect(201);
}

#[tokio::test]
async fn a_reload_ends_the_subscriptions_that_the_new_rules_do_not_permit() {
    let open = [rules("market:a", "log", "public"), rules("market:b", "log", "public")].concat();
    let mut app = TestApp::builder().config(&open).admin_key().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.command(json!({ "id": 1, "cmd": "connect" })).await;
    socket.subscribe("market:a").await;
    socket.subscribe("market:b").await;
    let mut centrifugo = Socket::connect(&format!("ws://{}/connection/websocket", app.serve())).await;
    centrifugo.command(json!({ "id": 1, "connect": {} })).await;
    centrifugo.command(json!({ "id": 2, "subscribe": { "channel": "market:a" } })).await;
    let closed = [rules("market:a", "log", "scope:pubsub:read"), rules("market:b", "log", "public")].concat();
    reload(&app, &closed);
    let ended = socket.event().await;
    assert_eq!(ended, json!({ "event": "unsubscribed", "channel": "market:a", "code": "forbidden" }));
    assert!(centrifugo.event().await["push"]["unsubscribe"].is_object());
    app.get("/pubsub/market:a/history").await.expect_problem(401, "unauthenticated");
    // The other subscription goes on.
    app.post("/pubsub/market:b", json!({ "message_type": "X", "data": 1 })).await.expect(201);
    assert_eq!(socket.event().await["channel"], "market:b");
}

#[tokio::test]
async fn a_reload_adds_and_removes_channels_and_changes_what_they_keep() {
    let mut app = TestApp::builder().config(&rules("market:a", "log", "public")).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:a").await;
    let message = |key: &str| json!({ "message_type": "X", "data": 1, "key": key });
    app.post("/pubsub/market:new", message("k")).await.expect_problem(404, "channel-unknown");
    reload(&app, &[rules("market:a", "latest", "public"), rules("market:new", "log", "public")].concat());
    eventually("the new channel exists", async || {
        patterns(&app.get("/pubsub/namespaces").await.json()) == ["market:a", "market:new"]
    })
    .await;
    app.post("/pubsub/market:new", message("k")).await.expect(201);
    app.post("/pubsub/market:a", message("k")).await.expect(201);
    assert_eq!(socket.event().await["key"], "k");
    let latest = app.get("/pubsub/market:a/latest").await.expect(200).json();
    assert_eq!(latest["items"].as_array().map(Vec::len), Some(1), "{latest}");
    reload(&app, &rules("market:new", "log", "public"));
    assert_eq!(socket.event().await["code"], "forbidden");
    app.post("/pubsub/market:a", message("k")).await.expect_problem(404, "channel-unknown");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_413_and_names_its_data() {
    let app = TestApp::builder().config("pubsub.message_limit = \"1KiB\"").system_clock().spawn().await;
    let large = json!({ "message_type": "X", "data": "x".repeat(1_100), "key": "k" });
    let problem = app.post("/pubsub/orderbook:E", large.clone()).await.expect_problem(413, "body-too-large");
    assert_eq!(problem["errors"][0]["pointer"], "/data", "{problem}");
    let mut item = large;
    item["channel"] = json!("orderbook:E");
    let alone = app.post("/pubsub", json!({ "messages": [item.clone()] })).await;
    alone.expect_violation(413, "body-too-large", "/messages/0/data");
    let headers = [("content-type", "application/x-ndjson")];
    let problem = app.send(Method::POST, "/pubsub", &headers, item.to_string()).await;
    problem.expect_problem(422, "messages-refused");
    assert_eq!(app.get("/pubsub/orderbook:E/latest").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn a_repeated_publication_with_a_key_has_the_first_response() {
    let app = TestApp::builder().admin_key().spawn().await;
    let publish = async |key: &str| {
        let headers = [("x-api-key", ADMIN_KEY), ("idempotency-key", key), ("content-type", "application/json")];
        let data = json!({ "symbol": "GRID", "price": "3.41", "change_percent": "0.4", "timestamp": 1 });
        let body = json!({ "message_type": "PriceUpdate", "data": data }).to_string();
        app.send(Method::POST, "/pubsub/market:events", &headers, body).await
    };
    let first = publish("price-1").await.expect(201).json();
    let again = publish("price-1").await.expect(201);
    assert_eq!((again.header("idempotency-replayed"), &again.json()), (Some("true"), &first));
    assert_eq!(publish("price-2").await.expect(201).json()["offset"], 2);
    publish("not one key").await.expect_violation(422, "invalid-header", "/Idempotency-Key");
}
