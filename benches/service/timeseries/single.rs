//! One sample per request, compared with one cache value per request.

use crate::get::{self, ROUNDS, figures, medians};
use crate::peers::{Bench, KEY_HEADER, Transport};
use crate::ratios;
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};

const SECONDS: u32 = 5;
/// Series and cache keys that are written in turn.
const TURNS: &str = "1000";
/// Without a timestamp: each request adds a new sample.
const SAMPLE: &str = r#"{"samples":[{"value":0.392}]}"#;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let value = format!("\"{}\"", get::value());
    let turns = |method, around, body| RequestSpec::in_turns(method, around, TURNS, Some(KEY_HEADER), body);
    let candidates = [
        ("POST of one sample", turns("POST", ["/timeseries/energy:consumption:bench-", "/samples"], SAMPLE)),
        ("PUT /cache/{key} of 200 bytes", turns("PUT", ["/cache/bench:", ""], &value)),
    ];
    let mut runs: [Vec<Run>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, request), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(service.peer(), bench.redis.pid(), *request, SECONDS));
        }
    }
    for ((name, _), runs) in candidates.iter().zip(&runs) {
        report.row(format!("{name}, 64 connections"), figures(&medians(runs)), "");
    }
    let [ours, theirs] = &runs;
    let (ratio, rounds) = ratios(ours, theirs, |run| run.requests_per_second);
    report.row("the same: sample / value, requests/s", format!("{ratio:.2}; rounds {rounds}"), "at least 0.6");
}
