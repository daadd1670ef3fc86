//! The newest messages of all channels, which a replica keeps in memory.

use serde_json::json;

use super::socket::Socket;
use crate::support::{Exposition, TestApp, eventually};

/// The most bytes of all channels.
const LIMIT: u32 = 24 << 20;
const CHANNELS: usize = 40;
/// Of each channel: a ring takes no more than this many of the largest messages.
const MESSAGES: usize = 16;
const CONFIG: &str = "[[pubsub.namespaces]]\npattern = \"market:ring:{number}\"\nkeep = \"log\"\n\
    history_size = 100\nsubscribe = [\"public\"]\npublish = [\"public\"]\n";

#[tokio::test]
async fn the_newest_messages_of_each_key_are_bounded_too_and_are_read_again() {
    const CHANNELS: usize = 20;
    const KEYS: usize = 30;
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut sockets = Vec::new();
    for at in 0..CHANNELS {
        let channel = format!("orderbook:R{at}");
        for key in 0..KEYS {
            let message = json!({ "message_type": "T", "data": "x".repeat(64_000), "key": format!("k{key}") });
            app.post(&format!("/pubsub/{channel}"), message).await.expect(201);
        }
        let mut socket = Socket::open(&mut app).await;
        assert_eq!(snapshot(&mut socket, &channel).await, KEYS, "{channel}");
        sockets.push(socket);
    }
    let ring_bytes =
        async || Exposition::parse(&app.get("/metrics").await.expect(200).text()).value("pubsub_ring_bytes", &[]);
    eventually("the metric shows the rings", async || ring_bytes().await > f64::from(LIMIT / 2)).await;
    let bytes = ring_bytes().await;
    assert!(bytes <= f64::from(LIMIT), "{bytes} bytes");
    // The replica has forgotten the first channels, and reads them for clients that need them.
    for at in [0, 1, CHANNELS - 1] {
        let mut late = Socket::open(&mut app).await;
        assert_eq!(snapshot(&mut late, &format!("orderbook:R{at}")).await, KEYS);
    }
}

/// Subscribes from the newest message of each key on, and counts them.
async fn snapshot(socket: &mut Socket, channel: &str) -> usize {
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": channel, "snapshot": true });
    let reply = socket.command(command).await["ok"].clone();
    let last = reply["offset"].as_u64().expect("an offset");
    let mut count = reply["messages"].as_array().map_or(0, Vec::len);
    let mut reached = reply["messages"].as_array().and_then(|all| all.last()?["offset"].as_u64()).unwrap_or_default();
    while reached < last {
        let event = socket.event().await;
        assert_eq!(event["event"], "message", "{}", event["event"]);
        (count, reached) = (count + 1, event["offset"].as_u64().expect("an offset"));
    }
    count
}

#[tokio::test]
async fn the_rings_of_many_channels_take_24_mebibytes_and_the_log_has_the_rest() {
    let mut app = TestApp::builder().config(CONFIG).system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let channel = |number: usize| format!("market:ring:{number}");
    let mut beginnings = Vec::new();
    for number in 0..CHANNELS {
        beginnings.push(socket.subscribe(&channel(number)).await);
    }
    let data = "x".repeat(64_000);
    for at in 0..CHANNELS {
        let message = json!({ "channel": channel(at), "message_type": "T", "data": data });
        let mut newest = 0_u64;
        // The body of a request has its own limit.
        for _ in 0..2 {
            let messages = vec![&message; MESSAGES / 2];
            app.post("/pubsub", json!({ "messages": messages })).await.expect(200);
            for _ in 0..MESSAGES / 2 {
                let event = socket.event().await;
                assert_eq!((&event["channel"], event["offset"].as_u64()), (&json!(channel(at)), Some(newest + 1)));
                newest += 1;
            }
        }
    }
    let ring_bytes =
        async || Exposition::parse(&app.get("/metrics").await.expect(200).text()).value("pubsub_ring_bytes", &[]);
    eventually("the metric shows the rings", async || ring_bytes().await > f64::from(LIMIT / 4 * 3)).await;
    let bytes = ring_bytes().await;
    assert!(bytes <= f64::from(LIMIT), "{bytes} bytes");
    // The rings of the first channels are empty: clients that return read the log.
    for at in [0, CHANNELS - 1] {
        let mut returning = Socket::open(&mut app).await;
        let since = json!({ "epoch": beginnings[at]["epoch"], "offset": 0 });
        let command = json!({ "id": 1, "cmd": "subscribe", "channel": channel(at), "since": since });
        let reply = returning.command(command).await["ok"].clone();
        assert_eq!(reply["recovered"], true, "{}", reply["recovered"]);
        let mut next = 1 + reply["messages"].as_array().map_or(0, Vec::len);
        while next <= MESSAGES {
            assert_eq!(returning.event().await["offset"], next);
            next += 1;
        }
    }
}
