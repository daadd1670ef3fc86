//! Appending to a full activity log at a fixed rate: every new entry removes the oldest one.

use std::time::Instant;

use super::JSON;
use crate::get::ROUNDS;
use crate::open_loop::{STEADY, SendRequest, latencies, percentile};
use crate::peers::{Bench, Service, Transport};
use crate::report::Report;

/// Entries of a full log, by default.
const ENTRIES: usize = 1_000;
const PATH: &str = "/users/bench/activity";
const ENTRY: &[u8] =
    br#"{"action":"order.created","order":"6f1c","symbol":"GRID","ip":"10.0.0.1","timestamp":1767225600000}"#;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let mut client = service.client();
    let filled = Instant::now();
    for _ in 0..ENTRIES {
        client.send("POST", PATH, JSON, ENTRY).expect_success("an entry");
    }
    let alone = filled.elapsed().as_secs_f64() * 1e6 / 1e3;
    let rounds: Vec<Vec<f64>> =
        (0..ROUNDS).map(|_| latencies(STEADY, (0..STEADY.connections).map(|_| append(&service)).collect())).collect();
    let log = service.client().get("/json/user_activity:bench/length?path=$.activities").expect_success("the length");
    assert!(String::from_utf8_lossy(&log.body).contains("1000"), "{}", String::from_utf8_lossy(&log.body));
    report.row(
        format!(
            "append to an activity log of {ENTRIES} entries ({} bytes each), {} per second, open loop",
            ENTRY.len(),
            STEADY.per_second
        ),
        format!("p50 {:.0} us, p99 {:.0} us", percentile(&rounds, 50), percentile(&rounds, 99)),
        "p99 below 3,000 us",
    );
    report.row("the same: one request after the other, while the log fills", format!("{alone:.0} us"), "");
}

fn append(service: &Service) -> SendRequest<'_> {
    let mut client = service.client();
    Box::new(move |_| {
        client.send("POST", PATH, JSON, ENTRY).expect_success("an entry");
    })
}
