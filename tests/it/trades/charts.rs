//! TradingView's charts: bars, symbols, and the end of scrolling.

use axum::http::Method;
use serde_json::{Value, json};

use super::{MINUTE, report, trade};
use crate::support::{NDJSON, START, TestApp, eventually, ndjson};

#[tokio::test]
async fn a_chart_scrolls_back_to_the_first_bar_and_ends_with_no_data() {
    let app = TestApp::spawn().await;
    let trades: Vec<Value> =
        (0..100).map(|n| trade(&n.to_string(), START - n * MINUTE, &format!("3.{:09}", 100 + n), "0.5")).collect();
    report(&app, "GRID", &trades).await.expect(201);
    let history = async |from: i64, to: i64, rest: &str| {
        let path = format!("/udf/history?symbol=GRID&resolution=1&from={}&to={}{rest}", from / 1_000, to / 1_000);
        app.get(&path).await.expect(200).json()
    };
    let count = |bars: &Value| bars["t"].as_array().expect("bars").len();
    let newest = history(START - 29 * MINUTE, START + MINUTE, "&countback=30").await;
    assert_eq!((&newest["s"], count(&newest)), (&json!("ok"), 30), "{newest}");
    assert_eq!(newest["t"][29], START / 1_000, "oldest first");
    assert_eq!(newest["c"][29].to_string(), "3.000000100".parse::<f64>().expect("a number").to_string());
    // The chart scrolls: each time before the first bar that it has.
    let (mut first, mut bars, mut requests) = (START / 1_000 - 29 * 60, 30, 0);
    loop {
        requests += 1;
        assert!(requests < 10, "the chart asks forever");
        let page = history((first - 30 * 60) * 1_000, first * 1_000, "&countback=30").await;
        if page["s"] == "no_data" {
            assert!(page.get("nextTime").is_none(), "{page}");
            break;
        }
        bars += count(&page);
        first = page["t"][0].as_i64().expect("a time");
    }
    assert_eq!(bars, 100);
    // A window in a gap names the bar before it; countback fills up from before the window.
    let gap = history(START + 10 * MINUTE, START + 20 * MINUTE, "").await;
    assert_eq!((&gap["s"], &gap["nextTime"]), (&json!("no_data"), &json!(START / 1_000)), "{gap}");
    let filled = history(START + 10 * MINUTE, START + 20 * MINUTE, "&countback=5").await;
    assert_eq!((&filled["s"], count(&filled)), (&json!("ok"), 5), "{filled}");
    assert_eq!(filled["t"][4], START / 1_000);
    let window = format!("from=-86400&to={}", START / 1_000 + 60);
    let path = format!("/udf/history?symbol=GRID&resolution=1&{window}&currencyCode=USD");
    assert_eq!(app.get(&path).await.expect(200).json()["s"], "ok");
    let unknown = app.get("/udf/history?symbol=NONE&resolution=1D&from=0&to=4102444800").await.expect(200).json();
    assert_eq!((&unknown["s"], unknown.get("nextTime")), (&json!("no_data"), None));
}

#[tokio::test]
async fn a_cut_answer_keeps_the_newest_bars() {
    let app = TestApp::spawn().await;
    let trades: Vec<Value> = (0..5_010).map(|n| trade(&n.to_string(), START - n * MINUTE, "3", "1")).collect();
    app.send(Method::POST, "/trades?symbol=GRID", &[NDJSON], ndjson(&trades)).await.expect(201);
    eventually("all are folded", async || app.get("/market/candles/GRID?limit=1").await.is(200)).await;
    let history = async |rest: &str| {
        let path = format!("/udf/history?symbol=GRID&resolution=1&from=0&to={}{rest}", START / 1_000 + 60);
        app.get(&path).await.expect(200).json()["t"].as_array().cloned().expect("bars")
    };
    for rest in ["", "&countback=5000"] {
        let bars = history(rest).await;
        assert_eq!((bars.len(), bars.last()), (5_000, Some(&json!(START / 1_000))), "{rest}");
    }
    assert!(history("&countback=10").await.len() >= 10);
}

#[tokio::test]
async fn a_chart_finds_symbols_and_their_settings() {
    let app = TestApp::spawn().await;
    for (symbol, price) in [("GRID", "3.4125"), ("zone-7:interval", "2")] {
        report(&app, symbol, &[trade("t", START, price, "1")]).await.expect(201);
    }
    let config = app.get("/udf/config").await.expect(200).json();
    assert_eq!(config["supported_resolutions"], json!(["1", "5", "15", "30", "60", "240", "1D"]));
    let grid = app.get("/udf/symbols?symbol=GRID").await.expect(200).json();
    assert_eq!((&grid["pricescale"], &grid["timezone"]), (&json!(10_000), &json!("Asia/Bangkok")), "{grid}");
    app.get("/udf/symbols?symbol=NONE").await.expect_problem(404, "symbol-not-found");
    let found = app.get("/udf/search?query=INTER&type=&exchange=&limit=10").await.expect(200).json();
    assert_eq!(found.as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["symbol"], "zone-7:interval");
    assert_eq!(app.get("/udf/time").await.expect(200).text(), (START / 1_000).to_string());
    for (path, pointer) in [
        ("/udf/history?symbol=GRID&resolution=7&from=0&to=1", "/resolution"),
        ("/udf/history?symbol=GRID&resolution=1&from=0&to=1&countback=5001", "/countback"),
        ("/udf/history?symbol=GRID&resolution=1&from=x&to=1", "/from"),
        ("/udf/search?query=a&limit=0", "/limit"),
        ("/udf/symbols?symbol=a%20b", "/symbol"),
        ("/udf/config?x=1", "/x"),
    ] {
        app.get(path).await.expect_violation(422, "invalid-query", pointer);
    }
}
