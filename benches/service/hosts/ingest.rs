//! Writes of samples: one per request, compared with a route that only parses them, and arrays of a hundred.

use super::{sample, service};
use crate::get::{ROUNDS, figures, medians};
use crate::peers::{Bench, KEY_HEADER, Service};
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};
use crate::{median, ratios};

const SECONDS: u32 = 5;
/// Hosts that send samples in turn.
const HOSTS: &str = "100";
const PATH: [&str; 2] = ["/hosts/bench-", "/metrics"];
/// Samples per array.
const ITEMS: usize = 100;
/// Samples arrive faster than Redis stores them: they wait in memory instead of being refused.
const LARGE_BUFFER: &str = "unstored_samples = 12000000";

pub fn run(bench: &Bench, report: &mut Report) {
    let service = service(bench, LARGE_BUFFER);
    let peer = bench.samples_peer();
    // Without a timestamp, so that each request adds a new sample.
    let one = sample(7, None);
    let request = RequestSpec::in_turns("POST", PATH, HOSTS, Some(KEY_HEADER), &one);
    let candidates = [("service", &service), ("bare axum route that parses the same JSON", &peer)];
    let mut runs: [Vec<Run>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, peer), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(peer.peer(), bench.redis.pid(), request, SECONDS));
        }
    }
    for ((name, _), runs) in candidates.iter().zip(&runs) {
        report.row(format!("one host sample per request, 64 connections: {name}"), figures(&medians(runs)), "");
    }
    let (ratio, rounds) = ratios(&runs[0], &runs[1], |run| run.requests_per_second);
    let name = "the same: service / bare axum route, requests/s";
    report.row(name, format!("{ratio:.2}; rounds {rounds}"), "at least 0.7");
    arrays(bench, report, &service);
}

fn arrays(bench: &Bench, report: &mut Report, service: &Service) {
    let items: Vec<String> = (0..ITEMS).map(|number| sample(number, None)).collect();
    let body = format!("[{}]", items.join(","));
    let request = RequestSpec::in_turns("POST", PATH, HOSTS, Some(KEY_HEADER), &body);
    let before = counts(service);
    let runs: Vec<Run> = (0..ROUNDS).map(|_| wrk::run(service.peer(), bench.redis.pid(), request, SECONDS)).collect();
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let rate = median(runs.iter().map(|run| run.requests_per_second * ITEMS as f64).collect());
    report.row("host samples in arrays of 100, 64 connections", format!("{rate:.0} samples/s"), "at least 300,000/s");
    let after = counts(service);
    let [accepted, dropped] = [0, 1].map(|at| after[at] - before[at]);
    report.row("the same: dropped", format!("{dropped:.0} of {accepted:.0}"), "");
}

/// The numbers of accepted and of dropped samples so far.
fn counts(service: &Service) -> [f64; 2] {
    let text = service.client().get("/metrics").expect_success("metrics").body;
    let text = String::from_utf8(text).expect("text");
    ["accepted", "dropped"].map(|event| {
        let name = format!("host_samples_total{{event=\"{event}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name)).expect("the counter");
        line.parse().expect("a number")
    })
}
