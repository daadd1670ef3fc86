//! Event streams: appends to one stream, compared with redis-benchmark, which calls the same script.

use crate::get::{ROUNDS, figures, medians};
use crate::monitor::Monitor;
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};
use crate::{median, ratios, redis_benchmark};

const STREAM: &str = "/streams/bench";
const EVENTS: &str = "/streams/bench/events";
const JSON: &str = "content-type: application/json\r\n";
/// The type of the events, by which the script call is found.
const TYPE: &str = "Benched";
/// The events of a batch.
const BATCH: usize = 100;
const SECONDS: u32 = 3;
const COMMANDS: u32 = 100_000;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    // 200 bytes without quotes, which the recorded call must not have.
    let event = format!(r#"{{"type":"{TYPE}","data":[{}1]}}"#, "123456789,".repeat(20));
    let [one, many] = [1, BATCH].map(|count| format!(r#"{{"events":[{}]}}"#, vec![event.as_str(); count].join(",")));
    let script = evalsha(bench, &service, &one);
    let measure = |body: &str| -> Run {
        reset(&service);
        wrk::run(service.peer(), bench.redis.pid(), RequestSpec::post(EVENTS, Some(KEY_HEADER), body), SECONDS)
    };
    let (mut runs, mut bare, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        runs.push(measure(&one));
        reset(&service);
        bare.push(redis_benchmark::run(bench.redis.address, COMMANDS, 1, &script));
        batches.push(measure(&many));
    }
    report.row("append an event, 64 connections", figures(&medians(&runs)), "");
    let name = "the same EVALSHA by redis-benchmark, 64 connections, no pipelining";
    report.row(name, format!("{:.0} requests/s", median(bare.clone())), "");
    let rates: Vec<f64> = runs.iter().map(|run| run.requests_per_second).collect();
    let (ratio, rounds) = ratios(&rates, &bare, |rate| *rate);
    let name = "the same: service / redis-benchmark, requests/s";
    report.row(name, format!("{ratio:.2}; rounds {rounds}"), "at least 0.5");
    let many = medians(&batches);
    let rate = many.requests_per_second * 100.0;
    report.row(format!("append {BATCH} events at a time"), format!("{rate:.0} events/s; {}", figures(&many)), "");
}

/// Begins the stream again.
fn reset(service: &Service) {
    service.client().send("DELETE", STREAM, "", &[]).expect_success("a deletion");
    let first = format!(r#"{{"events":[{{"type":"{TYPE}","data":1}}]}}"#);
    service.client().send("POST", EVENTS, JSON, first.as_bytes()).expect_success("an event");
}

/// The script call of one append.
fn evalsha(bench: &Bench, service: &Service, body: &str) -> Vec<String> {
    let monitor = Monitor::start(bench.redis.address);
    service.client().send("POST", EVENTS, JSON, body.as_bytes()).expect_success("an event");
    let mut sent = monitor.stop().into_iter().filter(|entry| !entry.in_script).map(|entry| entry.arguments);
    sent.find(|arguments| {
        arguments[0].eq_ignore_ascii_case("evalsha") && arguments.iter().any(|argument| argument == TYPE)
    })
    .expect("a script call")
}
