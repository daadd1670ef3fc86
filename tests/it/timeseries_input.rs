//! Invalid input: the error names the location, and nothing is stored.

use axum::body::Body;
use axum::http::Method;
use serde_json::json;

use crate::support::TestApp;
use crate::timeseries::{METER, sample};

fn stores_nothing(app: &TestApp) {
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn a_request_without_a_valid_sample_stores_nothing() {
    let app = TestApp::spawn().await;
    let path = format!("{METER}/samples");
    let json = ("content-type", "application/json");
    for (body, status, code, pointer) in [
        (r#"{"samples":[{"value":"1"},{"value":"2"}]}"#, 422, "invalid-body", "/samples/0/value"),
        (r#"{"samples":[{"value":null}]}"#, 422, "invalid-body", "/samples/0/value"),
        // A float would be another number.
        (r#"{"samples":[{"value":9007199254740993}]}"#, 422, "invalid-body", "/samples/0/value"),
        (r#"{"samples":[{"value":-9007199254740993}]}"#, 422, "invalid-body", "/samples/0/value"),
        (r#"{"samples":[{"value":18446744073709551617}]}"#, 422, "invalid-body", "/samples/0/value"),
        (r#"{"samples":[{"value":1e999}]}"#, 422, "invalid-body", "/samples/0/value"),
        (r#"{"samples":[{}]}"#, 422, "invalid-body", "/samples/0/value"),
        (r#"{"samples":[{"value":1,"timestamp":-1}]}"#, 422, "invalid-body", "/samples/0/timestamp"),
        (r#"{"samples":[{"value":1,"timestamp":9007199254740992}]}"#, 422, "samples-refused", "/samples/0"),
        (r#"{"samples":[{"value":1,"timestamp":9223372036854775808}]}"#, 422, "invalid-body", "/samples/0/timestamp"),
        (r#"{"samples":[{"value":1,"timestamp":1.5}]}"#, 422, "invalid-body", "/samples/0/timestamp"),
        (r#"{"samples":[{"value":1,"timestamp":null}]}"#, 422, "invalid-body", "/samples/0/timestamp"),
        (r#"{"samples":[{"value":1,"timestamp":"2026-01-01"}]}"#, 422, "invalid-body", "/samples/0/timestamp"),
        (r#"{"samples":[{"value":1,"time":5}]}"#, 422, "invalid-body", "/samples/0/time"),
        (r#"{"samples":[]}"#, 422, "invalid-body", "/samples"),
        (r#"{"sample":[]}"#, 422, "invalid-body", "/sample"),
        ("[]", 422, "invalid-body", ""),
    ] {
        let reply = app.send(Method::POST, &path, &[json], Body::from(body)).await;
        reply.expect_violation(status, code, pointer);
    }
    for body in [r#"{"samples":[{"value":NaN}]}"#, r#"{"samples":[{"value":Infinity}]}"#, "{"] {
        app.send(Method::POST, &path, &[json], Body::from(body)).await.expect_problem(400, "invalid-json");
    }
    let deep = format!("{{\"samples\":{}{}}}", "[".repeat(70), "]".repeat(70));
    app.send(Method::POST, &path, &[json], Body::from(deep)).await.expect_problem(400, "json-too-deep");
    let text = [("content-type", "text/plain")];
    app.send(Method::POST, &path, &text, Body::from("{}")).await.expect_problem(415, "unsupported-media-type");
    let large = json!({ "samples": (0..40_000).map(|n| sample(n, 1.0)).collect::<Vec<_>>() });
    app.post(&path, large).await.expect_problem(413, "body-too-large");
    let many = json!({ "samples": (0..10_001).map(|n| sample(n, 1.0)).collect::<Vec<_>>() });
    app.post(&path, many).await.expect_violation(422, "invalid-body", "/samples");
    stores_nothing(&app);
}

#[tokio::test]
async fn an_invalid_sample_does_not_affect_the_others() {
    const SAMPLES: &str =
        r#"{"samples":[{"timestamp":1,"value":1},{"timestamp":"yesterday","value":2},{"timestamp":3,"value":3},7]}"#;
    let app = TestApp::spawn().await;
    let json = ("content-type", "application/json");
    for path in ["/timeseries/a/samples", "/market/volume", "/settlements/thbc"] {
        let reply = app.send(Method::POST, path, &[json], SAMPLES).await.expect(200);
        assert_eq!(reply.header("samples-refused"), Some("2"), "{path}");
        let answer = reply.json();
        assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(2), &json!(2)), "{answer}");
        let refused = &answer["refused"];
        assert_eq!((&refused[0]["index"], &refused[0]["code"]), (&json!(1), &json!("invalid-sample")), "{answer}");
        assert!(refused[0]["detail"].as_str().is_some_and(|text| text.starts_with("timestamp")), "{answer}");
        assert!(refused[0]["timestamp"].is_null() && refused[1]["index"] == 3, "{answer}");
    }
    for (path, list, good, bad) in [
        ("/timeseries/samples", "samples", r#""series":"b","value":1"#, r#""series":"b","value":"1""#),
        ("/energy/meters/m/readings", "readings", r#""energy_consumed":1"#, r#""energy_consumed":-1"#),
        ("/energy/meters/n/readings", "readings", r#""energy_consumed":1"#, ""),
        ("/market/prices/x", "prices", r#""price":4"#, r#""price":"4""#),
    ] {
        let body = format!(r#"{{"{list}":[{{"timestamp":1,{bad}}},{{"timestamp":1,{good}}}]}}"#).replace(",}", "}");
        let answer = app.send(Method::POST, path, &[json], body).await.expect(200).json();
        assert_eq!((&answer["accepted"], &answer["refused_total"]), (&json!(1), &json!(1)), "{path}: {answer}");
        assert_eq!(answer["refused"][0]["code"], "invalid-sample", "{path}: {answer}");
    }
}

#[tokio::test]
async fn invalid_definitions_are_rejected() {
    let app = TestApp::spawn().await;
    for (body, pointer) in [
        (json!({ "retention_ms": -1 }), "/retention_ms"),
        (json!({ "retention_ms": 3_155_760_000_001_u64 }), "/retention_ms"),
        (json!({ "retention_ms": "1d" }), "/retention_ms"),
        (json!({ "retention_ms": null }), "/retention_ms"),
        (json!({ "duplicate_policy": "newest" }), "/duplicate_policy"),
        (json!({ "labels": { "a b": "1" } }), "/labels"),
        (json!({ "labels": { "a": "" } }), "/labels"),
        (json!({ "labels": { "a": "(1)" } }), "/labels"),
        (json!({ "labels": { "a": "1,2" } }), "/labels"),
        (json!({ "labels": { "a": "1\u{0}" } }), "/labels"),
        (json!({ "labels": { "a": 1 } }), "/labels/a"),
        (json!({ "labels": { "a": "x".repeat(257) } }), "/labels"),
        (json!({ "retention": 5 }), "/retention"),
    ] {
        app.put("/timeseries/a", body.clone()).await.expect_violation(422, "invalid-body", pointer);
        app.patch("/timeseries/a", body).await.expect_violation(422, "invalid-body", pointer);
    }
    stores_nothing(&app);
}

#[tokio::test]
async fn invalid_keys_are_rejected_on_every_route() {
    let app = TestApp::spawn().await;
    let long = "x".repeat(513);
    for key in ["a%0Ab", "%00", "a%7F", "%C2%85", "%FF", &long, &"%C3%A9".repeat(257)] {
        for path in ["", "/latest", "/range", "/stats"] {
            app.get(&format!("/timeseries/{key}{path}")).await.expect_violation(422, "invalid-path", "/key");
        }
        let samples = json!({ "samples": [sample(1, 1.0)] });
        app.post(&format!("/timeseries/{key}/samples"), samples).await.expect_violation(422, "invalid-path", "/key");
        app.put(&format!("/timeseries/{key}"), json!({})).await.expect_violation(422, "invalid-path", "/key");
        app.delete(&format!("/timeseries/{key}")).await.expect_violation(422, "invalid-path", "/key");
    }
    // An escaped letter is the letter (RFC 3986, section 6.2.2.2), so this is the path of many series.
    app.get("/timeseries/%73amples").await.expect_problem(405, "method-not-allowed");
    stores_nothing(&app);
}

#[tokio::test]
async fn keys_with_any_valid_text_are_separate_series() {
    let app = TestApp::spawn().await;
    let keys = [
        "a%2Fb",
        "a%20b",
        "a%7Bb%7D",
        "a%25b",
        "a%252Fb",
        "%E0%B8%81",
        "..%2F",
        "head:%7Bts:a%7D",
        "ts:a",
        "index",
        "*",
    ];
    for (key, retention) in keys.into_iter().zip(1_000..) {
        app.put(&format!("/timeseries/{key}"), json!({ "retention_ms": retention })).await.expect(201);
    }
    for (key, retention) in keys.into_iter().zip(1_000..) {
        assert_eq!(app.get(&format!("/timeseries/{key}")).await.expect(200).json()["retention_ms"], retention, "{key}");
    }
}

#[tokio::test]
async fn errors_of_queries_name_the_parameter() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({})).await.expect(201);
    for (query, parameter) in [
        ("form=1", "/form"),
        ("tz=Asia/Bangkok", "/tz"),
        ("from=yesterday", "/from"),
        ("from=1.5", "/from"),
        ("from=-5", "/from"),
        ("to=9007199254740992", "/to"),
        ("to=2026-02-30T00:00:00Z", "/to"),
        ("from=5&to=4", "/from"),
        ("from=now&to=-1h", "/from"),
        ("agg=avg&align=5", "/align"),
        ("bucket=1h", "/agg"),
        ("agg=mode&bucket=1h", "/agg"),
        ("agg=p100&bucket=1h", "/agg"),
        ("agg=AVG", "/agg"),
        ("agg=avg&bucket=0s", "/bucket"),
        ("agg=avg&bucket=60", "/bucket"),
        ("agg=avg&bucket=0.5ms", "/bucket"),
        ("agg=avg&bucket=1M", "/bucket"),
        ("agg=avg&bucket=10000d", "/bucket"),
        ("agg=avg&bucket=7h&tz=Asia/Bangkok", "/bucket"),
        ("agg=avg&bucket=36h&tz=Asia/Bangkok", "/bucket"),
        ("agg=avg&bucket=1d&tz=Asia/Bankok", "/tz"),
        ("agg=avg&bucket=1d&tz=%2B07:00", "/tz"),
        ("agg=avg&bucket=1d&tz=", "/tz"),
        ("agg=avg&tz=Asia/Bangkok", "/tz"),
        ("align=5", "/align"),
        ("agg=avg&bucket=1h&align=start", "/align"),
        ("agg=avg&bucket=1h&align=end&from=5", "/align"),
        ("agg=avg&bucket=1h&bucket_timestamp=middle", "/bucket_timestamp"),
        ("agg=avg&bucket_timestamp=mid", "/bucket_timestamp"),
        ("agg=avg&empty=true", "/empty"),
        ("agg=avg&bucket=1h&empty=yes", "/empty"),
        ("fill=null", "/fill"),
        ("agg=avg&bucket=1h&fill=zero", "/fill"),
        ("agg=avg&bucket=1h&fill=null&empty=true", "/fill"),
        ("agg=ohlcv&bucket=1h&fill=linear", "/fill"),
        ("filter_by_ts=", "/filter_by_ts"),
        ("filter_by_ts=5,,6", "/filter_by_ts"),
        ("filter_by_ts=-5", "/filter_by_ts"),
        ("filter_by_ts=9007199254740992", "/filter_by_ts"),
        ("min_value=NaN", "/min_value"),
        ("max_value=inf", "/max_value"),
        ("max_value=", "/max_value"),
        ("agg=avg&wrap=5", "/wrap"),
        ("agg=rate&wrap=0", "/wrap"),
        ("agg=rate&wrap=NaN", "/wrap"),
        ("agg=avg&volume_key=b", "/volume_key"),
        ("agg=ohlcv&volume_key=", "/volume_key"),
        ("agg=avg&bucket=1h&align=x", "/align"),
        ("agg=avg&bucket=1h&align=9007199254740992", "/align"),
        ("order=up", "/order"),
        ("limit=0", "/limit"),
        ("limit=100001", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=5&limit=6", "/limit"),
        ("cursor=zzz", "/cursor"),
        ("cursor=", "/cursor"),
        ("cursor=a5-4-4-0", "/cursor"),
    ] {
        app.get(&format!("/timeseries/a/range?{query}")).await.expect_violation(422, "invalid-query", parameter);
    }
    let times: Vec<String> = (0..129).map(|time| time.to_string()).collect();
    let query = format!("/timeseries/a/range?filter_by_ts={}", times.join(","));
    app.get(&query).await.expect_violation(422, "invalid-query", "/filter_by_ts");
    for (query, parameter) in [("from=5&to=4", "/from"), ("limit=5", "/limit"), ("from=", "/from")] {
        app.get(&format!("/timeseries/a/stats?{query}")).await.expect_violation(422, "invalid-query", parameter);
    }
    for (query, parameter) in [("limit=0", "/limit"), ("limit=1001", "/limit"), ("filter=a", "/filter")] {
        app.get(&format!("/timeseries?{query}")).await.expect_violation(422, "invalid-query", parameter);
    }
    for path in ["/timeseries/a", "/timeseries/a/latest"] {
        app.get(&format!("{path}?form=1")).await.expect_violation(422, "invalid-query", "/form");
    }
    app.delete("/timeseries/a?from=0").await.expect_violation(422, "invalid-query", "/from");
    app.get("/timeseries/a").await.expect(200);
    app.get("/timeseries/none/range?from=5&to=4").await.expect_problem(404, "series-not-found");
}

#[tokio::test]
async fn a_timestamp_can_be_written_with_a_decimal_point() {
    let app = TestApp::spawn().await;
    let json = ("content-type", "application/json");
    let put = app.send(Method::PUT, "/timeseries/a", &[json], r#"{"retention_ms":1e9}"#).await.expect(201).json();
    assert_eq!(put["retention_ms"], 1_000_000_000);
    let body = r#"{"samples":[{"timestamp":5.0,"value":1}]}"#;
    app.send(Method::POST, "/timeseries/a/samples", &[json], body).await.expect(200);
    assert_eq!(app.get("/timeseries/a/latest").await.expect(200).json()["timestamp"], 5);
}

#[tokio::test]
async fn a_key_of_another_type_is_not_changed() {
    let app = TestApp::spawn().await;
    app.redis().command::<()>(&["SET", "energy:consumption:MTR-001", "somebody's"]);
    app.redis().command::<()>(&["HSET", "market:price:GRID", "field", "somebody's"]);
    for series in [METER, "/timeseries/market:price:GRID"] {
        let samples = json!({ "samples": [sample(1, 1.0)] });
        app.post(&format!("{series}/samples"), samples).await.expect_problem(409, "wrong-type");
        app.put(series, json!({})).await.expect_problem(409, "wrong-type");
        app.patch(series, json!({ "retention_ms": 5 })).await.expect_problem(409, "wrong-type");
        app.delete(series).await.expect_problem(409, "wrong-type");
        app.delete(&format!("{series}/samples?from=0&to=9")).await.expect_problem(409, "wrong-type");
        for path in ["", "/latest", "/range", "/stats"] {
            app.get(&format!("{series}{path}")).await.expect_problem(409, "wrong-type");
        }
    }
    assert_eq!(app.redis().command::<String>(&["GET", "energy:consumption:MTR-001"]), "somebody's");
    assert_eq!(app.redis().command::<String>(&["HGET", "market:price:GRID", "field"]), "somebody's");
}

#[tokio::test]
async fn unknown_methods_are_rejected() {
    let app = TestApp::spawn().await;
    app.get("/timeseries/samples").await.expect_problem(405, "method-not-allowed");
    app.put(&format!("{METER}/latest"), json!({})).await.expect_problem(405, "method-not-allowed");
    app.get(&format!("{METER}/median")).await.expect_problem(404, "not-found");
}

#[tokio::test]
async fn an_integer_beyond_64_bits_is_refused_in_every_form_and_a_float_is_not() {
    const ROUNDED: &str = "18446744073709551617";
    let app = TestApp::spawn().await;
    for number in [ROUNDED, "-9223372036854775809", "1000000000000000000000001", "9007199254740993"] {
        for (path, media, body) in [
            ("/timeseries/a/samples", "application/json", format!(r#"{{"samples":[{{"value":{number}}}]}}"#)),
            (
                "/timeseries/samples",
                "application/json",
                format!(r#"{{"samples":[{{"series":"a","value":{number}}}]}}"#),
            ),
            ("/timeseries/samples", "application/x-ndjson", format!(r#"{{"series":"a","value":{number}}}"#)),
            ("/timeseries/samples", "text/csv", format!("series,value\na,{number}\n")),
            (
                "/energy/meters/m/readings",
                "application/json",
                format!(r#"{{"readings":[{{"energy_consumed":{number}}}]}}"#),
            ),
            ("/market/prices/x", "application/json", format!(r#"{{"prices":[{{"price":{number}}}]}}"#)),
            ("/market/volume", "application/json", format!(r#"{{"samples":[{{"value":{number}}}]}}"#)),
            ("/settlements/thbc", "application/json", format!(r#"{{"samples":[{{"value":{number}}}]}}"#)),
        ] {
            let reply = app.send(Method::POST, path, &[("content-type", media)], body).await.expect(422);
            let expected = if number.starts_with('-') && path.starts_with("/energy") { "" } else { "would be rounded" };
            assert!(reply.text().contains(expected), "{path} {media}: {}", reply.text());
        }
    }
    stores_nothing(&app);
    for exact in ["1e20", "18446744073709551616", "1e300"] {
        let body = format!(r#"{{"samples":[{{"series":"a","value":{exact}}}]}}"#);
        app.send(Method::POST, "/timeseries/samples", &[("content-type", "application/json")], body).await.expect(200);
    }
}

#[tokio::test]
async fn a_label_has_one_value_and_a_name_is_a_string() {
    let app = TestApp::spawn().await;
    let put = async |body: &'static str| {
        app.send(Method::PUT, "/timeseries/a", &[("content-type", "application/json")], body).await
    };
    let repeated = put(r#"{"labels":{"zone":"1","zone":"2"}}"#).await.expect_violation(422, "invalid-body", "/labels");
    assert!(repeated["errors"][0]["detail"].as_str().is_some_and(|text| text.contains("repeated")), "{repeated}");
    for body in [r#"{"duplicate_policy":5}"#, r#"{"duplicate_policy":null}"#, r#"{"duplicate_policy":[]}"#] {
        put(body).await.expect_violation(422, "invalid-body", "/duplicate_policy");
    }
    put(r#"{"duplicate_policy":5"#).await.expect_problem(400, "invalid-json");
    stores_nothing(&app);
}
