//! Series: create, write, read, retention, faults.

use serde_json::{Value, json};

use crate::support::{START, TestApp};

const METER: &str = "/timeseries/energy:consumption:MTR-001";

fn sample(timestamp: i64, value: f64) -> Value {
    json!({ "timestamp": timestamp, "value": value })
}

async fn write(app: &TestApp, series: &str, samples: Vec<Value>) -> Value {
    app.post(&format!("{series}/samples"), json!({ "samples": samples })).await.expect(200).json()
}

/// All samples by pages of `limit`, as (timestamp, bits of the value).
async fn read(app: &TestApp, series: &str, query: &str, limit: usize) -> Vec<(i64, u64)> {
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

fn bits(samples: &[(i64, f64)]) -> Vec<(i64, u64)> {
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
            "labels": {}, "created": START, "count": 2, "first_timestamp": START, "last_timestamp": START + 900_000,
            "chunks": 1, "bytes": 33, "backend": "native"
        })
    );
    let latest = app.get(&format!("{METER}/latest")).await.expect(200).json();
    assert_eq!(latest, json!({ "timestamp": START + 900_000, "value": 0.578 }));
    assert_eq!(app.redis().command::<String>(&["TYPE", "energy:consumption:MTR-001"]), "hash");
}

#[tokio::test]
async fn a_series_of_no_family_is_created_first() {
    let app = TestApp::spawn().await;
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
    let left: Vec<String> = app.redis().command(&["KEYS", "*"]);
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn equal_values_at_different_times_are_all_kept() {
    let app = TestApp::spawn().await;
    let night: Vec<(i64, f64)> = (0..100).map(|n| (START + n * 900_000, 0.0)).collect();
    write(&app, METER, night.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    assert_eq!(read(&app, METER, "", 1000).await, bits(&night));
}

#[tokio::test]
async fn values_come_back_bit_for_bit() {
    let app = TestApp::spawn().await;
    let values = [0.397_999_999_999_999_96, -0.0, 0.0, 5e-324, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 1e16, 0.1 + 0.2];
    let samples: Vec<(i64, f64)> = values.iter().zip(0..).map(|(&value, time)| (time, value)).collect();
    write(&app, METER, samples.iter().map(|&(time, value)| sample(time, value)).collect()).await;
    assert_eq!(read(&app, METER, "", 100).await, bits(&samples));
}
