//! Reads of samples: the newest one from memory during writes, the newest hundred, a day, and a month page by page.

use std::thread;
use std::time::{Duration, Instant};

use super::{JSON, array, sample, service};
use crate::client::Client;
use crate::open_loop::{self, SendRequest};
use crate::peers::{Bench, Service};
use crate::report::Report;
use crate::socket::RedisSocket;
use crate::{days_ago, median};

/// Samples of a month with one every 5 s, of one request, and of a day.
const MONTH: usize = 518_400;
const REQUEST: usize = 1_000;
const DAY: usize = 17_280;
/// Milliseconds.
const STEP: usize = 5_000;
const ROUNDS: usize = 3;

pub fn run(bench: &Bench, report: &mut Report) {
    latest(bench, report);
    history(bench, report);
}

fn latest(bench: &Bench, report: &mut Report) {
    let service = service(bench, "");
    let path = |request: u32| format!("/hosts/bench-{}/metrics", request % 100);
    let mut clients: Vec<Client> = (0..2 * open_loop::STEADY.connections).map(|_| service.client()).collect();
    let body = sample(7, None);
    for host in 0..100 {
        clients[0].send("POST", &path(host), JSON, body.as_bytes()).expect_success("a sample");
    }
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|_| {
            let (writers, readers) = clients.split_at_mut(open_loop::STEADY.connections as usize);
            let write = |client| -> SendRequest<'_> {
                let client: &mut Client = client;
                let body = &body;
                Box::new(move |request| {
                    client.send("POST", &path(request), JSON, body.as_bytes()).expect_success("a sample");
                })
            };
            let read = |client| -> SendRequest<'_> {
                let client: &mut Client = client;
                Box::new(move |request| {
                    client.get(&format!("{}/latest", path(request))).expect_success("the newest sample");
                })
            };
            let (writers, readers) = (writers.iter_mut().map(write).collect(), readers.iter_mut().map(read).collect());
            thread::scope(|scope| {
                scope.spawn(|| open_loop::latencies(open_loop::STEADY, writers));
                open_loop::latencies(open_loop::STEADY, readers)
            })
        })
        .collect();
    let [p50, p99] = [50, 99].map(|share| open_loop::percentile(&rounds, share));
    report.row(
        "newest sample at 1,000/s, while 1,000 samples/s arrive",
        format!("p50 {p50:.0} us, p99 {p99:.0} us"),
        "p99 below 1,000 us",
    );
}

fn history(bench: &Bench, report: &mut Report) {
    let config = "max_behind = \"40d\"\nretention = \"40d\"\nbatch_interval = \"100ms\"\n\
                  cleanup_interval = \"100ms\"";
    let service = service(bench, config);
    // The month ends at a past midnight.
    let start = days_ago(31);
    fill(&service, start);
    let mut redis = RedisSocket::connect(bench.redis.address);
    packed(&mut redis);
    report.row(
        "Redis memory of a month of 5-s samples of one host, packed",
        format!("{:.1} MB", integer(&mut redis, &["MEMORY", "USAGE", "metrics:history:bench", "SAMPLES", "0"]) / 1e6),
        "at most 20 MB",
    );
    let mut client = service.client();
    let end = start + MONTH * STEP - 1;
    let recent = timed(100, || {
        client.get("/hosts/bench/metrics/recent?count=100").expect_success("the newest samples");
    });
    report.row("the newest 100 samples", format!("p50 {recent:.1} ms"), "p50 below 5 ms");
    let day = timed(20, || assert_eq!(window(&mut client, end - DAY * STEP + 1, end), DAY));
    report.row("24 hours of 5-s samples, two pages", format!("p50 {day:.0} ms"), "p50 below 60 ms");
    let month = timed(ROUNDS, || assert_eq!(window(&mut client, start, end), MONTH));
    report.row("30 days of 5-s samples, 52 pages", format!("p50 {month:.0} ms"), "p50 below 1,500 ms");
    let summary = timed(20, || {
        let path = format!("/hosts/bench/metrics/summary?bucket=1h&startTime={start}&endTime={end}&fields=cpu.usage");
        client.get(&path).expect_success("a summary");
    });
    report.row("30 days summarised by the hour, one field", format!("p50 {summary:.0} ms"), "");
}

fn fill(service: &Service, start: usize) {
    let mut client = service.client();
    for begin in (0..MONTH).step_by(REQUEST) {
        let body = array(begin..(begin + REQUEST).min(MONTH), |number| start + number * STEP);
        client.send("POST", "/hosts/bench/metrics", JSON, body.as_bytes()).expect_success("samples");
    }
}

/// Waits until the month is packed and rolled up.
fn packed(redis: &mut RedisSocket) {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        // The last field is the number of chunks.
        let hours = integer(redis, &["HLEN", "metrics:hours:{metrics:history:bench}"]);
        let days = integer(redis, &["ZCARD", "metrics:daily:{metrics:history:bench}"]);
        if hours <= 1.0 && days >= 30.0 {
            return;
        }
        assert!(Instant::now() < deadline, "{hours} hours are not packed");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Reads a window page by page; returns the number of samples.
fn window(client: &mut Client, from: usize, to: usize) -> usize {
    let mut path = format!("/hosts/bench/metrics/range?startTime={from}&endTime={to}&limit=10000");
    let mut count = 0;
    loop {
        let page = client.get(&path).expect_success("a page").body;
        // Only the end is parsed: the time for millions of numbers must not count for the service.
        let tail = String::from_utf8_lossy(&page[page.len() - 300..]).into_owned();
        let after =
            |name: &str| tail.split_once(name).map(|(_, rest)| rest.split([',', '"', '}']).next().unwrap_or(""));
        count += after("\"count\":").and_then(|count| count.parse::<usize>().ok()).expect("a count");
        let Some(cursor) = after("\"next_cursor\":\"") else { return count };
        path = format!("/hosts/bench/metrics/range?cursor={cursor}&limit=10000");
    }
}

/// The median time of the runs in milliseconds.
fn timed(rounds: usize, mut send: impl FnMut()) -> f64 {
    let run = |_| {
        let started = Instant::now();
        send();
        started.elapsed().as_secs_f64() * 1e3
    };
    median((0..rounds).map(run).collect())
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn integer(redis: &mut RedisSocket, words: &[&str]) -> f64 {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    redis::from_redis_value::<u64>(redis.call(&command)).expect("a number") as f64
}
