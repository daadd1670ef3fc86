//! Bulk ingest of 1,000,000 samples of 1,000 series as one CSV body.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::peers::{Bench, Transport};
use crate::process::{cpu_seconds, resident_megabytes};
use crate::report::Report;
use crate::{days_ago, median};

const SERIES: usize = 1_000;
const SAMPLES: usize = 1_000_000;
/// The distance of a series' samples, milliseconds: 15 minutes.
const STEP: usize = 900_000;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let body = body();
    let (pid, redis) = (service.pid(), bench.redis.pid());
    let before = (cpu_seconds(pid), cpu_seconds(redis), resident_megabytes(pid));
    let finished = AtomicBool::new(false);
    let (elapsed, resident) = std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut sizes = Vec::new();
            while !finished.load(Ordering::Relaxed) {
                sizes.push(resident_megabytes(pid));
                std::thread::sleep(Duration::from_millis(50));
            }
            sizes
        });
        let asked = Instant::now();
        let csv = "content-type: text/csv\r\n";
        service.client().send("POST", "/timeseries/samples", csv, body.as_bytes()).expect_success("bulk ingest");
        let elapsed = asked.elapsed().as_secs_f64();
        finished.store(true, Ordering::Relaxed);
        (elapsed, sampler.join().expect("the sizes"))
    });
    #[expect(clippy::cast_precision_loss, reason = "a million")]
    let rate = SAMPLES as f64 / elapsed;
    report.row(
        "bulk ingest, 1,000,000 samples of 1,000 series as CSV",
        format!(
            "{rate:.0} samples/s ({elapsed:.1} s); CPU-s: {:.1}, Redis {:.1}",
            cpu_seconds(pid) - before.0,
            cpu_seconds(redis) - before.1
        ),
        "at least 150,000/s",
    );
    let quarter = (resident.len() / 4).max(1);
    report.row(
        "the same: RSS",
        format!(
            "at most {:.0} MB; before {:.0}, first quarter {:.0}, last quarter {:.0}",
            resident.iter().copied().fold(0.0, f64::max),
            before.2,
            median(resident[..quarter].to_vec()),
            median(resident[resident.len() - quarter..].to_vec()),
        ),
        "below 150 MB, flat",
    );
}

/// Sample by sample through all series, as meters report.
fn body() -> String {
    let mut body = String::with_capacity(SAMPLES * 48);
    body.push_str("series,timestamp,value\n");
    let start = days_ago(SAMPLES / SERIES * STEP / 86_400_000 + 1);
    for sample in 0..SAMPLES {
        let (series, at) = (sample % SERIES, start + sample / SERIES * STEP);
        // Two decimals that wander, as readings do.
        let value = (sample * 7_919) % 10_000;
        let _ = writeln!(body, "energy:consumption:bench-{series:04},{at},{}.{:02}", value / 100, value % 100);
    }
    body
}
