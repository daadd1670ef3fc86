//! Reading and setting one path of a 2 KB document, compared with reading and writing values of the cache.

use std::fmt::Write as _;

use super::JSON;
use crate::get::{self, ROUNDS, figures, medians};
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::ratios;
use crate::report::Report;
use crate::wrk::{self, RequestSpec, Run};

const SECONDS: u32 = 5;
/// Documents and cache values that are written in turn: writes of a single document would queue up (see `hot`).
const DOCUMENTS: &str = "256";
const PATH: &str = "?path=$.settings.theme";

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    reads(bench, report, &service);
    writes(bench, report, &service);
}

fn reads(bench: &Bench, report: &mut Report, service: &Service) {
    let document = document();
    get::store(service);
    let mut client = service.client();
    client.send("PUT", "/json/bench:document", JSON, document.as_bytes()).expect_success("a document");
    client.send("PUT", "/cache/bench:document", JSON, document.as_bytes()).expect_success("a value");
    let by_path = format!("/json/bench:document{PATH}");
    let response = client.get(&by_path).expect_success("a path");
    assert_eq!(response.body, b"[\"dark\"]");
    let candidates = [
        ("GET of one path in a 2 KB document", by_path.as_str()),
        ("GET /cache/{key} of 200 bytes", get::PATH),
        ("GET /cache/{key} of the same 2 KB", "/cache/bench:document"),
    ];
    let mut runs: [Vec<Run>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, path), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(service.peer(), bench.redis.pid(), RequestSpec::get(path, Some(KEY_HEADER)), SECONDS));
        }
    }
    report_figures(report, &candidates.map(|(name, _)| name), &runs, "at least 0.7");
}

fn writes(bench: &Bench, report: &mut Report, service: &Service) {
    let document = document();
    let mut client = service.client();
    for number in 1..=DOCUMENTS.parse::<u32>().expect("a number") {
        let path = format!("/json/bench:{number}");
        client.send("PUT", &path, JSON, document.as_bytes()).expect_success("a document");
    }
    let put = |around, body| RequestSpec::in_turns("PUT", around, DOCUMENTS, Some(KEY_HEADER), body);
    let small = format!("\"{}\"", get::value());
    let candidates = [
        ("SET of one path in a 2 KB document", put(["/json/bench:", PATH], "\"light\"")),
        ("PUT /cache/{key} of 200 bytes", put(["/cache/bench:", ""], &small)),
        ("PUT /cache/{key} of the same 2 KB", put(["/cache/bench:", ""], &document)),
    ];
    let mut runs: [Vec<Run>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, request), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(service.peer(), bench.redis.pid(), *request, SECONDS));
        }
    }
    let response = service.client().get(&format!("/json/bench:7{PATH}")).expect_success("a path");
    assert_eq!(response.body, b"[\"light\"]");
    report_figures(report, &candidates.map(|(name, _)| name), &runs, "at least 0.5");
}

/// Adds a row for each candidate, and for the ratio of the first to each other one.
fn report_figures(report: &mut Report, names: &[&str; 3], runs: &[Vec<Run>; 3], target: &str) {
    for (name, runs) in names.iter().zip(runs) {
        report.row(format!("{name}, 64 connections"), figures(&medians(runs)), "");
    }
    for (name, theirs) in names.iter().zip(runs).skip(1) {
        let (ratio, rounds) = ratios(&runs[0], theirs, |run| run.requests_per_second);
        report.row(format!("the same: path / {name}, requests/s"), format!("{ratio:.2}; rounds {rounds}"), target);
    }
}

/// A document of 2 KB, like the settings of a user.
fn document() -> String {
    let mut text = r#"{"user":"7","settings":{"theme":"dark","language":"th","zoom":1.25},"alerts":["#.to_owned();
    for number in 0..16 {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(
            text,
            r#"{comma}{{"id":{number},"symbol":"GRID","above":"{number}.50","below":"{number}.10","by":["email","push"],"active":true,"since":17672256{number:05}}}"#
        );
    }
    text.push_str("]}");
    assert!((1_900..2_200).contains(&text.len()), "{} bytes", text.len());
    text
}
