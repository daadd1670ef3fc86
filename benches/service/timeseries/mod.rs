//! Time series.

pub mod codec;
pub mod ingest;
pub mod memory;
pub mod range;
pub mod single;
mod sorted_set;
pub mod sums;
mod synthetic;

use std::fmt::Write as _;

use crate::peers::Service;

/// The header line of a bulk load.
const CSV: &str = "content-type: text/csv\r\n";

/// A timestamp in Unix milliseconds, and a value.
type Point = (usize, f64);

/// The interval of smart-meter samples, 15 seconds, in milliseconds.
const STEP: usize = 15_000;
const A_DAY: usize = 86_400_000 / STEP;

/// Loads one series; its family creates it automatically.
fn load(service: &Service, series: &str, points: &[Point]) {
    let mut body = String::with_capacity(points.len() * (series.len() + 32));
    body.push_str("series,timestamp,value\n");
    for (at, value) in points {
        let _ = writeln!(body, "{series},{at},{value}");
    }
    let response = service.client().send("POST", "/timeseries/samples", CSV, body.as_bytes()).expect_success("a load");
    let counts: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(counts["stored"], points.len(), "{counts}");
}
