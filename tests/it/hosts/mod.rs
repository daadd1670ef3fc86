//! Host metrics against real servers.

mod agent;
mod analysis;
mod cleanup;
mod export;
mod faults;
mod input;
mod ledger;
mod organisations;
mod reads;
mod replicas;
mod rollups;
mod scrape;
mod spool;

use serde_json::{Value, json};

use crate::support::{START, TestApp};

/// The samples of one host.
pub const WEB: &str = "/hosts/web-1/metrics";

/// A valid sample at `START + ms`.
pub fn sample(ms: i64) -> Value {
    json!({
        "timestamp": START + ms,
        "cpu": { "usage": 12.5, "cores": 4, "loadAvg": [0.5, 0.25, 0.125] },
        "memory": { "total": 1_000, "used": 400, "free": 600, "usagePercent": 40.0 },
        "disk": { "total": 5_000, "used": 1_000, "free": 4_000, "usagePercent": 20.0 },
        "network": { "bytesIn": 100 + ms.max(0), "bytesOut": 50, "packetsIn": 10, "packetsOut": 5 },
    })
}

/// Sends samples with these timestamps, milliseconds from the start.
pub async fn send(app: &TestApp, path: &str, times: impl IntoIterator<Item = i64>) {
    let samples: Vec<Value> = times.into_iter().map(sample).collect();
    let count = samples.len();
    let answer = app.post(path, Value::Array(samples)).await.expect(202).json();
    assert_eq!(answer["accepted"], count, "{answer}");
}

/// The timestamps of the samples in a response, milliseconds from the start.
pub fn times(answer: &Value) -> Vec<i64> {
    let metrics = answer["metrics"].as_array().expect("samples");
    metrics.iter().map(|sample| sample["timestamp"].as_i64().expect("a timestamp") - START).collect()
}

/// Flushes all waiting samples to Redis and returns their number.
pub async fn flush(app: &TestApp) -> u64 {
    app.post("/hosts/flush", Value::Null).await.expect(200).json()["written"].as_u64().expect("a number")
}
