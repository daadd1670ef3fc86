//! Summaries by hour and by day cover all samples, whether they are rolled up or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridtokenx_redis::clock::Clock;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{WEB, flush, sample, send};
use crate::support::wire::{Request, Wire};
use crate::support::{RedisServer, START, ServiceProcess, TestApp, TestAppBuilder, eventually};

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const SUMMARY: &str = "/hosts/web-1/metrics/summary";
const HOURS: &str = "metrics:hours:{metrics:history:web-1}";
const DAYS: &str = "metrics:days:{metrics:history:web-1}";
const HOURLY: &str = "metrics:hourly:{metrics:history:web-1}";
const DAILY: &str = "metrics:daily:{metrics:history:web-1}";

/// A service that cleans up whenever its clock advances.
fn cleaning() -> TestAppBuilder {
    TestApp::builder().config("hosts.cleanup_interval = \"10ms\"")
}

/// The processor usage of every sample by time and sequence number; it determines the other values.
type Model = BTreeMap<(i64, u64), f64>;

/// A sample whose values are determined by `usage`.
fn noisy(timestamp: i64, seq: u64, usage: f64) -> Value {
    let mut noisy = sample(0);
    (noisy["timestamp"], noisy["seq"], noisy["cpu"]["usage"]) = (json!(timestamp), json!(seq), json!(usage));
    noisy["network"]["bytesIn"] = json!(bytes_in(usage));
    noisy
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10^11")]
fn bytes_in(usage: f64) -> u64 {
    (usage * 1e9) as u64
}

/// The percentile of a sorted list, by definition 7.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "short lists")]
fn percentile(sorted: &[f64], p: f64) -> f64 {
    let rank = p * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
    low + (high - low) * rank.fract()
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn expected(model: &Model, start: i64, length: i64, field: fn(f64) -> f64) -> (usize, [f64; 5]) {
    let mut values: Vec<f64> = model.range((start, 0)..(start + length, 0)).map(|(_, &usage)| field(usage)).collect();
    values.sort_by(f64::total_cmp);
    let avg = values.iter().sum::<f64>() / values.len() as f64;
    let numbers = [avg, values[0], values[values.len() - 1], percentile(&values, 0.95), percentile(&values, 0.99)];
    (values.len(), numbers)
}

fn starts(model: &Model, length: i64) -> BTreeSet<i64> {
    model.keys().map(|(timestamp, _)| timestamp - timestamp.rem_euclid(length)).collect()
}

/// Compares a response with the model, bucket by bucket.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn compare(answer: &Value, model: &Model, length: i64) {
    let buckets = answer["buckets"].as_array().expect("buckets");
    let found: Vec<i64> = buckets.iter().map(|bucket| bucket["start"].as_i64().expect("a start")).collect();
    assert_eq!(found, starts(model, length).into_iter().collect::<Vec<_>>());
    for bucket in buckets {
        let start = bucket["start"].as_i64().expect("a start");
        for (name, field) in
            [("cpu.usage", (|usage| usage) as fn(f64) -> f64), ("network.bytesIn", |usage| bytes_in(usage) as f64)]
        {
            let (count, numbers) = expected(model, start, length, field);
            assert_eq!(bucket["count"], count, "{bucket}");
            for (statistic, expected) in ["avg", "min", "max", "p95", "p99"].into_iter().zip(numbers) {
                let found = bucket["fields"][name][statistic].as_f64().expect("a number");
                let is_near = (found - expected).abs() <= 1e-12 * expected.abs();
                assert!(is_near, "{statistic} of {name} from {start}: expected {expected}, got {found}");
            }
        }
    }
}

/// Compares the summaries of both bucket lengths with the model.
async fn assert_agrees(app: &TestApp, model: &Model) {
    let now = app.clock().now();
    for (bucket, length) in [("1h", HOUR), ("1d", DAY)] {
        let path = format!("{SUMMARY}?bucket={bucket}&startTime={}&endTime={now}", START - 20 * DAY);
        compare(&app.get(&path).await.expect(200).json(), model, length);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Send samples of the last five days to a replica: minutes ago, sequence number, usage.
    Send {
        replica: usize,
        samples: Vec<(i64, u64, f64)>,
    },
    Flush {
        replica: usize,
    },
    /// Advance both clocks by minutes.
    Advance(u64),
    /// Replace the second replica.
    Replace,
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0_i64..5 * 24 * 60, 0_u64..2, 0.0_f64..100.0);
    prop_oneof![
        4 => (0_usize..2, prop::collection::vec(sample, 1..40)).prop_map(|(replica, samples)| Step::Send { replica, samples }),
        3 => (0_usize..2).prop_map(|replica| Step::Flush { replica }),
        3 => (1_u64..600).prop_map(Step::Advance),
        1 => Just(Step::Replace),
    ]
}

/// Cleanups run on two replicas throughout the test.
#[test]
fn summaries_agree_with_a_model_during_cleanups() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut runner = TestRunner::new(Config { cases: 8, max_shrink_iters: 20, ..Config::default() });
    runner
        .run(&prop::collection::vec(step(), 5..30), |steps| {
            runtime.block_on(async {
                let config = "hosts.recent_samples = 5";
                let one = cleaning().config(config).spawn().await;
                let mut two = cleaning().config(config).beside(&one).spawn().await;
                let mut model = Model::new();
                let mut seen = [Model::new(), Model::new()];
                for step in steps {
                    let now = one.clock().now();
                    match step {
                        Step::Send { replica, samples } => {
                            let mut body = Vec::new();
                            for (minutes, seq, usage) in samples {
                                let timestamp = now - minutes * 60_000 - 7;
                                // Agents do not send different samples with one timestamp and number.
                                let usage = *seen[0]
                                    .get(&(timestamp, seq))
                                    .or(seen[1].get(&(timestamp, seq)))
                                    .unwrap_or(&usage);
                                seen[replica].insert((timestamp, seq), usage);
                                body.push(noisy(timestamp, seq, usage));
                            }
                            let app = if replica == 0 { &one } else { &two };
                            app.post(WEB, Value::Array(body)).await.expect(202);
                            // The cleanup processes only published hosts.
                            let is_listed = async || app.redis().command::<u64>(&["SCARD", "metrics:hosts"]) == 1;
                            eventually("the host is listed", is_listed).await;
                        }
                        Step::Flush { replica } => {
                            flush(if replica == 0 { &one } else { &two }).await;
                            model.extend(seen[replica].clone());
                        }
                        Step::Advance(minutes) => {
                            for app in [&one, &two] {
                                app.clock().advance(Duration::from_secs(60 * minutes));
                            }
                        }
                        Step::Replace => {
                            two.app().deps.tasks.stop();
                            two.app().deps.tasks.drained().await;
                            model.extend(seen[1].clone());
                            let other = cleaning().config(config).beside(&one).spawn().await;
                            let behind = u64::try_from(one.clock().now() - other.clock().now()).expect("later");
                            other.clock().advance(Duration::from_millis(behind));
                            two = other;
                        }
                    }
                    // Samples of the other replica are visible once they are written.
                    let mut known = model.clone();
                    known.extend(seen[0].clone());
                    if !known.is_empty() {
                        assert_agrees(&one, &known).await;
                    }
                }
                flush(&one).await;
                flush(&two).await;
                for sent in seen {
                    model.extend(sent);
                }
                if model.is_empty() {
                    return;
                }
                wait_for_rollups(&one, &model).await;
                assert_agrees(&one, &model).await;
                assert_agrees(&two, &model).await;
            });
            Ok(())
        })
        .expect("the model agrees");
}

/// Waits until every hour and every day is rolled up.
async fn wait_for_rollups(app: &TestApp, model: &Model) {
    let length = |key: &str, command: &str| app.redis().command::<usize>(&[command, key]);
    app.clock().advance(Duration::from_secs(25 * 3_600));
    eventually("all hours and days are rolled up", async || {
        app.clock().advance(Duration::from_millis(10));
        length(HOURS, "HLEN") <= 1 && length(DAYS, "HLEN") == 0
    })
    .await;
    assert_eq!(length(HOURLY, "ZCARD"), starts(model, HOUR).len());
    assert_eq!(length(DAILY, "ZCARD"), starts(model, DAY).len());
}

#[tokio::test]
async fn rollups_outlive_samples_and_are_trimmed_after_their_own_retention() {
    let config = "hosts.retention = \"7d\"\nhosts.rollup_retention = \"30d\"";
    let app = cleaning().config(config).spawn().await;
    let model: Model =
        (0..50).map(|n| ((START - n * 600_000, 0), 1.5 * f64::from(u8::try_from(n).expect("small")))).collect();
    let body: Vec<Value> = model.iter().map(|(&(timestamp, seq), &usage)| noisy(timestamp, seq, usage)).collect();
    app.post(WEB, Value::Array(body)).await.expect(202);
    flush(&app).await;
    wait_for_rollups(&app, &model).await;
    app.clock().advance(Duration::from_secs(9 * 24 * 3_600));
    // A replica without samples in memory.
    let other = cleaning().config(config).beside(&app).spawn().await;
    eventually("the samples are trimmed", async || {
        app.clock().advance(Duration::from_millis(10));
        app.redis().command::<u64>(&["EXISTS", "metrics:history:web-1"]) == 0
    })
    .await;
    assert_agrees(&other, &model).await;
    // The host keeps its owner while it has data.
    other.get("/hosts/web-1/metrics/recent").await.expect(200);
    let life: i64 = app.redis().command(&["PTTL", HOURLY]);
    assert!((29 * DAY..=31 * DAY).contains(&life), "{life}");
    app.clock().advance(Duration::from_secs(24 * 24 * 3_600));
    eventually("the rollups are trimmed", async || {
        app.clock().advance(Duration::from_millis(10));
        app.redis().command::<u64>(&["EXISTS", HOURLY, DAILY]) == 0
    })
    .await;
}

#[tokio::test]
async fn a_rollup_is_not_replaced_by_one_of_fewer_samples() {
    let app = cleaning().config("hosts.retention = \"7d\"").spawn().await;
    let at = START - 6 * DAY;
    let model: Model = [((at, 0), 10.0), ((at + 1, 0), 20.0), ((at + 2, 0), 60.0)].into();
    let body: Vec<Value> = model.iter().map(|(&(timestamp, seq), &usage)| noisy(timestamp, seq, usage)).collect();
    app.post(WEB, Value::Array(body)).await.expect(202);
    flush(&app).await;
    wait_for_rollups(&app, &model).await;
    // A replica whose clock is behind writes to an hour that another replica has trimmed.
    app.redis().command::<u64>(&["DEL", "metrics:history:web-1"]);
    let behind = cleaning().config("hosts.retention = \"7d\"").beside(&app).spawn().await;
    behind.post(WEB, noisy(at + 3, 0, 90.0)).await.expect(202);
    flush(&behind).await;
    wait_for_rollups(&app, &model).await;
    let other = cleaning().beside(&app).spawn().await;
    assert_agrees(&other, &model).await;
}

/// Waits up to 30 seconds until a condition holds.
fn wait_for(condition: impl Fn() -> bool, failure: &str) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "{failure}");
        // Polls a blocking connection; `eventually` needs a runtime.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Kills replicas repeatedly at different points of a cleanup.
#[test]
fn killed_replicas_skip_no_hour() {
    let redis = RedisServer::start();
    let now = Clock::System.now();
    let mut model = Model::new();
    for round in 0..6_i64 {
        let variables = [("GTX__HOSTS__CLEANUP_INTERVAL", "10ms")];
        let mut service = ServiceProcess::start_on(&redis, &variables);
        let two = ServiceProcess::start_on(&redis, &variables);
        let mut body = Vec::new();
        for n in 0..400_i64 {
            let (timestamp, usage) = (
                now - 3 * DAY + n * 9 * 60_000 + round,
                f64::from(i32::try_from((n * 37 + round) % 101).expect("small")),
            );
            model.insert((timestamp, 0), usage);
            body.push(noisy(timestamp, 0, usage));
        }
        let request =
            Request { method: "POST", path: WEB.to_owned(), header: None, body: Value::Array(body).to_string() };
        let answer = Wire::new(service.address().port()).send(&request).expect("an answer");
        assert_eq!(answer.status, 202);
        assert_eq!(service.send("POST", "/hosts/flush", "").0, 200);
        // The cleanup processes only published hosts.
        wait_for(|| redis.command::<u64>(&["SCARD", "metrics:hosts"]) == 1, "the host is not listed");
        // The signal must arrive at different points of a cleanup.
        std::thread::sleep(Duration::from_millis(17 * u64::try_from(round).expect("small")));
        for mut killed in [service, two] {
            killed.signal("KILL");
            killed.ended_within(Duration::from_secs(5));
        }
    }
    let variables = [("GTX__HOSTS__CLEANUP_INTERVAL", "20ms")];
    let mut service = ServiceProcess::start_on(&redis, &variables);
    wait_for(|| redis.command::<usize>(&["HLEN", HOURS]) <= 1, "some hours are not rolled up");
    let (status, body) = service.get(&format!("{SUMMARY}?startTime=-4d&endTime=now"));
    assert_eq!(status, 200, "{body}");
    compare(&serde_json::from_str(&body).expect("JSON"), &model, HOUR);
    assert_eq!(redis.command::<usize>(&["ZCARD", HOURLY]), starts(&model, HOUR).len());
}

#[tokio::test]
async fn invalid_parameters_are_named_and_summaries_need_redis() {
    let app = TestApp::builder().behind_proxy().spawn().await;
    send(&app, WEB, [0]).await;
    for (query, name) in [
        ("bucket=5m", "/bucket"),
        ("fields=gpu", "/fields"),
        ("fields=cpu,", "/fields"),
        ("startTime=now&endTime=-1h", "/startTime"),
        ("startTime=-94d", "/startTime"),
        ("bucket=1d&startTime=0", "/startTime"),
        ("limit=5", "/limit"),
    ] {
        app.get(&format!("{SUMMARY}?{query}")).await.expect_violation(422, "invalid-query", name);
    }
    app.get("/hosts/unknown/metrics/summary").await.expect_problem(404, "host-not-found");
    let answer = app.get("/hosts/web-1/metrics/summary?fields=memory.used,cpu.usage").await.expect(200).json();
    let number = |value: f64| json!({ "avg": value, "min": value, "max": value, "p95": value, "p99": value });
    assert_eq!(
        answer,
        json!({ "host": "web-1", "bucket": "1h", "buckets": [{ "start": START, "count": 1, "fields": {
            "cpu.usage": number(12.5), "memory.used": number(400.0) } }] })
    );
    flush(&app).await;
    app.redis().command::<()>(&["SET", HOURLY, "x"]);
    app.get(SUMMARY).await.expect_problem(409, "wrong-type");
    app.proxy().cut();
    eventually("the service is not ready", async || app.get("/health/ready").await.is(503)).await;
    app.get(SUMMARY).await.expect_problem(503, "redis-unavailable");
}

/// Checks the size that docs/internals/hosts.md states.
#[tokio::test]
async fn a_year_of_rollups_takes_less_than_eight_megabytes() {
    let app = cleaning().config("hosts.max_behind = \"30d\"").spawn().await;
    let mut state = 7_u64;
    let mut random = |below: u32| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(state >> 33).expect("31 bits") % below
    };
    let body: Vec<Value> = (0..720 * 2)
        .map(|n| {
            let mut noisy = noisy(START - 29 * DAY + n * HOUR / 2, 0, f64::from(random(10_000)) / 100.0);
            for part in ["memory", "disk"] {
                let used = random(1 << 30);
                let percent = f64::from(used) / f64::from(1_u32 << 30) * 100.0;
                noisy[part] = json!({ "total": 1 << 30, "used": used, "free": (1 << 30) - used, "usagePercent": percent });
            }
            noisy["cpu"]["loadAvg"] = json!([random(400), random(300), random(200)].map(|load| f64::from(load) / 100.0));
            noisy["network"] = json!({ "bytesIn": random(1 << 30), "bytesOut": random(1 << 30), "packetsIn": random(1 << 30), "packetsOut": random(1 << 30) });
            noisy
        })
        .filter(|noisy| noisy["timestamp"].as_i64().expect("a time") < START - DAY)
        .collect();
    for part in body.chunks(1_000) {
        app.post(WEB, json!(part)).await.expect(202);
    }
    flush(&app).await;
    eventually("all hours and days are rolled up", async || {
        app.clock().advance(Duration::from_millis(10));
        app.redis().command::<usize>(&["HLEN", HOURS]) <= 1 && app.redis().command::<usize>(&["HLEN", DAYS]) == 0
    })
    .await;
    let bytes = |key: &str| app.redis().command::<u64>(&["MEMORY", "USAGE", key, "SAMPLES", "0"]);
    let count = |key: &str| app.redis().command::<u64>(&["ZCARD", key]);
    let (hour, day) = (bytes(HOURLY) / count(HOURLY), bytes(DAILY) / count(DAILY));
    let year = hour * 24 * 365 + day * 365;
    println!("an hour {hour} bytes, a day {day}, a year {year}");
    assert!(year <= 8_000_000, "{year} bytes per year");
}
