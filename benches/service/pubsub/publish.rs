//! Publishing over HTTP, with history.

use super::stamped;
use crate::get::{ROUNDS, medians};
use crate::open_loop::{Rate, latencies, percentile};
use crate::peers::{Bench, KEY_HEADER, Service};
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};

const SECONDS: u32 = 5;
/// The messages of a batch.
const BATCH: usize = 100;
/// Messages one by one, at a steady rate.
const STEADY: Rate = Rate { per_second: 10_000, connections: 32 };

pub fn run(bench: &Bench, service: &Service, report: &mut Report) {
    let data = stamped(std::time::Instant::now());
    let single = format!("{{\"message_type\":\"B\",\"data\":{data}}}");
    let item = format!("{{\"channel\":\"bench:1\",\"message_type\":\"B\",\"data\":{data}}}");
    let batch = format!("{{\"messages\":[{}]}}", vec![item; BATCH].join(","));
    let measure = |path: &str, body: &str| -> Run {
        let request = RequestSpec::post(path, Some(KEY_HEADER), body);
        let runs: Vec<Run> =
            (0..ROUNDS).map(|_| wrk::run(service.peer(), bench.redis.pid(), request, SECONDS)).collect();
        medians(&runs)
    };
    let one = measure("/pubsub/bench:0", &single);
    report.row("publish with history, 64 connections", crate::get::figures(&one), "20,000/s");
    let many = measure("/pubsub", &batch);
    let rate = many.requests_per_second * 100.0;
    let figures = format!("{rate:.0} messages/s; {}", crate::get::figures(&many));
    report.row(format!("publish {BATCH} messages at a time"), figures, "40,000/s");
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|_| {
            let publish = |_| -> crate::open_loop::SendRequest<'_> {
                let (mut client, body) = (service.client(), single.clone());
                Box::new(move |_| {
                    let kind = "content-type: application/json\r\n";
                    client.send("POST", "/pubsub/bench:2", kind, body.as_bytes()).expect_success("a message");
                })
            };
            latencies(STEADY, (0..STEADY.connections).map(publish).collect())
        })
        .collect();
    let [p50, p99] = [50, 99].map(|share| percentile(&rounds, share) / 1e3);
    report.row("publish at 10,000/s, open loop", format!("p50 {p50:.2} ms, p99 {p99:.2} ms"), "p99 below 5 ms");
}
