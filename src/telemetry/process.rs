//! Metrics of the process from `/proc`, under the names that Prometheus's client libraries share.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::scrape::Row;

pub(super) const ROWS: [Row; 6] = [
    Row::counter("process_cpu_seconds_total", "User and system CPU time spent in seconds"),
    Row::gauge("process_resident_memory_bytes", "Resident memory size in bytes"),
    Row::gauge("process_start_time_seconds", "Start time of the process since the Unix epoch in seconds"),
    Row::gauge("process_threads", "Number of threads"),
    Row::gauge("process_open_fds", "Number of open file descriptors"),
    Row::gauge("process_max_fds", "Largest number of open file descriptors"),
];

/// The values of [`ROWS`]; `None` on systems without `/proc`.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are floats")]
pub(super) fn read() -> Option<[f64; ROWS.len()]> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let ticks = clock_ticks_per_second() as f64;
    let booted = boot_time(&fs::read_to_string("/proc/stat").ok()?)?;
    // Reading the directory opens one more.
    let open = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    let limit = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |limit| limit as f64);
    Some([
        stat.cpu_ticks as f64 / ticks,
        stat.resident_pages as f64 * page_size() as f64,
        booted as f64 + stat.start_ticks as f64 / ticks,
        stat.threads as f64,
        open as f64,
        limit,
    ])
}

/// The fields of `/proc/<pid>/stat` that the metrics show.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    /// Clock ticks from boot to the start of the process.
    start_ticks: u64,
    resident_pages: u64,
}

impl Stat {
    /// Source: proc(5); it counts fields from 1, and the second one, the name, may contain spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (_, after_name) = text.rsplit_once(')')?;
        let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)?.checked_add(field(15)?)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the system booted, Unix seconds, from `/proc/stat`.
fn boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) R 1 7 7 0 -1 4194560 90 0 0 0 12 34 0 0 20 0 5 0 987654 9999 321 18446744073709551615";
        let expected = Stat { cpu_ticks: 46, threads: 5, start_ticks: 987_654, resident_pages: 321 };
        assert_eq!(Stat::parse(text), Some(expected));
        assert_eq!(Stat::parse("7 (a R 1"), None);
    }

    #[test]
    fn the_boot_time_is_found_among_other_lines() {
        assert_eq!(boot_time("cpu 1 2 3\nbtime 1767225600\nprocesses 4\n"), Some(1_767_225_600));
        assert_eq!(boot_time("cpu 1 2 3\n"), None);
    }
}
