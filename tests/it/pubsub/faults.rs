//! Channels while Redis is unavailable, and on other topologies.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::socket::{Socket, number, price};
use crate::support::{Cluster, SentinelGroup, TestApp, eventually};

#[tokio::test]
async fn without_redis_publishing_fails_at_once_and_sockets_stay_open() {
    let mut app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:events").await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    assert_eq!(number(&socket.event().await), 1);
    app.proxy().cut();
    eventually("publishing is refused", async || app.post("/pubsub/market:events", price(2)).await.is(503)).await;
    let begun = Instant::now();
    app.post("/pubsub/market:events", price(2)).await.expect_problem(503, "redis-unavailable");
    app.get("/pubsub/market:events/history").await.expect_problem(503, "redis-unavailable");
    assert!(begun.elapsed().as_millis() < 500, "{:?}", begun.elapsed());
    let stale = socket.event().await;
    assert_eq!(stale, json!({ "event": "stale" }));
    let pong = socket.command(json!({ "id": 9, "cmd": "ping" })).await;
    assert_eq!(pong["ok"], json!({}));
    app.proxy().heal();
    eventually("publishing works again", async || app.post("/pubsub/market:events", price(3)).await.is(201)).await;
    let events = [socket.event().await, socket.event().await];
    assert!(events.contains(&json!({ "event": "fresh" })), "{events:?}");
    let message = events.iter().find(|event| event["event"] == "message").expect("a message");
    assert_eq!(number(message), 3);
}

#[tokio::test]
async fn a_new_subscription_without_redis_is_refused_in_time() {
    let mut app = TestApp::builder().behind_proxy().system_clock().spawn().await;
    app.proxy().cut();
    let mut socket = Socket::open(&mut app).await;
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events" });
    assert_eq!(socket.command(command.clone()).await["error"]["code"], "redis-timeout");
    app.proxy().heal();
    let mut id = 1;
    loop {
        id += 1;
        let mut repeated = command.clone();
        repeated["id"] = json!(id);
        let reply = socket.command(repeated).await;
        if reply["ok"]["offset"] == 0 {
            break;
        }
        assert!(id < 1_000, "{reply}");
        // The pause of a client before it tries again.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Subscribes from a position, as soon as the replica has a connection to Redis.
async fn recover(socket: &mut Socket, since: &Value) -> Value {
    for id in 1..1_000 {
        let command = json!({ "id": id, "cmd": "subscribe", "channel": "market:events", "since": since });
        let reply = socket.command(command).await;
        if reply["ok"].is_object() {
            return reply["ok"].clone();
        }
        // The pause of a client before it tries again.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it could not subscribe");
}

#[tokio::test]
async fn a_replica_that_is_behind_does_not_send_a_client_back() {
    let app = TestApp::builder().system_clock().spawn().await;
    let mut behind = TestApp::builder().beside(&app).behind_proxy().system_clock().spawn().await;
    let mut first = Socket::open(&mut behind).await;
    first.subscribe("market:events").await;
    behind.proxy().strand();
    let mut last = json!(null);
    for at in 1..=5 {
        last = app.post("/pubsub/market:events", price(at)).await.expect(201).json();
    }
    let since = json!({ "epoch": last["epoch"], "offset": last["offset"] });
    let mut client = Socket::open(&mut behind).await;
    let subscribed = recover(&mut client, &since).await;
    let position = (&subscribed["recovered"], &subscribed["offset"], &subscribed["messages"]);
    assert_eq!(position, (&json!(true), &json!(5), &json!([])), "{subscribed}");
    app.post("/pubsub/market:events", price(6)).await.expect(201);
    for (socket, begin) in [(&mut client, 6), (&mut first, 1)] {
        for at in begin..=6 {
            assert_eq!(number(&socket.event().await), at);
        }
    }
}

#[tokio::test]
async fn channels_work_on_a_cluster() {
    let cluster = Cluster::start().await;
    let mut app = TestApp::builder().config(&cluster.config()).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    for channel in ["market:events", "orderbook:A", "orderbook:B"] {
        socket.subscribe(channel).await;
    }
    for at in 1..=20 {
        app.post("/pubsub/market:events:ENERGY", price(at)).await.expect(201);
        for symbol in ["A", "B"] {
            app.post(&format!("/pubsub/orderbook:{symbol}"), price(at + 100)).await.expect(201);
        }
    }
    let mut seen = [0, 0, 0];
    for _ in 0..60 {
        let message = socket.event().await;
        let at = ["market:events", "orderbook:A", "orderbook:B"].iter().position(|name| message["channel"] == **name);
        seen[at.expect("a channel")] += 1;
    }
    assert_eq!(seen, [20, 20, 20]);
    let page = app.get("/pubsub/market:events:ENERGY/history").await.expect(200).json();
    assert_eq!((&page["offset"], page["items"].as_array().map(Vec::len)), (&json!(20), Some(20)));
}

#[tokio::test]
async fn a_failover_is_a_gap_and_the_channel_goes_on() {
    let mut group = SentinelGroup::start().await;
    let mut app = TestApp::builder().config(&group.config()).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:events").await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    let first = socket.event().await;
    assert_eq!(number(&first), 1);
    group.master.kill();
    let at = 2;
    eventually("publishing works on the new master", async || {
        app.post("/pubsub/market:events", price(at)).await.is(201)
    })
    .await;
    let gap = loop {
        let event = socket.event().await;
        if event["event"] != "stale" && event["event"] != "fresh" {
            break event;
        }
    };
    assert_eq!((&gap["event"], &gap["reason"]), (&json!("gap"), &json!("epoch")), "{gap}");
    assert_ne!(gap["epoch"], first["epoch"]);
    let message = loop {
        let event = socket.event().await;
        if event["event"] == "message" {
            break event;
        }
    };
    assert_eq!((number(&message), &message["epoch"]), (at, &gap["epoch"]));
}

#[tokio::test]
async fn after_a_failover_that_lost_messages_no_client_recovers() {
    let mut group = SentinelGroup::start().await;
    let mut app = TestApp::builder().config(&group.config()).system_clock().spawn().await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    // The replica receives nothing any more, and becomes the master without the last messages.
    let _: String = group.replica.command(&["REPLICAOF", "127.0.0.1", "1"]);
    let mut last = json!(null);
    for at in 2..=11 {
        last = app.post("/pubsub/market:events", price(at)).await.expect(201).json();
    }
    group.master.kill();
    eventually("the new master accepts messages", async || app.post("/pubsub/market:events", price(12)).await.is(201))
        .await;
    let page = app.get("/pubsub/market:events/history").await.expect(200).json();
    let numbers: Vec<_> = page["items"].as_array().expect("items").iter().map(number).collect();
    assert_eq!(numbers, [12], "the new epoch");
    let (epoch, offset) = (last["epoch"].as_str().expect("an epoch"), last["offset"].as_u64().expect("an offset"));
    let since = json!({ "epoch": epoch, "offset": offset });
    let mut socket = Socket::open(&mut app).await;
    assert_eq!(recover(&mut socket, &since).await["recovered"], false);
    let mut centrifugo = Socket::connect(&format!("ws://{}/connection/websocket", app.serve())).await;
    centrifugo.command(json!({ "id": 1, "connect": {} })).await;
    let recover = json!({ "channel": "market:events", "recover": true, "epoch": epoch, "offset": offset });
    let reply = centrifugo.command(json!({ "id": 2, "subscribe": recover })).await;
    assert_eq!(reply["subscribe"]["recovered"], false, "{reply}");
    for wait in ["", "&wait_ms=1000"] {
        let path = format!("/pubsub/market:events/history?since={offset}&epoch={epoch}{wait}");
        assert_eq!(app.get(&path).await.expect(200).json()["recovered"], false, "{path}");
    }
}

#[tokio::test]
async fn a_channel_that_redis_denies_does_not_affect_others() {
    let namespace = |pattern: &str| {
        format!(
            "[[pubsub.namespaces]]\npattern = \"{pattern}\"\nkeep = \"none\"\nsubscribe = [\"public\"]\npublish = []\n"
        )
    };
    let config = namespace("denied:{x}") + &namespace("market:{x}");
    let mut app = TestApp::builder().config(&config).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let subscribe = |id: u64, channel: &str| json!({ "id": id, "cmd": "subscribe", "channel": channel });
    assert_eq!(socket.command(subscribe(1, "denied:a")).await["error"]["code"], "redis-denied");
    assert_eq!(socket.command(subscribe(2, "market:a")).await["ok"]["offset"], 0);
}
