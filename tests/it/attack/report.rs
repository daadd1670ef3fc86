//! The table of a run, and the rules that each of its rows must obey.

use std::collections::BTreeMap;
use std::time::Duration;

use super::LATENCY;
use super::target::Memory;
use super::victim::Latency;

/// The server errors that an attack may cause: unavailable, not in time, and Redis is full.
const PERMITTED: [u16; 3] = [503, 504, 507];

/// What one attack did.
pub struct Row {
    pub name: &'static str,
    /// The number of responses with each status; 0 is a connection that was closed without a response.
    pub statuses: BTreeMap<u16, usize>,
    pub memory: Memory,
    pub latency: Latency,
}

pub fn print_head(seed: u64, idle: u64) {
    println!("seed {seed}, memory of the idle service {} MiB; the times are those of the other client", idle >> 10);
    println!(
        "{:<28} {:>8} {:>11} {:>8} {:>8} {:>8} {:>6}  statuses (0: closed without a response)",
        "attack", "requests", "MiB, max", "p50 ms", "p99 ms", "max ms", "health"
    );
}

impl Row {
    pub fn print(&self) {
        let Self { name, statuses, memory, latency } = self;
        let requests: usize = statuses.values().sum();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let [p50, p99, max] = [500, 990, 1_000].map(|permille| ms(latency.at(permille)));
        let all: Vec<String> = statuses.iter().map(|(status, count)| format!("{status}:{count}")).collect();
        let memory = format!("{} -> {}", memory.before >> 10, memory.max >> 10);
        println!(
            "{name:<28} {requests:>8} {memory:>11} {p50:>8.2} {p99:>8.2} {max:>8.1} {:>6}  {}{}",
            latency.unhealthy,
            all.join(" "),
            if latency.failed > 0 {
                format!("; {} requests of the other client failed", latency.failed)
            } else {
                String::new()
            },
        );
    }

    /// The rules that the attack broke. The limits of time and memory hold in the long form.
    pub fn violations(&self, is_long: bool, memory_limit: u64) -> Vec<String> {
        let Self { name, statuses, memory, latency } = self;
        let mut found = Vec::new();
        for (status, count) in statuses.iter().filter(|(status, _)| **status >= 500 && !PERMITTED.contains(status)) {
            found.push(format!("{name}: {count} responses have the status {status}"));
        }
        if latency.unhealthy > 0 {
            found.push(format!("{name}: {} health checks failed", latency.unhealthy));
        }
        if is_long && memory.max > memory_limit {
            found.push(format!("{name}: the service took {} MiB, not {}", memory.max >> 10, memory_limit >> 10));
        }
        if is_long && latency.at(990) > LATENCY {
            found.push(format!("{name}: the other client's 99th percentile was {:?}", latency.at(990)));
        }
        if is_long && latency.failed > 0 {
            found.push(format!("{name}: {} requests of the other client failed", latency.failed));
        }
        found
    }
}
