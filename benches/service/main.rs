//! The service beside its peers, on this machine: `make bench`.
//!
//! `cargo bench --bench service [-- PART...]` runs all parts, or the named ones: get, layers, ingest, range, codec, start.
//! It needs redis-server, webdis and wrk on PATH, starts everything on loopback, ends it by process id, and writes
//! `target/bench/report.md`. Compared peers take turns, in at least three rounds, and medians are reported: absolute
//! figures drift with the machine, ratios and CPU time per request hold.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measurement that cannot be made ends the run"
)]

mod bare;
mod client;
mod codec;
mod get;
mod ingest;
mod layers;
mod peers;
mod process;
mod range;
mod report;
mod start;
mod wrk;

use peers::Bench;
use report::Report;

/// As the service's own, so that the bare route differs in nothing but what is measured.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTS: &[&str] = &["get", "layers", "ingest", "range", "codec", "start"];

fn main() {
    // cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [command, port, body] = &arguments[..]
        && command == bare::COMMAND
    {
        return bare::serve(port.parse().expect("a port"), body.clone());
    }
    for argument in &arguments {
        assert!(PARTS.contains(&argument.as_str()), "no such part: {argument}; there are {PARTS:?}");
    }
    let wanted = |part: &str| arguments.is_empty() || arguments.iter().any(|argument| argument == part);
    let bench = Bench::prepare();
    let mut report = Report::new();
    if wanted("get") {
        get::run(&bench, &mut report);
    }
    if wanted("layers") {
        layers::run(&bench, &mut report);
    }
    if wanted("ingest") {
        ingest::run(&bench, &mut report);
    }
    if wanted("range") {
        range::run(&bench, &mut report);
    }
    if wanted("codec") {
        codec::run(&mut report);
    }
    if wanted("start") {
        start::run(&bench, &mut report);
    }
    report.write(&bench);
}

/// Unix milliseconds of a midnight, this many days back: recent enough for every retention.
fn days_ago(days: usize) -> usize {
    const DAY: usize = 86_400_000;
    let now = std::time::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_millis();
    (usize::try_from(now).expect("milliseconds") / DAY - days) * DAY
}

/// The middle value; of an even number the upper one of the two.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
