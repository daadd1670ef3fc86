//! The page in a real browser.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, TestApp, build_directory, in_repository, node_package, output_text, run_python_tool};

/// A name that would run a script, if the page took it for markup.
const HOSTILE: &str = "<img src=x onerror=document.title=1>";

const KEY: (&str, &str) = ("x-api-key", ADMIN_KEY);
const JSON: (&str, &str) = ("content-type", "application/json");

async fn send(app: &TestApp, method: Method, path: &str, body: Value) -> Value {
    let reply = app.send(method, path, &[KEY, JSON], body.to_string()).await;
    assert!(reply.status.is_success(), "{path}: {}", reply.text());
    if reply.body.is_empty() { Value::Null } else { reply.json() }
}

async fn get(app: &TestApp, path: &str) -> Value {
    app.send(Method::GET, path, &[KEY], "").await.expect(200).json()
}

/// Everything that the views show.
async fn fill(app: &TestApp) {
    const STEP: i64 = 900_000;
    let now = jiff::Timestamp::now().as_millisecond();
    let samples = |value: f64| -> Value {
        (1..=500).map(|step| json!({ "timestamp": now - step * STEP, "value": value })).collect()
    };
    for (key, value) in [
        ("energy:generation:m1", 2.5),
        ("energy:generation:m2", 0.25),
        ("energy:consumption:m1", 1.125),
        ("market:price:OLD", 4.0),
    ] {
        send(app, Method::POST, &format!("/timeseries/{key}/samples"), json!({ "samples": samples(value) })).await;
    }
    let trade = |id: i64| {
        json!({ "trade_id": format!("t-{id}"), "price": format!("3.{id:02}"), "quantity": "1", "side": "buy",
            "timestamp": now - 1_000 + id })
    };
    let trades: Vec<Value> = (1..=20).map(trade).collect();
    send(app, Method::POST, "/trades", json!({ "symbol": "GRID", "trades": trades })).await;
    let space = json!({ "total": 1_000, "used": 500, "free": 500, "usagePercent": 50.0 });
    for minute in (0..20).rev() {
        let usage = if minute == 0 { 37.5 } else { f64::from(minute) };
        let host = json!({ "timestamp": now - i64::from(minute) * 60_000,
            "cpu": { "usage": usage, "cores": 8, "loadAvg": [0.5, 0.5, 0.5] }, "memory": space, "disk": space,
            "network": { "bytesIn": 1, "bytesOut": 1, "packetsIn": 1, "packetsOut": 1 } });
        send(app, Method::POST, "/hosts/web-1/metrics", host).await;
    }
    let settings = json!({ "mode": "store", "kind": "orders", "price_decimals": 2, "quantity_decimals": 3 });
    send(app, Method::PUT, "/orderbooks/GRID/settings", settings).await;
    for (id, side, price) in [("1", "buy", "3.10"), ("2", "buy", "3.15"), ("3", "sell", "3.30"), ("4", "sell", "3.45")]
    {
        let order = json!({ "order_id": id, "owner": "user-7", "side": side, "price": price, "quantity": "1.500" });
        send(app, Method::POST, "/orderbooks/GRID/orders", order).await;
    }
    send(app, Method::POST, "/market/epoch/advance", json!({ "length_ms": 900_000 })).await;
    let lock = |owner: &str| json!({ "ttl_ms": 600_000, "owner": owner });
    send(app, Method::POST, "/locks/settlement", lock(HOSTILE)).await;
    send(app, Method::POST, "/locks/%3Cimg%20src=x%20onerror=document.title=1%3E", lock("b")).await;
    send(app, Method::POST, "/ratelimit/check", json!({ "limiter": "trading", "key": "ann" })).await;
    send(app, Method::PUT, "/cache/page:a", json!({ "text": HOSTILE })).await;
    send(app, Method::PUT, "/cache/page:edited", json!({ "a": 1 })).await;
}

/// A number as the page shows it: `1,234.5 kWh`.
fn number(text: &Value) -> f64 {
    let digits: String =
        text.as_str().expect("a text").chars().filter(|letter| "0123456789.-".contains(*letter)).collect();
    digits.parse().expect("a number")
}

#[tokio::test]
async fn a_reader_sees_what_the_api_answers_in_every_view() {
    let mut app = TestApp::builder()
        .config("locks.max_ttl = \"10m\"\norderbook.require_fence = false")
        .admin_key()
        .system_clock()
        .spawn()
        .await;
    fill(&app).await;
    let base = format!("http://{}", app.serve());
    let script = in_repository("tests/browser/page.py").display().to_string();
    let failure = build_directory().join("page_failure.png").display().to_string();
    let axe = node_package("axe-core/axe.min.js").display().to_string();
    let redis = app.redis().pid().to_string();
    let mut arguments =
        vec![&*script, &base, "--api-key", ADMIN_KEY, "--axe", &axe, "--redis-pid", &redis, "--failure", &failure];
    #[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
    let screenshots = std::env::var("GTX_TEST_SCREENSHOTS").ok();
    if let Some(folder) = &screenshots {
        arguments.extend(["--screenshots", folder]);
    }
    let output = run_python_tool("python", &arguments).await;
    assert!(output.status.success(), "{}", output_text(&output));
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let views = &shown["views"];
    // Times depend on the machine.
    println!("first paint after {} ms, an outage after {} ms", shown["first_paint_ms"], shown["outage_ms"]);
    assert_eq!(shown["complaints"], json!([]), "{:#}", shown["complaints"]);
    assert_eq!(shown["console"], json!([]), "{:#}", shown["console"]);
    assert_eq!(shown["kept"], json!([0, 0, ""]), "the credential is in memory only");
    assert_eq!(shown["reached"].as_array().map(Vec::len), Some(8), "{}", shown["reached"]);
    let (full, later) = (shown["heap"][0].as_f64().expect("bytes"), shown["heap"][1].as_f64().expect("bytes"));
    assert!(later < full * 1.15 + 1e6, "the heap grows from {full} to {later} bytes");

    assert_eq!(views["overview"]["version"], get(&app, "/health").await["version"]);
    let query =
        |kind: &str| json!({ "filter": [format!("kind={kind}")], "agg": "sum", "group_by": "kind", "reduce": "sum" });
    for (kind, field) in [("generation", "total-generation"), ("consumption", "total-consumption")] {
        let stored = send(&app, Method::POST, "/timeseries/query", query(kind)).await;
        let stored = stored["items"][0]["samples"][0]["value"].as_f64().expect("a sum");
        assert!(
            (number(&views["energy"][field]) - stored).abs() < 0.01,
            "{kind}: {} and {stored}",
            views["energy"][field]
        );
    }
    assert_eq!(views["series"]["point-count"], "500");
    assert_eq!(views["market"]["last-price"], get(&app, "/market/stats/GRID").await["last"]);
    let book = get(&app, "/orderbooks/GRID").await;
    let ladder = views["market"]["rows"][1].as_array().expect("rows");
    for (side, levels) in [("Ask", &book["asks"]), ("Bid", &book["bids"])] {
        for level in levels.as_array().expect("levels") {
            let matches = |row: &Value| row[0] == side && row[1] == level["price"] && row[2] == level["quantity"];
            assert!(ladder.iter().any(matches), "{side} {level}: {ladder:?}");
        }
    }
    assert_eq!(views["market"]["epoch"], get(&app, "/market/epoch").await["epoch_number"].to_string());
    assert_eq!(views["locks"]["held"], "2");
    let locks = views["locks"]["rows"][0].as_array().expect("rows");
    for (at, owner) in [(0, "b"), (1, HOSTILE)] {
        let name = if at == 0 { HOSTILE } else { "settlement" };
        assert!(locks.iter().any(|row| row[0] == name && row[1] == owner), "{locks:?}");
    }
    let limits = views["locks"]["rows"][1].as_array().expect("rows");
    assert!(limits.iter().any(|row| row[0] == "trading" && row[2] == "1"), "{limits:?}");
    assert_eq!(views["hosts"]["rows"][0][0][1], "37.5", "{}", views["hosts"]);
    assert!(views["data"]["value"].as_str().is_some_and(|text| text.contains(HOSTILE)), "{}", views["data"]);
    for (name, view) in views.as_object().expect("views") {
        assert_eq!(view["images"], 0, "{name}: a text became markup");
    }
    app.send(Method::GET, "/cache/page:edited", &[KEY], "").await.expect_problem(404, "cache-miss");
}
