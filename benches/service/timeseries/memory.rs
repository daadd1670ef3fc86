//! The memory of a sample in Redis, including everything that Redis stores for the series.

use std::thread::sleep;
use std::time::Duration;

use redis::Value;

use super::{A_DAY, Point, load, synthetic};
use crate::days_ago;
use crate::peers::{Bench, Transport};
use crate::report::Report;
use crate::socket::RedisSocket;

/// Half an hour in milliseconds.
const HALF_HOUR: usize = 1_800_000;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let mut redis = RedisSocket::connect(bench.redis.address);
    for (number, (name, points)) in series().into_iter().enumerate() {
        let key = format!("energy:generation:bench-memory-{number}");
        load(&service, &key, &points);
        let bytes = settled(&mut redis, &key);
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let share = bytes as f64 / points.len() as f64;
        report.row(
            format!("memory of a sample, {} of {name}", points.len()),
            format!("{share:.2} bytes"),
            "at most 3 bytes",
        );
    }
}

fn series() -> Vec<(String, Vec<Point>)> {
    let year = 365 * A_DAY;
    let mut all = vec![
        ("energy every 15 seconds, 6 decimals".to_owned(), synthetic::every_15_seconds(synthetic::energy(year))),
        ("a random walk every 15 seconds, 2 decimals".to_owned(), synthetic::every_15_seconds(synthetic::walk(year))),
    ];
    for (name, values) in synthetic::readings() {
        let start = days_ago(values.len().div_ceil(48));
        all.push((format!("{name} every half hour"), (start..).step_by(HALF_HOUR).zip(values).collect()));
    }
    all
}

/// Bytes of all keys of a series, after the service has packed its chunks.
fn settled(redis: &mut RedisSocket, series: &str) -> i64 {
    let mut before = 0;
    loop {
        sleep(Duration::from_secs(1));
        let now = bytes(redis, series);
        if now == before {
            return now;
        }
        before = now;
    }
}

fn bytes(redis: &mut RedisSocket, series: &str) -> i64 {
    let Value::Array(keys) = redis.call(redis::cmd("KEYS").arg(format!("*{series}*"))) else { panic!("keys") };
    assert!(keys.len() >= 3, "a definition, a head and chunks");
    let mut total = 0;
    for key in keys {
        let Value::BulkString(key) = key else { panic!("a key") };
        let usage = redis.call(redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0));
        let Value::Int(bytes) = usage else { panic!("bytes") };
        total += bytes;
    }
    total
}
