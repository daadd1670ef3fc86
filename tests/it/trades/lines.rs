//! Trades as lines of JSON: checked before the first one is stored, and safe to repeat.

use axum::http::Method;
use serde_json::{Value, json};

use super::{items, report, trade};
use crate::support::{NDJSON, Reply, START, TestApp, eventually, ndjson};

const PATH: &str = "/trades?symbol=GRID";

fn lines(trades: impl Iterator<Item = Value>) -> String {
    ndjson(&trades.collect::<Vec<_>>())
}

async fn load(app: &TestApp, body: impl Into<String>) -> Reply {
    app.send(Method::POST, PATH, &[NDJSON], body.into()).await
}

fn numbered(count: usize) -> impl Iterator<Item = Value> {
    (0..count).map(|n| trade(&format!("t-{n}"), START + i64::try_from(n % 60_000).expect("small"), "1.5", "2"))
}

#[tokio::test]
async fn thousands_of_trades_are_on_the_tape_once_and_in_their_order() {
    let app = TestApp::spawn().await;
    let body = lines(numbered(3_001));
    let receipt = load(&app, body.clone()).await.expect(201).json();
    assert_eq!(
        (&receipt["stored"], &receipt["replayed"], &receipt["symbol"]),
        (&json!(3_001), &json!(0), &json!("GRID"))
    );
    let ids: Vec<_> = receipt["items"].as_array().expect("items").iter().map(|item| &item["trade_id"]).collect();
    assert_eq!((ids.len(), ids[0], ids[3_000]), (3_001, &json!("t-0"), &json!("t-3000")));
    assert_eq!(items(&app, "/market/trades/GRID?limit=1").await[0]["trade_id"], "t-3000");
    // A slow machine needs several requests to fold them.
    eventually("all are folded", async || app.get("/market/candles/GRID").await.is(200)).await;
    let candle = &items(&app, "/market/candles/GRID").await[0];
    assert_eq!((&candle["trades"], &candle["volume"]), (&json!(3_001), &json!("6002")));
    // The last line needs no line break, and a JSON report of the same trade is a repetition.
    let again = load(&app, body.trim_end()).await.expect(200).json();
    assert_eq!((&again["stored"], &again["replayed"]), (&json!(0), &json!(3_001)));
    assert_eq!(again["items"][7]["tape_id"], receipt["items"][7]["tape_id"]);
    report(&app, "GRID", &[trade("t-7", START + 7, "1.50", "2.0")]).await.expect(200);
}

#[tokio::test]
async fn one_invalid_line_stores_nothing_and_is_named_with_its_field() {
    let app = TestApp::spawn().await;
    let with = |field: &str, value: Value| {
        let mut bad = trade("bad", START, "1", "1");
        bad[field] = value;
        bad.to_string()
    };
    for (bad, pointer) in [
        (with("price", json!(1.5)), "/403/price"),
        (with("quantity", json!("0")), "/403/quantity"),
        (with("quantity", json!("1e3")), "/403/quantity"),
        (with("timestamp", json!(START + 5_001)), "/403/timestamp"),
        (with("trade_id", json!("t-7")), "/403/trade_id"),
        (with("cost", json!("1")), "/403/cost"),
        (with("buyer", json!("b".repeat(4_200))), "/403"),
        ("[1]".to_owned(), "/403"),
    ] {
        // Empty lines count.
        let body = format!("{}\n\r\n{bad}\n", lines(numbered(400)));
        load(&app, body).await.expect_violation(422, "invalid-body", pointer);
    }
    let cut = format!("{}{{\"trade_id\":", lines(numbered(2)));
    let problem = load(&app, cut).await.expect_problem(400, "invalid-json");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("line 3")), "{problem}");
    load(&app, "\n\n").await.expect_violation(422, "invalid-body", "");
    let nowhere = app.send(Method::POST, "/trades", &[NDJSON], lines(numbered(1))).await;
    nowhere.expect_violation(422, "invalid-query", "/symbol");
    let both = json!({ "symbol": "GRID", "trades": [trade("t", START, "1", "1")] });
    app.post(PATH, both).await.expect_violation(422, "invalid-query", "/symbol");
    let path = "/trades?symbol=a%20b";
    app.send(Method::POST, path, &[NDJSON], lines(numbered(1))).await.expect_violation(422, "invalid-query", "/symbol");
    app.send(Method::POST, PATH, &[("content-type", "text/csv")], "a")
        .await
        .expect_problem(415, "unsupported-media-type");
    let large = lines(numbered(15_000));
    assert!(large.len() > 1 << 20);
    load(&app, large).await.expect_problem(413, "body-too-large");
    assert!(!app.redis().keys().iter().any(|key| key.starts_with("tape:")));
}

#[tokio::test]
async fn a_refusal_behind_stored_parts_says_what_is_stored() {
    let app = TestApp::spawn().await;
    report(&app, "GRID", &[trade("t-450", START, "9", "9")]).await.expect(201);
    let problem = load(&app, lines(numbered(600))).await.expect_problem(409, "trade-id-reused");
    assert_eq!((&problem["outcome"], &problem["errors"][0]["pointer"]), (&json!("unknown"), &json!("/451/trade_id")));
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("first 400 trades")), "{problem}");
    assert_eq!(app.redis().command::<i64>(&["XLEN", "tape:{GRID}"]), 401);
    // In the first part nothing is stored.
    report(&app, "ONE", &[trade("t-1", START, "9", "9")]).await.expect(201);
    let first = app.send(Method::POST, "/trades?symbol=ONE", &[NDJSON], lines(numbered(3))).await;
    assert_eq!(first.expect_problem(409, "trade-id-reused")["outcome"], "not_applied");
    assert_eq!(app.redis().command::<i64>(&["XLEN", "tape:{ONE}"]), 1);
    // Without the trade that differs, the repetition completes the report.
    let rest = numbered(600).filter(|trade| trade["trade_id"] != "t-450");
    let done = load(&app, lines(rest)).await.expect(201).json();
    assert_eq!((&done["stored"], &done["replayed"]), (&json!(199), &json!(400)));
}

#[tokio::test]
async fn a_stale_token_loads_nothing() {
    let app = TestApp::spawn().await;
    let send = async |token: &str, count: usize| {
        app.send(Method::POST, PATH, &[NDJSON, ("fencing-token", token)], lines(numbered(count))).await
    };
    send("20", 1).await.expect(201);
    send("19", 300).await.expect_problem(409, "stale-fence");
    assert_eq!(app.redis().command::<i64>(&["XLEN", "tape:{GRID}"]), 1);
}
