//! Measures the service and comparable services on this machine: `make bench`.
//!
//! `cargo bench --bench service [-- PART...]` runs all parts or the named parts: see [`PARTS`].
//! It needs redis-server, redis-benchmark, webdis and wrk on PATH, starts all servers on loopback, ends them by process
//! id, and writes `target/bench/report.md`. Compared services take turns in at least three rounds, and the report shows
//! medians. Absolute figures vary with the machine; ratios and CPU time per request are stable.

#![expect(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a failed measurement ends the run")]

mod archive;
mod bare;
mod client;
mod get;
mod hosts;
mod json;
mod layers;
mod locks;
mod monitor;
mod open_loop;
mod orderbook;
mod peers;
mod process;
mod pubsub;
mod ratelimit;
mod redis_benchmark;
mod report;
mod socket;
mod start;
mod streams;
mod timeseries;
mod warming;
mod wrk;

use peers::Bench;
use report::Report;

/// The allocator of the service, so that the bare route uses the same one.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Part = fn(&Bench, &mut Report);

const PARTS: &[(&str, Part)] = &[
    ("get", get::run),
    ("layers", layers::run),
    ("lock-pairs", locks::pairs::run),
    ("lock-handover", locks::handover::run),
    ("lock-added", locks::added::run),
    ("ratelimit", ratelimit::run),
    ("ratelimit-memory", ratelimit::memory::run),
    ("json-paths", json::paths::run),
    ("json-log", json::log::run),
    ("json-hot", json::hot::run),
    ("series-memory", timeseries::memory::run),
    ("series-ingest", timeseries::ingest::run),
    ("series-single", timeseries::single::run),
    ("series-range", timeseries::range::run),
    ("series-sums", timeseries::sums::run),
    ("series-codec", timeseries::codec::run),
    ("hosts", hosts::run),
    ("pubsub", pubsub::run),
    ("orderbook", orderbook::run),
    ("streams", streams::run),
    ("warming", warming::run),
    ("archive", archive::run),
    ("start", start::run),
];

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [command, port, body] = &arguments[..]
        && command == bare::COMMAND
    {
        return bare::serve(port.parse().expect("a port"), &bare::responding(body.clone()));
    }
    if let [command, port] = &arguments[..]
        && command == hosts::peer::COMMAND
    {
        return bare::serve(port.parse().expect("a port"), &hosts::peer::router());
    }
    for argument in &arguments {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&argument.as_str()), "unknown part: {argument}; the parts are {names:?}");
    }
    let bench = Bench::prepare();
    let mut report = Report::new();
    for (name, part) in PARTS {
        if arguments.is_empty() || arguments.iter().any(|argument| argument == name) {
            part(&bench, &mut report);
        }
    }
    report.write(&bench);
}

/// Unix milliseconds of the midnight `days` days ago: recent enough for every retention period.
fn days_ago(days: usize) -> usize {
    const DAY: usize = 86_400_000;
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
    (usize::try_from(now).expect("milliseconds") / DAY - days) * DAY
}

/// The median of the ratios of a figure, and the ratio of each round.
fn ratios<T>(ours: &[T], theirs: &[T], figure: fn(&T) -> f64) -> (f64, String) {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
    let rounds: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    (median(ratios), rounds.join(", "))
}

/// The middle value; the upper one of the two if the number of values is even.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
