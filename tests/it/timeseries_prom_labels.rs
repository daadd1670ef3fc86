//! Series with the same labels, and lists of labels, in Prometheus' query language.

use std::fmt::Write;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, Reply, START, TestApp, eventually};
use crate::timeseries::LONG_DEADLINES;

/// START in seconds.
const S: i64 = START / 1_000;

async fn ask(app: &TestApp, path: &str, pairs: &[(&str, &str)]) -> Reply {
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    app.get(&format!("/prom/api/v1/{path}?{query}")).await
}

async fn at_start(app: &TestApp, query: &str) -> Reply {
    ask(app, "query", &[("query", query), ("time", &S.to_string())]).await
}

async fn value(app: &TestApp, query: &str) -> Value {
    let answer = at_start(app, query).await.expect(200).json();
    assert_eq!(answer["data"]["result"].as_array().map(Vec::len), Some(1), "{query}: {answer}");
    answer["data"]["result"][0]["value"][1].clone()
}

async fn with_twins(app: &TestApp) {
    for (series, value) in [("one", 10), ("two", 32)] {
        let labels = json!({ "__name__": "meter_kwh", "site": "A" });
        app.put(&format!("/timeseries/{series}"), json!({ "labels": labels })).await.expect(201);
        let samples = [0, 1_000, 2_000].map(|ago| json!({ "timestamp": START - ago, "value": value }));
        app.post(&format!("/timeseries/{series}/samples"), json!({ "samples": samples })).await.expect(200);
    }
}

#[tokio::test]
async fn series_with_the_same_labels_all_count() {
    let app = TestApp::spawn().await;
    with_twins(&app).await;
    for (query, expected) in [
        ("sum(meter_kwh)", "42"),
        (r#"sum(meter_kwh{site="A"})"#, "42"),
        (r#"sum({site=~"A|B"})"#, "42"),
        ("sum by (site) (meter_kwh)", "42"),
        ("count(meter_kwh)", "2"),
        ("max(meter_kwh) - min(meter_kwh)", "22"),
        ("sum(avg_over_time(meter_kwh[10s]))", "42"),
        ("sum(last_over_time(meter_kwh[10s]))", "42"),
        ("sum(meter_kwh * 2)", "84"),
        ("sum(2 * meter_kwh)", "84"),
        ("sum(-meter_kwh)", "-42"),
    ] {
        assert_eq!(value(&app, query).await, expected, "{query}");
    }
    // A result cannot have the same labels twice.
    for query in [
        "meter_kwh",
        "meter_kwh * 2",
        "-meter_kwh",
        "rate(meter_kwh[10s])",
        "last_over_time(meter_kwh[10s])",
        "meter_kwh[10s]",
        "meter_kwh / meter_kwh",
    ] {
        let failure = at_start(&app, query).await.expect(422).json();
        assert_eq!(failure["errorType"], "execution", "{query}");
    }
    let failure = at_start(&app, "meter_kwh").await.expect(422).json();
    assert!(failure["error"].as_str().is_some_and(|text| text.contains(r#""site":"A""#)), "{failure}");
    let range = [("query", "meter_kwh"), ("start", &S.to_string()), ("end", &S.to_string()), ("step", "1")];
    ask(&app, "query_range", &range).await.expect(422);
    let range = [("query", "sum(meter_kwh)"), ("start", &S.to_string()), ("end", &S.to_string()), ("step", "1")];
    let answer = ask(&app, "query_range", &range).await.expect(200).json();
    assert_eq!(answer["data"]["result"][0]["values"], json!([[S, "42"]]));
    let series = ask(&app, "series", &[("match[]", "meter_kwh"), ("match[]", r#"{site="A"}"#)]).await.expect(200);
    assert_eq!(series.json()["data"].as_array().map(Vec::len), Some(2), "one entry for each series");
}

#[tokio::test]
async fn measurements_that_form_the_same_name_are_told_apart() {
    let app = TestApp::spawn().await;
    let lines = format!("meter_a,site=A kwh=10 {S}\nmeter,site=A a_kwh=32 {S}\n");
    app.send(Method::POST, "/write?precision=s", &[], lines).await.expect(204);
    assert_eq!(value(&app, "sum(meter_a_kwh)").await, "42");
    let both = at_start(&app, "meter_a_kwh").await.expect(200).json();
    assert_eq!(both["data"]["result"].as_array().map(Vec::len), Some(2), "{both}");
    assert_eq!(value(&app, r#"meter_a_kwh{_measurement="meter_a"}"#).await, "10");
    assert_eq!(value(&app, r#"meter_a_kwh{_measurement=""}"#).await, "32");
    let reserved = app.send(Method::POST, "/write", &[], "meter,_measurement=x a=1").await;
    reserved.expect_violation(400, "lines-refused", "/1");
}

#[tokio::test]
async fn a_range_of_samples_can_be_queried_at_one_time() {
    let app = TestApp::spawn().await;
    let lines = format!("m,host=a f=1 {}\nm,host=a f=2.5 {S}\nm,host=b f=7 {}\n", S - 60, S - 600);
    app.send(Method::POST, "/write?precision=s", &[], lines).await.expect(204);
    let answer = at_start(&app, "m_f[5m]").await.expect(200).json();
    let expected = json!([{ "metric": { "__name__": "m_f", "host": "a" }, "values": [[S - 60, "1"], [S, "2.5"]] }]);
    assert_eq!(answer["data"], json!({ "resultType": "matrix", "result": expected }));
    let earlier = at_start(&app, "m_f[5m] offset 8m").await.expect(200).json();
    assert_eq!(earlier["data"]["result"][0]["values"], json!([[S - 600, "7"]]));
    let range = [("query", "m_f[5m]"), ("start", &S.to_string()), ("end", &S.to_string()), ("step", "1")];
    ask(&app, "query_range", &range).await.expect(422);
    at_start(&app, "sum(m_f[5m])").await.expect(400);
}

#[tokio::test]
async fn many_series_of_one_client_do_not_hide_the_labels_of_others() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let mut lines = String::new();
    for n in 0..6_000 {
        writeln!(lines, "flood,host=h{n:05},zone={} f=1 {S}", n % 3).expect("memory");
    }
    app.send(Method::POST, "/write?precision=s", &[], lines).await.expect(204);
    app.post("/energy/meters/MTR-001/readings", json!({ "readings": [{ "energy_consumed": 1 }] })).await.expect(200);
    let data = async |path: &str, pairs: &[(&str, &str)]| ask(&app, path, pairs).await.expect(200).json();
    let names = data("labels", &[]).await;
    assert_eq!(names["data"], json!(["__name__", "host", "kind", "meter", "zone"]));
    assert_eq!(names.get("warnings"), None);
    assert_eq!(data("label/zone/values", &[]).await["data"], json!(["0", "1", "2"]));
    let metrics = data("label/__name__/values", &[]).await["data"].clone();
    assert_eq!(metrics, json!(["energy:consumption:MTR-001", "flood_f"]));
    let hosts = data("label/host/values", &[]).await["data"].clone();
    let expected: Vec<String> = (0..6_000).map(|n| format!("h{n:05}")).collect();
    assert_eq!(hosts, json!(expected));
    // A selector that many series match.
    let zones = data("label/zone/values", &[("match[]", "flood_f")]).await["data"].clone();
    assert_eq!(zones, json!(["0", "1", "2"]));
    assert_eq!(data("labels", &[("match[]", "flood_f")]).await["data"], json!(["__name__", "host", "zone"]));
    let first = data("label/host/values", &[("limit", "2")]).await;
    assert_eq!(first["data"], json!(["h00000", "h00001"]));
    assert_eq!(first["warnings"], json!(["results truncated due to limit"]));
    let metrics = data("label/__name__/values", &[("limit", "1")]).await["data"].clone();
    assert_eq!(metrics, json!(["energy:consumption:MTR-001"]));
    ask(&app, "label/a%00b/values", &[]).await.expect(400);
    // Only series that a selector matches count, however it selects them.
    for (query, expected) in [
        (r#"count({__name__=~"energy:.+"})"#, "1"),
        (r#"count({meter=~"MTR.*"})"#, "1"),
        (r#"count({kind!="",__name__!="flood_f"})"#, "1"),
        (r#"count({host=~"h0000.",zone!=""})"#, "10"),
        (r#"count({__name__="flood_f",host=~"h0000[01]"})"#, "2"),
        (r#"count({zone!=""})"#, "6000"),
        ("sum(flood_f)", "6000"),
    ] {
        assert_eq!(value(&app, query).await, expected, "{query}");
    }
    let all = ["count(flood_f)"; 5].join("+");
    let failure = at_start(&app, &all).await.expect(422).json();
    assert!(failure["error"].as_str().is_some_and(|text| text.contains("25000 series")), "{failure}");
    let some = data("series", &[("match[]", "flood_f"), ("limit", "100")]).await;
    assert_eq!(some["data"].as_array().map(Vec::len), Some(100));
    assert_eq!(some["warnings"], json!(["results truncated due to limit"]));
    let all = data("series", &[("match[]", "flood_f")]).await;
    assert_eq!((all["data"].as_array().map(Vec::len), all.get("warnings")), (Some(6_000), None));
    assert_eq!(data("labels", &[("match[]", r#"{zone=~".+"}"#)]).await["data"], json!(["__name__", "host", "zone"]));
    let names = data("label/meter/values", &[("match[]", r#"{__name__=~"energy.*"}"#)]).await;
    assert_eq!((&names["data"], names.get("warnings")), (&json!(["MTR-001"]), None));
}

#[tokio::test]
async fn clients_of_systems_that_resemble_prometheus_are_served() {
    let app = TestApp::builder().admin_key().spawn().await;
    let get = async |path: &str| app.send(Method::GET, path, &[("x-api-key", ADMIN_KEY)], "").await;
    let head = [("x-api-key", ADMIN_KEY), ("content-type", "application/json")];
    let labels = json!({ "labels": { "host.name": "w1", "a_b-c": "x" } });
    app.send(Method::PUT, "/timeseries/one", &head, labels.to_string()).await.expect(201);
    for (name, expected) in
        [("host.name", "w1"), ("U__host_2e_name", "w1"), ("U__a__b_2d_c", "x"), ("U__a__b_2D_c", "x")]
    {
        let values = get(&format!("/prom/api/v1/label/{name}/values?dedup=true")).await.expect(200).json();
        assert_eq!(values["data"], json!([expected]), "{name}");
    }
    // Parameters of Thanos.
    let sum = get("/prom/api/v1/query?query=1%2B1&dedup=true&partial_response=true").await.expect(200).json();
    assert_eq!(sum["data"]["result"][1], "2");
    let metadata = get("/prom/api/v1/metadata?limit=1").await.expect(200).json();
    assert_eq!(metadata, json!({ "status": "success", "data": {} }));
    for (path, text) in
        [("/prom/-/healthy", "Prometheus Server is Healthy.\n"), ("/prom/-/ready", "Prometheus Server is Ready.\n")]
    {
        assert_eq!(app.get(path).await.expect(200).text(), text);
    }
}

#[tokio::test]
async fn a_service_without_redis_is_not_ready_for_prometheus_clients() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    eventually("queries cannot be answered", async || app.get("/prom/-/ready").await.is(503)).await;
    app.get("/prom/-/healthy").await.expect(200);
}

#[tokio::test]
async fn labels_of_series_that_ended_are_not_listed() {
    let app = TestApp::spawn().await;
    let lines: Vec<String> = (0..1_200).map(|n| format!("m,host=h{n},zone={} f=1 {S}\n", n % 2)).collect();
    app.send(Method::POST, "/write?precision=s", &[], lines.concat()).await.expect(204);
    // Redis expires the series without the service: all with the zone 0, and most of the others.
    let keep = ["h1", "h1199"];
    for n in 0..1_200 {
        let host = format!("h{n}");
        if !keep.contains(&host.as_str()) {
            let key = format!("influx:m:f,host={host},zone={}", n % 2);
            assert_eq!(app.redis().command::<i64>(&["DEL", &key]), 1, "{key}");
        }
    }
    let data = async |path: &str| ask(&app, path, &[]).await.expect(200).json()["data"].clone();
    assert_eq!(data("label/zone/values").await, json!(["1"]));
    assert_eq!(data("label/host/values").await, json!(keep));
    assert_eq!(data("labels").await, json!(["__name__", "host", "zone"]));
    for host in keep {
        app.delete(&format!("/timeseries/influx:m:f,host={host},zone=1")).await.expect(204);
    }
    assert_eq!(data("labels").await, json!([]));
    assert_eq!(data("label/__name__/values").await, json!([]));
}
