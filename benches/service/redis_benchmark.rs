//! Load from redis-benchmark: 64 connections with one command in flight each.

use std::net::SocketAddr;
use std::process::Command;

/// The placeholder that redis-benchmark replaces with a random number of twelve digits.
pub const RANDOM: &str = "__rand_int__";

/// Returns the commands per second; each [`RANDOM`] becomes a random number below `range`.
pub fn run(redis: SocketAddr, commands: u32, range: u32, arguments: &[String]) -> f64 {
    let mut command = Command::new("redis-benchmark");
    command.args(["-h", &redis.ip().to_string(), "-p", &redis.port().to_string(), "-c", "64", "--csv"]);
    command.args(["-n", &commands.to_string(), "-r", &range.to_string()]).args(arguments);
    let output = command.output().expect("redis-benchmark is installed");
    let text = String::from_utf8(output.stdout).expect("text");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("rror"), "redis-benchmark: {text}{errors}");
    // The command as its label, then commands per second and latencies.
    let row = text.lines().last().expect("a row");
    let fields: Vec<&str> = row.rsplitn(8, ',').collect();
    let rate = fields.get(6).expect("a rate").trim_matches('"');
    rate.parse().unwrap_or_else(|_| panic!("a rate: {text}"))
}
