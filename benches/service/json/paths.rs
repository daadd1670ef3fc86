//! One path of a 2 KB document against the cache: reading it beside a whole value, setting it beside storing a whole value.

use std::fmt::Write as _;

use super::JSON;
use crate::get::{self, ROUNDS, figures, medians};
use crate::peers::{Bench, KEY_HEADER, Service, Transport};
use crate::ratios;
use crate::report::Report;
use crate::wrk::{self, Question, Run};

const SECONDS: u32 = 5;
/// Documents, and values of the cache, that are written in turns: one alone would be a queue (see `hot`).
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
    let answer = client.get(&by_path).expect_success("a path");
    assert_eq!(answer.body, b"[\"dark\"]");
    let candidates = [
        ("GET of one path in a 2 KB document", by_path.as_str()),
        ("GET /cache/{key} of 200 bytes", get::PATH),
        ("GET /cache/{key} of the same 2 KB", "/cache/bench:document"),
    ];
    let mut runs: [Vec<Run>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, path), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(service.peer(), bench.redis.pid(), Question::get(path, Some(KEY_HEADER)), SECONDS));
        }
    }
    tell(report, &candidates.map(|(name, _)| name), &runs, "at least 0.7");
}

fn writes(bench: &Bench, report: &mut Report, service: &Service) {
    let document = document();
    let mut client = service.client();
    for number in 1..=DOCUMENTS.parse::<u32>().expect("a number") {
        let path = format!("/json/bench:{number}");
        client.send("PUT", &path, JSON, document.as_bytes()).expect_success("a document");
    }
    let put = |around, body| Question::in_turns("PUT", around, DOCUMENTS, Some(KEY_HEADER), body);
    let small = format!("\"{}\"", get::value());
    let candidates = [
        ("SET of one path in a 2 KB document", put(["/json/bench:", PATH], "\"light\"")),
        ("PUT /cache/{key} of 200 bytes", put(["/cache/bench:", ""], &small)),
        ("PUT /cache/{key} of the same 2 KB", put(["/cache/bench:", ""], &document)),
    ];
    let mut runs: [Vec<Run>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for ((_, question), runs) in candidates.iter().zip(&mut runs) {
            runs.push(wrk::run(service.peer(), bench.redis.pid(), *question, SECONDS));
        }
    }
    let answer = service.client().get(&format!("/json/bench:7{PATH}")).expect_success("a path");
    assert_eq!(answer.body, b"[\"light\"]");
    tell(report, &candidates.map(|(name, _)| name), &runs, "at least 0.5");
}

/// The figures of each, and the first one's share of the others.
fn tell(report: &mut Report, names: &[&str; 3], runs: &[Vec<Run>; 3], bar: &str) {
    for (name, runs) in names.iter().zip(runs) {
        report.row(format!("{name}, 64 connections"), figures(&medians(runs)), "");
    }
    for (name, theirs) in names.iter().zip(runs).skip(1) {
        let (ratio, rounds) = ratios(&runs[0], theirs, |run| run.requests_per_second);
        report.row(format!("the same: path / {name}, requests/s"), format!("{ratio:.2}; rounds {rounds}"), bar);
    }
}

/// What a user's settings may look like, 2 KB of them.
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
