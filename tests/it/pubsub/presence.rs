//! Who is subscribed, over every transport.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use super::socket::Socket;
use crate::auth::{SECRET, platform_token};
use crate::support::{TestApp, TestAppBuilder, eventually};

const ROOMS: &str = "[[pubsub.namespaces]]\npattern = \"market:room:{name}\"\nkeep = \"log\"\npresence = true\n\
                     subscribe = [\"authenticated\"]\npublish = [\"scope:pubsub:write\"]";

fn builder() -> TestAppBuilder {
    TestApp::builder().config(ROOMS)
}

async fn presence(app: &TestApp) -> Value {
    app.get("/pubsub/market:room:a/presence").await.expect(200).json()
}

/// Waits until the replica knows this number of clients.
async fn has_clients(app: &TestApp, count: usize) {
    eventually("the number of clients", async || presence(app).await["clients"] == count).await;
}

/// A connection of the native protocol that is subscribed to `market:room:a`, and its name.
async fn subscribed(app: &mut TestApp) -> (Socket, String) {
    let mut socket = Socket::open(app).await;
    let connected = socket.command(json!({ "id": 1, "cmd": "connect" })).await;
    let client = connected["ok"]["client"].as_str().expect("a name").to_owned();
    assert!(socket.subscribe("market:room:a").await["epoch"].is_string());
    (socket, client)
}

/// A connection of Centrifugo's protocol that is subscribed to `market:room:a`.
async fn centrifugo(app: &mut TestApp) -> Socket {
    let mut socket = Socket::connect(&format!("ws://{}/connection/websocket", app.serve())).await;
    socket.send(&json!({ "id": 1, "connect": {} })).await;
    assert!(socket.event().await["connect"]["client"].is_string());
    socket.send(&json!({ "id": 2, "subscribe": { "channel": "market:room:a", "join_leave": true } })).await;
    assert!(socket.event().await["subscribe"]["epoch"].is_string());
    socket
}

#[tokio::test]
async fn every_transport_lists_the_clients_of_all_replicas() {
    let mut app = builder().spawn().await;
    let mut other = builder().beside(&app).spawn().await;
    let (mut native, client) = subscribed(&mut app).await;
    // A replica knows its own clients at once.
    let alone = json!({ "clients": 1, "subjects": 1, "members": [{ "client": client, "subject": "anonymous" }] });
    assert_eq!(presence(&app).await, alone);
    let mut centrifugo = centrifugo(&mut other).await;
    has_clients(&app, 2).await;
    let members = presence(&other).await["members"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(2), "{members}");
    let stats = json!({ "clients": 2, "subjects": 1 });
    assert_eq!(app.get("/pubsub/market:room:a/presence/stats").await.expect(200).json(), stats);
    let reply = native.command(json!({ "id": 2, "cmd": "presence", "channel": "market:room:a" })).await;
    assert_eq!((&reply["ok"]["clients"], &reply["ok"]["subjects"]), (&json!(2), &json!(1)), "{reply}");
    centrifugo.send(&json!({ "id": 3, "presence": { "channel": "market:room:a" } })).await;
    let listed = centrifugo.event().await["presence"]["presence"].clone();
    assert_eq!(listed[&client], json!({ "client": client, "user": "anonymous" }), "{listed}");
    assert_eq!(listed.as_object().map(serde_json::Map::len), Some(2), "{listed}");
    centrifugo.send(&json!({ "id": 4, "presence_stats": { "channel": "market:room:a" } })).await;
    let stats = json!({ "num_clients": 2, "num_users": 1 });
    assert_eq!(centrifugo.event().await["presence_stats"], stats);
    let channel = json!({ "channel": "market:room:a" });
    let by_server = app.post("/presence", channel.clone()).await.expect(200).json();
    assert_eq!(by_server["result"]["presence"], listed);
    assert_eq!(app.post("/presence_stats", channel).await.expect(200).json()["result"], stats);
}

#[tokio::test]
async fn clients_that_leave_are_removed() {
    let mut app = builder().spawn().await;
    let watcher = builder().beside(&app).spawn().await;
    let (mut first, _) = subscribed(&mut app).await;
    let (second, _) = subscribed(&mut app).await;
    let (_third, _) = subscribed(&mut app).await;
    has_clients(&watcher, 3).await;
    first.command(json!({ "id": 2, "cmd": "unsubscribe", "channel": "market:room:a" })).await;
    has_clients(&watcher, 2).await;
    drop(second);
    has_clients(&watcher, 1).await;
    // The replica stops: it removes its clients.
    drop(app);
    has_clients(&watcher, 0).await;
}

#[tokio::test]
async fn clients_of_a_dead_replica_expire() {
    let mut app = builder().spawn().await;
    let watcher = builder().beside(&app).spawn().await;
    let _subscribed = subscribed(&mut app).await;
    has_clients(&watcher, 1).await;
    // The clock of the first replica stands still, so it does not refresh its clients.
    watcher.clock().advance(Duration::from_secs(59));
    assert_eq!(presence(&watcher).await["clients"], 1);
    watcher.clock().advance(Duration::from_secs(2));
    assert_eq!(presence(&watcher).await, json!({ "clients": 0, "subjects": 0, "members": [] }));
    app.clock().advance(Duration::from_secs(26));
    has_clients(&watcher, 1).await;
}

#[tokio::test]
async fn subscribers_learn_of_changes_at_most_once_a_second() {
    let mut app = builder().spawn().await;
    let mut other = builder().beside(&app).spawn().await;
    let mut watcher = Socket::open(&mut app).await;
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:room:a", "presence": true });
    assert!(watcher.command(command).await["ok"]["epoch"].is_string());
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..15 {
        clients.push(subscribed(&mut app).await);
        clients.push(subscribed(&mut other).await);
    }
    let (mut digests, mut joined) = (0, 0);
    let mut count = json!(0);
    while count != 31 {
        let event = watcher.event().await;
        assert_eq!((&event["event"], &event["channel"]), (&json!("presence"), &json!("market:room:a")), "{event}");
        joined += event["joined"].as_array().map_or(0, Vec::len);
        count = event["count"].clone();
        digests += 1;
    }
    assert_eq!(joined, 31);
    assert!(digests <= begun.elapsed().as_secs() + 2, "{digests} digests in {:?}", begun.elapsed());
    let (last, name) = clients.pop().expect("a client");
    drop(last);
    let event = watcher.event().await;
    assert_eq!((&event["left"][0]["client"], &event["count"]), (&json!(name), &json!(30)), "{event}");
}

#[tokio::test]
async fn a_client_that_identifies_itself_later_is_listed_with_its_subject() {
    let public = ROOMS.replace("authenticated", "public");
    let auth = format!("[auth]\njwt_secret = \"{SECRET}\"");
    let mut app = TestApp::builder().config(&public).config(&auth).system_clock().spawn().await;
    let (mut socket, client) = subscribed(&mut app).await;
    let unknown = json!({ "clients": 1, "subjects": 1, "members": [{ "client": client, "subject": "" }] });
    assert_eq!(presence(&app).await, unknown);
    let token = platform_token(&json!({ "sub": "ann", "exp": 4_000_000_000_u64 }));
    socket.command(json!({ "id": 2, "cmd": "refresh", "token": token })).await;
    let known = json!({ "clients": 1, "subjects": 1, "members": [{ "client": client, "subject": "ann" }] });
    assert_eq!(presence(&app).await, known);
}

#[tokio::test]
async fn only_channels_with_presence_show_it_to_callers_that_may_subscribe() {
    let mut app = TestApp::spawn().await;
    for path in ["/pubsub/market:events/presence", "/pubsub/market:events/presence/stats"] {
        app.get(path).await.expect_problem(409, "presence-disabled");
    }
    app.get("/pubsub/weather/presence").await.expect_problem(404, "channel-unknown");
    let mut socket = Socket::open(&mut app).await;
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events", "presence": true });
    assert_eq!(socket.command(command).await["error"]["code"], "presence-disabled");
    let reply = app.post("/presence", json!({ "channel": "market:events" })).await.expect(200).json();
    assert_eq!(reply["error"]["code"], 108);
    let guarded = builder().admin_key().spawn().await;
    guarded.get("/pubsub/market:room:a/presence").await.expect_problem(401, "unauthenticated");
    guarded.send(Method::POST, "/presence", &[], Body::empty()).await.expect_problem(401, "unauthenticated");
}

#[tokio::test]
async fn presence_is_written_when_redis_is_back() {
    let mut app = builder().behind_proxy().spawn().await;
    let (_first, _) = subscribed(&mut app).await;
    let (second, _) = subscribed(&mut app).await;
    has_clients(&app, 2).await;
    app.proxy().cut();
    drop(second);
    eventually("Redis is known to be unavailable", async || app.get("/pubsub/market:room:a/presence").await.is(503))
        .await;
    app.proxy().heal();
    eventually("the list is back", async || app.get("/pubsub/market:room:a/presence").await.is(200)).await;
    has_clients(&app, 1).await;
}
