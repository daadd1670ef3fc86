//! The memory of the service with 10,000 hosts.

use super::{JSON, array, service};
use crate::days_ago;
use crate::peers::Bench;
use crate::process::resident_megabytes;
use crate::report::Report;

const HOSTS: usize = 10_000;
/// Samples that stay in memory per host.
const SAMPLES: usize = 60;
const STEP: usize = 5_000;

pub fn run(bench: &Bench, report: &mut Report) {
    let service = service(bench, "");
    let mut client = service.client();
    let idle = resident_megabytes(service.pid());
    let body = array(0..SAMPLES, |number| days_ago(0) + number * STEP - SAMPLES * STEP);
    for host in 0..HOSTS {
        let path = format!("/hosts/bench-{host}/metrics");
        client.send("POST", &path, JSON, body.as_bytes()).expect_success("samples");
    }
    let full = resident_megabytes(service.pid());
    report.row("RSS with 10,000 hosts of 60 samples", format!("{full:.0} MB; idle {idle:.0} MB"), "below 400 MB");
}
