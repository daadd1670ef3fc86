//! The demo as a user runs it: the tools binary imports readings and queries their sums, even after a restart.

use std::fmt::Write as _;
use std::process::Command;

use crate::support::ServiceProcess;

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
    service.ended_within(std::time::Duration::from_secs(30));

    let mut restarted = ServiceProcess::start_private(&data, &[]);
    restarted.ready();
    let (code, body) =
        restarted.get("/timeseries/energy:consumption:m-1/stats?from=2011-07-01T00:00:00Z&to=2012-07-01T00:00:00Z");
    assert_eq!(code, 200, "{body}");
    let stats: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(stats["count"], 17_568, "{stats}");
    assert!((stats["sum"].as_f64().expect("a sum") - consumed).abs() < 1e-6, "{stats}");
}
