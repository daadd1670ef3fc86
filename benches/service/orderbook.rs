//! Order books: orders placed one by one, compared with redis-benchmark, which calls the same script; the time of that script in
//! Redis; the best 50 levels; the memory of a resting order; and trades that are reported in batches.

use std::thread;
use std::time::{Duration, Instant};

use redis::Value;

use crate::get::{ROUNDS, figures, medians};
use crate::monitor::Monitor;
use crate::open_loop::{Rate, SendRequest, latencies, percentile};
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::redis_benchmark::{self, RANDOM};
use crate::report::Report;
use crate::socket::RedisSocket;
use crate::wrk::{self, RequestSpec, Run};
use crate::{median, ratios};

const BOOK: &str = "/orderbooks/bench";
const ORDERS: &str = "/orderbooks/bench/orders";
const JSON: &str = "content-type: application/json\r\n";
const NDJSON: &str = "content-type: application/x-ndjson\r\n";
/// No run fills the book.
const LIMITS: &str = "[orderbook]\nmax_orders = 10000000\n";
/// The resting orders before each run, and those of a batch.
const RESTING: u32 = 10_000;
const BATCH: u32 = 100;
const SECONDS: u32 = 3;
const COMMANDS: u32 = 60_000;
/// The numbers of orders that redis-benchmark places: few repetitions.
const RANGE: u32 = 1_000_000_000;
/// The least that keeping an order takes: its place, its record, a counter, an entry of the history.
const BARE: &str = "redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2]) redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) \
                    redis.call('HINCRBY', KEYS[3], 'seq', 1) redis.call('XADD', KEYS[4], '*', 'o', ARGV[3])";
const STEADY: Rate = Rate { per_second: 10_000, connections: 32 };
/// The owners of the orders of a connection at that rate.
const OWNERS: u32 = 32;
/// Connections that report trades, requests of each, and trades of a request.
const REPORTERS: u32 = 8;
const REPORTS: u32 = 5;
const TRADES: u32 = 2_000;
/// Between the batches of a connection: 50,000 trades a second in total.
const INTERVAL: Duration = Duration::from_millis(320);

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service_with(Transport::Tcp, LIMITS);
    memory(bench, &service, report);
    places(bench, &service, report);
    views(bench, &service, report);
    trades(&service, report);
}

/// A UUID with a number in it.
fn uuid(number: u32) -> String {
    format!("{number:08x}-0000-7000-8000-{number:012x}")
}

fn order(id: &str, owner: &str, number: u32) -> String {
    let (side, price) =
        if number.is_multiple_of(2) { ("buy", 1_000 + number % 1_000) } else { ("sell", 2_001 + number % 1_000) };
    format!(
        r#"{{"order_id":"{id}","owner":"{owner}","side":"{side}","price":"{}.{:02}","quantity":"1.500"}}"#,
        price / 100,
        price % 100
    )
}

/// Creates the book again, with its resting orders; each owner has ten.
fn reset(service: &Service) {
    let mut client = service.client();
    client.send("DELETE", BOOK, "", &[]).expect_success("a deletion");
    let settings = br#"{"mode":"store","kind":"orders","price_decimals":2,"quantity_decimals":3}"#;
    client.send("PUT", &format!("{BOOK}/settings"), JSON, settings).expect_success("a book");
    for first in (0..RESTING).step_by(BATCH as usize) {
        let orders = (first..first + BATCH).map(|number| order(&uuid(number), &uuid(number / 10), number));
        let body = format!(r#"{{"place":[{}]}}"#, orders.collect::<Vec<_>>().join(","));
        client.send("POST", &format!("{ORDERS}/batch"), JSON, body.as_bytes()).expect_success("a batch");
    }
}

fn memory(bench: &Bench, service: &Service, report: &mut Report) {
    reset(service);
    let mut redis = RedisSocket::connect(bench.redis.address);
    let Value::Array(keys) = redis.call(redis::cmd("KEYS").arg("orderbook:{bench}:*")) else { panic!("keys") };
    let mut total = 0;
    for key in keys {
        let Value::BulkString(key) = key else { panic!("a key") };
        // The history is bounded, whatever the number of orders.
        if key.ends_with(b":deltas") {
            continue;
        }
        let usage = redis.call(redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0));
        let Value::Int(bytes) = usage else { panic!("bytes") };
        total += bytes;
    }
    let share = total / i64::from(RESTING);
    report.row("memory of a resting order with UUIDs", format!("{share} bytes"), "at most 580 bytes");
}

fn places(bench: &Bench, service: &Service, report: &mut Report) {
    let placing = order(RANDOM, RANDOM, 999);
    let script = evalsha(bench, service, &placing);
    let (mut runs, mut bare): (Vec<Run>, Vec<f64>) = (Vec::new(), Vec::new());
    let (mut times, mut least): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
    let mut redis = RedisSocket::connect(bench.redis.address);
    let bare_script = bare_evalsha(&mut redis, &placing);
    for _ in 0..ROUNDS {
        reset(service);
        let request = RequestSpec::numbered(ORDERS, Some(KEY_HEADER), &placing);
        runs.push(wrk::run(service.peer(), bench.redis.pid(), request, SECONDS));
        reset(service);
        bare.push(redis_benchmark::run(bench.redis.address, COMMANDS, RANGE, &script));
        // Without the service, which publishes the orders meanwhile, also by scripts.
        reset(service);
        service.stall();
        for (times, script) in [(&mut times, &script), (&mut least, &bare_script)] {
            redis.call(redis::cmd("CONFIG").arg("RESETSTAT"));
            redis_benchmark::run(bench.redis.address, RESTING, RANGE, script);
            times.push(script_time(&mut redis));
        }
        service.resume();
        redis.call(redis::cmd("DEL").arg(&bare_script[3..7]));
    }
    report.row("place an order, 64 connections", figures(&medians(&runs)), "20,000/s");
    let name = "the same EVALSHA by redis-benchmark, 64 connections, no pipelining";
    report.row(name, format!("{:.0} requests/s", median(bare.clone())), "");
    let name = "its time in Redis, from 10,000 resting orders on";
    report.row(name, format!("{:.1} us", median(times.clone())), "at most 25 us");
    let name = "the same / ZADD, HSET, HINCRBY and XADD in one script";
    let (ratio, rounds) = ratios(&times, &least, |time| *time);
    report.row(name, format!("{ratio:.2} ({:.1} us); rounds {rounds}", median(least)), "25 / 6");
    let rates: Vec<f64> = runs.iter().map(|run| run.requests_per_second).collect();
    let (ratio, rounds) = ratios(&rates, &bare, |rate| *rate);
    let name = "the same: service / redis-benchmark, requests/s";
    report.row(name, format!("{ratio:.2}; rounds {rounds}"), "at least 0.6");
    reset(service);
    let rounds: Vec<Vec<f64>> = (0..ROUNDS)
        .map(|round| {
            let place = |connection| -> SendRequest<'_> {
                let mut client = service.client();
                Box::new(move |request| {
                    let owner = format!("owner-{connection}-{}", request % OWNERS);
                    let body = order(&format!("{round}-{connection}-{request}"), &owner, 999);
                    client.send("POST", ORDERS, JSON, body.as_bytes()).expect_success("an order");
                })
            };
            latencies(STEADY, (0..STEADY.connections).map(place).collect())
        })
        .collect();
    let [p50, p99] = [50, 99].map(|share| percentile(&rounds, share) / 1e3);
    report.row("place at 10,000/s, open loop", format!("p50 {p50:.2} ms, p99 {p99:.2} ms"), "p99 below 5 ms");
}

/// The mean time of a script call in Redis since its statistics were reset, microseconds.
fn script_time(redis: &mut RedisSocket) -> f64 {
    let Value::BulkString(text) = redis.call(redis::cmd("INFO").arg("commandstats")) else { panic!("statistics") };
    let text = String::from_utf8(text).expect("text");
    let calls = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).expect("script calls");
    let time = calls.split(',').find_map(|field| field.strip_prefix("usec_per_call=")).expect("a time");
    time.parse().expect("a number")
}

/// The call of a script that only keeps the order.
fn bare_evalsha(redis: &mut RedisSocket, order: &str) -> Vec<String> {
    let Value::BulkString(sha) = redis.call(redis::cmd("SCRIPT").arg("LOAD").arg(BARE)) else { panic!("a script") };
    let sha = String::from_utf8(sha).expect("text");
    let keys = ["side", "orders", "state", "deltas"].map(|key| format!("bare:{key}"));
    let mut call = vec!["EVALSHA".to_owned(), sha, "4".to_owned()];
    call.extend(keys);
    call.extend(["999", RANDOM, order].map(str::to_owned));
    call
}

/// The script call of one placed order.
fn evalsha(bench: &Bench, service: &Service, body: &str) -> Vec<String> {
    reset(service);
    let monitor = Monitor::start(bench.redis.address);
    service.client().send("POST", ORDERS, JSON, body.as_bytes()).expect_success("an order");
    let mut sent = monitor.stop().into_iter().filter(|entry| !entry.in_script).map(|entry| entry.arguments);
    sent.find(|arguments| {
        arguments[0].eq_ignore_ascii_case("evalsha") && arguments.iter().any(|argument| argument == RANDOM)
    })
    .expect("a script call")
}

fn views(bench: &Bench, service: &Service, report: &mut Report) {
    reset(service);
    let path = format!("{BOOK}?depth=50");
    let request = RequestSpec::get(&path, Some(KEY_HEADER));
    let runs: Vec<Run> = (0..ROUNDS).map(|_| wrk::run(service.peer(), bench.redis.pid(), request, SECONDS)).collect();
    report.row("book at depth 50, 64 connections", figures(&medians(&runs)), "15,000/s");
}

fn trades(service: &Service, report: &mut Report) {
    let (total, seconds) = report_trades(service, "burst", Duration::ZERO);
    let name = format!("trades in NDJSON, batches of {TRADES}, {REPORTERS} connections");
    report.row(name, format!("{:.0} trades/s", f64::from(total) / seconds), "50,000/s");
    expect_all(service, "burst", total);
    let (total, seconds) = report_trades(service, "steady", INTERVAL);
    let began = Instant::now();
    expect_all(service, "steady", total);
    let waited = began.elapsed().as_secs_f64() * 1e3;
    let rate = f64::from(total) / seconds;
    let name = format!("at {rate:.0} trades/s, the candle has all trades");
    report.row(name, format!("{waited:.0} ms after the last report"), "within 1 s");
}

/// Reports the trades of all connections; each waits for `interval` between the beginnings of its batches. Returns how many, and the
/// seconds they took.
fn report_trades(service: &Service, symbol: &str, interval: Duration) -> (u32, f64) {
    let began = Instant::now();
    let send = |reporter: u32| {
        let mut client = service.client();
        for number in 0..REPORTS {
            thread::sleep((began + interval * number).saturating_duration_since(Instant::now()));
            let trade =
                |at| format!("{{\"trade_id\":\"{reporter}-{number}-{at}\",\"price\":\"3.41\",\"quantity\":\"1\"}}\n");
            let body: String = (0..TRADES).map(trade).collect();
            let path = format!("/trades?symbol={symbol}");
            client.send("POST", &path, NDJSON, body.as_bytes()).expect_success("trades");
        }
    };
    thread::scope(|scope| {
        for reporter in 0..REPORTERS {
            scope.spawn(move || send(reporter));
        }
    });
    (REPORTERS * REPORTS * TRADES, began.elapsed().as_secs_f64())
}

/// Reads the candles, which have every trade.
fn expect_all(service: &Service, symbol: &str, total: u32) {
    let path = format!("/market/candles/{symbol}?resolution=1d");
    let page = service.client().get(&path).expect_success("candles").body;
    let page: serde_json::Value = serde_json::from_slice(&page).expect("JSON");
    let counts = page["items"].as_array().expect("candles").iter().filter_map(|candle| candle["trades"].as_u64());
    assert_eq!(counts.sum::<u64>(), u64::from(total), "every trade is in a candle");
}
