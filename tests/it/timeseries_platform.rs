//! The platform's own series by name: readings of meters, prices, volumes, settlements.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{START, TestApp};
use crate::timeseries::{bits, read, sample};

const READINGS: &str = "/energy/meters/MTR-001/readings";

fn reading(timestamp: i64, generated: f64, consumed: f64) -> Value {
    json!({ "timestamp": timestamp, "energy_generated": generated, "energy_consumed": consumed })
}

#[tokio::test]
async fn readings_are_stored_in_the_series_of_the_platform() {
    let app = TestApp::spawn().await;
    let body = json!({ "readings": [
        reading(START, 0.25, 0.5), { "timestamp": START + 900_000, "energy_consumed": 0.75 }, { "energy_generated": 1.5 }
    ] });
    let stored = app.post("/energy/meters/MTR-001/readings", body.clone()).await.expect(200).json();
    assert_eq!(stored, json!({ "accepted": 4, "stored": 4, "refused_total": 0, "refused": [] }));
    // The last one has the current time of the test's clock.
    assert_eq!(read(&app, "/timeseries/energy:generation:MTR-001", "", 9).await, bits(&[(START, 1.5)]));
    let consumed = bits(&[(START, 0.5), (START + 900_000, 0.75)]);
    assert_eq!(read(&app, "/timeseries/energy:consumption:MTR-001", "", 9).await, consumed);
    let series = app.get("/timeseries/energy:consumption:MTR-001").await.expect(200).json();
    assert_eq!(series["labels"], json!({ "kind": "consumption", "meter": "MTR-001" }));
    assert_eq!(series["retention_ms"], 63_072_000_000_i64);
    // Sending them again stores them once.
    let again = app.post(READINGS, body).await.expect(200).json();
    assert_eq!((&again["accepted"], &again["stored"]), (&json!(4), &json!(2)));
}

#[tokio::test]
async fn both_kinds_of_energy_are_read_together_or_one_in_pages() {
    let app = TestApp::spawn().await;
    let readings: Vec<Value> = (0..4).map(|n| reading(START + n * 900_000, 0.25, 0.5)).collect();
    app.post(READINGS, json!({ "readings": readings })).await.expect(200);
    let both = app.get(&format!("{READINGS}?agg=sum&bucket=30m")).await.expect(200).json();
    let sums = |value: f64| json!([{ "timestamp": START, "value": value }, { "timestamp": START + 1_800_000, "value": value }]);
    assert_eq!(both["meter_id"], "MTR-001");
    assert_eq!(both["energy_generated"]["samples"], sums(0.5));
    assert_eq!(both["energy_consumed"]["samples"], sums(1.0));
    let first = app.get(&format!("{READINGS}?kind=consumption&limit=3")).await.expect(200).json();
    assert!(first.get("energy_generated").is_none(), "{first}");
    let page = &first["energy_consumed"];
    assert_eq!(page["samples"].as_array().map(Vec::len), Some(3));
    let cursor = page["next_cursor"].as_str().expect("a second page");
    let second = app.get(&format!("{READINGS}?kind=consumption&cursor={cursor}")).await.expect(200).json();
    assert_eq!(second["energy_consumed"]["samples"], json!([{ "timestamp": START + 2_700_000, "value": 0.5 }]));
    let csv = [("accept", "text/csv")];
    let lines = app.send(Method::GET, &format!("{READINGS}?kind=generation&limit=1"), &csv, Body::empty()).await;
    assert_eq!(lines.expect(200).text(), format!("timestamp,value\n{START},0.25\n"));
    app.get("/energy/meters/none/readings").await.expect_problem(404, "series-not-found");
    app.post("/energy/meters/one/readings", json!({ "readings": [{ "energy_consumed": 1 }] })).await.expect(200);
    let one = app.get("/energy/meters/one/readings").await.expect(200).json();
    assert_eq!(one["energy_generated"], Value::Null);
    app.get("/energy/meters/one/readings?kind=generation").await.expect_problem(404, "series-not-found");
}

#[tokio::test]
async fn one_query_sums_the_daily_energy_of_all_meters() {
    let app = TestApp::spawn().await;
    for (meter, generated) in [("a", 0.25), ("b", 0.5)] {
        let readings: Vec<Value> = (0..96).map(|n| reading(START + n * 900_000, generated, 1.0)).collect();
        app.post(&format!("/energy/meters/{meter}/readings"), json!({ "readings": readings })).await.expect(200);
    }
    let query =
        json!({ "filter": ["kind=generation"], "agg": "sum", "bucket": "1d", "group_by": "kind", "reduce": "sum" });
    let page = app.post("/timeseries/query", query).await.expect(200).json();
    assert_eq!(page["items"][0]["samples"], json!([{ "timestamp": START, "value": 72.0 }]));
}

#[tokio::test]
async fn errors_of_readings_and_prices_name_the_field() {
    let app = TestApp::spawn().await;
    for (body, pointer) in [
        (json!({ "readings": [] }), "/readings"),
        (json!({ "readings": [{ "timestamp": 1 }] }), "/readings/0"),
        (json!({ "readings": [reading(1, -0.5, 1.0)] }), "/readings/0/energy_generated"),
        (json!({ "readings": [reading(-1, 1.0, 1.0)] }), "/readings/0/timestamp"),
        (json!({ "readings": [{ "energy_consumed": "1" }] }), "/readings/0/energy_consumed"),
        (json!({ "readings": [{ "energy": 1 }] }), "/readings/0/energy"),
        (json!({}), "/readings"),
    ] {
        app.post(READINGS, body).await.expect_violation(422, "invalid-body", pointer);
    }
    for (body, pointer) in [
        (json!({ "prices": [] }), "/prices"),
        (json!({ "prices": [{ "volume": 1 }] }), "/prices/0/price"),
        (json!({ "prices": [{ "price": 4, "volume": -1 }] }), "/prices/0/volume"),
        (json!({ "prices": [{ "price": null }] }), "/prices/0/price"),
    ] {
        app.post("/market/prices/GRID", body).await.expect_violation(422, "invalid-body", pointer);
    }
    for (query, parameter) in [
        ("kind=energy", "/kind"),
        ("kind=generation&kind=generation", "/kind"),
        ("form=1", "/form"),
        ("cursor=a0-9-1-0", "/cursor"),
    ] {
        app.get(&format!("{READINGS}?{query}")).await.expect_violation(422, "invalid-query", parameter);
    }
    let long = "x".repeat(510);
    app.get(&format!("/energy/meters/{long}/readings")).await.expect_violation(422, "invalid-path", "/id");
    app.get(&format!("/market/prices/{long}")).await.expect_violation(422, "invalid-path", "/symbol");
    app.get("/settlements/a%0Ab").await.expect_violation(422, "invalid-path", "/type");
    assert_eq!(app.get("/timeseries").await.expect(200).json()["items"], json!([]));
}

#[tokio::test]
async fn prices_are_read_as_candles_with_their_own_volumes() {
    let app = TestApp::spawn().await;
    let prices = json!({ "prices": [
        { "timestamp": START, "price": 4.0, "volume": 10.0 }, { "timestamp": START + 10, "price": 4.5, "volume": 2.5 },
        { "timestamp": START + 60_000, "price": 4.25 }
    ] });
    let stored = app.post("/market/prices/GRID", prices).await.expect(200).json();
    assert_eq!((&stored["accepted"], &stored["refused"]), (&json!(5), &json!([])));
    let candles = app.get("/market/prices/GRID?agg=ohlcv&bucket=1m").await.expect(200).json();
    let expected = json!([
        { "timestamp": START, "open": 4.0, "high": 4.5, "low": 4.0, "close": 4.5, "volume": 12.5 },
        { "timestamp": START + 60_000, "open": 4.25, "high": 4.25, "low": 4.25, "close": 4.25, "volume": 0.0 }
    ]);
    assert_eq!((&candles["key"], &candles["samples"]), (&json!("market:price:GRID"), &expected));
    app.post("/market/prices/GRX", json!({ "prices": [{ "timestamp": START, "price": 1 }] })).await.expect(200);
    let candles = app.get("/market/prices/GRX?agg=ohlcv").await.expect(200).json();
    assert_eq!(candles["samples"][0]["volume"], Value::Null);
    app.get("/market/prices/NONE").await.expect_problem(404, "series-not-found");
}

#[tokio::test]
async fn volumes_and_settlements_are_series_by_name() {
    let app = TestApp::spawn().await;
    app.get("/market/volume").await.expect_problem(404, "series-not-found");
    for (path, key) in [("/market/volume", "trading:volume:daily"), ("/settlements/thbc", "settlement:thbc")] {
        let stored = app.post(path, json!({ "samples": [sample(START, 5.0)] })).await.expect(200).json();
        assert_eq!(stored, json!({ "accepted": 1, "stored": 1, "refused": [] }));
        let page = app.get(&format!("{path}?agg=sum&bucket=1d&tz=Asia/Bangkok")).await.expect(200).json();
        assert_eq!((&page["key"], &page["samples"][0]["value"]), (&json!(key), &json!(5.0)));
        app.post(path, json!({ "samples": [] })).await.expect_violation(422, "invalid-body", "/samples");
        app.get(&format!("{path}?agg=mode")).await.expect_violation(422, "invalid-query", "/agg");
    }
    let labels = app.get("/timeseries/settlement:thbc").await.expect(200).json()["labels"].clone();
    assert_eq!(labels, json!({ "kind": "settlement", "type": "thbc" }));
}

#[tokio::test]
async fn a_key_of_another_type_refuses_only_its_own_samples() {
    let app = TestApp::spawn().await;
    app.redis().command::<()>(&["SET", "energy:generation:MTR-001", "somebody's"]);
    let body = json!({ "readings": [reading(1, 1.0, 2.0)] });
    let stored = app.post(READINGS, body).await.expect(200).json();
    assert_eq!((&stored["accepted"], &stored["refused_total"]), (&json!(1), &json!(1)));
    let refused = &stored["refused"][0];
    assert_eq!((&refused["index"], &refused["code"]), (&json!(0), &json!("wrong-type")));
    assert_eq!(refused["series"], "energy:generation:MTR-001");
    app.get(READINGS).await.expect_problem(409, "wrong-type");
}
