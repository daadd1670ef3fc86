//! `POST /ratelimit/check` with a GCRA limiter that always allows, compared with webdis and redis-benchmark, which call
//! the same script, and with a Node service. Also checks of a key that is known to be blocked, compared with a bare
//! route.

pub mod memory;

use std::path::Path;

use crate::get::{ROUNDS, figures, medians};
use crate::monitor::Monitor;
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};
use crate::{median, ratios, redis_benchmark};

const SECONDS: u32 = 5;
/// Commands of redis-benchmark in one run.
const COMMANDS: u32 = 300_000;
const PATH: &str = "/ratelimit/check";
const OPEN: &str = r#"{"limiter":"bench","key":"client-7"}"#;
const BLOCKED: &str = r#"{"limiter":"blocked","key":"client-7"}"#;
/// No run exhausts the burst, and calls arrive faster than the limit refills, so the key always has a state. The peer
/// in `benches/peers/fastify` uses the same numbers.
const LIMITERS: &str = r#"
[[ratelimit.limiters]]
name = "bench"
key = "rate_limit:bench:{key}"
strategy = { kind = "gcra", limit = 10000, period = "1s", burst = 100000000 }
without_redis = "closed"
[[ratelimit.limiters]]
name = "blocked"
key = "rate_limit:blocked:{key}"
strategy = { kind = "gcra", limit = 1, period = "1d" }
without_redis = "closed"
"#;

pub fn run(bench: &Bench, report: &mut Report) {
    let over_tcp = bench.service_with(Transport::Tcp, LIMITERS);
    let over_unix = bench.service_with(Transport::Unix, LIMITERS);
    checks(bench, report, &over_tcp, &over_unix);
    refusals(bench, report, &over_tcp);
}

fn checks(bench: &Bench, report: &mut Report, over_tcp: &Service, over_unix: &Service) {
    let script = evalsha(bench, over_tcp, OPEN);
    let webdis = bench.webdis();
    let fastify = bench.fastify(&Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations-lua/ratelimit/check.lua"));
    let by_webdis = format!("/{}", script.join("/"));
    let check = RequestSpec::post(PATH, Some(KEY_HEADER), OPEN);
    let candidates = [
        ("service", over_tcp, check),
        ("service, unix socket to Redis", over_unix, check),
        ("webdis, the same EVALSHA", &webdis, RequestSpec::get(&by_webdis, None)),
        ("fastify and node-redis, one process", &fastify, check),
    ];
    let mut runs: [Vec<Run>; 4] = Default::default();
    let mut bare = Vec::new();
    for _ in 0..ROUNDS {
        for ((_, peer, request), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(peer.peer(), bench.redis.pid(), *request, SECONDS));
        }
        bare.push(redis_benchmark::run(bench.redis.address, COMMANDS, 1, &script));
    }
    for ((name, ..), runs) in candidates.iter().zip(&runs) {
        report.row(format!("rate-limit check, GCRA, 64 connections: {name}"), figures(&medians(runs)), "");
    }
    let name = "rate-limit check, GCRA, 64 connections: redis-benchmark, the same EVALSHA, no pipelining";
    report.row(name, format!("{:.0} requests/s", median(bare.clone())), "");
    let [service, _, webdis, fastify] = &runs;
    let rate = |run: &Run| run.requests_per_second;
    let mut row = |what: &str, (ratio, rounds): (f64, String), target: &str| {
        report.row(format!("the same: service / {what}"), format!("{ratio:.2}; rounds {rounds}"), target);
    };
    row("webdis, requests/s", ratios(service, webdis, rate), "at least 1.15");
    row("webdis, CPU per request", ratios(service, webdis, |run| run.peer_cpu), "");
    let rates: Vec<f64> = service.iter().map(rate).collect();
    row("redis-benchmark, requests/s", ratios(&rates, &bare, |rate| *rate), "at least 0.7");
    row("fastify, requests/s", ratios(service, fastify, rate), "at least 2");
    row("fastify, CPU per request", ratios(service, fastify, |run| run.peer_cpu), "");
}

fn refusals(bench: &Bench, report: &mut Report, service: &Service) {
    let mut client = service.client();
    let refused = (0..3).map(|_| client.send("POST", PATH, JSON, BLOCKED.as_bytes()).expect_success("a check"));
    let refused = String::from_utf8(refused.last().expect("three checks").body).expect("text");
    assert!(refused.contains(r#""allowed":false"#), "{refused}");
    let bare = bench.bare(&refused);
    let check = RequestSpec::post(PATH, Some(KEY_HEADER), BLOCKED);
    let candidates = [("service", service), ("bare axum route", &bare)];
    let mut runs: [Vec<Run>; 2] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, peer), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(peer.peer(), bench.redis.pid(), check, SECONDS));
        }
    }
    for ((name, _), runs) in candidates.iter().zip(&runs) {
        report.row(format!("refusal of a blocked key, 64 connections: {name}"), figures(&medians(runs)), "");
    }
    let (ratio, rounds) = ratios(&runs[0], &runs[1], |run| run.requests_per_second);
    report.row(
        "the same: service / bare axum route, requests/s",
        format!("{ratio:.2}; rounds {rounds}"),
        "at least 0.6",
    );
}

const JSON: &str = "content-type: application/json\r\n";

/// The script call of a check, as recorded by MONITOR, so that exactly the same call is compared.
fn evalsha(bench: &Bench, service: &Service, check: &str) -> Vec<String> {
    let monitor = Monitor::start(bench.redis.address);
    service.client().send("POST", PATH, JSON, check.as_bytes()).expect_success("a check");
    let mut sent = monitor.stop().into_iter().filter(|entry| !entry.in_script).map(|entry| entry.arguments);
    let is_check = |arguments: &Vec<String>| {
        arguments[0].eq_ignore_ascii_case("evalsha") && arguments.iter().any(|argument| argument == "take")
    };
    // The last call counts: the first one may only report that Redis's clock is in another calendar window.
    sent.rfind(is_check).expect("a script call")
}
