//! Writes with a lock's fencing token: which are rejected, what a rejected write changes, how long a fence lasts.

mod batches;
mod expiry;
mod forged;
mod header;
mod holders;
mod precedence;
mod routes;
mod topologies;

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::Method;

use crate::support::{RedisServer, Reply, TestApp};

const JSON: (&str, &str) = ("content-type", "application/json");
const SERIES: &str = "/timeseries/energy:generation:m1";

/// A request by the holder of the grant with this token.
async fn send(app: &TestApp, token: u64, method: Method, path: &str, body: impl Into<Body>) -> Reply {
    let token = token.to_string();
    app.send(method, path, &[JSON, ("fencing-token", &token)], body).await
}

/// Stores a value with a token.
async fn put(app: &TestApp, token: u64, path: &str, body: &'static str) -> Reply {
    send(app, token, Method::PUT, path, body).await
}

/// Adds a sample with a token.
async fn append(app: &TestApp, token: u64, path: &str, timestamp: i64) -> Reply {
    let body = format!("{{\"samples\":[{{\"timestamp\":{timestamp},\"value\":1}}]}}");
    send(app, token, Method::POST, &format!("{path}/samples"), body).await
}

/// The content and the expiry time of every key on a server.
fn snapshot(redis: &RedisServer) -> BTreeMap<String, (Vec<u8>, i64)> {
    let state = |key: &str| (redis.command(&["DUMP", key]), redis.command(&["PEXPIRETIME", key]));
    redis.keys().into_iter().map(|key| (key.clone(), state(&key))).collect()
}

/// The highest token that a fence remembers.
fn highest(redis: &RedisServer, fence: &str) -> Option<u64> {
    redis.command(&["GET", fence])
}

/// The token of a grant at this many milliseconds after Redis's time.
fn token_after(redis: &RedisServer, ms: i64) -> u64 {
    let (seconds, micros): (i64, i64) = redis.command(&["TIME"]);
    u64::try_from(seconds * 1_000_000 + micros + ms * 1_000).expect("after 1970")
}

/// The remaining TTL of a key, milliseconds.
fn remaining_ttl(redis: &RedisServer, key: &str) -> i64 {
    redis.command(&["PTTL", key])
}
