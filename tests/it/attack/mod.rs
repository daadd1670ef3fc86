//! One client attacks every capability over HTTP, while another client uses the service at a steady rate.
//!
//! The short form runs with all other tests. It checks statuses, and that the service stays healthy. `GTX_ATTACK=long` is
//! the form of `make attack`: it also checks the memory of the service and the other client's latency, so it needs an idle
//! machine and an optimised build. `GTX_ATTACK_ONLY` selects attacks by a part of their name, and `GTX_ATTACK_SEED`
//! repeats the order of their requests.

mod batches;
mod client;
mod connections;
mod documents;
mod report;
mod samples;
mod target;
mod victim;

use std::time::Duration;

use client::{Attack, Manner};
use report::Row;
use target::Target;
use victim::Victim;

/// The latency of the other client that no attack may exceed at the 99th percentile.
const LATENCY: Duration = Duration::from_millis(50);
/// The memory that one client may cost, in addition to twice the memory of the idle service, KiB.
const MEMORY_KIB: u64 = 64 << 10;

/// The size of a run.
pub struct Size {
    is_long: bool,
    /// The time of each attack.
    time: Duration,
    /// Large values, documents, series and other things are divided by this number.
    divisor: usize,
}

impl Size {
    fn of(form: Option<&str>) -> Self {
        match form {
            None => Self { is_long: false, time: Duration::from_millis(500), divisor: 16 },
            Some("long") => Self { is_long: true, time: Duration::from_secs(20), divisor: 1 },
            Some(other) => panic!("GTX_ATTACK is long or unset, not {other}"),
        }
    }

    /// The number in this form of what the long form has `count` of.
    pub fn of_many(&self, count: usize) -> usize {
        count.div_ceil(self.divisor)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_client_does_not_take_the_service_from_another() {
    let setting = |wanted| std::env::vars().find(|(name, _)| name == wanted).map(|(_, value)| value);
    let size = Size::of(setting("GTX_ATTACK").as_deref());
    let seed = setting("GTX_ATTACK_SEED").map_or(1, |seed| seed.parse().expect("a number"));
    let only = setting("GTX_ATTACK_ONLY").unwrap_or_default();
    let mut target = Target::start();
    let mut attacks = vec![Attack::new("no attack", Manner::Read, 0, Vec::new())];
    attacks.extend(documents::attacks(&size));
    attacks.extend(batches::attacks(&size));
    attacks.extend(batches::channels(&size));
    attacks.extend(samples::attacks(&size));
    attacks.extend(connections::attacks(&size));
    attacks.retain(|attack| attack.name == "no attack" || attack.name.contains(&only));
    let idle = target.resident_kib();
    target.prepare(&size).await;
    report::print_head(seed, idle);
    let mut violations = Vec::new();
    for attack in attacks {
        let victim = Victim::start(target.port());
        let memory = target.watch_memory();
        let statuses = client::run(&attack, target.port(), size.time, seed).await;
        let row = Row { name: attack.name, statuses, memory: memory.end(), latency: victim.end() };
        row.print();
        violations.extend(row.violations(size.is_long, 2 * idle + MEMORY_KIB));
        target.settle().await;
    }
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
