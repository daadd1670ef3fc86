//! The archive: the time until a minute is in a durable file, a backlog, and a day that is read from its pack.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::days_ago;
use crate::peers::{Bench, Service, Transport, wait_for};
use crate::process::resident_megabytes;
use crate::report::Report;

const LEVELS: usize = 40;
const A_DAY: usize = 1_440;
const BACKLOG: usize = 2 * A_DAY;
const WRITES: usize = 500;
const MINUTE: usize = 60_000;
const NDJSON: &str = "content-type: application/x-ndjson\r\n";
const JSON: &str = "content-type: application/json\r\n";
/// The minutes of one report.
const BATCH: usize = 60;

pub fn run(bench: &Bench, report: &mut Report) {
    // On the disk of the build, since a temporary directory may be in memory.
    let directory = tempfile::tempdir_in(&bench.output).expect("a directory");
    single_minutes(bench, directory.path(), report);
    backlog(bench, directory.path(), report);
    packed_day(bench, directory.path(), report);
}

fn service(bench: &Bench, directory: Option<&Path>, more: &str) -> Service {
    let dir = directory.map(|directory| format!("dir = \"{}\"\n", directory.display())).unwrap_or_default();
    bench.service_with(Transport::Tcp, &format!("[archive]\n{dir}min_free = \"1B\"\n{more}\n"))
}

/// Reports the trades of minutes, one for each level.
fn trade(service: &Service, symbol: &str, first: usize, minutes: usize) {
    for batch in (0..minutes).step_by(BATCH) {
        let mut body = String::new();
        for minute in batch..minutes.min(batch + BATCH) {
            for level in 0..LEVELS {
                let (time, side) = (first + minute * MINUTE + level, if level % 2 == 0 { "buy" } else { "sell" });
                let _ = writeln!(
                    body,
                    r#"{{"trade_id":"t-{time}","timestamp":{time},"price":"{}.5","quantity":"0.00{}","side":"{side}"}}"#,
                    60_000 + level,
                    level + 1
                );
            }
        }
        let path = format!("/trades?symbol={symbol}");
        service.client().send("POST", &path, NDJSON, body.as_bytes()).expect_success("trades");
    }
}

fn run_step(service: &Service, symbol: &str, step: &str) -> Value {
    let body = format!(r#"{{"symbol":"{symbol}","step":"{step}"}}"#);
    let done = service.client().send("POST", "/trades/archive/run", JSON, body.as_bytes()).expect_success("a run");
    serde_json::from_slice(&done.body).expect("JSON")
}

/// The seconds of all writes so far, and their number.
fn writes(service: &Service) -> (f64, f64) {
    let text = String::from_utf8(service.client().get("/metrics").expect_success("metrics").body).expect("text");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the metric");
        line.trim().parse().expect("a number")
    };
    (value("trades_archive_write_seconds_sum "), value("trades_archive_write_seconds_count "))
}

fn single_minutes(bench: &Bench, directory: &Path, report: &mut Report) {
    // Its own rounds find nothing that is due: each minute is written by its request.
    let service = service(bench, Some(directory), "archive_after = \"5m\"");
    let first = days_ago(1);
    let mut times = Vec::new();
    for n in 0..WRITES {
        trade(&service, "SINGLE", first + n * MINUTE, 1);
        let (before, count) = writes(&service);
        run_step(&service, "SINGLE", "archive");
        let (after, done) = writes(&service);
        // Otherwise, a round in between took it.
        if (0.5..1.5).contains(&(done - count)) {
            times.push((after - before) * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    let [median, slow] = [times[times.len() / 2], times[times.len() * 99 / 100]];
    let alone = disk_alone(directory);
    let figures = format!(
        "p50 {median:.2} ms, p99 {slow:.2} ms of {} minutes; the same writes and syncs alone: p50 {:.2} ms, p99 {:.2} ms",
        times.len(),
        alone[WRITES / 2],
        alone[WRITES * 99 / 100],
    );
    report.row("write a minute of 40 levels, files and names durable", figures, "p50 below 1 ms, p99 below 5 ms");
}

/// The times of what the disk does for one minute, milliseconds, shortest first: a file, its name, a line of the manifest.
fn disk_alone(directory: &Path) -> Vec<f64> {
    let directory = directory.join("alone");
    std::fs::create_dir(&directory).expect("a directory");
    let mut manifest = File::create(directory.join("manifest")).expect("a file");
    let mut write = |n: usize| {
        let began = Instant::now();
        let temporary = directory.join("temporary");
        let mut file = File::create(&temporary).expect("a file");
        file.write_all(&[b'x'; 4_000]).and_then(|()| file.sync_all()).expect("a durable file");
        std::fs::rename(&temporary, directory.join(n.to_string())).expect("a name");
        File::open(&directory).and_then(|names| names.sync_all()).expect("a durable name");
        manifest.write_all(&[b'x'; 400]).and_then(|()| manifest.sync_all()).expect("a durable line");
        began.elapsed().as_secs_f64() * 1e3
    };
    let mut times: Vec<f64> = (0..WRITES).map(&mut write).collect();
    times.sort_by(f64::total_cmp);
    times
}

fn backlog(bench: &Bench, directory: &Path, report: &mut Report) {
    let first = days_ago(3);
    let without = service(bench, None, "");
    trade(&without, "BACKLOG", first, BACKLOG);
    // Folds.
    without.client().get(&format!("/trades/windows?symbol=BACKLOG&from={first}&limit=1")).expect_success("a read");
    drop(without);
    let service = service(bench, Some(directory), "archive_after = \"1s\"\nwindow = \"5d\"");
    let began = Instant::now();
    let waiting = || {
        let body = service.client().get("/trades/archive/status?symbol=BACKLOG").expect_success("a status").body;
        serde_json::from_slice::<Value>(&body).expect("JSON")["items"][0]["waiting"].as_u64()
    };
    let due = waiting();
    wait_for("the backlog to be in files", || waiting() == Some(0));
    let figures = format!("{:.1} s; {} waited at the start", began.elapsed().as_secs_f64(), due.unwrap_or_default());
    report.row(format!("a backlog of {BACKLOG} minutes of 40 levels"), figures, "below 10 s");
}

fn packed_day(bench: &Bench, directory: &Path, report: &mut Report) {
    let first = days_ago(4);
    let service = service(bench, Some(directory), "archive_after = \"1s\"\nwindow = \"1h\"\ncompact_after = \"1h\"");
    trade(&service, "PACKED", first, A_DAY);
    wait_for("the day to be in files", || {
        run_step(&service, "PACKED", "archive");
        let body = service.client().get("/trades/archive/status?symbol=PACKED").expect_success("a status").body;
        serde_json::from_slice::<Value>(&body).expect("JSON")["items"][0]["minutes"] == 0
    });
    let packed = run_step(&service, "PACKED", "pack");
    assert!(packed["items"][0]["outcome"].as_str().is_some_and(|text| text.starts_with("1440 minutes")), "{packed}");
    let to = first + A_DAY * MINUTE;
    let path = format!("/trades/profile?symbol=PACKED&from={first}&to={to}");
    let mut times = Vec::new();
    let before = resident_megabytes(service.pid());
    for _ in 0..20 {
        let began = Instant::now();
        service.client().get(&path).expect_success("a profile");
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let grown = resident_megabytes(service.pid()) - before;
    times.sort_by(f64::total_cmp);
    let figures = format!("p50 {:.0} ms; memory grew by {grown:.1} MB in 20 reads", times[times.len() / 2]);
    report.row("the profile of a day of 1,440 minutes of 40 levels in a pack", figures, "below 500 ms");
}
