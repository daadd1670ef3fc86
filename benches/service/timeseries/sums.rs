//! Aggregates of long windows: daily sums of a year, without and with a rollup, and averages per minute.

use std::time::{Duration, Instant};

use super::sorted_set::SortedSet;
use super::{A_DAY, load, synthetic};
use crate::median;
use crate::peers::{Bench, Service, Transport, wait_for};
use crate::report::Report;
use crate::{client::Client, days_ago};

const SERIES: &str = "energy:consumption:bench-year";
const DAYS: usize = 365;
/// The days of the averages per minute.
const AVERAGED_DAYS: usize = 90;
const ROUNDS: usize = 12;
const ROLLUP: &[u8] = br#"{"bucket":"1d","agg":"sum","tz":"Asia/Bangkok"}"#;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let points = synthetic::every_15_seconds(synthetic::energy(DAYS * A_DAY));
    load(&service, SERIES, &points);
    daily_sums(report, &service, points.len());
    minutes(bench, report, &service, &points[points.len() - AVERAGED_DAYS * A_DAY..]);
}

fn daily_sums(report: &mut Report, service: &Service, count: usize) {
    let mut client = service.client();
    let path = format!("/timeseries/{SERIES}/range?from=0&to={}&agg=sum&bucket=1d&tz=Asia/Bangkok", days_ago(0));
    let without = client.get(&path).expect_success("daily sums").body;
    report.row(
        format!("daily sums of {count} samples of 15 seconds, in a time zone"),
        format!("{:.1} ms", rounds(&mut client, &path)),
        "below 150 ms",
    );
    let rollups = format!("/timeseries/{SERIES}/rollups");
    let began = Instant::now();
    client.send("POST", &rollups, "content-type: application/json\r\n", ROLLUP).expect_success("a rollup");
    wait_for("the rollup to be filled", || {
        let list = service.client().get(&rollups).expect_success("the rollups");
        String::from_utf8_lossy(&list.body).contains("\"complete\":true")
    });
    let filled = began.elapsed();
    assert_eq!(client.get(&path).expect_success("daily sums").body, without, "the rollup must not change the result");
    report.row(
        "the same with a rollup",
        format!("{:.2} ms; filled {:.0} ms after its creation", rounds(&mut client, &path), ms(filled)),
        "below 5 ms",
    );
}

fn minutes(bench: &Bench, report: &mut Report, service: &Service, points: &[super::Point]) {
    let [(from, _), .., (to, _)] = *points else { panic!("many points") };
    let path = format!("/timeseries/{SERIES}/export?from={from}&to={to}&agg=avg&bucket=60s");
    let mut client = service.client();
    let mut set = SortedSet::fill(bench.redis.address, points);
    let members = set.members([from, to], points.len());
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(client.drain(&path).total_ms);
        let started = Instant::now();
        set.read(&members);
        raw.push(ms(started.elapsed()));
    }
    let (ours, raw) = (median(ours), median(raw));
    report.row(
        format!("averages per minute of {} points as JSON / ZRANGEBYSCORE of the points", points.len()),
        format!("{ours:.1} ms / {raw:.1} ms = {:.2}; {} averages", ours / raw, points.len() / 4),
        "at most 0.5",
    );
}

/// The median time of a response in milliseconds.
fn rounds(client: &mut Client, path: &str) -> f64 {
    median((0..ROUNDS).map(|_| client.drain(path).total_ms).collect())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
