//! The service beside its peers, on this machine: `make bench`.
//!
//! `cargo bench --bench service [-- PART...]` runs all parts, or the named ones: see [`PARTS`].
//! It needs redis-server, redis-benchmark, webdis and wrk on PATH, starts everything on loopback, ends it by process
//! id, and writes `target/bench/report.md`. Compared peers take turns, in at least three rounds, and medians are reported: absolute
//! figures drift with the machine, ratios and CPU time per request hold.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that cannot be made ends the run"
)]

mod bare;
mod client;
mod get;
mod hosts;
mod json;
mod layers;
mod locks;
mod monitor;
mod open_loop;
mod peers;
mod process;
mod ratelimit;
mod redis_benchmark;
mod report;
mod socket;
mod start;
mod timeseries;
mod wrk;

use peers::Bench;
use report::Report;

/// As the service's own, so that the bare route differs in nothing but what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    ("start", start::run),
];

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [command, port, body] = &arguments[..]
        && command == bare::COMMAND
    {
        return bare::serve(port.parse().expect("a port"), &bare::answering(body.clone()));
    }
    if let [command, port] = &arguments[..]
        && command == hosts::peer::COMMAND
    {
        return bare::serve(port.parse().expect("a port"), &hosts::peer::router());
    }
    for argument in &arguments {
        let names: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&argument.as_str()), "no such part: {argument}; there are {names:?}");
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

/// Unix milliseconds of a midnight, this many days back: recent enough for every retention.
fn days_ago(days: usize) -> usize {
    const DAY: usize = 86_400_000;
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
    (usize::try_from(now).expect("milliseconds") / DAY - days) * DAY
}

/// The median of a figure's ratios, and the ratio of each round.
fn ratios<T>(ours: &[T], theirs: &[T], figure: fn(&T) -> f64) -> (f64, String) {
    let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| figure(ours) / figure(theirs)).collect();
    let rounds: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    (median(ratios), rounds.join(", "))
}

/// The middle value; of an even number the upper one of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
