//! Writes under a lock's fencing token: what is refused, what a refusal leaves alone, how long a target remembers.

mod batches;
mod header;
mod holders;
mod life;
mod order;
mod places;
mod routes;

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

/// Stores a value under a token.
async fn put(app: &TestApp, token: u64, path: &str, body: &'static str) -> Reply {
    send(app, token, Method::PUT, path, body).await
}

/// Adds a sample under a token.
async fn append(app: &TestApp, token: u64, path: &str, timestamp: i64) -> Reply {
    let body = format!("{{\"samples\":[{{\"timestamp\":{timestamp},\"value\":1}}]}}");
    send(app, token, Method::POST, &format!("{path}/samples"), body).await
}

/// Everything that a server holds: each key with its content and the moment of its end.
fn snapshot(redis: &RedisServer) -> BTreeMap<String, (Vec<u8>, i64)> {
    let state = |key: &str| (redis.command(&["DUMP", key]), redis.command(&["PEXPIRETIME", key]));
    redis.keys().into_iter().map(|key| (key.clone(), state(&key))).collect()
}

/// The highest token that a fence remembers.
fn highest(redis: &RedisServer, fence: &str) -> Option<u64> {
    redis.command(&["GET", fence])
}

/// What is left of a key's life, milliseconds.
fn left(redis: &RedisServer, key: &str) -> i64 {
    redis.command(&["PTTL", key])
}
