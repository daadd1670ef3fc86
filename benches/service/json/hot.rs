//! 64 writers of one document that each add 1 in a loop.

use std::thread;
use std::time::{Duration, Instant};

use super::JSON;
use crate::get::ROUNDS;
use crate::median;
use crate::peers::{Bench, Service, Transport};
use crate::report::Report;

const WRITERS: usize = 64;
const TIME: Duration = Duration::from_secs(5);
const INCREMENT: &[u8] = br#"{"path":"$.n","by":1}"#;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = bench.service(Transport::Tcp);
    let second = bench.service(Transport::Tcp);
    for (name, services) in [("one replica", vec![&service]), ("two replicas", vec![&service, &second])] {
        let rates = (0..ROUNDS).map(|_| measure(&services)).collect();
        report.row(
            format!("{WRITERS} writers of one document, {name}: every update counted"),
            format!("{:.0} updates/s, none lost", median(rates)),
            "at least 2,000/s",
        );
    }
}

/// Returns the updates per second; checks that the document contains all acknowledged updates.
fn measure(services: &[&Service]) -> f64 {
    services[0].client().send("PUT", "/json/bench:hot", JSON, br#"{"n":0}"#).expect_success("a document");
    let started = Instant::now();
    let updates: u32 = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| scope.spawn(move || increment(services[writer % services.len()], started + TIME)))
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).sum()
    });
    let elapsed = started.elapsed().as_secs_f64();
    let stored = services[0].client().get("/json/bench:hot?path=.n").expect_success("the number");
    assert_eq!(String::from_utf8_lossy(&stored.body), updates.to_string(), "every acknowledged update is stored");
    f64::from(updates) / elapsed
}

/// Increments the number until `until`; a conflict has changed nothing and is tried again.
fn increment(service: &Service, until: Instant) -> u32 {
    let mut client = service.client();
    let mut updates = 0;
    while Instant::now() < until {
        let response = client.send("POST", "/json/bench:hot/number/increment", JSON, INCREMENT);
        if response.status == 409 {
            assert!(String::from_utf8_lossy(&response.body).contains("json-contended"), "{}", response.status);
            continue;
        }
        response.expect_success("an increment");
        updates += 1;
    }
    updates
}
