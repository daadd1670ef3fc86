//! Load by redis-benchmark: 64 connections, each with one command under way.

use std::net::SocketAddr;
use std::process::Command;

/// What redis-benchmark puts a random number for, of twelve digits.
pub const RANDOM: &str = "__rand_int__";

/// Commands per second; each [`RANDOM`] becomes a number below `range` of its own.
pub fn run(redis: SocketAddr, commands: u32, range: u32, arguments: &[String]) -> f64 {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &redis.ip().to_string(), "-p", &redis.port().to_string(), "-c", "64", "--csv"]);
    command.args(["-n", &commands.to_string(), "-r", &range.to_string()]).args(arguments);
    let output = command.output().expect("redis-benchmark is installed");
    let text = String::from_utf8(output.stdout).expect("text");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !complaints.contains("rror"), "redis-benchmark: {text}{complaints}");
    // The command as its label, then commands per second and latencies.
    let row = text.lines().last().expect("a row");
    let fields: Vec<&str> = row.rsplitn(8, ',').collect();
    let rate = fields.get(6).expect("a rate").trim_matches('"');
    rate.parse().unwrap_or_else(|_| panic!("a rate: {text}"))
}
