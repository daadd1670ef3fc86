//! Delivery over the native protocol.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use super::socket::{Socket, number, price};
use crate::support::{ADMIN_KEY, TestApp, eventually};

#[tokio::test]
async fn subscribers_receive_messages_in_order_with_their_offsets() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let connected = socket.command(json!({ "id": 1, "cmd": "connect" })).await;
    assert_eq!(connected["ok"]["ping_ms"], 25_000, "{connected}");
    assert_eq!(socket.subscribe("market:events").await["offset"], 0);
    for at in 1..=50 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
    }
    for at in 1..=50 {
        let message = socket.event().await;
        assert_eq!((&message["event"], &message["offset"]), (&json!("message"), &json!(at)), "{message}");
        assert_eq!(number(&message), at);
    }
}

#[tokio::test]
async fn a_client_recovers_what_it_missed() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.command(json!({ "id": 1, "cmd": "connect" })).await;
    socket.subscribe("market:events").await;
    app.post("/pubsub/market:events", price(1)).await.expect(201);
    let last = socket.event().await;
    drop(socket);
    for at in 2..=250 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
    }
    let mut socket = Socket::open(&mut app).await;
    let since = json!({ "offset": last["offset"], "epoch": last["epoch"] });
    let command = json!({ "id": 2, "cmd": "subscribe", "channel": "market:events", "since": since });
    let reply = socket.command(command.clone()).await["ok"].clone();
    assert_eq!((&reply["recovered"], &reply["offset"]), (&json!(true), &json!(250)), "{reply}");
    let seen: Vec<_> = reply["messages"].as_array().expect("messages").iter().map(number).collect();
    assert_eq!(seen, (2..=250).collect::<Vec<_>>());
    let again = socket.command(command).await;
    assert_eq!(again["error"]["code"], "already-subscribed");

    let mut other = Socket::open(&mut app).await;
    let since = json!({ "offset": 1, "epoch": "00000000" });
    let unknown = json!({ "id": 3, "cmd": "subscribe", "channel": "market:events", "since": since });
    let answer = other.command(unknown).await["ok"].clone();
    assert_eq!((&answer["recovered"], &answer["messages"]), (&json!(false), &json!([])));
}

#[tokio::test]
async fn a_large_recovery_continues_in_events() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let first = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    for at in 2..=60 {
        let mut message = price(at);
        message["data"]["symbol"] = json!("S".repeat(20_000));
        app.post("/pubsub/market:events", message).await.expect(201);
    }
    let since = json!({ "offset": 1, "epoch": first["epoch"] });
    let subscribe = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events", "since": since });
    let reply = socket.command(subscribe).await["ok"].clone();
    let in_reply = reply["messages"].as_array().expect("messages").len();
    assert!((1..59).contains(&in_reply) && reply["recovered"] == true, "{in_reply}");
    for at in 2 + u64::try_from(in_reply).expect("few")..=60 {
        assert_eq!(number(&socket.event().await), at);
    }
}

#[tokio::test]
async fn a_lost_subscription_is_repaired_without_a_gap() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:events").await;
    for at in 1..=200 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
        if at % 40 == 0 {
            let _: i64 = app.redis().command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
    }
    for at in 1..=200 {
        let message = socket.event().await;
        assert_eq!((&message["event"], number(&message)), (&json!("message"), at), "{message}");
    }
}

#[tokio::test]
async fn lost_data_is_an_explicit_gap() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    socket.subscribe("market:events").await;
    for at in 1..=3 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
        assert_eq!(number(&socket.event().await), at);
    }
    let _: () = app.redis().command(&["FLUSHALL"]);
    app.post("/pubsub/market:events", price(4)).await.expect(201);
    let gap = socket.event().await;
    assert_eq!((&gap["event"], &gap["reason"], &gap["from"]), (&json!("gap"), &json!("epoch"), &json!(4)), "{gap}");
    let message = socket.event().await;
    assert_eq!((number(&message), &message["epoch"]), (4, &gap["epoch"]));
}

#[tokio::test]
async fn conflation_delivers_the_last_value_of_each_key() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:prices", "mode": "latest", "max_rate": 2 });
    socket.command(command).await;
    for at in 1..=300 {
        app.post("/pubsub/market:prices", price(at)).await.expect(201);
    }
    let (mut received, mut skipped) = (0, 0);
    loop {
        let message = socket.event().await;
        received += 1;
        skipped += message["skipped"].as_u64().unwrap_or_default();
        if number(&message) == 300 {
            break;
        }
    }
    assert_eq!(received + skipped, 300);
    assert!(received < 50, "{received} messages were delivered");
    let mut late = Socket::open(&mut app).await;
    let snapshot = json!({ "id": 1, "cmd": "subscribe", "channel": "market:prices", "snapshot": true });
    assert_eq!(number(&late.command(snapshot).await["ok"]["messages"][0]), 300);
}

#[tokio::test]
async fn a_filter_leaves_out_other_tags() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let mut socket = Socket::open(&mut app).await;
    let filter = json!({ "key": "side", "cmp": "eq", "val": "buy" });
    let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events", "filter": filter });
    socket.command(command).await;
    for at in 1..=4 {
        let mut message = price(at);
        message["tags"] = json!({ "side": if at % 2 == 0 { "buy" } else { "sell" } });
        app.post("/pubsub/market:events", message).await.expect(201);
    }
    assert_eq!([number(&socket.event().await), number(&socket.event().await)], [2, 4]);
    let bad = json!({ "id": 2, "cmd": "subscribe", "channel": "market:prices", "filter": { "cmp": "like" } });
    assert_eq!(socket.command(bad).await["error"]["code"], "invalid-body");
}

#[tokio::test]
async fn what_is_wrong_with_a_frame_is_said_in_terms_of_json() {
    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    for (frame, reason) in [
        ("[]", "invalid type: array, expected an object"),
        ("{\"id\":1", "the text ends within an object"),
        (r#"{"id":"1","cmd":"ping"}"#, "invalid type: string \"1\", expected a whole number"),
        (r#"{"id":1,"cmd":"history","limit":1.5}"#, "invalid type: number `1.5`, expected a whole number"),
        (r#"{"id":1,"cmd":"subscribe","max_rate":"1"}"#, "invalid type: string \"1\", expected a number"),
        (r#"{"id":1}"#, "`cmd` is missing"),
        (r#"{"id":1,"cmd":"publish","tags":{"a":"1","a":"2"}}"#, "`a` is repeated"),
    ] {
        let mut socket = Socket::open(&mut app).await;
        socket.send_text(frame).await;
        assert_eq!(socket.closed().await, (4400, reason.to_owned()), "{frame}");
    }
    let mut socket = Socket::open(&mut app).await;
    socket.send(&json!({ "id": 1, "cmd": "dance" })).await;
    let (code, reason) = socket.closed().await;
    assert!(code == 4400 && reason.starts_with("unknown value `dance`, expected one of `connect`"), "{reason}");
}

#[tokio::test]
async fn bad_frames_close_the_connection_with_a_code() {
    let mut app = TestApp::builder().admin_key().system_clock().spawn().await;
    for (frame, code) in [
        (json!("hello"), 4400),
        (json!({ "cmd": "ping" }), 4400),
        (json!({ "id": 1, "cmd": "dance" }), 4400),
        (json!({ "id": 1, "cmd": "subscribe", "channel": "market:events" }), 4401),
        (json!({ "id": 1, "cmd": "connect", "token": "wrong" }), 4401),
        (json!({ "id": 1, "cmd": "connect", "token": "x".repeat(80 << 10) }), 1009),
    ] {
        let mut socket = Socket::open(&mut app).await;
        socket.send(&frame).await;
        assert_eq!(socket.next().await, Err(code), "{frame:.60}");
    }
    eventually("no socket is left", async || {
        let metrics = app.send(Method::GET, "/metrics", &[("x-api-key", ADMIN_KEY)], Body::empty()).await;
        metrics.text().contains("pubsub_connections{transport=\"websocket\"} 0")
    })
    .await;
}
