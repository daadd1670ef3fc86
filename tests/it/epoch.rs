//! Epochs: one is created by any number of callers, and it moves only as its lifecycle permits.

use std::time::Duration;

use axum::http::Method;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Cluster, Reply, START, TestApp};

const JSON: (&str, &str) = ("content-type", "application/json");
const QUARTER: i64 = 900_000;

async fn advance(app: &TestApp) -> Value {
    let reply = app.post("/market/epoch/advance", json!({})).await;
    assert!(reply.is(200) || reply.is(201), "{}", reply.text());
    reply.json()
}

async fn put(app: &TestApp, headers: &[(&str, &str)], change: Value) -> Reply {
    let headers = [&[JSON], headers].concat();
    app.send(Method::PUT, "/market/epoch", &headers, change.to_string()).await
}

/// Moves an epoch through these states.
async fn move_through(app: &TestApp, number: u64, states: &[&str]) {
    for status in states {
        let moved = put(app, &[], json!({ "epoch_number": number, "status": status })).await.expect(200).json();
        assert_eq!(moved["status"], *status, "{moved}");
    }
}

fn stored(app: &TestApp) -> (String, Vec<String>) {
    let current = app.redis().command(&["GET", "market:current_epoch"]);
    let mut log: Vec<String> = app.redis().command(&["HGETALL", "market:epoch_log:{market:current_epoch}"]);
    log.sort_unstable();
    (current, log)
}

#[tokio::test]
async fn a_hundred_callers_on_two_replicas_create_one_epoch() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    for round in 1..=3 {
        let calls = (0..100).map(|n| {
            let replica = if n % 2 == 0 { &app } else { &other };
            replica.post("/market/epoch/advance", json!({ "length_ms": 900_000 }))
        });
        let replies = join_all(calls).await;
        let created = replies.iter().filter(|reply| reply.is(201)).count();
        assert_eq!((created, replies.iter().filter(|reply| reply.is(200)).count()), (1, 99));
        for reply in &replies {
            assert_eq!(reply.json(), replies[0].json());
        }
        assert_eq!(replies[0].json()["epoch_number"], round);
        let listed = app.get("/market/epochs").await.expect(200).json();
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(round), "{listed}");
        move_through(&app, u64::try_from(round).expect("a number"), &["cancelled"]).await;
    }
}

#[tokio::test]
async fn an_epoch_begins_now_and_ends_by_itself() {
    let app = TestApp::spawn().await;
    app.get("/market/epoch").await.expect_problem(404, "epoch-not-found");
    let created = app.post("/market/epoch/advance", json!({})).await.expect(201).json();
    assert_eq!((&created["epoch_number"], &created["status"]), (&json!(1), &json!("active")), "{created}");
    assert_eq!((&created["start"], &created["end"]), (&json!(START), &json!(START + QUARTER)), "{created}");
    assert_eq!((&created["clearing_price"], &created["total_volume"]), (&Value::Null, &json!("0")), "{created}");
    assert_eq!((&created["ended"], &created["version"]), (&json!(false), &json!(1)), "{created}");
    assert_eq!(created["epoch_id"].as_str().map(str::len), Some(36), "{created}");
    assert!(created.get("fence").is_none(), "{created}");

    let before = app.get("/market/epoch").await.expect(200);
    assert_eq!(before.json(), created);
    app.clock().advance(Duration::from_secs(900));
    let after = app.get("/market/epoch").await.expect(200);
    assert_eq!((&after.json()["ended"], &after.json()["status"]), (&json!(true), &json!("active")));
    assert_ne!(after.header("etag"), before.header("etag"), "another representation");
    let stuck = app.post("/market/epoch/advance", json!({})).await.expect_problem(409, "epoch-conflict");
    assert_eq!(stuck["detail"], "epoch 1 has ended and is `active`: clear or cancel it first");

    move_through(&app, 1, &["clearing", "cleared"]).await;
    let next = advance(&app).await;
    assert_eq!((&next["epoch_number"], &next["start"]), (&json!(2), &json!(START + QUARTER)), "{next}");
    // The earlier epoch is settled while the next one is open.
    move_through(&app, 1, &["settled"]).await;
    assert_eq!(app.get("/market/epoch?number=1").await.expect(200).json()["status"], "settled");
    assert_eq!(app.get("/market/epoch").await.expect(200).json(), next);
    app.get("/market/epoch?number=3").await.expect_problem(404, "epoch-not-found");
}

#[tokio::test]
async fn an_epoch_that_was_cleared_early_keeps_its_time() {
    let app = TestApp::spawn().await;
    advance(&app).await;
    move_through(&app, 1, &["clearing", "cleared"]).await;
    let next = advance(&app).await;
    assert_eq!((&next["status"], &next["start"]), (&json!("pending"), &json!(START + QUARTER)), "{next}");
    assert_eq!(advance(&app).await, next, "the epoch that is about to begin");
    app.clock().advance(Duration::from_secs(900));
    let begun = advance(&app).await;
    assert_eq!((&begun["epoch_number"], &begun["status"]), (&json!(2), &json!("active")), "{begun}");
    assert_eq!(begun["version"], 2);
    // A cancelled epoch leaves its time to the next one.
    move_through(&app, 2, &["cancelled"]).await;
    let next = advance(&app).await;
    assert_eq!((&next["epoch_number"], &next["start"]), (&json!(3), &json!(START + QUARTER)), "{next}");
}

#[tokio::test]
async fn only_the_changes_of_the_lifecycle_are_permitted() {
    const ALL: [&str; 6] = ["pending", "active", "clearing", "cleared", "settled", "cancelled"];
    const PERMITTED: [(&str, &str); 7] = [
        ("pending", "active"),
        ("pending", "cancelled"),
        ("active", "clearing"),
        ("active", "cancelled"),
        ("clearing", "cleared"),
        ("cleared", "settled"),
        ("settled", "settled"),
    ];
    let app = TestApp::spawn().await;
    let paths: [&[&str]; 6] = [
        &[],
        &["active"],
        &["active", "clearing"],
        &["active", "clearing", "cleared"],
        &["active", "clearing", "cleared", "settled"],
        &["cancelled"],
    ];
    for (from, path) in ALL.iter().zip(paths) {
        for to in ALL {
            let _: () = app.redis().command(&["FLUSHALL"]);
            let new = json!({ "epoch_number": 1, "status": "pending", "start": START + 5, "end": START + 5_000 });
            put(&app, &[], new).await.expect(201);
            move_through(&app, 1, path).await;
            let before = stored(&app);
            let reply = put(&app, &[], json!({ "epoch_number": 1, "status": to })).await;
            if *from == to || PERMITTED.contains(&(from, to)) {
                assert_eq!(reply.expect(200).json()["status"], to, "{from} -> {to}");
                assert_eq!(stored(&app) == before, *from == to, "{from} -> {to}");
            } else {
                reply.expect_problem(409, "epoch-conflict");
                assert_eq!(stored(&app), before, "{from} -> {to}");
            }
        }
    }
}

#[tokio::test]
async fn a_failed_clearing_returns_only_under_a_newer_token() {
    let app = TestApp::spawn().await;
    let to = |status: &str| json!({ "epoch_number": 1, "status": status });
    app.send(Method::POST, "/market/epoch/advance", &[JSON, ("fencing-token", "10")], "{}").await.expect(201);
    put(&app, &[("fencing-token", "20")], to("clearing")).await.expect(200);
    put(&app, &[("fencing-token", "20")], to("active")).await.expect_problem(409, "epoch-conflict");
    put(&app, &[], to("active")).await.expect_problem(409, "epoch-conflict");
    put(&app, &[("fencing-token", "21")], to("active")).await.expect(200);
    // The holder that was paused gets nothing through.
    let before = stored(&app);
    put(&app, &[("fencing-token", "20")], to("clearing")).await.expect_problem(409, "stale-fence");
    let late = app.send(Method::POST, "/market/epoch/advance", &[JSON, ("fencing-token", "20")], "{}").await;
    late.expect_problem(409, "stale-fence");
    assert_eq!(stored(&app), before);
}

#[tokio::test]
async fn results_are_exact_and_final() {
    let app = TestApp::spawn().await;
    advance(&app).await;
    move_through(&app, 1, &["clearing"]).await;
    let results = json!({
        "epoch_number": 1, "status": "cleared", "clearing_price": "3.410000001", "total_volume": "999999999999.000000000000000001",
        "total_orders": 12, "matched_orders": 8,
        "clearings": [{ "symbol": "zone-7:interval", "price": null, "volume": "0", "matched_orders": 0 }],
    });
    let cleared = put(&app, &[], results.clone()).await.expect(200).json();
    for field in ["clearing_price", "total_volume", "total_orders", "matched_orders", "clearings"] {
        assert_eq!(cleared[field], results[field], "{cleared}");
    }
    assert_eq!(put(&app, &[], results).await.expect(200).json(), cleared, "a repetition changes nothing");
    for (field, value) in [("total_orders", json!(13)), ("start", json!(START + 1)), ("epoch_id", json!("other"))] {
        let mut other = json!({ "epoch_number": 1, "status": "settled" });
        other[field] = value;
        put(&app, &[], other).await.expect_problem(409, "epoch-conflict");
    }
    assert_eq!(app.get("/market/epoch").await.json(), cleared);
    let settled = put(&app, &[], json!({ "epoch_number": 1, "status": "settled" })).await.expect(200).json();
    assert_eq!((&settled["clearings"], &settled["version"]), (&cleared["clearings"], &json!(4)));
}

#[tokio::test]
async fn conditions_compare_the_state_of_the_epoch() {
    let app = TestApp::spawn().await;
    let new = json!({ "epoch_number": 7, "status": "active", "start": "2026-01-01T00:00:00Z", "end": START + 60_000,
                      "epoch_id": "e-7" });
    let etag = put(&app, &[("if-none-match", "*")], new.clone()).await.expect(201).header("etag").map(str::to_owned);
    put(&app, &[("if-none-match", "*")], new.clone()).await.expect_problem(412, "precondition-failed");
    let etag = etag.expect("an entity tag");
    let change = json!({ "epoch_number": 7, "status": "active", "total_orders": 3 });
    put(&app, &[("if-match", &etag)], change.clone()).await.expect(200);
    put(&app, &[("if-match", &etag)], change).await.expect_problem(412, "precondition-failed");
    let mut other = new;
    other["end"] = json!(START + 61_000);
    put(&app, &[], other).await.expect_problem(409, "epoch-conflict");
    let missing = json!({ "epoch_number": 6, "status": "active", "start": START, "end": START + 60_000 });
    put(&app, &[], missing).await.expect_problem(404, "epoch-not-found");
    let second = json!({ "epoch_number": 8, "status": "pending", "start": START + 60_000, "end": START + 120_000 });
    put(&app, &[], second.clone()).await.expect_problem(409, "epoch-conflict");
    move_through(&app, 7, &["clearing", "cleared"]).await;
    let mut overlapping = second.clone();
    overlapping["start"] = json!(START + 59_999);
    put(&app, &[], overlapping).await.expect_problem(409, "epoch-conflict");
    put(&app, &[], second).await.expect(201);
}

#[tokio::test]
async fn invalid_input_is_named_and_stores_nothing() {
    let app = TestApp::spawn().await;
    for (change, pointer) in [
        (json!({ "status": "active" }), "/epoch_number"),
        (json!({ "epoch_number": 0, "status": "active" }), "/epoch_number"),
        (json!({ "epoch_number": 9_007_199_254_740_992_u64, "status": "active" }), "/epoch_number"),
        (json!({ "epoch_number": 1, "status": "open" }), "/status"),
        (json!({ "epoch_number": 1, "status": "active" }), "/start"),
        (json!({ "epoch_number": 1, "status": "active", "start": START }), "/end"),
        (json!({ "epoch_number": 1, "status": "cleared", "start": START, "end": START + 1_000 }), "/status"),
        (json!({ "epoch_number": 1, "status": "active", "start": START, "end": START + 999 }), "/end"),
        (json!({ "epoch_number": 1, "status": "active", "start": START, "end": START + 86_400_001 }), "/end"),
        (json!({ "epoch_number": 1, "status": "active", "start": START - 2_000, "end": START - 500 }), "/end"),
        (json!({ "epoch_number": 1, "status": "active", "start": -5, "end": START }), "/start"),
        (
            json!({ "epoch_number": 1, "status": "active", "start": START * 1_000, "end": START * 1_000 + 900_000 }),
            "/start",
        ),
        (json!({ "epoch_number": 1, "status": "active", "start": i64::MAX, "end": i64::MIN }), "/start"),
        (json!({ "epoch_number": 1, "status": "active", "epoch_id": "a b" }), "/epoch_id"),
        (json!({ "epoch_number": 1, "status": "active", "total_volume": "-1" }), "/total_volume"),
        (json!({ "epoch_number": 1, "status": "active", "total_volume": 1.5 }), "/total_volume"),
        (json!({ "epoch_number": 1, "status": "active", "clearing_price": "1e3" }), "/clearing_price"),
        (json!({ "epoch_number": 1, "status": "active", "version": 2 }), "/version"),
    ] {
        put(&app, &[], change).await.expect_violation(422, "invalid-body", pointer);
    }
    let clearing = json!({ "symbol": "GRID", "price": "1", "volume": "1", "matched_orders": 2 });
    for clearings in [json!([clearing, clearing]), Value::Array(vec![clearing.clone(); 101])] {
        let change = json!({ "epoch_number": 1, "status": "active", "clearings": clearings });
        put(&app, &[], change).await.expect_violation(422, "invalid-body", "/clearings");
    }
    for length in [999, 86_400_001] {
        let refused = app.post("/market/epoch/advance", json!({ "length_ms": length })).await;
        refused.expect_violation(422, "invalid-body", "/length_ms");
    }
    for (query, pointer) in [("?limit=0", "/limit"), ("?limit=1001", "/limit"), ("?cursor=x", "/cursor")] {
        let refused = app.get(&format!("/market/epochs{query}")).await;
        refused.expect_violation(422, "invalid-query", pointer);
    }
    app.get("/market/epoch?number=x").await.expect_violation(422, "invalid-query", "/number");
    assert!(!app.redis().keys().iter().any(|key| key.contains("epoch")));
    // What another program stored stays as it is.
    let _: () = app.redis().command(&["SET", "market:current_epoch", "7"]);
    app.get("/market/epoch").await.expect_problem(409, "wrong-type");
    app.post("/market/epoch/advance", json!({})).await.expect_problem(409, "wrong-type");
    assert_eq!(app.redis().command::<String>(&["GET", "market:current_epoch"]), "7");
}

#[tokio::test]
async fn the_log_keeps_the_newest_epochs_and_is_read_in_pages() {
    let app = TestApp::spawn().await;
    for number in 1..=5 {
        advance(&app).await;
        move_through(&app, number, &["cancelled"]).await;
    }
    let first = app.get("/market/epochs?limit=2").await.expect(200).json();
    let numbers = |page: &Value| -> Vec<u64> {
        let items = page["items"].as_array().expect("items");
        items.iter().map(|item| item["epoch_number"].as_u64().expect("a number")).collect()
    };
    assert_eq!(numbers(&first), [5, 4]);
    let cursor = first["next_cursor"].as_str().expect("another page");
    let second = app.get(&format!("/market/epochs?limit=3&cursor={cursor}")).await.expect(200).json();
    assert_eq!((numbers(&second), &second["next_cursor"]), (vec![3, 2, 1], &Value::Null));

    let log = "market:epoch_log:{market:current_epoch}";
    let record: String = app.redis().command(&["HGET", log, "5"]);
    for number in 10_001..=13_000 {
        let _: () = app.redis().command(&["HSET", log, &number.to_string(), &record]);
    }
    // Without the current epoch, numbers still rise.
    let _: () = app.redis().command(&["DEL", "market:current_epoch"]);
    assert_eq!(advance(&app).await["epoch_number"], 13_001);
    assert_eq!(app.redis().command::<i64>(&["HEXISTS", log, "1"]), 0, "the oldest was removed");
    assert_eq!(app.redis().command::<i64>(&["HEXISTS", log, "2"]), 1);
    for key in [log, "market:current_epoch"] {
        let life: i64 = app.redis().command(&["PTTL", key]);
        assert!((1..=35 * 86_400_000).contains(&life), "{key}: {life}");
    }
}

#[tokio::test]
async fn no_epoch_is_guessed_while_redis_is_unavailable() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    advance(&app).await;
    app.proxy().cut();
    app.get("/market/epoch").await.expect_problem(503, "redis-unavailable");
    app.get("/market/epochs").await.expect_problem(503, "redis-unavailable");
    app.post("/market/epoch/advance", json!({})).await.expect_problem(503, "redis-unavailable");
    put(&app, &[], json!({ "epoch_number": 1, "status": "clearing" })).await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    let healed = async || app.get("/market/epoch").await.is(200);
    crate::support::eventually("epochs are read again", healed).await;
    assert_eq!(app.get("/market/epoch").await.json()["status"], "active");
}

#[tokio::test]
async fn epochs_work_on_a_cluster() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&cluster.config()).spawn().await;
    let fenced = [JSON, ("fencing-token", "5")];
    app.send(Method::POST, "/market/epoch/advance", &fenced, "{}").await.expect(201);
    move_through(&app, 1, &["clearing", "cleared"]).await;
    advance(&app).await;
    assert_eq!(app.get("/market/epochs").await.expect(200).json()["items"].as_array().map(Vec::len), Some(2));
}
