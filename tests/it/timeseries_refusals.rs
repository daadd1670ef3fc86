//! Writes whose samples are refused, in part or all: the status and the headers say so.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{START, TestApp};
use crate::timeseries::{NO_CATCH_ALL, bits, read, sample};

#[tokio::test]
async fn a_first_sample_creates_a_series_of_any_name() {
    let app = TestApp::spawn().await;
    app.post("/timeseries/house:power/samples", json!({ "samples": [sample(START, 1.5)] })).await.expect(200);
    let csv = [("content-type", "text/csv")];
    let body = format!("series,timestamp,value\nhouse:heat,{START},2\n");
    let loaded = app.send(Method::POST, "/timeseries/samples", &csv, body).await.expect(200);
    assert_eq!((&loaded.json()["accepted"], loaded.header("samples-refused")), (&json!(1), None));
    for (series, value) in [("house:power", 1.5), ("house:heat", 2.0)] {
        let path = format!("/timeseries/{series}");
        assert_eq!(app.get(&path).await.expect(200).json()["retention_ms"], 2_592_000_000_i64);
        assert_eq!(read(&app, &path, "", 9).await, bits(&[(START, value)]));
    }
    // Its name in Redis cannot be that of another capability's key.
    assert_eq!(app.redis().command::<String>(&["TYPE", "ts:house:power"]), "hash");
    assert_eq!(app.redis().command::<String>(&["TYPE", "house:power"]), "none");
}

#[tokio::test]
async fn a_load_that_stores_nothing_is_an_error() {
    let app = TestApp::builder().config(NO_CATCH_ALL).spawn().await;
    let load = async |media_type: &str, body: String| {
        app.send(Method::POST, "/timeseries/samples", &[("content-type", media_type)], body).await
    };
    let ndjson = |series: &str| format!("{{\"series\":\"{series}\",\"timestamp\":{START},\"value\":1}}\n");
    let json = |series: &str| json!({ "samples": [{ "series": series, "timestamp": START, "value": 1 }] }).to_string();
    for (media_type, body, pointer) in [
        ("text/csv", format!("series,timestamp,value\nunknown,{START},1\n"), "/2"),
        ("application/x-ndjson", ndjson("unknown"), "/1"),
        ("application/json", json("unknown"), "/samples/0"),
        ("text/plain", "nonsense".to_owned(), "/1"),
    ] {
        let problem = load(media_type, body).await.expect_violation(422, "samples-refused", pointer);
        assert_eq!(problem["outcome"], "not_applied", "{problem}");
        let detail = problem["errors"][0]["detail"].as_str().expect("a detail");
        assert!(media_type == "text/plain" || detail.starts_with("series-not-found: "), "{detail}");
    }
    assert_eq!(app.redis().keys(), Vec::<String>::new());

    let partial = load("application/x-ndjson", ndjson("unknown") + &ndjson("market:price:a")).await.expect(200);
    assert_eq!((&partial.json()["accepted"], partial.header("samples-refused")), (&json!(1), Some("1")));
    // Sending the same samples again stores nothing new, and is a success.
    let again = load("application/x-ndjson", ndjson("market:price:a")).await.expect(200);
    assert_eq!((&again.json()["stored"], again.header("samples-refused")), (&json!(0), None));
}

#[tokio::test]
async fn a_load_without_samples_is_an_error() {
    let app = TestApp::spawn().await;
    for (media_type, body) in [
        ("application/json", "{\"samples\":[]}"),
        ("text/csv", "series,timestamp,value\n"),
        ("application/x-ndjson", ""),
        ("application/x-ndjson", "\n\n"),
        ("text/plain", "# a comment\n"),
    ] {
        let reply = app.send(Method::POST, "/timeseries/samples", &[("content-type", media_type)], body).await;
        reply.expect_violation(422, "invalid-body", "");
    }
}

#[tokio::test]
async fn samples_without_a_timestamp_do_not_replace_each_other() {
    let app = TestApp::spawn().await;
    let body = json!({ "samples": [{ "value": 1 }, { "value": 2 }, { "timestamp": START + 5, "value": 3 }] });
    let answer = app.post("/timeseries/a/samples", body).await.expect(200).json();
    assert_eq!((&answer["stored"], &answer["refused"][0]["index"]), (&json!(2), &json!(1)), "{answer}");
    assert!(answer["refused"][0]["detail"].as_str().is_some_and(|text| text.contains("timestamps")), "{answer}");
    assert_eq!(read(&app, "/timeseries/a", "", 9).await, bits(&[(START, 1.0), (START + 5, 3.0)]));

    let samples = [("b", 1), ("c", 2), ("b", 3)].map(|(series, value)| json!({ "series": series, "value": value }));
    let answer = app.post("/timeseries/samples", json!({ "samples": samples })).await.expect(200).json();
    assert_eq!((&answer["stored"], &answer["refused"][0]["line"]), (&json!(2), &json!(3)), "{answer}");
    let prices = json!({ "prices": [{ "price": 1, "volume": 2 }, { "price": 1, "volume": 3 }] });
    let answer = app.post("/market/prices/GRID", prices).await.expect(200).json();
    assert_eq!((&answer["stored"], &answer["refused_total"]), (&json!(2), &json!(2)), "{answer}");
    assert_eq!(read(&app, "/timeseries/market:volume:GRID", "", 9).await, bits(&[(START, 2.0)]));
    let readings = json!({ "readings": [{ "energy_generated": 1 }, { "energy_consumed": 2 }] });
    let reply = app.post("/energy/meters/m/readings", readings).await.expect(200);
    assert_eq!(reply.header("samples-refused"), None, "they are of different series");
}

#[tokio::test]
async fn every_route_that_writes_samples_reports_refusals() {
    type Body<'a> = &'a dyn Fn(f64) -> Value;

    let app = TestApp::spawn().await;
    let block = json!({ "duplicate_policy": "block" });
    let readings = |value: f64| json!({ "readings": [{ "timestamp": START, "energy_generated": value }] });
    let prices = |value: f64| json!({ "prices": [{ "timestamp": START, "price": value }] });
    let samples = |value: f64| json!({ "samples": [{ "timestamp": START, "value": value }] });
    let routes: [(&str, &str, &str, Body<'_>); 5] = [
        ("energy:generation:m1", "/energy/meters/m1/readings", "readings", &readings),
        ("market:price:GRID", "/market/prices/GRID", "prices", &prices),
        ("trading:volume:daily", "/market/volume", "samples", &samples),
        ("settlement:thbc", "/settlements/thbc", "samples", &samples),
        ("a", "/timeseries/a/samples", "samples", &samples),
    ];
    for (series, route, list, body) in routes {
        app.put(&format!("/timeseries/{series}"), block.clone()).await.expect(201);
        assert_eq!(app.post(route, body(1.0)).await.expect(200).header("samples-refused"), None, "{route}");
        app.post(route, body(2.0)).await.expect_violation(422, "samples-refused", &format!("/{list}/0"));
        let mut both = body(2.0);
        let mut later = body(3.0)[list][0].clone();
        later["timestamp"] = json!(START + 1);
        both[list].as_array_mut().expect("a list").push(later);
        let partial = app.post(route, both).await.expect(200);
        assert_eq!((&partial.json()["accepted"], partial.header("samples-refused")), (&json!(1), Some("1")), "{route}");
        let stored = read(&app, &format!("/timeseries/{series}"), "", 9).await;
        assert_eq!(stored, bits(&[(START, 1.0), (START + 1, 3.0)]), "{route}");
    }
}
