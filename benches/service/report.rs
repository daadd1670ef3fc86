//! The report: one Markdown table, printed and written to a file.

use std::fmt::Write as _;
use std::fs;
use std::process::Command;

use crate::peers::{Bench, binary};

pub struct Report {
    rows: Vec<[String; 3]>,
}

impl Report {
    pub fn new() -> Self {
        Self { rows: Vec::new() }
    }

    /// `target` is the goal of the project; empty for a result without one.
    pub fn row(&mut self, measurement: impl Into<String>, result: impl Into<String>, target: &str) {
        let row = [measurement.into(), result.into(), target.to_owned()];
        println!("{} | {} | {}", row[0], row[1], row[2]);
        self.rows.push(row);
    }

    pub fn write(&self, bench: &Bench) {
        let mut text = format!("{}\n\n| measurement | result | target |\n|---|---|---|\n", machine());
        for [measurement, result, target] in &self.rows {
            let _ = writeln!(text, "| {measurement} | {result} | {target} |");
        }
        let file = bench.output.join("report.md");
        fs::write(&file, &text).expect("the report is written");
        println!("\n{text}\nwritten to {}", file.display());
    }
}

fn machine() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first_line = |program: &str| {
        let output = Command::new(program).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
    };
    format!(
        "{cores} cores ({}), load {} at the end; {}; {}.",
        model.trim_start_matches(['\t', ' ', ':']),
        load.split(' ').next().unwrap_or_default(),
        first_line("redis-server"),
        first_line(&binary().display().to_string()),
    )
}
