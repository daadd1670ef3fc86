//! Reports of trades: all or none, once, and never a guess.

use std::time::Duration;

use axum::http::Method;
use gridtokenx_redis::http::auth::api_key;
use serde_json::{Value, json};

use super::{DAY, JSON, items, report, texts, trade};
use crate::support::{Cluster, START, TestApp, eventually};

#[tokio::test]
async fn a_caller_reads_the_trades_that_it_has_reported() {
    let app = TestApp::spawn().await;
    let trades = [
        json!({ "trade_id": "t-1", "price": "3.410", "quantity": "12.5", "side": "buy", "buyer": "u-1", "seller": "u-2",
                "buy_order_id": "o-1", "sell_order_id": "o-2" }),
        json!({ "trade_id": "t-2", "price": "-0.5", "quantity": "0.000000000000000001", "timestamp": "2026-01-01T00:00:01Z" }),
    ];
    let receipt = report(&app, "GRID", &trades).await.expect(201).json();
    assert_eq!((&receipt["stored"], &receipt["replayed"]), (&json!(2), &json!(0)), "{receipt}");
    let listed = items(&app, "/market/trades/GRID").await;
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[1]["tape_id"], receipt["items"][0]["tape_id"]);
    let mut first = listed[1].clone();
    first.as_object_mut().expect("an object").remove("tape_id");
    let expected = json!({ "trade_id": "t-1", "timestamp": START, "price": "3.41", "quantity": "12.5", "side": "buy" });
    assert_eq!(first, expected, "no parties");
    assert_eq!((&listed[0]["side"], &listed[0]["timestamp"]), (&Value::Null, &json!(START + 1_000)));

    let candles = items(&app, "/market/candles/GRID").await;
    assert_eq!(candles.len(), 1, "{candles:?}");
    assert_eq!((&candles[0]["start"], &candles[0]["trades"]), (&json!(START), &json!(2)));
    let quote = "42.6249999999999999995";
    assert_eq!(texts(&candles[0]), ["3.41", "3.41", "-0.5", "-0.5", "12.500000000000000001", quote]);
}

#[tokio::test]
async fn a_repetition_stores_nothing_and_another_trade_with_the_id_is_refused() {
    let app = TestApp::spawn().await;
    let trades: Vec<Value> = (0..200).map(|n| trade(&format!("t-{n}"), START, "1.5", "2")).collect();
    let first = report(&app, "GRID", &trades).await.expect(201).json();
    let again = report(&app, "GRID", &trades).await.expect(200).json();
    assert_eq!((&again["stored"], &again["replayed"]), (&json!(0), &json!(200)));
    for (first, again) in first["items"].as_array().into_iter().flatten().zip(again["items"].as_array().expect("items"))
    {
        assert_eq!((&first["tape_id"], &again["replayed"]), (&again["tape_id"], &json!(true)));
    }
    // Another spelling of the same number is the same trade.
    report(&app, "GRID", &[trade("t-7", START, "1.500", "2.0")]).await.expect(200);
    let mixed = report(&app, "GRID", &[trade("t-7", START, "1.5", "2"), trade("t-200", START, "1.5", "2")]).await;
    assert_eq!(mixed.expect(201).json()["stored"], 1);
    let before = app.redis().command::<i64>(&["XLEN", "tape:{GRID}"]);
    let reused = report(&app, "GRID", &[trade("t-201", START, "1", "1"), trade("t-7", START, "1.5", "3")]).await;
    reused.expect_violation(409, "trade-id-reused", "/trades/1/trade_id");
    assert_eq!((app.redis().command::<i64>(&["XLEN", "tape:{GRID}"]), before), (201, 201));
    // The id of another symbol is another id.
    report(&app, "ENERGY", &[trade("t-7", START, "9", "9")]).await.expect(201);
    assert_eq!(items(&app, "/market/candles/GRID").await[0]["trades"], 201);
}

#[tokio::test]
async fn ids_are_remembered_for_an_hour_and_in_bounded_memory() {
    let app = TestApp::spawn().await;
    report(&app, "GRID", &[trade("old", START, "1", "1")]).await.expect(201);
    app.clock().advance(Duration::from_secs(3_600));
    report(&app, "GRID", &[trade("next", START, "1", "1")]).await.expect(201);
    report(&app, "GRID", &[trade("old", START, "1", "1")]).await.expect(200);
    let lengths =
        || [":ids:0", ":ids:1"].map(|ids| app.redis().command::<i64>(&["HLEN", &format!("tape:{{GRID}}{ids}")]));
    assert_eq!(lengths(), [2, 2], "an id, and when the hash was begun");
    app.clock().advance(Duration::from_secs(3_600));
    report(&app, "GRID", &[trade("last", START, "1", "1")]).await.expect(201);
    assert_eq!(lengths(), [2, 2]);
    report(&app, "GRID", &[trade("old", START, "1", "1")]).await.expect(201);
    let keys = app.redis().keys();
    for key in
        keys.iter().filter(|key| ["tape:", "candles:", "market:symbols"].iter().any(|ours| key.starts_with(ours)))
    {
        assert!(app.redis().command::<i64>(&["PTTL", key]) > 0, "{key} never expires");
    }
}

#[tokio::test]
async fn invalid_trades_are_named_and_nothing_is_stored() {
    let app = TestApp::spawn().await;
    let good = trade("good", START, "1", "1");
    let with = |field: &str, value: Value| {
        let mut bad = trade("bad", START, "1", "1");
        bad[field] = value;
        bad
    };
    for (bad, pointer) in [
        (with("price", json!(1.5)), "/trades/1/price"),
        (with("price", json!("1e3")), "/trades/1/price"),
        (with("price", json!("01.1")), "/trades/1/price"),
        (with("price", json!("0.0000000000000000001")), "/trades/1/price"),
        (with("price", json!("1000000000000")), "/trades/1/price"),
        (with("quantity", json!("0")), "/trades/1/quantity"),
        (with("quantity", json!("-1")), "/trades/1/quantity"),
        (with("quantity", json!("+1")), "/trades/1/quantity"),
        (with("side", json!("both")), "/trades/1/side"),
        (with("timestamp", json!(START + 5_001)), "/trades/1/timestamp"),
        (with("timestamp", json!(START - 365 * DAY - 1)), "/trades/1/timestamp"),
        (with("trade_id", json!("")), "/trades/1/trade_id"),
        (with("trade_id", json!("a b")), "/trades/1/trade_id"),
        (with("trade_id", json!("good")), "/trades/1/trade_id"),
        (with("buyer", json!("")), "/trades/1/buyer"),
        (with("cost", json!("1")), "/trades/1/cost"),
    ] {
        report(&app, "GRID", &[good.clone(), bad]).await.expect_violation(422, "invalid-body", pointer);
    }
    report(&app, "GRID", &[]).await.expect_violation(422, "invalid-body", "/trades");
    let many: Vec<Value> = (0..201).map(|n| trade(&n.to_string(), START, "1", "1")).collect();
    report(&app, "GRID", &many).await.expect_violation(422, "invalid-body", "/trades");
    report(&app, "a b", &[good]).await.expect_violation(422, "invalid-body", "/symbol");
    for (path, pointer) in [
        ("/market/trades/GRID?limit=0", "/limit"),
        ("/market/trades/GRID?cursor=x", "/cursor"),
        ("/market/candles/GRID?limit=1001", "/limit"),
        ("/market/candles/GRID?resolution=2m", "/resolution"),
        ("/market/candles/GRID?from=5&to=4", "/from"),
        ("/market/candles/GRID?cursor=-1", "/cursor"),
        ("/market/stats/GRID?x=1", "/x"),
    ] {
        app.get(path).await.expect_violation(422, "invalid-query", pointer);
    }
    app.get("/market/stats/a%20b").await.expect_violation(422, "invalid-path", "/symbol");
    assert!(!app.redis().keys().iter().any(|key| key.starts_with("tape:") || key.starts_with("candles:")));
}

#[tokio::test]
async fn a_stale_token_reports_nothing() {
    let app = TestApp::spawn().await;
    let send = async |token: &str, id: &str| {
        let body = json!({ "symbol": "GRID", "trades": [trade(id, START, "1", "1")] }).to_string();
        app.send(Method::POST, "/trades", &[JSON, ("fencing-token", token)], body).await
    };
    send("20", "a").await.expect(201);
    send("19", "b").await.expect_problem(409, "stale-fence");
    send("21", "c").await.expect(201);
    assert_eq!(items(&app, "/market/trades/GRID").await.len(), 2);
}

#[tokio::test]
async fn trades_are_listed_in_pages() {
    let app = TestApp::spawn().await;
    let trades: Vec<Value> = (0..25).map(|n| trade(&n.to_string(), START - n, "1", "1")).collect();
    report(&app, "GRID", &trades).await.expect(201);
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/market/trades/GRID?limit=10{cursor}")).await.expect(200).json();
        let items = page["items"].as_array().cloned().unwrap_or_default();
        ids.extend(
            items.iter().map(|item| item["trade_id"].as_str().expect("an id").parse::<i64>().expect("a number")),
        );
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(ids, (0..25).rev().collect::<Vec<_>>(), "the last to arrive first");
    assert!(items(&app, "/market/trades/OTHER").await.is_empty());
}

#[tokio::test]
async fn no_trade_is_accepted_or_guessed_while_redis_is_unavailable() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    report(&app, "GRID", &[trade("a", START, "1", "1")]).await.expect(201);
    app.proxy().cut();
    report(&app, "GRID", &[trade("b", START, "1", "1")]).await.expect_problem(503, "redis-unavailable");
    for path in [
        "/market/trades/GRID",
        "/market/candles/GRID",
        "/market/stats/GRID",
        "/udf/symbols?symbol=GRID",
        "/udf/search",
        "/udf/history?symbol=GRID&resolution=1&from=0&to=4102444800",
    ] {
        app.get(path).await.expect_problem(503, "redis-unavailable");
    }
    app.proxy().heal();
    eventually("trades are read again", async || app.get("/market/trades/GRID").await.is(200)).await;
    // The repetition of a call whose outcome is unknown counts once.
    eventually("a reply is lost, and not one to the work in the background", async || {
        app.proxy().cut_next_reply();
        let reply = report(&app, "GRID", &[trade("b", START, "1", "1")]).await;
        reply.status.is_server_error() && reply.json()["outcome"] == "unknown"
    })
    .await;
    eventually("the repetition is answered", async || {
        let again = report(&app, "GRID", &[trade("b", START, "1", "1")]).await;
        again.is(200) || again.is(201)
    })
    .await;
    assert_eq!(items(&app, "/market/candles/GRID").await[0]["trades"], 2);
}

#[tokio::test]
async fn trades_work_on_a_cluster() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&cluster.config()).spawn().await;
    for n in 0..12 {
        let symbol = format!("zone-{n}:interval");
        let trades = [trade("a", START, "3", "1"), trade("b", START - 40 * DAY, "2", "1")];
        let body = json!({ "symbol": symbol, "trades": trades }).to_string();
        app.send(Method::POST, "/trades", &[JSON, ("fencing-token", "5")], body).await.expect(201);
        assert_eq!(items(&app, &format!("/market/candles/{symbol}?resolution=1d")).await.len(), 2);
        assert_eq!(app.get(&format!("/market/stats/{symbol}")).await.expect(200).json()["last"], "3");
    }
    assert_eq!(app.get("/udf/search?query=zone").await.expect(200).json().as_array().map(Vec::len), Some(12));
}

#[tokio::test]
async fn reading_and_reporting_need_their_scopes() {
    const KEY: &str = "ak_ffeeddccbbaa99887766554433221100";
    let digest = api_key::hex(&api_key::digest(KEY.as_bytes()));
    let scopes = "scopes = [\"market:read:GRID\"]";
    let keys = format!("[[auth.keys]]\nid = \"reader\"\nsha256 = \"{digest}\"\n{scopes}");
    let app = TestApp::builder().config(&keys).spawn().await;
    let key = [JSON, ("x-api-key", KEY)];
    app.send(Method::GET, "/market/stats/GRID", &key, "").await.expect(200);
    app.send(Method::GET, "/market/stats/OTHER", &key, "").await.expect_problem(403, "forbidden");
    app.send(Method::GET, "/market/epoch", &key, "").await.expect_problem(403, "forbidden");
    app.send(Method::POST, "/trades", &key, "{}").await.expect_problem(403, "forbidden");
    app.send(Method::POST, "/market/epoch/advance", &key, "{}").await.expect_problem(403, "forbidden");
    app.get("/market/stats/GRID").await.expect_problem(401, "unauthenticated");
}
