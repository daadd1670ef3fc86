//! Bulk ingest of 1,000,000 samples of 1,000 series as one CSV body, repeated several times.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::CSV;
use crate::peers::{Bench, Service, Transport};
use crate::process::{cpu_seconds, resident_megabytes};
use crate::report::Report;
use crate::{days_ago, median};

const SERIES: usize = 1_000;
const SAMPLES: usize = 1_000_000;
/// The interval between the samples of a series in milliseconds: 15 minutes.
const STEP: usize = 900_000;
/// Each load continues the series of the previous one, so that growing memory would be visible.
const LOADS: u16 = 5;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let (pid, redis) = (service.pid(), bench.redis.pid());
    let idle = resident_megabytes(pid);
    let before = (cpu_seconds(pid), cpu_seconds(redis));
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for round in 0..LOADS {
        let (rate, peak) = load(&service, &body(round));
        rates.push(rate);
        peaks.push(peak);
    }
    let spent = |now: f64, before: f64| (now - before) / f64::from(LOADS);
    report.row(
        "bulk ingest, 1,000,000 samples of 1,000 series as CSV",
        format!(
            "{:.0} samples/s; CPU-s: {:.2}, Redis {:.2}",
            median(rates),
            spent(cpu_seconds(pid), before.0),
            spent(cpu_seconds(redis), before.1)
        ),
        "at least 250,000/s",
    );
    let peaks: Vec<String> = peaks.iter().map(|peak| format!("{peak:.0}")).collect();
    report.row(
        "the same: maximum RSS, five loads in a row",
        format!("{} MB; idle {idle:.0} MB", peaks.join(", ")),
        "below 150 MB, flat",
    );
}

/// Returns the samples per second and the maximum RSS in MB.
fn load(service: &Service, body: &str) -> (f64, f64) {
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0.0_f64;
            while !finished.load(Ordering::Relaxed) {
                peak = peak.max(resident_megabytes(service.pid()));
                std::thread::sleep(Duration::from_millis(10));
            }
            peak
        });
        let mut client = service.client();
        let started = Instant::now();
        let response = client.send("POST", "/timeseries/samples", CSV, body.as_bytes());
        let elapsed = started.elapsed().as_secs_f64();
        finished.store(true, Ordering::Relaxed);
        let response = response.expect_success("bulk ingest");
        let counts: serde_json::Value = serde_json::from_slice(&response.body).expect("JSON");
        assert_eq!(counts["stored"], SAMPLES, "{counts}");
        #[expect(clippy::cast_precision_loss, reason = "a million")]
        let rate = SAMPLES as f64 / elapsed;
        (rate, watch.join().expect("the peak"))
    })
}

/// One sample of each series after the other, as meters report.
fn body(round: u16) -> String {
    let length = SAMPLES / SERIES;
    let start = days_ago(usize::from(LOADS) * length * STEP / 86_400_000 + 1) + usize::from(round) * length * STEP;
    let mut body = String::with_capacity(SAMPLES * 48);
    body.push_str("series,timestamp,value\n");
    for sample in 0..SAMPLES {
        let (series, at) = (sample % SERIES, start + sample / SERIES * STEP);
        // Changing values with two decimals, like readings.
        let value = (sample * 7_919) % 10_000;
        let _ = writeln!(body, "energy:consumption:bench-{series:04},{at},{}.{:02}", value / 100, value % 100);
    }
    body
}
