//! Cache warming: what a run of 100,000 values costs the clients that read cached values meanwhile.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use gridtokenx_redis::hot_keys::{COUNTERS, HotKeys};
use serde_json::Value;

use crate::get::ROUNDS;
use crate::open_loop::{Rate, SendRequest, latencies, percentile};
use crate::peers::{Bench, Service, Transport};
use crate::process::cpu_seconds;
use crate::report::Report;

const VALUES: u32 = 100_000;
const READS: Rate = Rate { per_second: 5_000, connections: 32 };
/// Uses that are counted, fewer than a lane counts one by one in a minute.
const COUNTED: u32 = 100_000;
const JSON: &str = "content-type: application/json\r\n";
const READ: &str = "/cache/bench:read";

pub fn run(bench: &Bench, report: &mut Report) {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("values.json");
    let values: BTreeMap<String, String> =
        (0..VALUES).map(|n| (format!("bench:{n}"), format!("value {n} {}", "x".repeat(200)))).collect();
    std::fs::write(&file, serde_json::to_vec(&values).expect("JSON")).expect("the values");
    let service = bench.service_with(
        Transport::Tcp,
        &format!(
            "[warming]\nprefixes = [\"bench:\"]\n\
             [[warming.sources]]\nname = \"bench\"\nkind = \"literal\"\nfile = \"{}\"\n\
             [[warming.tasks]]\nname = \"bench\"\nkey = \"bench:{{n:int8}}\"\nsource = \"bench\"\nttl = \"1h\"\n\
             strategy = {{ kind = \"on_demand\", factor = 1.5, trigger = 1000000 }}\n",
            file.display()
        ),
    );
    service.client().send("PUT", READ, JSON, b"1").expect_success("a value");
    let before = measure(&service);
    // The service has closed the connection that was idle for so long.
    let started = service.client().send("POST", "/warming/tasks/bench/run", JSON, b"{}").expect_success("a run");
    let started: Value = serde_json::from_slice(&started.body).expect("JSON");
    let path = format!("/warming/runs/{}", started["id"].as_str().expect("an id"));
    let state = || -> Value {
        // A run is unknown until it begins.
        serde_json::from_slice(&service.client().get(&path).body).expect("JSON")
    };
    let busy = measure(&service);
    let running = state();
    assert_eq!(running["result"], Value::Null, "the run lasts longer than the measurement: {running}");
    let deadline = Instant::now() + Duration::from_secs(600);
    while state()["result"].is_null() {
        assert!(Instant::now() < deadline, "the run does not end: {}", state());
        thread::sleep(Duration::from_millis(100));
    }
    let ended = state();
    assert_eq!((&ended["result"], &ended["new"]), (&"succeeded".into(), &VALUES.into()), "{ended}");

    let after = measure(&service);
    let [first, with, last] = [&before, &busy, &after].map(|(rounds, _)| percentile(rounds, 99) / 1e3);
    report.row(
        "5,000 cached reads/s while 100,000 values are warmed: p99",
        format!(
            "{with:.2} ms; before {first:.2}, after {last:.2}; ratio {:.2}; without warming {:.2}",
            2.0 * with / (first + last),
            last / first
        ),
        "ratio at most 1.2",
    );
    let idle = f64::midpoint(before.1, after.1);
    let added = (busy.1 - idle) * 100.0;
    report.row("the same: added CPU of the service", format!("{added:.1} % of a core"), "at most 10 %");
    let (counting, read) = (counting(), idle / f64::from(READS.per_second));
    report.row(
        "counting a key that is read, for the keys used most often",
        format!(
            "{:.0} ns; {:.2} % of the CPU of a cached read, {:.1} us",
            counting * 1e9,
            counting / read * 100.0,
            read * 1e6
        ),
        "at most 1 %",
    );
}

/// The seconds of counting one use while none is left out, for ten times as many keys as there are counters.
fn counting() -> f64 {
    let keys: Vec<String> = (0..COUNTERS * 10).map(|n| format!("bench:{n}")).collect();
    let hot_keys = HotKeys::new(1);
    let began = Instant::now();
    for (key, _) in keys.iter().cycle().zip(0..COUNTED) {
        hot_keys.record(0, std::iter::once(key.as_bytes()));
    }
    began.elapsed().as_secs_f64() / f64::from(COUNTED)
}

/// The latencies of reads, and the share of a core that the service took.
fn measure(service: &Service) -> (Vec<Vec<f64>>, f64) {
    let (began, used) = (Instant::now(), cpu_seconds(service.pid()));
    let rounds = (0..ROUNDS)
        .map(|_| {
            let read = |_| -> SendRequest<'_> {
                let mut client = service.client();
                Box::new(move |_| {
                    client.get(READ).expect_success("a read");
                })
            };
            latencies(READS, (0..READS.connections).map(read).collect())
        })
        .collect();
    (rounds, (cpu_seconds(service.pid()) - used) / began.elapsed().as_secs_f64())
}
