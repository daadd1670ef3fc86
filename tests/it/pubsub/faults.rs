//! Channels while Redis is unavailable, and on other topologies.

use std::time::{Duration, Instant};

use serde_json::json;

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
async fn a_channel_that_redis_denies_does_not_affect_others() {
    let namespace = |pattern: &str| {
        format!(
            "[[pubsub.namespaces]]\npattern = \"{pattern}\"\nkeep = \"none\"\nsubscribe = [\"public\"]\npublish = []\n"
        )
    };
    let config = namespace("denied:{x}") + &namespace("market:{x}");
    let mut app = TestApp::builder().production_redis().config(&config).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let subscribe = |id: u64, channel: &str| json!({ "id": id, "cmd": "subscribe", "channel": channel });
    assert_eq!(socket.command(subscribe(1, "denied:a")).await["error"]["code"], "redis-denied");
    assert_eq!(socket.command(subscribe(2, "market:a")).await["ok"]["offset"], 0);
}
