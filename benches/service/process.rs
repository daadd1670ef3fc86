//! CPU time and memory of a process, read from `/proc`.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};

/// User and system CPU time so far in seconds, with a resolution of 10 ms.
#[expect(clippy::cast_precision_loss, reason = "ticks of a few minutes")]
pub fn cpu_seconds(pid: u32) -> f64 {
    let stat = stat(pid);
    (stat[11] + stat[12]) as f64 / clock_ticks_per_second() as f64
}

/// CPU seconds of this process and of the children that it has waited for.
#[expect(clippy::cast_precision_loss, reason = "ticks of a few minutes")]
pub fn own_cpu_seconds() -> f64 {
    let stat = stat(std::process::id());
    stat[11..15].iter().sum::<u64>() as f64 / clock_ticks_per_second() as f64
}

/// Resident memory, MB (10^6 bytes).
#[expect(clippy::cast_precision_loss, reason = "pages of a few gigabytes")]
pub fn resident_megabytes(pid: u32) -> f64 {
    (stat(pid)[21] * page_size() as u64) as f64 / 1e6
}

/// The part of [`resident_megabytes`] that is mapped from files, such as the binary, MB.
pub fn file_mapped_megabytes(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is running");
    let line = text.lines().find_map(|line| line.strip_prefix("RssFile:")).expect("Linux 4.5 or later");
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1_024.0 / 1e6
}

/// The start time, in ticks since boot.
pub fn start_ticks(pid: u32) -> u64 {
    stat(pid)[19]
}

/// The numbers after the name and the state; field `n` of proc(5) has the index `n - 3`.
fn stat(pid: u32) -> Vec<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is running");
    let (_, fields) = text.rsplit_once(')').expect("a name");
    fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or_default()).collect()
}
