//! The demo as a user runs it: the tools binary imports readings and queries their sums, even after a restart.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{RedisServer, ServiceProcess};

/// A year of half-hourly readings as a meter exports them, with values that floating point cannot represent exactly.
fn year_of_readings() -> (String, f64, f64) {
    let mut csv = String::from("local_time,consumption_kwh,generation_kwh\n");
    let (mut consumed, mut generated) = (0.0, 0.0);
    let start: jiff::civil::DateTime = "2011-07-01T00:00:00".parse().expect("a time");
    for slot in 0..17_568_i32 {
        let at = start.saturating_add(jiff::Span::new().minutes(i64::from(slot) * 30));
        let consumption = 0.1 + f64::from(slot % 37) * 0.013;
        let generation = f64::from((slot % 48 - 12).clamp(0, 24)) * 0.017;
        consumed += consumption;
        generated += generation;
        writeln!(csv, "{at},{consumption},{generation}").expect("text");
    }
    (csv, consumed, generated)
}

fn sum_of(output: &str, series: &str) -> (u64, f64) {
    let line = output.lines().find(|line| line.starts_with(series)).unwrap_or_else(|| panic!("{series}: {output}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    (words[1].parse().expect("a count"), words[2].parse().expect("a sum"))
}

#[test]
fn sums_of_a_year_of_readings_are_correct_before_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let (csv, consumed, generated) = year_of_readings();
    let file = directory.path().join("readings.csv");
    std::fs::write(&file, csv).expect("written");
    let data = directory.path().join("redis");

    let demo = |service: &mut ServiceProcess| {
        let output = Command::new(env!("CARGO_BIN_EXE_gridtokenx-tools"))
            .args(["demo", "--url", &format!("http://{}", service.address()), "--meter", "m-1", "--file"])
            .arg(&file)
            .output()
            .expect("the demo runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let mut service = ServiceProcess::start_private(&data, &[]);
    let first = demo(&mut service);
    for (series, expected) in [("energy:consumption:m-1", consumed), ("energy:generation:m-1", generated)] {
        let (count, sum) = sum_of(&first, series);
        assert_eq!(count, 17_568);
        assert!((sum - expected).abs() < 1e-6, "{series}: expected {expected}, got {sum}");
    }
    service.signal("TERM");
    service.ended_within(Duration::from_secs(30));

    let mut restarted = ServiceProcess::start_private(&data, &[]);
    restarted.ready();
    let (code, body) =
        restarted.get("/timeseries/energy:consumption:m-1/stats?from=2011-07-01T00:00:00Z&to=2012-07-01T00:00:00Z");
    assert_eq!(code, 200, "{body}");
    let stats: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(stats["count"], 17_568, "{stats}");
    assert!((stats["sum"].as_f64().expect("a sum") - consumed).abs() < 1e-6, "{stats}");
}

#[test]
fn the_simulation_fills_every_page_and_keeps_writing_until_interrupted() {
    let redis = RedisServer::start();
    let mut service = ServiceProcess::start_on(&redis, &[]);
    service.ready();
    let base = format!("http://{}", service.address());
    let mut demo = Command::new(env!("CARGO_BIN_EXE_gridtokenx-tools"))
        .args(["demo", "--url", &base, "--meters", "2", "--days", "2", "--live"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the demo runs");
    let mut output = BufReader::new(demo.stdout.take().expect("standard output")).lines().map_while(Result::ok);
    let printed: Vec<String> = output.by_ref().take_while(|line| !line.starts_with("writing every")).collect();

    let addresses: Vec<&str> = printed.iter().filter_map(|line| Some(line.split_once(base.as_str())?.1)).collect();
    let pages: Vec<&str> = addresses.into_iter().filter(|path| path.starts_with('/')).collect();
    assert!(pages.len() > 8, "{printed:?}");
    let mut get = |path: &str| {
        let (status, body) = service.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default()
    };
    for path in pages {
        get(path);
    }
    assert_eq!(get("/hosts/metrics/latest")["items"].as_array().map(Vec::len), Some(3));
    assert!(get("/locks")["items"].to_string().contains("settlement:demo"));
    let generation = "/timeseries/energy:generation:MTR-001";
    let by_hour = get(&format!("{generation}/range?from=-3d&to=now&agg=sum&bucket=1h&limit=100&tz=Asia/Bangkok"));
    // The current hour may have just begun.
    let (_, complete) = by_hour["samples"].as_array().expect("samples").split_last().expect("hours");
    for sample in complete {
        let hour = (sample["timestamp"].as_i64().expect("a time") / 3_600_000 + 7) % 24;
        let has_sun = sample["value"].as_f64().expect("a value") > 0.0;
        assert_eq!(has_sun, (6..18).contains(&hour), "{hour}:00: {sample}");
    }

    let newest = |service: &mut ServiceProcess| service.get("/timeseries/market:price:GRID-THB/latest").1;
    let first = newest(&mut service);
    let deadline = Instant::now() + Duration::from_secs(30);
    while newest(&mut service) == first {
        assert!(Instant::now() < deadline, "nothing is written");
        // Polls a process; `eventually` needs a runtime.
        std::thread::sleep(Duration::from_millis(50));
    }
    let id = rustix::process::Pid::from_child(&demo);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("a signal");
    assert!(demo.wait().expect("the demo ends").success());
}
