//! Raw samples as JSON over HTTP, compared with as many members of a sorted set over a raw socket, in alternation.

use std::time::Instant;

use super::sorted_set::SortedSet;
use super::{A_DAY, STEP, load, synthetic};
use crate::client::Drained;
use crate::peers::{Bench, Service, Transport};
use crate::process::resident_megabytes;
use crate::report::Report;
use crate::{days_ago, median};

const SERIES: &str = "energy:consumption:bench-range";
const DAYS: usize = 90;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let points = synthetic::every_15_seconds(synthetic::walk(DAYS * A_DAY));
    load(&service, SERIES, &points);
    let mut set = SortedSet::fill(bench.redis.address, &points);
    for (days, rounds, route) in [(3, 40, "range?limit=20000&"), (DAYS, 12, "export?")] {
        let (from, to, count) = (days_ago(days), days_ago(0), days * A_DAY);
        let path = format!("/timeseries/{SERIES}/{route}from={from}&to={to}");
        check(&service, &path, count);
        let members = set.members([from, to], count);
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        let before = resident_megabytes(service.pid());
        let mut client = service.client();
        for _ in 0..rounds {
            ours.push(client.drain(&path));
            let started = Instant::now();
            set.read(&members);
            raw.push(started.elapsed().as_secs_f64() * 1e3);
        }
        let after = resident_megabytes(service.pid());
        let of = |figure: fn(&Drained) -> f64| median(ours.iter().map(figure).collect());
        let (total, first, raw) = (of(|drained| drained.total_ms), of(|drained| drained.first_byte_ms), median(raw));
        report.row(
            format!("raw range of {count} points as JSON / ZRANGEBYSCORE over a raw socket"),
            format!("{total:.1} ms / {raw:.1} ms = {:.2}; {} bytes of JSON", total / raw, ours[0].length),
            "at most 2.0",
        );
        report.row("the same: first byte", format!("{first:.1} ms"), "below 20 ms");
        report.row(
            format!("the same: RSS before and after {rounds} such requests"),
            format!("{before:.0} MB, {after:.0} MB"),
            "flat",
        );
    }
}

/// Checks that the response is complete and has each sample once.
fn check(service: &Service, path: &str, count: usize) {
    let response = service.client().get(path).expect_success("a range");
    let page: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
    let samples = page["samples"].as_array().expect("samples");
    assert_eq!(samples.len(), count, "the complete window in one response");
    let times = samples.iter().filter_map(|sample| sample["timestamp"].as_u64());
    assert!(times.clone().zip(times.skip(1)).all(|(one, next)| next - one == STEP as u64), "each sample once");
}
