//! Data that an earlier version wrote is read as that version read it.
//!
//! `tests/recorded_data/<version>/` holds every key that the version left in Redis after [`write`] (its DUMP and its
//! remaining TTL) and the responses to [`READS`]. `GTX_TEST_RECORD=<version>` records a new folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gridtokenx_redis::http::auth::api_key;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::support::{ADMIN_KEY, RedisServer, Reply, START, TestApp, TestAppBuilder, eventually};

/// The time of the recording, after [`START`]: two days of host samples are complete.
const RECORDED_AFTER: Duration = Duration::from_secs(50 * 3_600);
const METERED: &str = "energy:consumption:MTR-001";

#[derive(Deserialize, Serialize)]
struct Recording {
    keys: BTreeMap<String, Dump>,
    /// The response to each read: its status and its body.
    responses: BTreeMap<String, (u16, String)>,
    lock_token: String,
    reservation: String,
}

#[derive(Deserialize, Serialize)]
struct Dump {
    /// Milliseconds; -1 for a key without expiry.
    ttl_ms: i64,
    value: String,
}

const READS: &[&str] = &[
    "/cache/recorded:text",
    "/cache/user:profile:1",
    "/cache/recorded:counter",
    "/cache/recorded:tagged",
    "/cache/recorded:untagged",
    "/cache?prefix=recorded:",
    "/locks/settlement:1",
    "/ratelimit/api/10.0.0.1:login",
    "/ratelimit/trading/user-1",
    "/ratelimit/sensitive/user-1",
    "/ratelimit/limiters/orders/exceptions",
    "/timeseries",
    "/timeseries/energy:consumption:MTR-001",
    "/timeseries/energy:consumption:MTR-001/range?from=0&limit=5000",
    "/timeseries/energy:consumption:MTR-001/range?from=0&agg=sum&bucket=1d&tz=Asia/Bangkok",
    "/timeseries/energy:consumption:MTR-001/rollups",
    "/timeseries/energy:consumption:MTR-001/stats?from=0",
    "/timeseries/balance/range?from=0",
    "/timeseries?filter=zone=7",
    "/market/prices/GRID?from=0",
    "/prom/api/v1/query?query=influx&time=1767225600",
    "/json/recorded:1",
    "/json/person:1",
    "/users/7/preferences",
    "/users/7/activity",
    "/config/trading/1",
    "/forms/7",
    "/hosts/web-1/metrics/range?startTime=1767225600000&endTime=1767405600000&limit=1000",
    "/hosts/web-1/metrics/summary?startTime=1767225600000&endTime=1767405600000&bucket=1d",
];

fn builder() -> TestAppBuilder {
    let digest = api_key::hex(&api_key::digest(ADMIN_KEY.as_bytes()));
    TestApp::builder().config(&format!(
        "[json.encryption]\n\
         keys = [{{ id = \"2026-01\", key = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }}]\n\
         [[json.collections]]\nprefix = \"person:\"\nencrypted = [\"$.email\"]\n\
         [[auth.keys]]\nid = \"admin\"\nsha256 = \"{digest}\"\nscopes = [\"admin\"]"
    ))
}

async fn call(app: &TestApp, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Reply {
    let mut all = vec![("x-api-key", ADMIN_KEY)];
    all.extend_from_slice(headers);
    app.send(method, path, &all, body).await
}

async fn send(app: &TestApp, method: Method, path: &str, body: Value) -> Reply {
    call(app, method, path, &[("content-type", "application/json")], body.to_string()).await
}

async fn post(app: &TestApp, path: &str, body: Value) -> Value {
    let reply = send(app, Method::POST, path, body).await;
    assert!(reply.status.is_success(), "{path}: {}", reply.text());
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

async fn put(app: &TestApp, path: &str, body: Value) {
    let reply = send(app, Method::PUT, path, body).await;
    assert!(reply.status.is_success(), "{path}: {}", reply.text());
}

fn increment() -> (&'static str, [(&'static str, &'static str); 2], String) {
    let headers = [("content-type", "application/json"), ("idempotency-key", "recorded-1")];
    ("/cache/recorded:counter/increment", headers, json!({ "by": 41, "ttl_ms": 86_400_000 }).to_string())
}

/// Writes data with every feature; returns the token of a lock and the id of an open reservation.
async fn write(app: &TestApp) -> (String, String) {
    hosts(app).await;
    for (path, body) in
        [("/cache/recorded:text?ttl_ms=86400000", "caf\u{e9}"), ("/cache/user:profile:1", "{\"a\": 1.50}")]
    {
        let media_type = if body.starts_with('{') { "application/json" } else { "text/plain; charset=utf-8" };
        call(app, Method::PUT, path, &[("content-type", media_type)], body.to_owned()).await.expect(201);
    }
    let (path, headers, body) = increment();
    call(app, Method::POST, path, &headers, body).await.expect(200);
    put(app, "/cache/recorded:tagged?tags=zone-7&ttl_ms=86400000", json!(1)).await;
    put(app, "/cache/recorded:untagged?tags=zone-8&ttl_ms=86400000", json!(2)).await;
    call(app, Method::DELETE, "/cache/tags/zone-8", &[], String::new()).await.expect(204);
    let grant = post(app, "/locks/settlement:1", json!({ "ttl_ms": 60_000, "owner": "settlement-7" })).await;
    let token = grant["fencing_token"].to_string();
    call(app, Method::PUT, "/cache/recorded:fenced?ttl_ms=86400000", &[("fencing-token", &token)], "1".to_owned())
        .await
        .expect(201);
    let reservation = ratelimits(app).await;
    timeseries(app).await;
    documents(app).await;
    (grant["token"].as_str().expect("a token").to_owned(), reservation)
}

async fn hosts(app: &TestApp) {
    for hour in 0..50_i64 {
        let samples: Vec<Value> = (0..12).map(|n| host_sample(hour * 3_600_000 + n * 300_000)).collect();
        post(app, "/hosts/web-1/metrics", Value::Array(samples)).await;
        post(app, "/hosts/flush", Value::Null).await;
        app.clock().advance(Duration::from_secs(3_600));
    }
    eventually("hours are packed and days rolled up", async || {
        app.redis().command::<u64>(&["ZCARD", "metrics:history:web-1"]) <= 52
            && app.redis().command::<u64>(&["EXISTS", "metrics:hosts", "metrics:current:web-1"]) == 2
            && send(app, Method::GET, READS[READS.len() - 1], Value::Null).await.json()["source"] != "memory"
    })
    .await;
}

fn host_sample(ms: i64) -> Value {
    let share = ms.rem_euclid(7_000);
    json!({
        "timestamp": START + ms,
        "cpu": { "usage": share / 100, "cores": 4, "loadAvg": [0.5, 0.25, 0.125] },
        "memory": { "total": 8_000, "used": share, "free": 8_000 - share, "usagePercent": 40.5 },
        "disk": { "total": 5_000, "used": 1_000, "free": 4_000, "usagePercent": 20.0 },
        "network": { "bytesIn": ms, "bytesOut": 50, "packetsIn": 10, "packetsOut": 5 },
    })
}

async fn ratelimits(app: &TestApp) -> String {
    for (limiter, key, cost) in
        [("api", "10.0.0.1:login", 3), ("trading", "user-1", 7), ("sensitive", "user-1", 3), ("orders", "user-1", 2)]
    {
        post(app, "/ratelimit/check", json!({ "limiter": limiter, "key": key, "cost": cost })).await;
    }
    put(app, "/ratelimit/limiters/orders/exceptions/user-2", json!({ "action": "allow" })).await;
    let reserved = post(app, "/ratelimit/reserve", json!({ "limiter": "trading", "key": "user-2", "cost": 5 })).await;
    reserved["reservation"].as_str().expect("an id").to_owned()
}

async fn timeseries(app: &TestApp) {
    let series = format!("/timeseries/{METERED}");
    let samples: Vec<Value> = (0..1_500_i32)
        .map(
            |n| json!({ "timestamp": START + i64::from(n) * 900_000, "value": f64::from(n * 7_919 % 1_237) / 1_000.0 }),
        )
        .collect();
    post(app, &format!("{series}/samples"), json!({ "samples": samples })).await;
    post(app, &format!("{series}/rollups"), json!({ "bucket": "1h", "agg": "sum" })).await;
    put(app, "/timeseries/balance", json!({ "labels": { "zone": "7" }, "retention_ms": 0 })).await;
    let exact = [0.1, -0.0, 5e-324, 1.797_693_134_862_315_7e308];
    let exact: Vec<Value> =
        exact.iter().zip(0..).map(|(value, at)| json!({ "timestamp": START + at, "value": value })).collect();
    post(app, "/timeseries/balance/samples", json!({ "samples": exact })).await;
    post(app, "/market/prices/GRID", json!({ "prices": [{ "timestamp": START, "price": 4.25 }] })).await;
    let line = "meter,zone=7 kwh=1.5 1767225600000000000";
    call(app, Method::POST, "/api/v2/write", &[], line.to_owned()).await.expect(204);
    eventually("chunks are packed and rollups complete", async || {
        let plain = app.redis().command::<Option<Vec<u8>>>(&["HGET", METERED, "plain"]);
        let rollups = send(app, Method::GET, &format!("{series}/rollups"), Value::Null).await.json();
        plain.is_none_or(|plain| plain.is_empty()) && rollups["items"][0]["complete"] == true
    })
    .await;
}

async fn documents(app: &TestApp) {
    put(app, "/json/recorded:1", json!({ "name": "Somchai", "limits": { "daily_kwh": 40.5 }, "tags": [1, 2, 3] }))
        .await;
    let patch = [("content-type", "application/merge-patch+json")];
    call(app, Method::PATCH, "/json/recorded:1", &patch, "{\"limits\":{\"daily_kwh\":45.00}}".to_owned())
        .await
        .expect(204);
    put(app, "/json/person:1", json!({ "email": "somchai@example.org", "zone": 7 })).await;
    put(app, "/users/7/preferences", json!({ "language": "th" })).await;
    post(app, "/users/7/activity", json!({ "action": "login", "timestamp": START })).await;
    put(app, "/config/trading/1", json!({ "market_id": "1", "rules": { "max": "10.00" } })).await;
    put(app, "/forms/7", json!({ "price": "1.50" })).await;
}

/// The response without time-dependent and random fields and without human-readable texts.
async fn read(app: &TestApp, path: &str) -> (u16, String) {
    let reply = call(app, Method::GET, path, &[], String::new()).await;
    (reply.status.as_u16(), normalized(&reply.body))
}

fn normalized(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(mut value) => {
            blank(&mut value);
            value.to_string()
        }
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    }
}

fn blank(value: &mut Value) {
    const VOLATILE: &[&str] =
        &["detail", "title", "remaining_ms", "ttl_ms", "expires_at", "acquired_at", "request_id", "source", "bytes"];
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if VOLATILE.contains(&name.as_str()) { *member = Value::Null } else { blank(member) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(blank),
        _ => {}
    }
}

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded_data").join(version).join("recording.json")
}

async fn record(version: &str) {
    let app = builder().config("[hosts]\ncleanup_interval = \"50ms\"").spawn().await;
    let (lock_token, reservation) = write(&app).await;
    let mut responses = BTreeMap::new();
    for path in READS {
        responses.insert((*path).to_owned(), read(&app, path).await);
    }
    let names: Vec<String> = app.redis().command(&["KEYS", "*"]);
    let mut keys = BTreeMap::new();
    for name in names {
        let value: Vec<u8> = app.redis().command(&["DUMP", &name]);
        let ttl_ms = app.redis().command(&["PTTL", &name]);
        keys.insert(name, Dump { ttl_ms, value: STANDARD.encode(value) });
    }
    let text = serde_json::to_string_pretty(&Recording { keys, responses, lock_token, reservation }).expect("JSON");
    std::fs::create_dir_all(folder(version).parent().expect("a folder")).expect("the folder");
    std::fs::write(folder(version), text).expect("the file");
}

fn restore(recording: &Recording) -> RedisServer {
    let server = RedisServer::start();
    let mut connection = server.connect().expect("a connection");
    for (name, dump) in &recording.keys {
        let value = STANDARD.decode(&dump.value).expect("base64");
        let mut command = redis::cmd("RESTORE");
        command.arg(name).arg(dump.ttl_ms.max(0)).arg(value);
        command.query::<()>(&mut connection).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    server
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a setting of the tests")]
async fn data_of_an_earlier_version_is_read_as_that_version_read_it() {
    if let Ok(version) = std::env::var("GTX_TEST_RECORD") {
        return record(&version).await;
    }
    let recording = std::fs::read_to_string(folder("0.1.0")).expect("the recording");
    let recording: Recording = serde_json::from_str(&recording).expect("a valid recording");
    let app = builder().on(restore(&recording)).spawn().await;
    app.clock().advance(RECORDED_AFTER);
    for (path, (status, body)) in &recording.responses {
        let recorded = &(*status, normalized(body.as_bytes()));
        // Data that replicas copy, such as overrides of rate limits, arrives a little later.
        let first = read(&app, path).await;
        let condition = format!("GET {path} returns\n{recorded:?}\ninstead of\n{first:?}\n");
        eventually(&condition, async || &read(&app, path).await == recorded).await;
    }

    let extension = json!({ "token": recording.lock_token, "ttl_ms": 60_000 });
    send(&app, Method::PATCH, "/locks/settlement:1", extension).await.expect(200);
    send(&app, Method::POST, "/locks/settlement:1", json!({ "ttl_ms": 1_000 })).await.expect_problem(409, "lock-held");
    let settle = format!("/ratelimit/reservations/{}/settle", recording.reservation);
    send(&app, Method::POST, &settle, json!({ "cost": 1 })).await.expect(200);
    let (path, headers, body) = increment();
    let repeated = call(&app, Method::POST, path, &headers, body).await.expect(200);
    assert_eq!((repeated.header("idempotency-replayed"), &repeated.json()["value"]), (Some("true"), &json!(41)));
    let stale = [("fencing-token", "1")];
    call(&app, Method::PUT, "/cache/recorded:fenced", &stale, "2".to_owned()).await.expect_problem(409, "stale-fence");
}
