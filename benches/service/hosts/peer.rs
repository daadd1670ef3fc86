//! The peer for host samples: one axum route that parses the same JSON into the same numbers and stores nothing.

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::routing::any;
use serde::{Deserialize, Serialize};

/// The argument that runs this binary as the peer.
pub const COMMAND: &str = "serve-samples";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only parsing is measured")]
struct Sample {
    cpu: Cpu,
    memory: Space,
    disk: Space,
    network: Network,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only parsing is measured")]
struct Cpu {
    usage: f64,
    cores: u64,
    load_avg: [f64; 3],
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only parsing is measured")]
struct Space {
    total: u64,
    used: u64,
    free: u64,
    usage_percent: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "only parsing is measured")]
struct Network {
    bytes_in: u64,
    bytes_out: u64,
    packets_in: u64,
    packets_out: u64,
}

/// The response of the service to one valid sample.
#[derive(Serialize)]
struct Response {
    accepted: u32,
    stored: &'static str,
    refused: [u32; 0],
}

pub fn router() -> Router {
    Router::new().fallback(any(async |body: Bytes| {
        serde_json::from_slice::<Sample>(&body).expect("a sample");
        let response = serde_json::to_vec(&Response { accepted: 1, stored: "memory", refused: [] }).expect("JSON");
        (StatusCode::ACCEPTED, [(header::CONTENT_TYPE, "application/json")], response)
    }))
}
