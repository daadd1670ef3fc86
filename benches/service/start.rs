//! From the command to readiness, and what an idle service weighs.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::median;
use crate::peers::{Bench, Transport, binary};
use crate::process::resident_megabytes;
use crate::report::Report;

const STARTS: usize = 5;
/// Until threads and connections of the start have come to rest.
const REST: Duration = Duration::from_secs(3);

pub fn run(bench: &Bench, report: &mut Report) {
    let times = (0..STARTS).map(|_| {
        let began = Instant::now();
        let service = bench.service(Transport::Tcp);
        let ready = began.elapsed().as_secs_f64() * 1e3;
        assert!(TcpStream::connect(service.address).is_ok(), "it still listens");
        ready
    });
    report.row("start to ready, Redis up", format!("{:.0} ms", median(times.collect())), "below 1,000 ms");
    let service = bench.service(Transport::Tcp);
    std::thread::sleep(REST);
    report.row("idle RSS", format!("{:.1} MB", resident_megabytes(service.pid())), "below 30 MB");
    let size = fs::metadata(binary()).expect("the binary").len();
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    report.row("release binary", format!("{:.1} MB", size as f64 / 1e6), "below 40 MB");
}
