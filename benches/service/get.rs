//! `GET /cache/{key}` of a 200-byte value, compared with webdis and with a bare route.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::median;
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};

pub const ROUNDS: usize = 3;
const SECONDS: u32 = 5;
/// The path of the value.
pub const PATH: &str = "/cache/bench:value";

pub fn value() -> String {
    "gridtokenx".repeat(20)
}

pub fn run(bench: &Bench, report: &mut Report) {
    let value = value();
    set(bench, "bench:webdis", &value);
    let over_tcp = bench.service(Transport::Tcp);
    let over_unix = bench.service(Transport::Unix);
    store(&over_tcp);
    let (webdis, bare) = (bench.webdis(), bench.bare(&value));
    let candidates: [(&str, &Service, &str); 4] = [
        ("service", &over_tcp, PATH),
        ("service, unix socket to Redis", &over_unix, PATH),
        ("webdis", &webdis, "/GET/bench:webdis"),
        ("bare axum route", &bare, "/"),
    ];
    let mut runs: Vec<Vec<Run>> = candidates.iter().map(|_| Vec::new()).collect();
    for _ in 0..ROUNDS {
        for ((_, peer, path), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(peer.peer(), bench.redis.pid(), RequestSpec::get(path, Some(KEY_HEADER)), SECONDS));
        }
    }
    let medians: Vec<Run> = runs.iter().map(|runs| medians(runs)).collect();
    for ((name, ..), run) in candidates.iter().zip(&medians) {
        report.row(format!("GET of 200 bytes, 64 connections: {name}"), figures(run), "");
    }
    let [service, _, webdis, bare] = medians[..] else { panic!("a run of each") };
    let rate = service.requests_per_second;
    let row = |what: &str, ratio: f64| (format!("the same: service / {what}"), format!("{ratio:.2}"));
    let (what, figure) = row("webdis, requests/s", rate / webdis.requests_per_second);
    report.row(what, figure, "at least 1.2");
    let (what, figure) = row("webdis, CPU per request", service.peer_cpu / webdis.peer_cpu);
    report.row(what, figure, "at most 0.75");
    let (what, figure) = row("bare axum route, requests/s", rate / bare.requests_per_second);
    report.row(what, figure, "at least 0.65");
}

/// Stores the value at [`PATH`].
pub fn store(service: &Service) {
    let text = "content-type: text/plain\r\n";
    service.client().send("PUT", PATH, text, value().as_bytes()).expect_success("PUT of the value");
}

pub fn medians(runs: &[Run]) -> Run {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    Run {
        requests_per_second: of(|run| run.requests_per_second),
        p50_us: of(|run| run.p50_us),
        p99_us: of(|run| run.p99_us),
        peer_cpu: of(|run| run.peer_cpu),
        redis_cpu: of(|run| run.redis_cpu),
    }
}

pub fn figures(run: &Run) -> String {
    format!(
        "{:.0} requests/s; p50 {:.0} us, p99 {:.0} us; CPU-s per 100,000: {:.2}, Redis {:.2}",
        run.requests_per_second, run.p50_us, run.p99_us, run.peer_cpu, run.redis_cpu
    )
}

/// Stores a string directly in Redis.
fn set(bench: &Bench, key: &str, value: &str) {
    let mut connection = TcpStream::connect(bench.redis.address).expect("Redis listens");
    write!(connection, "SET {key} {value}\r\n").expect("Redis reads");
    let mut reply = [0; 5];
    connection.read_exact(&mut reply).expect("a reply");
    assert_eq!(&reply, b"+OK\r\n");
}
