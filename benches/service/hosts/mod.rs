//! Host metrics: writes and reads of samples, and their memory.

mod ingest;
pub mod peer;
mod reads;
mod size;

use crate::peers::{Bench, Service, Transport};
use crate::report::Report;

const JSON: &str = "content-type: application/json\r\n";

pub fn run(bench: &Bench, report: &mut Report) {
    ingest::run(bench, report);
    reads::run(bench, report);
    size::run(bench, report);
}

/// A service on an empty Redis, with additional configuration for `[hosts]`.
fn service(bench: &Bench, more: &str) -> Service {
    crate::socket::RedisSocket::connect(bench.redis.address).call(&redis::cmd("FLUSHALL"));
    bench.service_with(Transport::Tcp, &format!("[hosts]\n{more}"))
}

/// A sample of a host as an agent sends it; the changing values depend on `number`.
fn sample(number: usize, timestamp: Option<usize>) -> String {
    let used = 6_000_000_000 + number * 7_919 % 4_096 * 4_096;
    let disk = 200_000_000_000 + number * 40_960;
    let traffic = number * 1_234_567;
    let timestamp = timestamp.map_or_else(String::new, |timestamp| format!("\"timestamp\":{timestamp},"));
    #[expect(clippy::cast_precision_loss, reason = "as an agent calculates it")]
    let percent = |part: usize, whole: usize| part as f64 / whole as f64 * 100.0;
    format!(
        "{{{timestamp}\"cpu\":{{\"usage\":{}.{:02},\"cores\":8,\"loadAvg\":[0.{:02},0.58,0.61]}},\
         \"memory\":{{\"total\":17179869184,\"used\":{used},\"free\":{},\"usagePercent\":{}}},\
         \"disk\":{{\"total\":512000000000,\"used\":{disk},\"free\":{},\"usagePercent\":{}}},\
         \"network\":{{\"bytesIn\":{traffic},\"bytesOut\":{},\"packetsIn\":{},\"packetsOut\":{}}}}}",
        number * 37 % 100,
        number * 61 % 100,
        number * 13 % 100,
        17_179_869_184 - used,
        percent(used, 17_179_869_184),
        512_000_000_000 - disk,
        percent(disk, 512_000_000_000),
        traffic / 3,
        traffic / 900,
        traffic / 1_100,
    )
}

/// Samples of one host with timestamps, as an array.
fn array(numbers: impl Iterator<Item = usize>, time_of: impl Fn(usize) -> usize) -> String {
    let items: Vec<String> = numbers.map(|number| sample(number, Some(time_of(number)))).collect();
    format!("[{}]", items.join(","))
}
