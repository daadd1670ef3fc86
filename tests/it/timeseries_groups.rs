//! Groups of many series: the limits, the size of the response, and the cost of each series.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{RedisServer, Reply, START, ServiceProcess, TestApp};
use crate::timeseries::{LONG_DEADLINES, bits, read, write_many};
use crate::timeseries_labels::series;

const QUERY: &str = "/timeseries/query";
const DAY: i64 = 86_400_000;

/// Loads a sample of each meter.
async fn load_meters(app: &TestApp, count: usize) {
    let meters: Vec<String> = (0..count).map(|n| format!("energy:consumption:{n:05},{START},1\n")).collect();
    let body = format!("series,timestamp,value\n{}", meters.concat());
    app.send(Method::POST, "/timeseries/samples", &[("content-type", "text/csv")], body).await.expect(200);
}

fn sum_of_meters() -> Value {
    json!({ "filter": ["kind=consumption"], "agg": "sum", "bucket": "15m", "from": START, "to": START + DAY,
            "group_by": "kind", "reduce": "sum" })
}

/// The response as CSV.
async fn lines(app: &TestApp, query: &Value) -> Reply {
    let headers = [("content-type", "application/json"), ("accept", "text/csv")];
    app.send(Method::POST, QUERY, &headers, query.to_string()).await
}

/// How many scripts Redis has run.
fn script_calls(app: &TestApp) -> u64 {
    let stats: String = app.redis().command(&["INFO", "commandstats"]);
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls=")?.split(',').next());
    calls.map_or(0, |calls| calls.parse().expect("a count"))
}

#[tokio::test]
async fn groups_can_have_many_series() {
    const METERS: usize = 6_000;
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    load_meters(&app, METERS).await;
    let before = script_calls(&app);
    let page = app.post(QUERY, sum_of_meters()).await.expect(200).json();
    // Each series is read by one call, since its entry in the index says that it has no rollups.
    let calls = script_calls(&app) - before;
    assert!(calls <= METERS as u64 + 10, "{calls}");

    let group = &page["items"][0];
    assert_eq!(group["samples"], json!([{ "timestamp": START, "value": 6_000.0 }]));
    let sources = group["sources"].as_array().expect("series");
    assert_eq!((sources.len(), &sources[999]), (1_000, &json!("energy:consumption:00999")));
    assert_eq!((&group["sources_total"], &page["items"][1]), (&json!(METERS), &Value::Null));

    let lines = lines(&app, &sum_of_meters()).await.expect(200);
    assert_eq!(lines.text(), format!("series,timestamp,value\nkind=consumption,{START},6000.0\n"));
}

/// Stores a day of meters as the service does, with a sample per quarter of an hour: in quarter `q`, meter `n` has the value
/// `q + n mod 7`.
fn store_a_day(redis: &RedisServer, meters: u32) {
    let script = "
        local days = {}
        for value = 0, 6 do
          local day = {'\\1'}
          for quarter = 0, 95 do
            local time = ARGV[1] + quarter * 900000
            day[quarter + 2] =
              struct.pack('>I4I4d', math.floor(time / 4294967296) + 2147483648, time % 4294967296, quarter + value)
          end
          days[value] = table.concat(day)
        end
        for n = 0, ARGV[2] - 1 do
          local meter = string.format('%05d', n)
          local series, labels = 'energy:generation:' .. meter, '{\"kind\":\"generation\",\"meter\":\"' .. meter .. '\"}'
          redis.call('HSET', series, 'retention_ms', 0, 'duplicate_policy', 'last', 'labels', labels, 'listed', 1)
          redis.call('SET', 'ts:head:{' .. series .. '}', days[n % 7])
          redis.call('ZADD', KEYS[1], 0, 'kind\\0generation\\0' .. series)
        end
        return 1";
    let postings = "timeseries:postings:{timeseries:index}";
    redis.command::<i64>(&["EVAL", script, "1", postings, &START.to_string(), &meters.to_string()]);
}

#[test]
fn a_day_of_ten_thousand_meters_is_summed_in_bounded_memory() {
    const METERS: u32 = 10_000;
    let redis = RedisServer::start();
    store_a_day(&redis, METERS);
    let deadlines = [("GTX__HTTP__REQUEST_DEADLINE", "60s"), ("GTX__REDIS__COMMAND_TIMEOUT", "10s")];
    let mut service = ServiceProcess::start_on(&redis, &deadlines);
    service.ready();
    let before = service.resident_kib();
    let query = json!({ "filter": ["kind=generation"], "agg": "sum", "bucket": "15m", "from": START, "to": START + DAY - 1,
                        "group_by": "kind", "reduce": "sum" });
    let (status, body) = service.post(QUERY, &query.to_string());
    assert_eq!(status, 200, "{body}");
    let page: Value = serde_json::from_str(&body).expect("JSON");
    let samples = page["items"][0]["samples"].as_array().expect("samples");
    assert_eq!((samples.len(), &page["items"][0]["sources_total"]), (96, &json!(METERS)), "{page}");
    for (quarter, sample) in (0_i32..).zip(samples) {
        // 10,000 is 1,428 times 7, and 4.
        let sum = 1_428 * 21 + 6 + quarter * 10_000;
        let expected = json!({ "timestamp": START + i64::from(quarter) * 900_000, "value": f64::from(sum) });
        assert_eq!(*sample, expected);
    }
    let growth = service.peak_kib().saturating_sub(before);
    assert!(growth < 48 << 10, "the service took {growth} KiB more");
}

#[tokio::test]
async fn groups_have_a_limit_of_series() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    series(&app, "m:1", json!({ "zone": "1" }), &[]).await;
    // Series as the service creates them.
    let create = |from: u32, to: u32| {
        let script = "
            for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
              local key = string.format('m:%06d', n)
              redis.call('HSET', 'ts:' .. key, 'retention_ms', 0, 'duplicate_policy', 'last', 'labels', ARGV[3])
              redis.call('ZADD', KEYS[1], 0, 'zone\\0' .. '1\\0' .. key)
            end
            return 1";
        let postings = "timeseries:postings:{timeseries:index}";
        let (from, to) = (from.to_string(), to.to_string());
        app.redis().command::<i64>(&["EVAL", script, "1", postings, &from, &to, "{\"zone\":\"1\"}"])
    };
    for part in 0..2 {
        create(part * 10_000 + 1, (part + 1) * 10_000);
    }
    let query = json!({ "filter": ["zone=1"], "group_by": "zone", "reduce": "sum" });
    app.post(QUERY, query.clone()).await.expect_problem(422, "range-too-wide");
    lines(&app, &query).await.expect(200);
}

#[tokio::test]
async fn a_query_of_groups_is_rejected_above_the_limit_of_points() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    let query = json!({ "filter": ["zone=1"], "agg": "sum", "bucket": "1ms", "empty": true, "from": 0, "limit": 100_000,
                        "group_by": "meter", "reduce": "sum" });
    for number in 1..=6 {
        // 100,000 points of each series, since empty buckets are points.
        series(
            &app,
            &format!("m:{number}"),
            json!({ "zone": "1", "meter": number.to_string() }),
            &[(0, 1.0), (99_999, 1.0)],
        )
        .await;
        if number == 5 {
            app.post(QUERY, query.clone()).await.expect(200);
        }
    }
    app.post(QUERY, query).await.expect_problem(422, "range-too-wide");
}

/// Series whose windows are read in one part and in several, with rollups, without samples, and with expired samples.
#[tokio::test]
async fn a_series_has_the_same_range_alone_and_among_others() {
    let app = TestApp::builder().config(LONG_DEADLINES).spawn().await;
    for (number, count) in [(1, 0), (2, 1), (3, 700), (4, 2_600), (5, 4_000), (6, 2_600)] {
        let (key, labels) = (format!("m:{number}"), json!({ "zone": "1", "meter": number.to_string() }));
        let retention = if number == 6 { 1_000_000 } else { 0 };
        let definition = json!({ "retention_ms": retention, "labels": labels });
        app.put(&format!("/timeseries/{key}"), definition).await.expect(201);
        if number == 5 {
            app.post("/timeseries/m:5/rollups", json!({ "bucket": "10s", "agg": "sum" })).await.expect(201);
        }
        let samples = (0..count).map(|n: i32| (START + i64::from(n) * 1_000, f64::from(n % 97) * 0.1));
        write_many(&app, &format!("/timeseries/{key}"), samples).await;
    }
    let window = (START + 200_500, START + 2_400_500);
    for plan in [
        json!({}),
        json!({ "order": "desc", "limit": 700 }),
        json!({ "min_value": 2.05 }),
        json!({ "filter_by_ts": [START + 300_000, START + 1_000_000] }),
        json!({ "agg": "sum", "bucket": "10s" }),
        json!({ "agg": "sum", "bucket": "1m", "order": "desc", "limit": 9 }),
        json!({ "agg": "twa", "bucket": "7s" }),
        json!({ "agg": "increase", "bucket": "1m", "order": "desc" }),
        json!({ "agg": "p90", "bucket": "15m", "max_value": 5.0 }),
        json!({ "agg": "count" }),
    ] {
        let mut query = json!({ "filter": ["zone=1"], "from": window.0, "to": window.1 });
        let mut parameters = format!("from={}&to={}", window.0, window.1);
        for (name, value) in plan.as_object().expect("parameters") {
            query[name] = value.clone();
            let text = value.to_string().replace(['"', '[', ']'], "");
            parameters = format!("{parameters}&{name}={text}");
        }
        let page = app.post(QUERY, query.clone()).await.expect(200).json();
        query["group_by"] = json!("meter");
        query["reduce"] = json!("max");
        let groups = app.post(QUERY, query).await.expect(200).json();
        assert_eq!(page["items"].as_array().map(Vec::len), Some(6));
        for (item, group) in
            page["items"].as_array().expect("items").iter().zip(groups["items"].as_array().expect("items"))
        {
            let key = item["key"].as_str().expect("a key");
            let alone = app.get(&format!("/timeseries/{key}/range?{parameters}")).await.expect(200).json();
            assert_eq!(item["samples"], alone["samples"], "{key} {parameters}");
            if plan["agg"] != "count" {
                assert_eq!(group["samples"], alone["samples"], "{key} {parameters}");
            }
        }
    }
    assert_eq!(read(&app, "/timeseries/m:2", "", 9).await, bits(&[(START, 0.0)]));
}
