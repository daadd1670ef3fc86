//! Series by their labels: lists, ranges of many series, groups, and the repair of lists after failures.

use serde_json::{Value, json};

use crate::support::{Cluster, TestApp, eventually};
use crate::timeseries::{LONG_DEADLINES, add_five_million_samples, sample, write};

const QUERY: &str = "/timeseries/query";

pub async fn series(app: &TestApp, key: &str, labels: Value, values: &[(i64, f64)]) {
    app.put(&format!("/timeseries/{key}"), json!({ "retention_ms": 0, "labels": labels })).await.expect(201);
    if !values.is_empty() {
        let samples = values.iter().map(|&(time, value)| sample(time, value)).collect();
        write(app, &format!("/timeseries/{key}"), samples).await;
    }
}

async fn three_meters(app: &TestApp) {
    series(app, "m:1", json!({ "zone": "1", "kind": "solar" }), &[(0, 1.0), (10, 2.0), (20, 3.0)]).await;
    series(app, "m:2", json!({ "zone": "1", "kind": "grid" }), &[(0, 10.0), (20, 30.0)]).await;
    series(app, "m:3", json!({ "zone": "2" }), &[]).await;
    series(app, "plain", json!({}), &[(0, 99.0)]).await;
}

async fn keys(app: &TestApp, query: &str) -> Vec<String> {
    let page = app.get(&format!("/timeseries?{query}")).await.expect(200).json();
    let items = page["items"].as_array().expect("items");
    items.iter().map(|item| item["key"].as_str().expect("a key").to_owned()).collect()
}

#[tokio::test]
async fn series_are_found_by_their_labels() {
    let app = TestApp::spawn().await;
    three_meters(&app).await;
    for (query, expected) in [
        ("filter=zone=1", vec!["m:1", "m:2"]),
        ("filter=zone%3D1", vec!["m:1", "m:2"]),
        ("filter=zone=1&filter=kind=solar", vec!["m:1"]),
        ("filter=zone=1&filter=kind!=solar", vec!["m:2"]),
        ("filter=zone=(1,2)", vec!["m:1", "m:2", "m:3"]),
        ("filter=zone=(2,2)", vec!["m:3"]),
        ("filter=zone=(1,2)&filter=kind=", vec!["m:3"]),
        ("filter=zone=(1,2)&filter=kind!=", vec!["m:1", "m:2"]),
        ("filter=zone=()", vec![]),
        ("filter=zone=3", vec![]),
        ("filter=zone=1&filter=zone=2", vec![]),
        ("filter=zone=(1,2)&prefix=m:2", vec!["m:2"]),
        ("filter=zone=(1,2)&prefix=plain", vec![]),
    ] {
        assert_eq!(keys(&app, query).await, expected, "{query}");
    }
    let page = app.get("/timeseries?filter=zone=2").await.expect(200).json();
    let entry = json!({ "key": "m:3", "retention_ms": 0, "duplicate_policy": "last", "labels": { "zone": "2" } });
    assert_eq!(page["items"], json!([entry]));
}

#[tokio::test]
async fn a_series_is_found_by_its_current_labels() {
    let app = TestApp::spawn().await;
    three_meters(&app).await;
    app.patch("/timeseries/m:1", json!({ "labels": { "zone": "7" } })).await.expect(200);
    assert_eq!(keys(&app, "filter=zone=1").await, ["m:2"]);
    assert_eq!(keys(&app, "filter=zone=7").await, ["m:1"]);
    assert_eq!(keys(&app, "filter=kind=solar").await, Vec::<String>::new());
    app.patch("/timeseries/m:1", json!({ "retention_ms": 5 })).await.expect(200);
    assert_eq!(keys(&app, "filter=zone=7").await, ["m:1"]);
    app.delete("/timeseries/m:1").await.expect(204);
    assert_eq!(keys(&app, "filter=zone=7").await, Vec::<String>::new());
    app.patch("/timeseries/m:2", json!({ "labels": {} })).await.expect(200);
    app.delete("/timeseries/m:3").await.expect(204);
    // Nothing remains for series that were deleted or no longer have labels.
    for list in ["timeseries:labels:{timeseries:index}", "timeseries:postings:{timeseries:index}"] {
        assert_eq!(app.redis().command::<i64>(&["EXISTS", list]), 0, "{list}");
    }
}

#[tokio::test]
async fn the_pages_of_a_label_contain_all_its_series() {
    let app = TestApp::spawn().await;
    for n in 0..25 {
        let kind = if n % 3 == 0 { "solar" } else { "grid" };
        series(&app, &format!("m:{n:02}"), json!({ "zone": (n % 2).to_string(), "kind": kind }), &[]).await;
    }
    for (filter, count) in
        [("filter=zone=(0,1)", 25), ("filter=zone=1&filter=kind=solar", 4), ("filter=kind!=grid&filter=zone=0", 5)]
    {
        for limit in [1, 2, 7, 100] {
            let (mut all, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = app.get(&format!("/timeseries?{filter}&limit={limit}{cursor}")).await.expect(200).json();
                let items = page["items"].as_array().expect("items");
                assert!(items.len() <= limit);
                all.extend(items.iter().map(|item| item["key"].clone()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
            }
            assert_eq!(all.len(), count, "{filter} {limit}");
            assert!(all.is_sorted_by(|a, b| a.as_str() < b.as_str()), "{filter} {limit}");
        }
    }
}

#[tokio::test]
async fn ranges_of_many_series_are_read_in_one_request() {
    let app = TestApp::spawn().await;
    three_meters(&app).await;
    let query = json!({ "filter": ["zone=(1,2)"], "from": 0, "to": 15, "limit": 1 });
    let page = app.post("/timeseries/query", query).await.expect(200).json();
    let expected = json!({ "items": [
        { "key": "m:1", "labels": { "kind": "solar", "zone": "1" }, "samples": [{ "timestamp": 0, "value": 1.0 }],
          "truncated": true },
        { "key": "m:2", "labels": { "kind": "grid", "zone": "1" }, "samples": [{ "timestamp": 0, "value": 10.0 }],
          "truncated": false },
        { "key": "m:3", "labels": { "zone": "2" }, "samples": [], "truncated": false },
    ], "next_cursor": null });
    assert_eq!(page, expected);

    let query = json!({ "filter": ["zone=(1,2)"], "series_limit": 2, "labels": ["kind"], "agg": "sum", "bucket": "10ms",
                        "empty": true, "order": "desc", "from": "1970-01-01T00:00:00Z", "to": "now" });
    let first = app.post(QUERY, query.clone()).await.expect(200).json();
    let sums = json!([{ "timestamp": 20, "value": 30.0 }, { "timestamp": 10, "value": 0.0 }, { "timestamp": 0, "value": 10.0 }]);
    assert_eq!((&first["items"][1]["samples"], &first["items"][1]["labels"]), (&sums, &json!({ "kind": "grid" })));
    let mut next = query;
    next["cursor"] = first["next_cursor"].clone();
    let second = app.post(QUERY, next).await.expect(200).json();
    assert_eq!(
        second["items"],
        json!([{ "key": "m:3", "labels": { "kind": null }, "samples": [], "truncated": false }])
    );
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn groups_are_reduced_after_each_series_is_aggregated() {
    let app = TestApp::spawn().await;
    three_meters(&app).await;
    series(&app, "m:4", json!({ "kind": "solar" }), &[(0, 5.0)]).await;
    let query =
        json!({ "filter": ["zone=(1,2)"], "agg": "max", "bucket": "20ms", "group_by": "zone", "reduce": "sum" });
    let page = app.post(QUERY, query).await.expect(200).json();
    let expected = json!({ "items": [
        { "key": "zone=1", "labels": { "zone": "1" },
          "samples": [{ "timestamp": 0, "value": 12.0 }, { "timestamp": 20, "value": 33.0 }],
          "truncated": false, "reducer": "sum", "sources": ["m:1", "m:2"] },
        { "key": "zone=2", "labels": { "zone": "2" }, "samples": [], "truncated": false, "reducer": "sum",
          "sources": ["m:3"] },
    ], "next_cursor": null });
    assert_eq!(page, expected);
    let newest = json!({ "filter": ["kind=(solar,grid)"], "group_by": "zone", "reduce": "count", "order": "desc",
                         "limit": 2, "labels": ["kind", "zone"] });
    let page = app.post(QUERY, newest).await.expect(200).json();
    // A series without the label belongs to no group.
    let expected = json!([{ "key": "zone=1", "labels": { "kind": null, "zone": "1" },
        "samples": [{ "timestamp": 20, "value": 2 }, { "timestamp": 10, "value": 1 }],
        "truncated": true, "reducer": "count", "sources": ["m:1", "m:2"] }]);
    assert_eq!(page["items"], expected);
}

#[tokio::test]
async fn a_page_ends_before_its_response_is_too_large() {
    let app = TestApp::builder().config("timeseries.max_points = 5\n").spawn().await;
    three_meters(&app).await;
    let query = json!({ "filter": ["zone=(1,2)"] });
    let first = app.post(QUERY, query.clone()).await.expect(200).json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(3));
    series(&app, "m:0", json!({ "zone": "1" }), &[(0, 1.0), (1, 1.0), (2, 1.0)]).await;
    let first = app.post(QUERY, query.clone()).await.expect(200).json();
    assert_eq!(first["items"].as_array().map(Vec::len), Some(1), "{first}");
    let mut next = query;
    next["cursor"] = first["next_cursor"].clone();
    let second = app.post(QUERY, next).await.expect(200).json();
    assert_eq!(second["items"].as_array().map(Vec::len), Some(3), "{second}");
}

#[tokio::test]
async fn a_query_reads_a_limited_number_of_samples() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    three_meters(&app).await;
    series(&app, "m:6", json!({ "zone": "6" }), &[(10_000_000, 1.0)]).await;
    add_five_million_samples(&app, "ts:m:6");
    let sums = |filter: &str| json!({ "filter": [filter], "agg": "sum" });
    app.post(QUERY, sums("zone=6")).await.expect_problem(422, "range-too-wide");
    let page = app.post(QUERY, sums("zone=(1,6)")).await.expect(200).json();
    assert!(page["next_cursor"].is_string(), "{page}");
}

#[tokio::test]
async fn errors_of_queries_for_many_series_name_the_field() {
    let app = TestApp::spawn().await;
    for (change, pointer) in [
        (json!({ "filter": [] }), "/filter"),
        (json!({ "filter": ["zone"] }), "/filter/0"),
        (json!({ "filter": ["zone=(1"] }), "/filter/0"),
        (json!({ "filter": ["zone!=1"] }), "/filter"),
        (json!({ "filter": vec!["zone=1"; 33] }), "/filter"),
        (json!({ "filter": "zone=1" }), "/filter"),
        (json!({ "form": 1 }), "/form"),
        (json!({ "from": "yesterday" }), "/from"),
        (json!({ "from": 5, "to": 4 }), "/from"),
        (json!({ "from": -1 }), "/from"),
        (json!({ "from": true }), "/from"),
        (json!({ "agg": "mode" }), "/agg"),
        (json!({ "bucket": "1h" }), "/agg"),
        (json!({ "agg": "avg", "bucket": "0s" }), "/bucket"),
        (json!({ "agg": "avg", "bucket": "1d", "tz": "Asia/Bankok" }), "/tz"),
        (json!({ "agg": "avg", "bucket": "1d", "align": "start" }), "/align"),
        (json!({ "filter_by_ts": [] }), "/filter_by_ts"),
        (json!({ "filter_by_ts": [-1] }), "/filter_by_ts/0"),
        (json!({ "filter_by_ts": vec![1; 129] }), "/filter_by_ts"),
        (json!({ "agg": "avg", "wrap": 1 }), "/wrap"),
        (json!({ "limit": 0 }), "/limit"),
        (json!({ "series_limit": 1001 }), "/series_limit"),
        (json!({ "labels": vec!["a"; 33] }), "/labels"),
        (json!({ "group_by": "zone" }), "/reduce"),
        (json!({ "reduce": "sum" }), "/group_by"),
        (json!({ "group_by": "zone", "reduce": "first" }), "/reduce"),
        (json!({ "group_by": "zone", "reduce": "sum", "agg": "ohlcv" }), "/reduce"),
        (json!({ "group_by": "zone", "reduce": "sum", "series_limit": 5 }), "/series_limit"),
        (json!({ "group_by": "zone", "reduce": "sum", "cursor": "0-9-m" }), "/cursor"),
        (json!({ "cursor": "m" }), "/cursor"),
    ] {
        let mut query = json!({ "filter": ["zone=1"] });
        for (name, value) in change.as_object().expect("fields") {
            query[name] = value.clone();
        }
        app.post(QUERY, query).await.expect_violation(422, "invalid-body", pointer);
    }
    app.post("/timeseries/query?a=1", json!({ "filter": ["zone=1"] })).await.expect_violation(
        422,
        "invalid-query",
        "/a",
    );
    for query in ["filter=zone", "filter=zone!=1", "filter=", "filter=zone=1&limit=5&limit=6"] {
        let parameter = if query.contains("limit") { "/limit" } else { "/filter" };
        app.get(&format!("/timeseries?{query}")).await.expect_violation(422, "invalid-query", parameter);
    }
}

#[tokio::test]
async fn the_next_write_adds_a_missing_series_to_its_lists() {
    let app = TestApp::spawn().await;
    series(&app, "m:1", json!({ "zone": "1" }), &[]).await;
    // As if the service had stopped after writing the series and before adding it to the lists.
    let lists = ["timeseries:index", "timeseries:labels:{timeseries:index}", "timeseries:postings:{timeseries:index}"];
    for list in lists {
        app.redis().command::<i64>(&["DEL", list]);
    }
    app.redis().command::<i64>(&["HDEL", "ts:m:1", "listed"]);
    assert_eq!(keys(&app, "filter=zone=1").await, Vec::<String>::new());
    write(&app, "/timeseries/m:1", vec![sample(1, 1.0)]).await;
    assert_eq!(keys(&app, "filter=zone=1").await, ["m:1"]);
    assert_eq!(keys(&app, "").await, ["m:1"]);
}

#[tokio::test]
async fn stale_lists_return_only_existing_series() {
    let app = TestApp::spawn().await;
    three_meters(&app).await;
    // As if the service had stopped after changing the labels and before changing their lists.
    app.redis().command::<i64>(&["HSET", "ts:m:1", "labels", "{\"zone\":\"9\"}"]);
    app.redis().command::<i64>(&["DEL", "ts:m:2"]);
    let page = app.post(QUERY, json!({ "filter": ["zone=(1,2)"] })).await.expect(200).json();
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{page}");
    // The reads have removed the stale entries.
    assert_eq!(keys(&app, "filter=zone=9").await, ["m:1"]);
    let postings = "timeseries:postings:{timeseries:index}";
    assert_eq!(app.redis().command::<i64>(&["ZCARD", postings]), 2);
}

#[tokio::test]
async fn an_expired_series_is_removed_from_its_lists() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/m:1", json!({ "retention_ms": 50, "labels": { "zone": "1" } })).await.expect(201);
    // A series expires a day after its last write at the earliest.
    let left: i64 = app.redis().command(&["PTTL", "ts:m:1"]);
    assert!((86_000_000..100_000_000).contains(&left), "{left}");
    app.redis().command::<i64>(&["PEXPIRE", "ts:m:1", "1"]);
    eventually("the series is gone", async || app.get("/timeseries/m:1").await.is(404)).await;
    // Later registrations check some of the existing names.
    eventually("its place is free", async || {
        app.put("/timeseries/other", json!({ "labels": { "zone": "2" } })).await;
        app.redis().command::<i64>(&["ZCARD", "timeseries:postings:{timeseries:index}"]) == 1
    })
    .await;
    assert_eq!(keys(&app, "").await, ["other"]);
}

#[tokio::test]
async fn a_second_replica_finds_the_series_of_the_first() {
    let app = TestApp::spawn().await;
    let other = TestApp::builder().beside(&app).spawn().await;
    three_meters(&app).await;
    other.patch("/timeseries/m:3", json!({ "labels": { "zone": "1" } })).await.expect(200);
    assert_eq!(keys(&app, "filter=zone=1").await, ["m:1", "m:2", "m:3"]);
    assert_eq!(keys(&other, "filter=zone=1").await, ["m:1", "m:2", "m:3"]);
}

#[tokio::test]
async fn labels_of_series_on_all_nodes_of_a_cluster_are_found() {
    let cluster = Cluster::start().await;
    let app = TestApp::builder().config(&cluster.config()).spawn().await;
    for n in 0..40 {
        let value = f64::from(n);
        series(&app, &format!("m:{n:02}"), json!({ "zone": (n % 4).to_string() }), &[(0, value)]).await;
    }
    assert_eq!(keys(&app, "filter=zone=3").await.len(), 10);
    let query = json!({ "filter": ["zone=(0,1,2,3)"], "group_by": "zone", "reduce": "sum" });
    let page = app.post(QUERY, query).await.expect(200).json();
    let sums: Vec<&Value> =
        page["items"].as_array().expect("groups").iter().map(|group| &group["samples"][0]["value"]).collect();
    assert_eq!(sums, [&json!(180.0), &json!(190.0), &json!(200.0), &json!(210.0)]);
}

#[tokio::test]
async fn queries_fail_if_redis_is_unavailable() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    three_meters(&app).await;
    app.proxy().cut();
    eventually("the cut is noticed", async || app.get("/health/ready").await.is(503)).await;
    app.post(QUERY, json!({ "filter": ["zone=1"] })).await.expect_problem(503, "redis-unavailable");
    app.get("/timeseries?filter=zone=1").await.expect_problem(503, "redis-unavailable");
    app.proxy().heal();
    eventually("queries work again", async || app.post(QUERY, json!({ "filter": ["zone=1"] })).await.is(200)).await;
}
