//! Prometheus' query language over the series, against answers that were calculated by hand.

use std::fmt::Write;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Reply, START, TestApp};

/// START in seconds.
pub const S: i64 = START / 1_000;

pub fn encoded(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

pub async fn ask(app: &TestApp, query: &str, time: i64) -> Reply {
    app.get(&format!("/prom/api/v1/query?{}", encoded(&[("query", query), ("time", &time.to_string())]))).await
}

pub async fn ask_range(app: &TestApp, query: &str, end: i64, step: &str) -> Reply {
    let (start, end) = (S.to_string(), end.to_string());
    let pairs = encoded(&[("query", query), ("start", &start), ("end", &end), ("step", step)]);
    app.get(&format!("/prom/api/v1/query_range?{pairs}")).await
}

/// The metrics and values of an answer at one time, as text.
pub async fn values(app: &TestApp, query: &str, time: i64) -> Vec<(String, String)> {
    let answer = ask(app, query, time).await.expect(200).json();
    assert_eq!((&answer["status"], &answer["data"]["resultType"]), (&json!("success"), &json!("vector")), "{answer}");
    let text = |series: &Value| {
        assert_eq!(series["value"][0], json!(time), "{answer}");
        (series["metric"].to_string(), series["value"][1].as_str().expect("text").to_owned())
    };
    answer["data"]["result"].as_array().expect("series").iter().map(text).collect()
}

pub fn refused(reply: &Reply, status: u16, kind: &str, part: &str) {
    assert!(reply.is(status), "{}", reply.text());
    let body = reply.json();
    assert_eq!((&body["status"], &body["errorType"]), (&json!("error"), &json!(kind)), "{body}");
    assert!(body["error"].as_str().is_some_and(|text| text.contains(part)), "{body}");
}

/// Counters of three hosts every 15 s for 5 minutes: a rises by 1 a second, b by 2, and c by 3 with a reset in the middle.
pub async fn with_counters(app: &TestApp) {
    let mut lines = String::new();
    for n in 0..=20_i64 {
        let time = S + n * 15;
        let c = if n < 10 { 45 * n } else { 45 * (n - 10) };
        for (host, zone, value) in [("a", 1, 15 * n), ("b", 1, 30 * n), ("c", 2, c)] {
            writeln!(lines, "net,host={host},zone={zone} bytes={value} {time}").expect("memory");
        }
    }
    app.send(Method::POST, "/write?precision=s", &[], lines).await.expect(204);
}

#[tokio::test]
async fn selectors_find_series_by_name_and_by_labels() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    app.put("/timeseries/trading:volume:daily", json!({})).await.expect(201);
    app.post("/timeseries/trading:volume:daily/samples", json!({ "samples": [{ "timestamp": START, "value": 5 }] }))
        .await
        .expect(200);
    let a = r#"{"__name__":"net_bytes","host":"a","zone":"1"}"#.to_owned();
    let b = r#"{"__name__":"net_bytes","host":"b","zone":"1"}"#.to_owned();
    let c = r#"{"__name__":"net_bytes","host":"c","zone":"2"}"#.to_owned();
    let at = S + 60;
    let hosts =
        async |query: &str| values(&app, query, at).await.into_iter().map(|(metric, _)| metric).collect::<Vec<_>>();
    assert_eq!(
        values(&app, "net_bytes", at).await,
        [(a.clone(), "60"), (b.clone(), "120"), (c.clone(), "180")].map(|(m, v)| (m, v.to_owned()))
    );
    assert_eq!(hosts(r#"net_bytes{host="b"}"#).await, [b.as_str()]);
    assert_eq!(hosts(r#"{zone="1"}"#).await, [a.as_str(), &b]);
    assert_eq!(hosts(r#"{__name__="net_bytes",zone!="1"}"#).await, [c.as_str()]);
    assert_eq!(hosts(r#"net_bytes{host=~"a|c"}"#).await, [a.as_str(), &c]);
    assert_eq!(hosts(r#"{host=~"[ab].*",place=""}"#).await, [a.as_str(), &b]);
    assert_eq!(hosts(r#"net_bytes{host!~"a|b"}"#).await, [c.as_str()]);
    assert_eq!(hosts(r#"{__name__=~"net_.+",host="c"}"#).await, [c.as_str()]);
    assert_eq!(hosts("net_byte").await, [""; 0]);
    // The metric name of a series without a name is its key.
    let volume = values(&app, "trading:volume:daily", at).await;
    let kind = r#"{"__name__":"trading:volume:daily","kind":"volume"}"#;
    assert_eq!(volume, [(kind.to_owned(), "5".to_owned())]);
    // A series has no value 5 minutes after its last sample.
    assert_eq!(values(&app, "trading:volume:daily", S + 299).await.len(), 1);
    assert_eq!(values(&app, "trading:volume:daily", S + 300).await.len(), 0);
    assert_eq!(values(&app, "trading:volume:daily offset 5m", S + 310).await.len(), 1);
    assert_eq!(values(&app, "trading:volume:daily", S - 1).await.len(), 0);
}

#[tokio::test]
async fn functions_use_the_range_before_each_step() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    // Four samples lie in the minute before: 15, 30, 45 and 60 s; extrapolated to the whole minute.
    for (query, expected) in [
        ("rate(net_bytes[1m])", ["1", "2", "3"]),
        ("increase(net_bytes[1m])", ["60", "120", "180"]),
        ("sum_over_time(net_bytes[1m])", ["150", "300", "450"]),
        ("avg_over_time(net_bytes[1m])", ["37.5", "75", "112.5"]),
        ("min_over_time(net_bytes[1m])", ["15", "30", "45"]),
        ("max_over_time(net_bytes[1m])", ["60", "120", "180"]),
        ("count_over_time(net_bytes[1m])", ["4", "4", "4"]),
        ("quantile_over_time(0.5, net_bytes[1m])", ["37.5", "75", "112.5"]),
        ("stdvar_over_time(net_bytes[1m])", ["281.25", "1125", "2531.25"]),
        ("present_over_time(net_bytes[1m])", ["1", "1", "1"]),
        ("-net_bytes", ["-60", "-120", "-180"]),
        ("last_over_time(net_bytes[1m] offset 30s)", ["30", "60", "90"]),
    ] {
        let found = values(&app, query, S + 60).await;
        assert_eq!(found.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), expected, "{query}");
        let named = found.iter().all(|(metric, _)| metric.contains("__name__"));
        assert_eq!(named, query.starts_with("last"), "{query}");
    }
    // The reset of c lies between 135 s (405) and 150 s (0): 45 less than without it.
    let c = values(&app, r#"increase(net_bytes{host="c"}[5m])"#, S + 300).await;
    assert_eq!(c[0].1, (810.0_f64 * (300.0 / 285.0)).to_string());
    // One sample makes no rate.
    assert_eq!(values(&app, "rate(net_bytes[15s])", S + 60).await.len(), 0);
}

#[tokio::test]
async fn series_can_be_aggregated_and_combined() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    let one = |metric: &str, value: &str| (metric.to_owned(), value.to_owned());
    let at = S + 60;
    for (query, expected) in [
        ("sum(net_bytes)", vec![one("{}", "360")]),
        ("sum by (zone) (net_bytes)", vec![one(r#"{"zone":"1"}"#, "180"), one(r#"{"zone":"2"}"#, "180")]),
        ("avg without (host) (net_bytes)", vec![one(r#"{"zone":"1"}"#, "90"), one(r#"{"zone":"2"}"#, "180")]),
        ("min(net_bytes)", vec![one("{}", "60")]),
        ("max by (zone, none) (net_bytes)", vec![one(r#"{"zone":"1"}"#, "120"), one(r#"{"zone":"2"}"#, "180")]),
        ("count(net_bytes)", vec![one("{}", "3")]),
        ("quantile(0.5, net_bytes)", vec![one("{}", "120")]),
        ("quantile(2, net_bytes)", vec![one("{}", "+Inf")]),
        ("sum(rate(net_bytes[1m])) * 8", vec![one("{}", "48")]),
        (r#"2 ^ 3 - net_bytes{host="a"} % 7"#, vec![one(r#"{"host":"a","zone":"1"}"#, "4")]),
        (r#"net_bytes{host="a"} / on (zone) net_bytes{host="b"}"#, vec![one(r#"{"zone":"1"}"#, "0.5")]),
        (r#"net_bytes{zone="1"} - ignoring (host, zone) sum(net_bytes{host="z"})"#, vec![]),
        (
            "net_bytes / net_bytes",
            vec![
                one(r#"{"host":"a","zone":"1"}"#, "1"),
                one(r#"{"host":"b","zone":"1"}"#, "1"),
                one(r#"{"host":"c","zone":"2"}"#, "1"),
            ],
        ),
        ("0 / (sum(net_bytes) - 360)", vec![one("{}", "NaN")]),
    ] {
        assert_eq!(values(&app, query, at).await, expected, "{query}");
    }
    let scalar = ask(&app, "1+1", at).await.expect(200).json();
    assert_eq!(scalar["data"], json!({ "resultType": "scalar", "result": [at, "2"] }));
    refused(&ask(&app, "net_bytes / on (zone) net_bytes", at).await, 422, "execution", "on");
}

#[tokio::test]
async fn a_range_query_is_evaluated_at_every_step() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    let answer =
        ask_range(&app, r#"sum by (zone) (rate(net_bytes{zone="1"}[1m]))"#, S + 120, "30s").await.expect(200).json();
    // Nothing before the second sample: the first step has one sample, or none.
    let expected =
        json!([{ "metric": { "zone": "1" }, "values": [[S + 30, "3"], [S + 60, "3"], [S + 90, "3"], [S + 120, "3"]] }]);
    let rates = &answer["data"];
    assert_eq!(rates["resultType"], "matrix");
    let found = rates["result"][0]["values"].as_array().expect("values");
    assert_eq!(
        (&rates["result"][0]["metric"], &found[1..]),
        (&expected[0]["metric"], &expected[0]["values"].as_array().expect("values")[1..])
    );
    // At 30 s the counters were 0 at 0 s, so that nothing can be carried on to before it: 30 and 60 in 60 s.
    assert_eq!(found[0], json!([S + 30, "1.5"]));
    let numbers = ask_range(&app, "3", S + 1, "0.5").await.expect(200).json();
    assert_eq!(
        numbers["data"]["result"],
        json!([{ "metric": {}, "values": [[S, "3"], [1_767_225_600.5, "3"], [S + 1, "3"]] }])
    );
    // A form says the same as a query.
    let form = encoded(&[
        ("query", "sum(net_bytes)"),
        ("start", &S.to_string()),
        ("end", "2026-01-01T00:01:00Z"),
        ("step", "1m"),
    ]);
    let head = [("content-type", "application/x-www-form-urlencoded")];
    let posted = app.send(Method::POST, "/prom/api/v1/query_range", &head, form).await.expect(200).json();
    assert_eq!(posted["data"]["result"], json!([{ "metric": {}, "values": [[S, "0"], [S + 60, "360"]] }]));
    let form = encoded(&[("query", "count(net_bytes)"), ("time", &S.to_string())]);
    let posted = app.send(Method::POST, "/prom/api/v1/query", &head, form).await.expect(200).json();
    assert_eq!(posted["data"]["result"], json!([{ "metric": {}, "value": [S, "3"] }]));
}

#[tokio::test]
async fn series_and_labels_are_listed() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    app.post("/energy/meters/MTR-001/readings", json!({ "readings": [{ "energy_consumed": 1 }] })).await.expect(200);
    let data = async |path: &str| app.get(path).await.expect(200).json()["data"].clone();
    let labels = data("/prom/api/v1/labels").await;
    assert_eq!(labels, json!(["__name__", "host", "kind", "meter", "zone"]));
    assert_eq!(data("/prom/api/v1/labels?match[]=net_bytes&limit=2").await, json!(["__name__", "host"]));
    assert_eq!(data("/prom/api/v1/label/host/values").await, json!(["a", "b", "c"]));
    assert_eq!(data("/prom/api/v1/label/__name__/values").await, json!(["energy:consumption:MTR-001", "net_bytes"]));
    assert_eq!(data("/prom/api/v1/label/none/values").await, json!([]));
    let series = data(&format!(
        "/prom/api/v1/series?{}",
        encoded(&[("match[]", r#"{host="a"}"#), ("match[]", r#"{meter=~".+"}"#)])
    ))
    .await;
    let expected = json!([
        { "__name__": "energy:consumption:MTR-001", "kind": "consumption", "meter": "MTR-001" },
        { "__name__": "net_bytes", "host": "a", "zone": "1" },
    ]);
    assert_eq!(series, expected);
    let head = [("content-type", "application/x-www-form-urlencoded")];
    for (path, expected) in [("/prom/api/v1/series", &expected[1]), ("/prom/api/v1/labels", &json!("__name__"))] {
        let posted =
            app.send(Method::POST, path, &head, encoded(&[("match[]", r#"{host="a"}"#)])).await.expect(200).json();
        assert_eq!(&posted["data"][0], expected);
    }
    assert_eq!(data("/prom/api/v1/status/buildinfo").await["version"], "3.0.0");
    refused(&app.get("/prom/api/v1/series").await, 400, "bad_data", "match[]");
    refused(&app.get("/prom/api/v1/series?match[]=1%2B1").await, 400, "bad_data", "must be a selector");
}

#[tokio::test]
async fn unsupported_parts_are_named() {
    let app = TestApp::spawn().await;
    with_counters(&app).await;
    for (query, part) in [
        ("deriv(net_bytes[1m])", "`deriv`"),
        ("abs(net_bytes)", "`abs`"),
        ("histogram_quantile(0.9, net_bytes)", "`histogram_quantile`"),
        ("topk(3, net_bytes)", "`topk`"),
        ("time()", "`time`"),
        ("net_bytes > 3", "`>`"),
        ("net_bytes and net_bytes", "`and`"),
        ("net_bytes @ 3", "`@`"),
        ("rate(net_bytes[1m:15s])", "subquery"),
        ("net_bytes * on (zone) group_left sum by (zone) (net_bytes)", "group_left"),
        ("\"text\"", "text"),
        (&format!("{}net_bytes", "-".repeat(200)), "levels"),
        (&format!("{}1{}", "(".repeat(200), ")".repeat(200)), "levels"),
        (r#"rate({host=~"a|b|c"}[1m]) + on () net_bytes"#, "same series"),
    ] {
        refused(&ask(&app, query, S).await, 422, "execution", part);
    }
    // As deep as the longest query can be.
    for query in ["-".repeat(4_000), "a^".repeat(2_000), "(".repeat(4_000), "a+".repeat(2_000)] {
        assert!(!ask(&app, &format!("{query}a"), S).await.is(200));
    }
    for query in [
        "",
        "net_bytes{",
        "rate(net_bytes)",
        "nofunction(net_bytes)",
        "{}",
        &"1".repeat(4_097),
        "sum by (",
        "{host=\"a\"}}",
    ] {
        refused(&ask(&app, query, S).await, 400, "bad_data", "query");
    }
    refused(&ask(&app, r#"{host=~"("}"#, S).await, 400, "bad_data", "regular expression `(` is invalid");
    for (query, part) in [
        ("time=1", "query"),
        ("query=1&time=x", "time"),
        ("query=1&time=-1", "time"),
        ("query=1&time=253402300800000", "time"),
        ("query=1&time=NaN", "time"),
        ("query=1&query=2", "query"),
        ("query=1&lookback_delta=0", "lookback_delta"),
    ] {
        refused(&app.get(&format!("/prom/api/v1/query?{query}")).await, 400, "bad_data", part);
    }
    for (query, part) in [
        ("query=1&end=2&step=1", "start"),
        ("query=1&start=2&end=1&step=1", "end"),
        ("query=1&start=1&end=2&step=0", "step"),
        ("query=1&start=1&end=2&step=0.0004", "step"),
        ("query=1&start=0&end=11000&step=1", "step"),
        ("query=1&start=0&end=1e99&step=1", "end"),
        ("start=0&end=1&step=1", "query"),
    ] {
        refused(&app.get(&format!("/prom/api/v1/query_range?{query}")).await, 400, "bad_data", part);
    }
    refused(
        &app.send(Method::POST, "/prom/api/v1/query", &[("content-type", "application/json")], "{}").await,
        400,
        "bad_data",
        "form",
    );
}

#[tokio::test]
async fn an_unavailable_redis_is_reported_in_the_form_of_prometheus() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    app.proxy().cut();
    refused(&ask(&app, "net_bytes", S).await, 503, "unavailable", "redis-unavailable");
    ask(&app, "1+1", S).await.expect(200);
}
