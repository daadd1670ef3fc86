//! Publishing and reading over HTTP.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::socket::{Socket, number, price};
use crate::support::TestApp;

#[tokio::test]
async fn a_message_gets_the_next_offset_and_is_kept() {
    let app = TestApp::spawn().await;
    let first = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    let second = app.post("/pubsub/market:events", price(2)).await.expect(201).json();
    assert_eq!((&first["offset"], &second["offset"], &first["duplicate"]), (&json!(1), &json!(2), &json!(false)));
    assert_eq!(first["epoch"], second["epoch"]);
    let page = app.get("/pubsub/market:events/history").await.expect(200).json();
    assert_eq!((&page["offset"], &page["epoch"], &page["next_cursor"]), (&json!(2), &first["epoch"], &json!(null)));
    let item = &page["items"][0];
    assert_eq!(item["data"], price(1)["data"]);
    for (member, value) in [("id", json!("p1")), ("channel", json!("market:events")), ("version", json!("1.0"))] {
        assert_eq!(item[member], value, "{item}");
    }
    assert_eq!(item["timestamp"], first["timestamp"]);
}

#[tokio::test]
async fn a_repetition_is_not_published_again() {
    let app = TestApp::spawn().await;
    let first = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    let again = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    assert_eq!((&again["offset"], &again["duplicate"]), (&first["offset"], &json!(true)));
    assert_eq!(again["timestamp"], first["timestamp"]);
    let page = app.get("/pubsub/market:events/history").await.json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn only_ids_that_publishers_choose_are_remembered() {
    let app = TestApp::spawn().await;
    let remembered = || app.redis().keys().into_iter().filter(|key| key.contains("pubsub:seen")).count();
    app.post("/pubsub/orderbook:A", json!({ "message_type": "X", "data": 1, "key": "k" })).await.expect(201);
    assert_eq!(remembered(), 0);
    app.post("/pubsub/orderbook:A", json!({ "message_type": "X", "data": 1, "key": "k", "id": "a" })).await.expect(201);
    assert_eq!(remembered(), 1);
}

#[tokio::test]
async fn an_older_revision_is_not_published() {
    let app = TestApp::spawn().await;
    let with_revision =
        |revision: u64| json!({ "message_type": "X", "data": revision, "revision": revision, "key": "k" });
    app.post("/pubsub/orderbook:ENERGY", with_revision(5)).await.expect(201);
    for late in [4, 5] {
        app.post("/pubsub/orderbook:ENERGY", with_revision(late)).await.expect_problem(409, "event-superseded");
    }
    app.post("/pubsub/orderbook:ENERGY", with_revision(6)).await.expect(201);
    let latest = app.get("/pubsub/orderbook:ENERGY/latest").await.expect(200).json();
    assert_eq!(latest["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(latest["items"][0]["data"], 6);
}

#[tokio::test]
async fn a_message_of_one_symbol_appears_on_both_channels() {
    let app = TestApp::spawn().await;
    app.post("/pubsub/market:events:ENERGY", price(7)).await.expect(201);
    for channel in ["market:events:ENERGY", "market:events"] {
        let page = app.get(&format!("/pubsub/{channel}/history")).await.json();
        assert_eq!(number(&page["items"][0]), 7, "{channel}");
        assert_eq!(page["items"][0]["channel"], channel);
    }
}

#[tokio::test]
async fn invalid_messages_are_rejected_by_name() {
    let app = TestApp::spawn().await;
    app.post("/pubsub/weather:today", price(1)).await.expect_problem(404, "channel-unknown");
    app.post("/pubsub/a::b", price(1)).await.expect_problem(422, "invalid-path");
    let typed = json!({ "message_type": "PriceUpdate", "data": { "symbol": "E", "price": 3.5 } });
    let problem = app.post("/pubsub/market:events", typed).await.expect_problem(422, "event-invalid");
    assert!(problem["errors"][0]["pointer"].as_str().is_some_and(|at| at.starts_with("/data/")), "{problem}");
    let unknown = json!({ "message_type": "Weather", "data": 1 });
    app.post("/pubsub/market:events", unknown).await.expect_problem(422, "event-invalid");
    for (field, value) in [
        ("message_type", json!("")),
        ("id", json!("")),
        ("key", json!("x".repeat(129))),
        ("tags", json!({ "a": "x".repeat(65) })),
        ("revision", json!(9_007_199_254_740_992_u64)),
        ("channel", json!("market:events")),
    ] {
        let mut message = price(1);
        message[field] = value;
        let problem = app.post("/pubsub/orderbook:E", message).await.expect_problem(422, "invalid-body");
        assert!(problem["errors"][0]["pointer"].as_str() == Some(&format!("/{field}")), "{problem}");
    }
    let page = app.get("/pubsub/market:events/history").await.json();
    assert_eq!((&page["offset"], &page["items"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn every_message_of_a_batch_has_its_own_result() {
    let app = TestApp::spawn().await;
    let mut good = price(1);
    good["channel"] = json!("market:events");
    let mut unknown = price(2);
    unknown["channel"] = json!("nothing");
    let batch = json!({ "messages": [good, unknown, price(3), { "channel": 1 }] });
    let reply = app.post("/pubsub", batch).await.expect(200).json();
    let statuses: Vec<_> = (0..4).map(|at| reply["results"][at]["status"].as_u64().expect("a status")).collect();
    assert_eq!(statuses, [201, 404, 422, 422], "{reply}");
    assert_eq!(reply["results"][0]["published"]["offset"], 1);
}

#[tokio::test]
async fn the_messages_of_a_batch_share_calls_and_keep_their_order_and_results() {
    let app = TestApp::spawn().await;
    let on = |channel: &str, at: u64| {
        let mut message = price(at);
        message["channel"] = json!(channel);
        message
    };
    // Every third message appears on both channels of events, and every fifth repeats the one before it.
    let mut messages: Vec<Value> = Vec::new();
    for at in 1..=200 {
        let channel = match at % 3 {
            0 => "market:events",
            1 => "market:events:ENERGY",
            _ => "market:prices",
        };
        messages.push(on(channel, at));
        if at % 5 == 0 {
            messages.extend(messages.last().cloned());
        }
    }
    let [old, older] = [7, 6].map(|revision| {
        let mut message = on("orderbook:E", revision);
        message["revision"] = json!(revision);
        message
    });
    messages.extend([old, older]);
    let calls = || -> u64 {
        let info: String = app.redis().command(&["INFO", "commandstats"]);
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")).unwrap_or("0,");
        line.split(',').next().and_then(|count| count.parse().ok()).expect("a number")
    };
    let before = calls();
    let reply = app.post("/pubsub", json!({ "messages": messages })).await.expect(200).json();
    assert!(calls() - before < 20, "{} calls", calls() - before);
    let results = reply["results"].as_array().expect("results");
    assert_eq!((&reply["published"], &reply["duplicates"]), (&json!(201), &json!(40)), "{reply}");
    for (message, result) in messages.iter().zip(results).take(240) {
        let published = &result["published"];
        assert_eq!((&published["id"], &published["channel"]), (&message["id"], &message["channel"]), "{result}");
    }
    assert_eq!((&results[240]["status"], &results[241]["status"]), (&json!(201), &json!(409)), "{reply}");
    let numbers = async |channel: &str| {
        let page = app.get(&format!("/pubsub/{channel}/history?limit=300")).await.expect(200).json();
        let items = page["items"].as_array().expect("items").clone();
        assert!(items.iter().zip(1..).all(|(item, offset)| item["offset"] == offset), "{page}");
        items.iter().map(number).collect::<Vec<_>>()
    };
    let of = |kinds: &[u64]| (1..=200).filter(|at| kinds.contains(&(at % 3))).collect::<Vec<u64>>();
    assert_eq!(numbers("market:events:ENERGY").await, of(&[1]));
    assert_eq!(numbers("market:events").await, of(&[0, 1]));
    // Expired messages are trimmed, whatever the number of those that follow together.
    app.clock().advance(Duration::from_secs(601));
    let later: Vec<_> = (300..370).map(|at| on("market:events:ENERGY", at)).collect();
    app.post("/pubsub", json!({ "messages": later })).await.expect(200);
    let kept: u64 = app.redis().command(&["XLEN", "pubsub:log:{market:events:ENERGY}"]);
    assert_eq!(kept, 70);
}

#[tokio::test]
async fn a_page_of_the_history_continues_where_the_last_one_ended() {
    let app = TestApp::spawn().await;
    for at in 1..=7 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
    }
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    loop {
        let page = app.get(&format!("/pubsub/market:events/history?limit=3{cursor}")).await.expect(200).json();
        seen.extend(page["items"].as_array().expect("items").iter().map(number));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, (1..=7).collect::<Vec<_>>());
    let newest = app.get("/pubsub/market:events/history?limit=2&order=desc").await.json();
    assert_eq!(newest["items"].as_array().expect("items").iter().map(number).collect::<Vec<_>>(), [7, 6]);
    let epoch = newest["epoch"].as_str().expect("an epoch");
    let since = app.get(&format!("/pubsub/market:events/history?since=5&epoch={epoch}")).await.json();
    assert_eq!((&since["recovered"], number(&since["items"][0])), (&json!(true), 6));
    let other = app.get("/pubsub/market:events/history?since=5&epoch=00000000").await.json();
    assert_eq!((&other["recovered"], number(&other["items"][0])), (&json!(false), 1));
}

#[tokio::test]
async fn deleting_the_history_begins_an_epoch_in_which_offsets_go_on() {
    let app = TestApp::spawn().await;
    let before = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    app.send(Method::DELETE, "/pubsub/market:events/history", &[], Body::empty()).await.expect(204);
    let after = app.post("/pubsub/market:events", price(2)).await.expect(201).json();
    assert_eq!(after["offset"], 2);
    assert_ne!(after["epoch"], before["epoch"]);
    let page = app.get("/pubsub/market:events/history").await.json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_long_poll_returns_with_the_next_message() {
    let app = TestApp::spawn().await;
    let first = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    let epoch = first["epoch"].as_str().expect("an epoch");
    let path = format!("/pubsub/market:events/history?since=1&epoch={epoch}&wait_ms=20000");
    let (page, _) = tokio::join!(app.get(&path), async {
        while app.get("/pubsub/channels").await.json()["items"][0]["subscribers"] != 1 {
            tokio::task::yield_now().await;
        }
        app.post("/pubsub/market:events", price(2)).await.expect(201)
    });
    let page = page.expect(200).json();
    assert_eq!((number(&page["items"][0]), &page["offset"], &page["recovered"]), (2, &json!(2), &json!(true)));
    let nothing = app.get("/pubsub/market:events/history?wait_ms=50").await.expect(200).json();
    assert_eq!(nothing["items"], json!([]));
}

#[tokio::test]
async fn a_long_poll_continues_behind_the_messages_that_it_returned() {
    let app = TestApp::spawn().await;
    let first = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    for at in 2..=8 {
        app.post("/pubsub/market:events", price(at)).await.expect(201);
    }
    let (mut offset, mut seen) = (1, Vec::new());
    while seen.last() != Some(&8) {
        let epoch = first["epoch"].as_str().expect("an epoch");
        let path = format!("/pubsub/market:events/history?since={offset}&epoch={epoch}&wait_ms=1000&limit=3");
        let page = app.get(&path).await.expect(200).json();
        seen.extend(page["items"].as_array().expect("items").iter().map(number));
        offset = page["offset"].as_u64().expect("an offset");
    }
    assert_eq!(seen, (2..=8).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_position_that_no_message_has_is_not_recovered() {
    let mut app = TestApp::builder().system_clock().spawn().await;
    let first = app.post("/pubsub/market:events", price(1)).await.expect(201).json();
    let epoch = first["epoch"].as_str().expect("an epoch");
    for epoch in [epoch, "_"] {
        for offset in [2, u64::MAX] {
            for wait in ["", "&wait_ms=50"] {
                let path = format!("/pubsub/market:events/history?since={offset}&epoch={epoch}{wait}");
                assert_eq!(app.get(&path).await.expect(200).json()["recovered"], false, "{path}");
            }
            let id = URL_SAFE_NO_PAD.encode(format!("market:events={epoch}.{offset}"));
            let request = Request::builder().uri("/pubsub/sse?channel=market:events").header("last-event-id", id);
            let response = app.app().answer(request.body(Body::empty()).expect("a request")).await;
            assert_eq!(response.status(), 200, "{epoch} {offset}");
            let mut socket = Socket::open(&mut app).await;
            let since = json!({ "epoch": epoch, "offset": offset });
            let command = json!({ "id": 1, "cmd": "subscribe", "channel": "market:events", "since": since });
            assert_eq!(socket.command(command).await["ok"]["recovered"], false);
            let mut socket = Socket::connect(&format!("ws://{}/connection/websocket", app.serve())).await;
            socket.command(json!({ "id": 1, "connect": {} })).await;
            let recover = json!({ "channel": "market:events", "recover": true, "epoch": epoch, "offset": offset });
            let reply = socket.command(json!({ "id": 2, "subscribe": recover })).await;
            assert_eq!(reply["subscribe"]["recovered"], false, "{reply}");
            let history = json!({ "channel": "market:events", "since": { "epoch": epoch, "offset": offset } });
            let reply = socket.command(json!({ "id": 3, "history": history })).await;
            assert_eq!(reply["error"]["code"] == 112, epoch == "_", "{reply}");
        }
    }
}

#[tokio::test]
async fn a_channel_of_latest_messages_has_a_limit_of_keys() {
    let app = TestApp::spawn().await;
    let message =
        |key: usize| json!({ "channel": "orderbook:E", "message_type": "X", "data": key, "key": format!("k{key}") });
    let batch = json!({ "messages": (0..1_000).map(message).collect::<Vec<_>>() });
    let reply = app.post("/pubsub", batch).await.expect(200).json();
    assert!(reply["results"].as_array().expect("results").iter().all(|result| result["status"] == 201));
    let mut another = message(1_000);
    another.as_object_mut().expect("an object").remove("channel");
    app.post("/pubsub/orderbook:E", another).await.expect_problem(409, "channel-full");
    let mut known = message(7);
    known.as_object_mut().expect("an object").remove("channel");
    app.post("/pubsub/orderbook:E", known).await.expect(201);
    let too_many = json!({ "messages": (0..1_001).map(message).collect::<Vec<_>>() });
    app.post("/pubsub", too_many).await.expect_problem(422, "invalid-body");
}

#[tokio::test]
async fn a_channel_of_latest_messages_has_a_limit_of_bytes() {
    let app = TestApp::spawn().await;
    let message =
        |key: usize, size: usize| json!({ "message_type": "X", "data": "x".repeat(size), "key": format!("k{key}") });
    for key in 0..34 {
        app.post("/pubsub/orderbook:E", message(key, 60_000)).await.expect(201);
    }
    app.post("/pubsub/orderbook:E", message(34, 60_000)).await.expect_problem(409, "channel-full");
    app.post("/pubsub/orderbook:E", message(0, 62_000)).await.expect(201);
    let latest = app.get("/pubsub/orderbook:E/latest").await.expect(200);
    assert!(latest.body.len() < 2 << 20, "{}", latest.body.len());
    assert_eq!(latest.json()["items"].as_array().map(Vec::len), Some(34));
    // Smaller messages make room, even if the count of an earlier version is missing.
    let meta = app.redis().keys().into_iter().find(|key| key.contains("pubsub:meta")).expect("a key");
    assert_eq!(app.redis().command::<u8>(&["HDEL", &meta, "b"]), 1);
    app.post("/pubsub/orderbook:E", message(34, 60_000)).await.expect_problem(409, "channel-full");
    app.post("/pubsub/orderbook:E", message(1, 10)).await.expect(201);
    app.post("/pubsub/orderbook:E", message(34, 60_000)).await.expect(201);
}

#[tokio::test]
async fn a_page_of_the_history_has_a_limit_of_bytes() {
    let namespace = "[[pubsub.namespaces]]\npattern = \"market:log\"\nkeep = \"log\"\nsubscribe = [\"public\"]\npublish = [\"public\"]\n";
    let mut app = TestApp::builder().config(namespace).system_clock().spawn().await;
    let message = |number: usize| json!({ "message_type": "X", "data": format!("{number} {}", "x".repeat(60_000)) });
    for number in 0..40 {
        app.post("/pubsub/market:log", message(number)).await.expect(201);
    }
    for order in ["asc", "desc"] {
        let (mut offsets, mut path, mut pages) = (Vec::new(), format!("limit=300&order={order}"), 0);
        loop {
            let page = app.get(&format!("/pubsub/market:log/history?{path}")).await.expect(200);
            assert!(page.body.len() <= (1 << 20) + 1_000, "{} bytes", page.body.len());
            let page = page.json();
            offsets.extend(page["items"].as_array().expect("items").iter().map(|item| item["offset"].as_u64()));
            pages += 1;
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("limit=300&order={order}&cursor={cursor}");
        }
        let mut expected: Vec<_> = (1..=40).map(Some).collect();
        if order == "desc" {
            expected.reverse();
        }
        assert_eq!((offsets, pages), (expected, 3), "{order}");
    }
    let mut socket = Socket::open(&mut app).await;
    let epoch = app.get("/pubsub/market:log/history?limit=1").await.expect(200).json()["epoch"].clone();
    let mut since = json!({ "epoch": epoch, "offset": 0 });
    let mut count = 0;
    while count < 40 {
        let command = json!({ "id": 1, "cmd": "history", "channel": "market:log", "since": since });
        let page = socket.command(command).await["ok"].clone();
        let items = page["items"].as_array().expect("items");
        assert!((1..=2).contains(&items.len()), "{} messages of 60 kB", items.len());
        count += items.len();
        assert_eq!(page["next_cursor"].is_null(), count == 40);
        since["offset"] = items.last().expect("one")["offset"].clone();
    }
}

#[tokio::test]
async fn the_rules_of_all_channels_are_listed_and_described() {
    let app = TestApp::spawn().await;
    let namespaces = app.get("/pubsub/namespaces").await.expect(200).json();
    let first = &namespaces["items"][0];
    assert_eq!(
        (&first["pattern"], &first["keep"], &first["history_size"]),
        (&json!("market:events"), &json!("log"), &json!(1_000))
    );
    let document = app.get("/asyncapi.json").await.expect(200).json();
    assert_eq!(document["asyncapi"], "3.0.0");
    let channels = document["channels"].as_object().expect("channels");
    assert_eq!(channels.len(), namespaces["items"].as_array().map_or(0, Vec::len));
    assert_eq!(channels["orders_user"]["address"], "orders:{user}");
    let price = &document["components"]["messages"]["PriceUpdate"]["payload"]["properties"]["data"];
    assert_eq!(price["properties"]["price"]["type"], "string", "{price}");
}
