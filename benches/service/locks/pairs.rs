//! Acquire and release without contention, compared with the same two scripts in redis-benchmark.

use std::time::Duration;

use super::load;
use super::scripts::{Scripts, numbered};
use crate::get::ROUNDS;
use crate::peers::{Bench, Service, Transport};
use crate::process::{cpu_seconds, own_cpu_seconds};
use crate::redis_benchmark;
use crate::report::Report;
use crate::socket::RedisSocket;
use crate::{median, ratios};

const TIME: Duration = Duration::from_secs(4);
const WARM_UP: Duration = Duration::from_secs(1);
/// Commands of redis-benchmark in one run.
const ACQUIRES: u32 = 120_000;
const RELEASES: u32 = 60_000;
/// Leases from which redis-benchmark releases some at random. The second release of a lease finds it already released,
/// which is less work for Redis. With three times as many leases as releases, that is one in seven.
const HELD: u32 = 3 * RELEASES;
/// A range so large that hardly any number is used twice.
const UNUSED: u32 = 2_000_000_000;

/// The results of one run; CPU seconds are per 100,000 pairs.
struct Run {
    pairs_per_second: f64,
    /// 0 in a run without the service.
    service_cpu: f64,
    redis_cpu: f64,
    loader_cpu: f64,
}

pub fn run(bench: &Bench, report: &mut Report) {
    let over_tcp = bench.service(Transport::Tcp);
    let over_unix = bench.service(Transport::Unix);
    let scripts = Scripts::of(&over_tcp, bench);
    let (mut tcp, mut unix, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        tcp.push(through(&over_tcp, bench));
        bare.push(by_redis_benchmark(&scripts, bench));
        unix.push(through(&over_unix, bench));
    }
    for (name, runs) in [
        ("service", &tcp),
        ("service, unix socket to Redis", &unix),
        ("redis-benchmark with the same two scripts, no pipelining", &bare),
    ] {
        report.row(format!("acquire and release, 64 connections: {name}"), figures(runs), "");
    }
    let (ratio, rounds) = ratios(&tcp, &bare, |run| run.pairs_per_second);
    report.row("the same: service / redis-benchmark, pairs/s", format!("{ratio:.2}; rounds {rounds}"), "at least 0.5");
    let (ratio, rounds) = ratios(&tcp, &bare, |run| run.service_cpu + run.redis_cpu + run.loader_cpu);
    report.row(
        "the same: service / redis-benchmark, CPU of all processes together",
        format!("{ratio:.2}; rounds {rounds}"),
        "",
    );
}

fn through(service: &Service, bench: &Bench) -> Run {
    empty(bench);
    load::run(service, WARM_UP);
    let spent = || [cpu_seconds(service.pid()), cpu_seconds(bench.redis.pid()), own_cpu_seconds()];
    let before = spent();
    let (pairs_per_second, pairs) = load::run(service, TIME);
    let after = spent();
    let [service_cpu, redis_cpu, loader_cpu] = [0, 1, 2].map(|of| (after[of] - before[of]) / pairs * 1e5);
    Run { pairs_per_second, service_cpu, redis_cpu, loader_cpu }
}

/// The time of a pair is the sum of an acquire and a release, measured separately: redis-benchmark repeats one command.
fn by_redis_benchmark(scripts: &Scripts, bench: &Bench) -> Run {
    let measure = |commands: u32, range: u32, script: &[String]| {
        let spent = || [cpu_seconds(bench.redis.pid()), own_cpu_seconds()];
        let before = spent();
        let rate = redis_benchmark::run(bench.redis.address, commands, range, script);
        let after = spent();
        let [redis, loader] = [0, 1].map(|of| (after[of] - before[of]) / f64::from(commands) * 1e5);
        (rate, redis, loader)
    };
    empty(bench);
    let acquire = measure(ACQUIRES, UNUSED, &scripts.acquire);
    empty(bench);
    create_leases(scripts, bench);
    let release = measure(RELEASES, HELD, &scripts.release);
    Run {
        pairs_per_second: 1.0 / (1.0 / acquire.0 + 1.0 / release.0),
        service_cpu: 0.0,
        redis_cpu: acquire.1 + release.1,
        loader_cpu: acquire.2 + release.2,
    }
}

/// Fills Redis with leases to release, all with the token of the recorded script call.
fn create_leases(scripts: &Scripts, bench: &Bench) {
    let mut redis = RedisSocket::connect(bench.redis.address);
    let numbers: Vec<u64> = (0..u64::from(HELD)).collect();
    for numbers in numbers.chunks(1_000) {
        let commands: Vec<_> = numbers.iter().map(|number| numbered(&scripts.acquire, *number)).collect();
        redis.pipeline(&commands);
    }
}

fn empty(bench: &Bench) {
    RedisSocket::connect(bench.redis.address).call(&redis::cmd("FLUSHALL"));
}

fn figures(runs: &[Run]) -> String {
    let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
    let (rate, service, redis, loader) =
        (of(|run| run.pairs_per_second), of(|run| run.service_cpu), of(|run| run.redis_cpu), of(|run| run.loader_cpu));
    let service = if service > 0.0 { format!("service {service:.2}, ") } else { String::new() };
    format!("{rate:.0} pairs/s; CPU-s per 100,000: {service}Redis {redis:.2}, loader {loader:.2}")
}
