//! Load from wrk: 64 connections that send the next request as soon as a response arrives.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::process::cpu_seconds;

const THREADS: &str = "-t2";
const CONNECTIONS: &str = "-c64";

/// One run against one peer.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub requests_per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU seconds of the peer per 100,000 requests.
    pub peer_cpu: f64,
    /// CPU seconds of Redis per 100,000 requests.
    pub redis_cpu: f64,
}

/// The request that wrk repeats.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpec<'a> {
    path: &'a str,
    header: Option<&'a str>,
    json: Option<&'a str>,
    turns: Option<Turns<'a>>,
    /// Whether each request has another number in place of the placeholder of redis-benchmark.
    is_numbered: bool,
}

/// Paths that differ in a number from 1 to `count` between `path` and `after`, used in turn.
#[derive(Clone, Copy, Debug)]
struct Turns<'a> {
    method: &'a str,
    after: &'a str,
    count: &'a str,
}

impl<'a> RequestSpec<'a> {
    pub fn get(path: &'a str, header: Option<&'a str>) -> Self {
        Self { path, header, json: None, turns: None, is_numbered: false }
    }

    pub fn post(path: &'a str, header: Option<&'a str>, json: &'a str) -> Self {
        Self { path, header, json: Some(json), turns: None, is_numbered: false }
    }

    /// Sends the body with a different number each time, in place of [`RANDOM`](crate::redis_benchmark::RANDOM).
    pub fn numbered(path: &'a str, header: Option<&'a str>, json: &'a str) -> Self {
        Self { is_numbered: true, ..Self::post(path, header, json) }
    }

    /// Sends the same body to each `<before><number><after>` in turn.
    pub fn in_turns(
        method: &'a str,
        [before, after]: [&'a str; 2],
        count: &'a str,
        header: Option<&'a str>,
        json: &'a str,
    ) -> Self {
        let turns = Turns { method, after, count };
        Self { path: before, header, json: Some(json), turns: Some(turns), is_numbered: false }
    }
}

/// Sends requests for `seconds`, after a second of warm-up.
pub fn run(peer: (u32, SocketAddr), redis: u32, request: RequestSpec<'_>, seconds: u32) -> Run {
    let (pid, address) = peer;
    let url = format!("http://{address}{}", request.path);
    load(&url, request, 1);
    let before = (cpu_seconds(pid), cpu_seconds(redis));
    let text = load(&url, request, seconds);
    let spent = (cpu_seconds(pid) - before.0, cpu_seconds(redis) - before.1);
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{url}: {text}");
    let word_before = |marker: &str| {
        let line = text.lines().find(|line| line.contains(marker)).unwrap_or_else(|| panic!("no {marker}: {text}"));
        line.trim().split_ascii_whitespace().next().expect("a word").to_owned()
    };
    let latency = |share: &str| {
        let line = text.lines().find(|line| line.trim_start().starts_with(share)).expect("a latency distribution");
        microseconds(line.split_ascii_whitespace().nth(1).expect("a latency"))
    };
    let requests: f64 = word_before("requests in").parse().expect("a number");
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("a rate");
    Run {
        requests_per_second: rate.trim().parse().expect("a number"),
        p50_us: latency("50%"),
        p99_us: latency("99%"),
        peer_cpu: spent.0 / requests * 1e5,
        redis_cpu: spent.1 / requests * 1e5,
    }
}

fn load(url: &str, request: RequestSpec<'_>, seconds: u32) -> String {
    let mut command = Command::new("wrk");
    command.args([THREADS, CONNECTIONS, "--latency", &format!("-d{seconds}s")]);
    if let Some(header) = request.header {
        command.args(["-H", header]);
    }
    if let Some(json) = request.json {
        let file = match request.turns {
            Some(_) => "in_turns.lua",
            None if request.is_numbered => "numbered.lua",
            None => "post.lua",
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/service").join(file);
        command.args(["-H", "content-type: application/json", "-s"]).arg(script).args([url, "--"]);
        if let Some(Turns { method, after, count }) = request.turns {
            command.args([method, request.path, after, count]);
        }
        command.arg(json);
    } else {
        command.arg(url);
    }
    let output = command.output().expect("wrk is installed");
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// `"540.00us"`, `"1.81ms"` or `"2.00s"`.
fn microseconds(text: &str) -> f64 {
    let (number, factor) = match text.strip_suffix("us").map(|number| (number, 1.0)) {
        Some(parts) => parts,
        None => match text.strip_suffix("ms") {
            Some(number) => (number, 1e3),
            None => (text.strip_suffix('s').expect("a unit"), 1e6),
        },
    };
    number.parse::<f64>().expect("a number") * factor
}
