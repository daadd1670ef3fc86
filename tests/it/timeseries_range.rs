//! Windows of a series: pages, buckets, statistics, CSV.

use axum::body::Body;
use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{START, TestApp};
use crate::timeseries::{LONG_DEADLINES, METER, add_five_million_samples, bits, read, sample, write, write_many};

/// More readings than one call of Redis reads, with gaps, a few minutes apart and never on a round time.
fn readings() -> Vec<(i64, f64)> {
    let mut time = START + 1;
    (0..40_000_i32)
        .map(|n| {
            time += 60_000 + i64::from(n * 7_919 % 900_000) + if n % 500 == 0 { 40 * 3_600_000 } else { 0 };
            (time, f64::from(n * 31 % 997) / 10.0 - 20.0)
        })
        .collect()
}

async fn with_readings(app: &TestApp) -> Vec<(i64, f64)> {
    let all = readings();
    write_many(app, METER, all.iter().copied()).await;
    all
}

#[tokio::test]
async fn the_pages_contain_the_whole_range_in_both_orders() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let all = with_readings(&app).await;
    let (from, to) = (all[700].0, all[37_500].0 - 1);
    let mut expected = bits(&all[700..37_500]);
    for limit in [36_799, 36_800, 36_801, 100_000, 512, 997] {
        assert_eq!(read(&app, METER, &format!("&from={from}&to={to}"), limit).await, expected, "{limit}");
    }
    expected.reverse();
    for limit in [36_800, 100_000, 512, 997] {
        assert_eq!(read(&app, METER, &format!("&from={from}&to={to}&order=desc"), limit).await, expected, "{limit}");
    }
}

#[tokio::test]
async fn the_newest_samples_come_first_in_descending_order() {
    let app = TestApp::spawn().await;
    let all = with_readings(&app).await;
    let newest = app.get(&format!("{METER}/range?order=desc&limit=3")).await.expect(200).json();
    let times: Vec<i64> = newest["samples"]
        .as_array()
        .expect("samples")
        .iter()
        .map(|s| s["timestamp"].as_i64().expect("a time"))
        .collect();
    assert_eq!(times, all.iter().rev().take(3).map(|&(time, _)| time).collect::<Vec<_>>());
}

/// Buckets as one would write them down.
fn naive(all: &[(i64, f64)], width: i64, align: i64, aggregation: &str) -> Vec<(i64, f64)> {
    let start = |time: i64| time - (time - align).rem_euclid(width);
    all.chunk_by(|a, b| start(a.0) == start(b.0))
        .map(|bucket| {
            let values: Vec<f64> = bucket.iter().map(|&(_, value)| value).collect();
            let count = f64::from(u32::try_from(values.len()).expect("small"));
            let number = match aggregation {
                "sum" => values.iter().sum(),
                "avg" => values.iter().sum::<f64>() / count,
                "min" => values.iter().copied().fold(f64::INFINITY, f64::min),
                "max" => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                "count" => count,
                "first" => values[0],
                _ => values[values.len() - 1],
            };
            (start(bucket[0].0).max(0), number)
        })
        .collect()
}

#[tokio::test]
async fn aggregates_agree_with_a_naive_model() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let all = with_readings(&app).await;
    for aggregation in ["avg", "sum", "min", "max", "count", "first", "last"] {
        for (bucket, width, align) in [("15m", 900_000, 0), ("1d", 86_400_000, -25_200_000), ("7h", 25_200_000, 12_345)]
        {
            let query = format!("&agg={aggregation}&bucket={bucket}&align={align}");
            let expected = naive(&all, width, align, aggregation);
            let found = read(&app, METER, &query, 100_000).await;
            assert_eq!(found.len(), expected.len(), "{query}");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.0, expected.0, "{query}");
                assert!((f64::from_bits(found.1) - expected.1).abs() < 1e-9, "{query}: {expected:?}");
            }
            assert_eq!(read(&app, METER, &query, 1_301).await, found, "{query}: pages");
            let mut newest_first = read(&app, METER, &format!("{query}&order=desc"), 1_709).await;
            newest_first.reverse();
            assert_eq!(newest_first, found, "{query}: newest first");
        }
    }
}

#[tokio::test]
async fn without_bucket_the_window_is_one_bucket() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(10, 1.0), sample(20, 2.0), sample(30, 4.0)]).await;
    for (query, expected) in [
        ("agg=sum", json!([{ "timestamp": 0, "value": 7.0 }])),
        ("agg=sum&from=15&to=30", json!([{ "timestamp": 15, "value": 6.0 }])),
        ("agg=count&from=15&order=desc&limit=1", json!([{ "timestamp": 15, "value": 2 }])),
        ("agg=max&from=20&to=20", json!([{ "timestamp": 20, "value": 2.0 }])),
        ("agg=max&from=31", json!([])),
    ] {
        let page = app.get(&format!("{METER}/range?{query}")).await.expect(200).json();
        assert_eq!((&page["samples"], &page["next_cursor"]), (&expected, &json!(null)), "{query}");
    }
}

#[tokio::test]
async fn a_count_is_an_integer_and_a_sum_out_of_range_is_null() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(0, f64::MAX), sample(5, f64::MAX), sample(20, 1.0)]).await;
    let text = app.get(&format!("{METER}/range?agg=count&bucket=10ms")).await.expect(200).text();
    assert!(text.contains(r#"{"timestamp":0,"value":2},{"timestamp":20,"value":1}"#), "{text}");
    let sums = app.get(&format!("{METER}/range?agg=sum&bucket=10ms")).await.expect(200).json();
    assert_eq!(sums["samples"], json!([{ "timestamp": 0, "value": null }, { "timestamp": 20, "value": 1.0 }]));
}

#[tokio::test]
async fn the_sum_of_a_year_is_exact() {
    let app = TestApp::spawn().await;
    let all: Vec<(i64, f64)> = (0..17_568).map(|n| (START + n * 1_800_000, 0.1)).collect();
    for batch in all.chunks(10_000) {
        write(&app, METER, batch.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    }
    // The exact sums of the doubles, rounded once: 0.1 is a little more than a tenth.
    let (year, day) = (1_756.800_000_000_000_2, 4.800_000_000_000_001_f64);
    let stats = app.get(&format!("{METER}/stats")).await.expect(200).json();
    assert_eq!((&stats["count"], &stats["sum"]), (&json!(17_568), &json!(year)));
    let days = read(&app, METER, "&agg=sum&bucket=1d", 100_000).await;
    assert_eq!(days.len(), 366);
    assert!(days.iter().all(|&(_, sum)| sum == day.to_bits()));
}

#[tokio::test]
async fn statistics_describe_a_window() {
    let app = TestApp::spawn().await;
    let values = [4.0, 7.0, 13.0, 16.0];
    write(&app, METER, values.iter().zip(0..).map(|(&value, n)| sample(START + n, value)).collect()).await;
    let stats = app.get(&format!("{METER}/stats?from={}&to={}", START, START + 3)).await.expect(200).json();
    assert_eq!(
        stats,
        json!({
            "key": "energy:consumption:MTR-001", "from": START, "to": START + 3, "count": 4, "sum": 40.0, "min": 4.0,
            "max": 16.0, "avg": 10.0, "std_dev": 22.5_f64.sqrt(), "first": 4.0, "last": 16.0,
            "first_timestamp": START, "last_timestamp": START + 3,
            "percentiles": { "p50": 10.0, "p90": 15.1, "p95": 15.55, "p99": 15.91 }
        })
    );
    let empty = app.get(&format!("{METER}/stats?to=5")).await.expect(200).json();
    assert_eq!((&empty["count"], &empty["sum"], &empty["first"]), (&json!(0), &Value::Null, &Value::Null));
    assert_eq!(empty["percentiles"], Value::Null);
}

#[tokio::test]
async fn too_many_samples_for_one_request_are_refused() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    write(&app, METER, vec![sample(10_000_000, 1.0)]).await;
    add_five_million_samples(&app, "energy:consumption:MTR-001");
    app.get(&format!("{METER}/stats")).await.expect_problem(422, "range-too-wide");
    let stats = app.get(&format!("{METER}/stats?to=4999999")).await.expect(200).json();
    assert_eq!((&stats["count"], &stats["percentiles"]), (&json!(5_000_000), &Value::Null));
    let stats = app.get(&format!("{METER}/stats?to=2199999")).await.expect(200).json();
    assert_eq!((&stats["count"], &stats["percentiles"]["p50"]), (&json!(2_200_000), &json!(0.5)));
    app.get(&format!("{METER}/range?limit=100000")).await.expect(200);
}

#[tokio::test]
async fn times_are_accepted_in_every_form() {
    let app = TestApp::spawn().await;
    let hours: Vec<(i64, f64)> = (0..48).map(|n| (START - n * 3_600_000, 1.0)).collect();
    write(&app, METER, hours.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    for (window, count) in [
        ("from=-24h&to=now", 25),
        ("from=2025-12-31T12:00:00Z", 13),
        ("from=2025-12-31T19:00:00%2B07:00&to=-1h", 12),
        ("from=1066-10-14T00:00:00Z&to=-47h", 1),
        ("to=1767225600000", 48),
        ("from=now", 1),
    ] {
        let stats = app.get(&format!("{METER}/stats?{window}")).await.expect(200).json();
        assert_eq!(stats["count"], count, "{window}");
    }
}

#[tokio::test]
async fn pages_of_a_relative_window_do_not_move_with_the_clock() {
    let app = TestApp::spawn().await;
    write(&app, METER, (0..100).map(|n| sample(START - n * 60_000, 1.0)).collect()).await;
    let path = format!("{METER}/range?from=-1h&limit=10");
    let first = app.get(&path).await.expect(200).json();
    app.clock().advance(std::time::Duration::from_secs(3_600));
    let next = first["next_cursor"].as_str().expect("a cursor");
    let second = app.get(&format!("{path}&cursor={next}")).await.expect(200).json();
    assert_eq!(second["samples"][0]["timestamp"], START - 50 * 60_000);
}

#[tokio::test]
async fn csv_is_returned_on_request() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(10, 0.5), sample(20, -0.0), sample(30, 1e21)]).await;
    let path = format!("{METER}/range?limit=2");
    let get = async |accept: &str| app.send(Method::GET, &path, &[("accept", accept)], Body::empty()).await.expect(200);
    for accept in ["text/csv", "text/csv, */*", "application/json;q=0.5, text/csv;q=0.9"] {
        let reply = get(accept).await;
        assert_eq!(reply.header("content-type"), Some("text/csv; charset=utf-8"), "{accept}");
        assert_eq!(reply.text(), "timestamp,value\n10,0.5\n20,-0.0\n", "{accept}");
        let next = format!("{path}&cursor={}", reply.header("next-cursor").expect("a next page"));
        let rest = app.send(Method::GET, &next, &[("accept", "text/csv")], Body::empty()).await.expect(200);
        assert_eq!((rest.text().as_str(), rest.header("next-cursor")), ("timestamp,value\n30,1e+21\n", None));
    }
    for accept in ["*/*", "application/json, text/csv", "text/csv;q=0, */*", "text/html"] {
        assert_eq!(get(accept).await.header("content-type"), Some("application/json"), "{accept}");
    }
}
