//! Series: creation, writes, reads, descriptions, deletion, and retention.

use serde_json::{Value, json};

use crate::support::{START, TestApp};

pub const METER: &str = "/timeseries/energy:consumption:MTR-001";

pub fn sample(timestamp: i64, value: f64) -> Value {
    json!({ "timestamp": timestamp, "value": value })
}

pub async fn write(app: &TestApp, series: &str, samples: Vec<Value>) -> Value {
    app.post(&format!("{series}/samples"), json!({ "samples": samples })).await.expect(200).json()
}

/// All samples by pages of `limit`, as (timestamp, bits of the value).
pub async fn read(app: &TestApp, series: &str, query: &str, limit: usize) -> Vec<(i64, u64)> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("{series}/range?limit={limit}{query}{cursor}")).await.expect(200).json();
        let samples = page["samples"].as_array().expect("samples");
        assert!(samples.len() <= limit);
        for sample in samples {
            let value = sample["value"].as_f64().expect("a value");
            all.push((sample["timestamp"].as_i64().expect("a timestamp"), value.to_bits()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// Writes any number of samples, in requests of bounded size.
pub async fn write_many(app: &TestApp, series: &str, samples: impl IntoIterator<Item = (i64, f64)>) {
    let samples: Vec<Value> = samples.into_iter().map(|(time, value)| sample(time, value)).collect();
    for batch in samples.chunks(5_000) {
        write(app, series, batch.to_vec()).await;
    }
}

/// The samples after which a load has written what it buffers, at least once.
pub const BUFFER: i64 = 65_536;

/// Adds packed chunks with 5,242,880 samples to a series, more than one request may read: one per millisecond from 0.
pub fn add_five_million_samples(app: &TestApp, series: &str) {
    const SAMPLES: u32 = 1 << 20;
    let values = gridtokenx_redis::codec::pack(&vec![0.5; SAMPLES as usize]).expect("packed values");
    let script = "
        local chunk = ARGV[2]:gsub('..', function(byte) return string.char(tonumber(byte, 16)) end)
        return redis.call('ZADD', KEYS[1], ARGV[1], chunk)";
    for start in (0..5).map(|chunk| u64::from(chunk * SAMPLES)) {
        let ordered = |time: u64| (time | 1 << 63).to_be_bytes();
        let ends = [ordered(start), ordered(start + u64::from(SAMPLES) - 1)].concat();
        let (count, step) = (SAMPLES.to_be_bytes(), 1_i64.to_be_bytes());
        let chunk: Vec<u8> = [&[2], &ends[..], &count, &step, &values].concat();
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let key = format!("ts:chunks:{{{series}}}");
        app.redis().command::<i64>(&["EVAL", script, "1", &key, &start.to_string(), &hex.concat()]);
    }
}

/// Only families create series.
pub const NO_CATCH_ALL: &str = "timeseries.create_unknown = false\n";

/// Settings under which a slow machine does not appear as a failure.
pub const LONG_DEADLINES: &str = "redis.command_timeout = \"10s\"\nhttp.request_deadline = \"30s\"\n";

pub fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
    samples.iter().map(|&(timestamp, value)| (timestamp, value.to_bits())).collect()
}

#[tokio::test]
async fn a_family_creates_its_series_with_the_first_sample() {
    let app = TestApp::spawn().await;
    let answer = write(&app, METER, vec![sample(START, 0.392), sample(START + 900_000, 0.578)]).await;
    assert_eq!(answer, json!({ "accepted": 2, "stored": 2, "refused": [] }));
    let series = app.get(METER).await.expect(200).json();
    assert_eq!(
        series,
        json!({
            "key": "energy:consumption:MTR-001", "retention_ms": 63_072_000_000_i64, "duplicate_policy": "last",
            "labels": { "kind": "consumption", "meter": "MTR-001" }, "created": START, "count": 2, "first_timestamp": START, "last_timestamp": START + 900_000,
            "chunks": 1, "bytes": 33, "backend": "native"
        })
    );
    let latest = app.get(&format!("{METER}/latest")).await.expect(200).json();
    assert_eq!(latest, json!({ "timestamp": START + 900_000, "value": 0.578 }));
    assert_eq!(app.redis().command::<String>(&["TYPE", "energy:consumption:MTR-001"]), "hash");
}

#[tokio::test]
async fn a_series_without_a_family_must_be_created_first_if_the_catch_all_is_disabled() {
    let app = TestApp::builder().config(NO_CATCH_ALL).spawn().await;
    let samples = json!({ "samples": [sample(1, 1.0)] });
    app.post("/timeseries/a/samples", samples.clone()).await.expect_problem(404, "series-not-found");
    let definition = json!({ "retention_ms": 0, "duplicate_policy": "block", "labels": { "zone": "3" } });
    let series = app.put("/timeseries/a", definition.clone()).await.expect(201).json();
    assert_eq!((&series["labels"]["zone"], &series["first_timestamp"]), (&json!("3"), &Value::Null));
    app.put("/timeseries/a", definition).await.expect(200);
    app.put("/timeseries/a", json!({ "retention_ms": 1 })).await.expect_problem(409, "series-exists");
    app.get("/timeseries/a/latest").await.expect_problem(404, "series-empty");
    app.post("/timeseries/a/samples", samples).await.expect(200);
    assert_eq!(app.redis().command::<String>(&["TYPE", "ts:a"]), "hash");

    let changed = app.patch("/timeseries/a", json!({ "retention_ms": 1000, "labels": {} })).await.expect(200).json();
    assert_eq!((&changed["retention_ms"], &changed["duplicate_policy"]), (&json!(1000), &json!("block")));
    app.delete("/timeseries/a").await.expect(204);
    for path in ["/timeseries/a", "/timeseries/a/latest", "/timeseries/a/range", "/timeseries/a/stats"] {
        app.get(path).await.expect_problem(404, "series-not-found");
    }
    app.delete("/timeseries/a").await.expect_problem(404, "series-not-found");
    app.patch("/timeseries/a", json!({})).await.expect_problem(404, "series-not-found");
    assert_eq!(app.redis().keys(), Vec::<String>::new());
}

#[tokio::test]
async fn equal_values_at_different_times_are_all_kept() {
    let app = TestApp::spawn().await;
    let night: Vec<(i64, f64)> = (0..100).map(|n| (START + n * 900_000, 0.0)).collect();
    write(&app, METER, night.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    assert_eq!(read(&app, METER, "", 1000).await, bits(&night));
}

#[tokio::test]
async fn values_are_read_back_bit_for_bit() {
    let app = TestApp::spawn().await;
    let values = [0.397_999_999_999_999_96, -0.0, 0.0, 5e-324, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e16, 0.1 + 0.2];
    let samples: Vec<(i64, f64)> = values.iter().zip(0..).map(|(&value, time)| (time, value)).collect();
    write(&app, METER, samples.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    assert_eq!(read(&app, METER, "", 100).await, bits(&samples));
}

#[tokio::test]
async fn a_request_can_override_the_duplicate_policy() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "duplicate_policy": "block" })).await.expect(201);
    let send = async |value: f64, policy: Value| {
        let body = json!({ "samples": [sample(5, value)], "on_duplicate": policy });
        app.post("/timeseries/a/samples", body).await
    };
    for (policy, value, expected) in [
        ("block", 4.0, 4.0),
        ("first", 9.0, 4.0),
        ("max", 6.0, 6.0),
        ("min", 5.0, 5.0),
        ("sum", 2.5, 7.5),
        ("last", 1.0, 1.0),
    ] {
        send(value, json!(policy)).await.expect(200);
        assert_eq!(read(&app, "/timeseries/a", "", 9).await, bits(&[(5, expected)]), "{policy}");
    }
    send(9.0, json!("block")).await.expect_problem(422, "samples-refused");
    assert_eq!(read(&app, "/timeseries/a", "", 9).await, bits(&[(5, 1.0)]));
    assert_eq!(app.get("/timeseries/a").await.json()["duplicate_policy"], "block");
    send(1.0, json!("newest")).await.expect_violation(422, "invalid-body", "/on_duplicate");
}

/// Writes `count` samples in batches of `step` and reads them back.
async fn grows_in_order(app: &TestApp, series: &str, count: i64, step: usize) {
    let all: Vec<(i64, f64)> =
        (0..count).map(|n| (n * 10, f64::from(i32::try_from(n).expect("small")) / 8.0)).collect();
    for batch in all.chunks(step) {
        write(app, series, batch.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    }
    assert_eq!(read(app, series, "", 100_000).await, bits(&all), "{count} by {step}");
    let described = app.get(series).await.expect(200).json();
    assert_eq!((&described["count"], &described["last_timestamp"]), (&json!(count), &json!((count - 1) * 10)));
    assert_eq!(
        described["chunks"],
        json!(1 + (count - 768).max(0).div_euclid(512) + i64::from((count - 768).max(0) % 512 > 0)),
        "{count} by {step}"
    );
}

#[tokio::test]
async fn chunks_are_sealed_when_they_are_full() {
    let app = TestApp::spawn().await;
    for (count, step) in [(767, 767), (768, 767), (769, 768), (769, 1000), (1281, 500), (2048, 1000), (1537, 513)] {
        grows_in_order(&app, &format!("/timeseries/market:price:{count}-{step}"), count, step).await;
    }
}

#[tokio::test]
async fn a_full_chunk_is_split_by_one_more_sample() {
    let app = TestApp::spawn().await;
    let mut all: Vec<(i64, f64)> = (0..1_200).map(|n| (n * 10, 1.0)).collect();
    write(&app, METER, all.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    let late: Vec<(i64, f64)> = vec![(5, 2.0), (5_115, 2.0), (5_125, 2.0), (11_985, 2.0)];
    let answer = write(&app, METER, late.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(4), &json!(4)));
    all.extend(late);
    all.sort_by_key(|&(time, _)| time);
    assert_eq!(read(&app, METER, "", 7_000).await, bits(&all));
    let described = app.get(METER).await.expect(200).json();
    assert_eq!((&described["count"], &described["chunks"]), (&json!(1_204), &json!(3)));
}

#[tokio::test]
async fn samples_before_and_between_chunks_are_inserted_in_order() {
    let app = TestApp::spawn().await;
    let mut all: Vec<(i64, f64)> = (100..1_300).map(|n| (n * 10, 1.0)).collect();
    write(&app, METER, all.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    // Far more parts of chunks than one call handles.
    let late: Vec<(i64, f64)> = (0..1_300).map(|n| (n * 10 + 3, 0.5)).collect();
    write(&app, METER, late.iter().rev().map(|&(time, value)| sample(time, value)).collect()).await;
    all.extend(late);
    all.sort_by_key(|&(time, _)| time);
    assert_eq!(read(&app, METER, "", 100_000).await, bits(&all));
    assert_eq!(app.get(METER).await.json()["count"], 2_500);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_stored_once() {
    let app = TestApp::spawn().await;
    let replica = TestApp::builder().beside(&app).spawn().await;
    let batch = || (0..900).map(|n| sample(START + n * 1_000, 0.25)).collect::<Vec<_>>();
    let samples = || json!({ "samples": batch() });
    let path = format!("{METER}/samples");
    let answers = futures_util::future::join_all(
        (0..12).map(|n| if n % 2 == 0 { app.post(&path, samples()) } else { replica.post(&path, samples()) }),
    )
    .await;
    let stored: i64 =
        answers.into_iter().map(|answer| answer.expect(200).json()["stored"].as_i64().expect("a number")).sum();
    assert_eq!(stored, 900, "the sum over all answers");
    let again = write(&replica, METER, batch()).await;
    assert_eq!(again, json!({ "accepted": 900, "stored": 0, "refused": [] }));
    assert_eq!(app.get(METER).await.json()["count"], 900);
}

#[tokio::test]
async fn two_replicas_that_create_one_series_agree() {
    let app = TestApp::spawn().await;
    let replica = TestApp::builder().beside(&app).spawn().await;
    let (retention, other) = (json!({ "retention_ms": 5_000 }), json!({ "retention_ms": 6_000 }));
    let answers = tokio::join!(app.put("/timeseries/a", retention.clone()), replica.put("/timeseries/a", other));
    let mut statuses = [answers.0.status.as_u16(), answers.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn block_refuses_another_value_and_accepts_the_same() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "duplicate_policy": "block" })).await.expect(201);
    write(&app, "/timeseries/a", vec![sample(10, 1.0), sample(20, 2.0)]).await;
    let answer = write(&app, "/timeseries/a", vec![sample(30, 3.0), sample(20, 2.5), sample(10, 1.0)]).await;
    assert_eq!((&answer["accepted"], &answer["stored"]), (&json!(2), &json!(1)));
    let refused = &answer["refused"][0];
    assert_eq!((&refused["index"], &refused["timestamp"]), (&json!(1), &json!(20)));
    assert_eq!(refused["code"], "duplicate-sample");
    assert_eq!(read(&app, "/timeseries/a", "", 9).await, bits(&[(10, 1.0), (20, 2.0), (30, 3.0)]));
}

#[tokio::test]
async fn a_sum_out_of_range_is_refused() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "duplicate_policy": "sum" })).await.expect(201);
    let answer = write(&app, "/timeseries/a", vec![sample(10, f64::MAX), sample(10, f64::MAX), sample(10, -1.0)]).await;
    assert_eq!((&answer["accepted"], &answer["refused"][0]["index"]), (&json!(2), &json!(1)));
    assert_eq!(answer["refused"][0]["code"], "sum-out-of-range");
    assert_eq!(read(&app, "/timeseries/a", "", 9).await, bits(&[(10, f64::MAX)]));
}

#[tokio::test]
async fn a_sample_without_a_timestamp_gets_the_current_time() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![json!({ "value": 1.5 })]).await;
    assert_eq!(read(&app, METER, "", 9).await, bits(&[(START, 1.5)]));
}

#[tokio::test]
async fn retention_hides_trims_and_refuses_old_samples() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 10_000 })).await.expect(201);
    write(&app, "/timeseries/a", (0..2_000).map(|n| sample(n * 10, 1.0)).collect()).await;
    let visible: Vec<(i64, f64)> = (999..2_000).map(|n| (n * 10, 1.0)).collect();
    assert_eq!(read(&app, "/timeseries/a", "", 100_000).await, bits(&visible), "the end of the window is included");
    assert_eq!(read(&app, "/timeseries/a", "&order=desc", 77).await.len(), 1_001);
    let described = app.get("/timeseries/a").await.json();
    assert_eq!((&described["count"], &described["first_timestamp"]), (&json!(1_001), &json!(9_990)));
    assert_eq!(app.get("/timeseries/a/stats").await.json()["count"], 1_001);

    let answer = write(&app, "/timeseries/a", vec![sample(9_989, 7.0), sample(9_990, 7.0)]).await;
    assert_eq!((&answer["accepted"], &answer["refused"][0]["code"]), (&json!(1), &json!("sample-too-old")));

    // One sample far ahead hides all others; the next writes free their memory.
    write(&app, "/timeseries/a", vec![sample(1_000_000, 2.0)]).await;
    assert_eq!(read(&app, "/timeseries/a", "", 9).await, bits(&[(1_000_000, 2.0)]));
    let described = app.get("/timeseries/a").await.json();
    assert_eq!((&described["count"], &described["first_timestamp"]), (&json!(1), &json!(1_000_000)));
    assert!(app.redis().command::<usize>(&["ZCARD", "ts:chunks:{ts:a}"]) <= 1);
}

#[tokio::test]
async fn a_series_without_writes_expires_with_all_its_keys() {
    let app = TestApp::spawn().await;
    let ttls = |retention: i64| {
        let redis = app.redis();
        let keys =
            [format!("ts:{retention}"), format!("ts:head:{{ts:{retention}}}"), format!("ts:chunks:{{ts:{retention}}}")];
        keys.map(|key| redis.command::<i64>(&["PTTL", &key]))
    };
    let day = 86_400_000;
    for (retention, life) in [(1_000, day), (30 * day, 30 * day)] {
        let series = format!("/timeseries/{retention}");
        app.put(&series, json!({ "retention_ms": retention })).await.expect(201);
        write(&app, &series, (0..800).map(|n| sample(n, 1.0)).collect()).await;
        for ttl in ttls(retention) {
            // The promised lifetime, less the time since the write.
            assert!((life..=life * 17 / 16).contains(&ttl), "{retention}: {ttl}");
        }
    }
    app.patch("/timeseries/1000", json!({ "retention_ms": 0 })).await.expect(200);
    assert_eq!(ttls(1_000), [-1, -1, -1]);
    write(&app, "/timeseries/1000", (800..2_000).map(|n| sample(n, 1.0)).collect()).await;
    assert_eq!(ttls(1_000), [-1, -1, -1]);
    app.patch("/timeseries/1000", json!({ "retention_ms": 5 })).await.expect(200);
    assert!(ttls(1_000).iter().all(|ttl| *ttl > 0));
}

#[tokio::test]
async fn a_window_of_samples_is_deleted() {
    let app = TestApp::spawn().await;
    write(&app, METER, (0..1_500).map(|n| sample(n * 10, 1.0)).collect()).await;
    let delete = async |from: i64, to: i64| {
        app.delete(&format!("{METER}/samples?from={from}&to={to}")).await.expect(200).json()["deleted"].clone()
    };
    assert_eq!(delete(100, 109).await, 1);
    assert_eq!(delete(100, 109).await, 0);
    assert_eq!(delete(5_000, 11_000).await, 601);
    // The head is gone: the newest sample is in a chunk that was sealed.
    assert_eq!(delete(10_000, 999_999).await, 399);
    assert_eq!(app.get(&format!("{METER}/latest")).await.json()["timestamp"], 4_990);
    assert_eq!(app.get(METER).await.json()["count"], 499);
    write(&app, METER, vec![sample(4_995, 2.0), sample(20_000, 3.0)]).await;
    let times: Vec<i64> = read(&app, METER, "", 100_000).await.into_iter().map(|(time, _)| time).collect();
    let expected: Vec<i64> = (0..500).filter(|n| *n != 10).map(|n| n * 10).chain([4_995, 20_000]).collect();
    assert_eq!(times, expected);
    assert_eq!(delete(0, 999_999).await, 501);
    app.get(&format!("{METER}/latest")).await.expect_problem(404, "series-empty");
    write(&app, METER, vec![sample(1, 1.0)]).await;
    assert_eq!(read(&app, METER, "", 9).await.len(), 1);
    app.delete(&format!("{METER}/samples")).await.expect_violation(422, "invalid-query", "/from");
}

#[tokio::test]
async fn lists_contain_all_series_in_byte_order() {
    let app = TestApp::spawn().await;
    for series in ["b", "a", "ab", "energy:consumption:é"] {
        app.put(&format!("/timeseries/{}", series.replace('é', "%C3%A9")), json!({})).await.expect(201);
    }
    write(&app, METER, vec![sample(1, 1.0)]).await;
    let list = async |query: &str| {
        let page = app.get(&format!("/timeseries{query}")).await.expect(200).json();
        let keys =
            page["items"].as_array().expect("items").iter().map(|item| item["key"].as_str().expect("a key").to_owned());
        (keys.collect::<Vec<_>>(), page["next_cursor"].clone())
    };
    let all = ["a", "ab", "b", "energy:consumption:MTR-001", "energy:consumption:é"];
    assert_eq!(list("").await, (all.map(str::to_owned).to_vec(), Value::Null));
    assert_eq!(list("?prefix=a").await.0, ["a", "ab"]);
    assert_eq!(list("?limit=2").await, (vec!["a".into(), "ab".into()], json!("ab")));
    assert_eq!(list("?limit=2&cursor=ab").await.0, ["b", "energy:consumption:MTR-001"]);
    assert_eq!(list("?prefix=energy:consumption:%C3%A9&cursor=a").await.0, ["energy:consumption:é"]);

    app.delete("/timeseries/b").await.expect(204);
    // The key expires in Redis without a change of the index.
    app.redis().command::<()>(&["DEL", "ts:ab", "ts:head:{ts:ab}"]);
    assert_eq!(list("?limit=3").await.0, ["a", "energy:consumption:MTR-001"]);
    assert_eq!(app.redis().command::<usize>(&["ZCARD", "timeseries:index"]), 3);
}

#[tokio::test]
async fn the_next_write_adds_a_missing_series_to_the_index() {
    let app = TestApp::spawn().await;
    write(&app, METER, vec![sample(1, 1.0)]).await;
    app.redis().command::<()>(&["DEL", "timeseries:index"]);
    app.redis().command::<()>(&["HDEL", "energy:consumption:MTR-001", "listed"]);
    write(&app, METER, vec![sample(2, 1.0)]).await;
    assert_eq!(app.get("/timeseries").await.json()["items"][0]["key"], "energy:consumption:MTR-001");
}
