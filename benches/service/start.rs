//! The time from start to ready, and the memory of an idle service.

use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::median;
use crate::peers::{Bench, Transport, binary};
use crate::process::{file_mapped_megabytes, resident_megabytes};
use crate::report::Report;

const STARTS: usize = 5;
/// The time until the threads and connections of the start are idle.
const SETTLE_TIME: Duration = Duration::from_secs(3);

pub fn run(bench: &Bench, report: &mut Report) {
    let times = (0..STARTS).map(|_| {
        let began = Instant::now();
        let service = bench.service(Transport::Tcp);
        let ready = began.elapsed().as_secs_f64() * 1e3;
        assert!(TcpStream::connect(service.address).is_ok(), "the service still listens");
        ready
    });
    report.row("start to ready, with Redis running", format!("{:.0} ms", median(times.collect())), "below 100 ms");
    let service = bench.service(Transport::Tcp);
    std::thread::sleep(SETTLE_TIME);
    let (resident, mapped) = (resident_megabytes(service.pid()), file_mapped_megabytes(service.pid()));
    let memory = format!("{resident:.1} MB: {:.1} private, {mapped:.1} mapped from files", resident - mapped);
    report.row("idle RSS", memory, "below 30 MB");
    let size = fs::metadata(binary()).expect("the binary").len();
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    report.row("release binary", format!("{:.1} MB", size as f64 / 1e6), "below 30 MB");
}
