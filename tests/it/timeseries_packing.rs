//! Sealed chunks are packed in the background. Packing changes only their size.

use serde_json::json;

use crate::support::{TestApp, eventually};
use crate::timeseries::{bits, read, sample, write};

/// Half-hourly readings with three decimals and some noise, like those of a meter.
fn readings(count: i64) -> Vec<(i64, f64)> {
    let value = |n: i64| f64::from(i32::try_from(n * 7_919 % 1_237).expect("small")) / 1_000.0;
    (0..count).map(|n| (n * 1_800_000, value(n))).collect()
}

async fn store(app: &TestApp, series: &str, samples: &[(i64, f64)]) {
    for batch in samples.chunks(1_000) {
        write(app, series, batch.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    }
}

/// Waits until no sealed chunk of the series is plain; `name` is its key in Redis.
pub async fn packed(app: &TestApp, name: &str) {
    eventually("all sealed chunks are packed", async || {
        app.redis().command::<Option<Vec<u8>>>(&["HGET", name, "plain"]).is_none_or(|plain| plain.is_empty())
    })
    .await;
}

/// The numbers of plain and packed chunks.
fn versions(app: &TestApp, name: &str) -> (usize, usize) {
    let chunks: Vec<Vec<u8>> = app.redis().command(&["ZRANGE", &format!("ts:chunks:{{{name}}}"), "0", "-1"]);
    let of = |version: u8| chunks.iter().filter(|chunk| chunk.first() == Some(&version)).count();
    (of(1), of(2))
}

const SERIES: &str = "/timeseries/energy:consumption:a";
const NAME: &str = "energy:consumption:a";

#[tokio::test]
async fn a_years_readings_take_less_than_three_bytes_each() {
    let app = TestApp::spawn().await;
    let year = readings(17_568);
    store(&app, SERIES, &year).await;
    packed(&app, NAME).await;
    assert_eq!(versions(&app, NAME).0, 0);
    let memory: i64 = [NAME, "ts:head:{energy:consumption:a}", "ts:chunks:{energy:consumption:a}"]
        .iter()
        .map(|key| app.redis().command::<i64>(&["MEMORY", "USAGE", key, "SAMPLES", "0"]))
        .sum();
    assert!(memory < 3 * 17_568, "{memory} bytes");
    assert_eq!(read(&app, SERIES, "", 20_000).await, bits(&year));
    let described = app.get(SERIES).await.expect(200).json();
    assert_eq!((&described["count"], &described["first_timestamp"]), (&json!(17_568), &json!(0)));
    assert!(described["bytes"].as_i64().is_some_and(|bytes| bytes < memory), "{described}");
}

#[tokio::test]
async fn late_samples_are_merged_into_packed_chunks_under_every_policy() {
    let app = TestApp::spawn().await;
    let late = [(1_800_000_i64, 5.0), (1_800_001, 6.0), (1_800_000_000, 0.0), (2_000_000_000, 7.0)];
    for policy in ["last", "first", "min", "max", "sum", "block"] {
        let (series, name) = (format!("/timeseries/{policy}"), format!("ts:{policy}"));
        app.put(&series, json!({ "duplicate_policy": policy, "retention_ms": 0 })).await.expect(201);
        let mut all = readings(2_000);
        store(&app, &series, &all).await;
        packed(&app, &name).await;
        let answer = write(&app, &series, late.iter().map(|&(time, value)| sample(time, value)).collect()).await;
        assert_eq!(answer["refused"].as_array().map(Vec::len), Some(if policy == "block" { 2 } else { 0 }));
        for (time, new) in late {
            match all.iter_mut().find(|(existing, _)| *existing == time) {
                None => all.push((time, new)),
                Some((_, old)) => match policy {
                    "last" => *old = new,
                    "min" => *old = old.min(new),
                    "max" => *old = old.max(new),
                    "sum" => *old += new,
                    _ => {}
                },
            }
        }
        all.sort_by_key(|(time, _)| *time);
        assert_eq!(read(&app, &series, "", 10_000).await, bits(&all), "{policy}");
        packed(&app, &name).await;
        assert_eq!(read(&app, &series, "", 10_000).await, bits(&all), "{policy}");
        assert_eq!(versions(&app, &name).0, 0);
    }
}

#[tokio::test]
async fn windows_are_deleted_from_packed_chunks() {
    let app = TestApp::spawn().await;
    let mut all = readings(3_000);
    store(&app, SERIES, &all).await;
    packed(&app, NAME).await;
    // Within one chunk, across several chunks, and from the middle of a packed chunk to the end.
    for (from, to) in [(100, 200), (300, 1_700), (1_900, 3_000)] {
        let (from, to) = (from * 1_800_000, to * 1_800_000);
        let before = all.len();
        all.retain(|(time, _)| !(from..=to).contains(time));
        let reply = app.delete(&format!("{SERIES}/samples?from={from}&to={to}")).await.expect(200).json();
        assert_eq!(reply["deleted"], before - all.len());
        assert_eq!(read(&app, SERIES, "", 10_000).await, bits(&all));
        let described = app.get(SERIES).await.expect(200).json();
        assert_eq!(
            (&described["count"], &described["last_timestamp"]),
            (&json!(all.len()), &json!(all.last().map(|s| s.0)))
        );
        packed(&app, NAME).await;
    }
    all.push((5_000 * 1_800_000, 1.0));
    write(&app, SERIES, vec![sample(5_000 * 1_800_000, 1.0)]).await;
    assert_eq!(read(&app, SERIES, "", 10_000).await, bits(&all));
}

/// One replica packs chunks while the other deletes from them: chunks change between reading and packing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_that_a_deletion_changes_are_packed() {
    let packing = TestApp::spawn().await;
    let deleting = TestApp::builder().beside(&packing).spawn().await;
    for round in 0..30 {
        let series = format!("energy:consumption:{round}");
        let path = format!("/timeseries/{series}");
        let stored = readings(3_000);
        let delete = async {
            for (time, _) in stored.iter().step_by(150) {
                deleting.delete(&format!("{path}/samples?from={time}&to={time}")).await;
            }
        };
        tokio::join!(store(&packing, &path, &stored), delete);
        packed(&packing, &series).await;
    }
}

#[tokio::test]
async fn a_description_counts_the_samples_of_a_packed_chunk_within_retention() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 0 })).await.expect(201);
    store(&app, "/timeseries/a", &readings(2_000)).await;
    packed(&app, "ts:a").await;
    app.patch("/timeseries/a", json!({ "retention_ms": 1_900 * 1_800_000_i64 })).await.expect(200);
    let described = app.get("/timeseries/a").await.expect(200).json();
    let oldest = 99 * 1_800_000_i64;
    assert_eq!((&described["count"], &described["first_timestamp"]), (&json!(1_901), &json!(oldest)));
    assert_eq!(read(&app, "/timeseries/a", "", 10_000).await, bits(&readings(2_000)[99..]));
}

#[tokio::test]
async fn expired_packed_chunks_are_trimmed_and_no_longer_counted() {
    let app = TestApp::spawn().await;
    app.put("/timeseries/a", json!({ "retention_ms": 1_000 * 1_800_000_i64 })).await.expect(201);
    store(&app, "/timeseries/a", &readings(1_900)).await;
    packed(&app, "ts:a").await;
    let rest: Vec<(i64, f64)> = readings(6_000).split_off(1_900);
    store(&app, "/timeseries/a", &rest).await;
    packed(&app, "ts:a").await;
    let described = app.get("/timeseries/a").await.expect(200).json();
    assert_eq!(described["count"], 1_001);
    let chunks: Vec<Vec<u8>> = app.redis().command(&["ZRANGE", "ts:chunks:{ts:a}", "0", "-1"]);
    assert!(chunks.len() <= 4, "{} chunks", chunks.len());
    let sealed: usize = chunks.iter().map(Vec::len).sum();
    let head: usize = app.redis().command(&["STRLEN", "ts:head:{ts:a}"]);
    assert_eq!(described["bytes"], sealed + head);
}

#[tokio::test]
async fn plain_chunks_of_a_stopped_replica_are_packed_after_the_next_write() {
    let app = TestApp::spawn().await;
    store(&app, SERIES, &readings(1_500)).await;
    packed(&app, NAME).await;
    // This is the state after a replica stopped between sealing and packing.
    let script = "
        local plain = {'\\1'}
        for n = 0, 511 do
          local time = n * 1800000
          plain[n + 2] = struct.pack('>I4I4d', 2147483648 + math.floor(time / 4294967296), time % 4294967296,
            n * 7919 % 1237 / 1000)
        end
        redis.call('ZREMRANGEBYRANK', KEYS[2], 0, 0)
        redis.call('ZADD', KEYS[2], 0, table.concat(plain))
        return redis.call('HSET', KEYS[1], 'plain', plain[2]:sub(1, 8))";
    app.redis().command::<i64>(&["EVAL", script, "2", NAME, "ts:chunks:{energy:consumption:a}"]);
    assert_eq!(versions(&app, NAME).0, 1);
    write(&app, SERIES, vec![sample(1_500 * 1_800_000, 0.1)]).await;
    packed(&app, NAME).await;
    assert_eq!(versions(&app, NAME).0, 0);
    let mut all = readings(1_500);
    all.push((1_500 * 1_800_000, 0.1));
    assert_eq!(read(&app, SERIES, "", 10_000).await, bits(&all));
}

#[tokio::test]
async fn no_sample_is_lost_when_two_replicas_write_into_packed_chunks() {
    let first = TestApp::spawn().await;
    let second = TestApp::builder().beside(&first).spawn().await;
    let mut all = readings(4_000);
    store(&first, SERIES, &all).await;
    let late =
        |app: &'static str| (0..200_i64).map(move |n| (n * 30_000_000 + if app == "first" { 1 } else { 2 }, 0.5));
    let send = async |app: &TestApp, name: &'static str| {
        for (time, value) in late(name) {
            write(app, SERIES, vec![sample(time, value)]).await;
        }
    };
    tokio::join!(send(&first, "first"), send(&second, "second"));
    all.extend(late("first"));
    all.extend(late("second"));
    all.sort_by_key(|(time, _)| *time);
    assert_eq!(read(&first, SERIES, "", 10_000).await, bits(&all));
    packed(&first, NAME).await;
    assert_eq!(read(&second, SERIES, "", 10_000).await, bits(&all));
}
