//! A lock that goes through a line of a hundred waiters.

use std::thread;
use std::time::{Duration, Instant};

use super::scripts::{ACQUIRE, JSON, token};
use crate::client::Client;
use crate::get::ROUNDS;
use crate::median;
use crate::monitor::Monitor;
use crate::peers::{Bench, Service, Transport, wait_for};
use crate::report::Report;

const WAITERS: u32 = 100;
const PATH: &str = "/locks/bench:line";
/// The lease outlasts the round, so that only releases pass the lock on.
const WAIT: &[u8] = br#"{"ttl_ms":30000,"wait_ms":30000}"#;

/// One waiter's time with the lock.
#[derive(Clone, Copy)]
struct Turn {
    fence: u64,
    granted: Instant,
    /// When it began to release.
    released: Instant,
}

pub fn run(bench: &Bench, report: &mut Report) {
    let replicas = [bench.service(Transport::Tcp), bench.service(Transport::Tcp)];
    for (name, replicas) in [("one replica", &replicas[..1]), ("two replicas in turn", &replicas[..])] {
        let mut medians = Vec::new();
        let (mut longest, mut in_order) = (0.0_f64, true);
        for _ in 0..ROUNDS {
            let turns = pass_on(replicas, || {});
            let gaps: Vec<f64> =
                turns.windows(2).map(|pair| milliseconds(pair[1].granted - pair[0].released)).collect();
            longest = gaps.iter().copied().fold(longest, f64::max);
            medians.push(median(gaps));
            in_order &= turns.is_sorted_by_key(|turn| turn.granted) && turns.is_sorted_by_key(|turn| turn.fence);
        }
        let order = if in_order { "in order" } else { "NOT in order" };
        report.row(
            format!("hand-over between {WAITERS} waiters, {name}"),
            format!("median {:.2} ms, longest {longest:.1} ms; {order}", median(medians)),
            "median at most 5 ms, in order",
        );
        let (sent, all) = commands(bench, replicas);
        report.row(
            format!("the same, {name}: commands that Redis is sent for each, by everybody"),
            format!("{sent:.2}; with those inside scripts {all:.1}"),
            "at most 5",
        );
    }
}

/// Commands per hand-over from the first release to the last: those that clients send, and all.
fn commands(bench: &Bench, replicas: &[Service]) -> (f64, f64) {
    let mut monitor = None;
    pass_on(replicas, || monitor = Some(Monitor::start(bench.redis.address)));
    let seen = monitor.expect("it was started").stop();
    let each = |count: usize| f64::from(u32::try_from(count).expect("a count")) / f64::from(WAITERS);
    (each(seen.iter().filter(|seen| !seen.in_script).count()), each(seen.len()))
}

/// Lets the waiters line up one after the other behind a holder, who then releases; everybody's turn, the holder's
/// first and the others' in the order in which they came.
fn pass_on(replicas: &[Service], when_all_wait: impl FnOnce()) -> Vec<Turn> {
    let mut holder = replicas[0].client();
    let grant = holder.send("POST", PATH, JSON, ACQUIRE).expect_success("the holder's grant");
    let granted = Instant::now();
    thread::scope(|scope| {
        let mut waiters = Vec::new();
        for (place, replica) in (1..=u64::from(WAITERS)).zip(replicas.iter().cycle()) {
            waiters.push(scope.spawn(|| wait_for_turn(replica)));
            wait_for("the last one to wait", || waiting(&replicas[0]) == place);
        }
        when_all_wait();
        let first = give_back(&mut holder, &grant.body, granted);
        let others = waiters.into_iter().map(|waiter| waiter.join().expect("a turn"));
        std::iter::once(first).chain(others).collect()
    })
}

fn wait_for_turn(replica: &Service) -> Turn {
    let mut client = replica.client();
    let grant = client.send("POST", PATH, JSON, WAIT);
    let granted = Instant::now();
    give_back(&mut client, &grant.expect_success("a waiter's grant").body, granted)
}

fn give_back(client: &mut Client, grant: &[u8], granted: Instant) -> Turn {
    let header = format!("lock-token: {}\r\n", token(grant));
    let fence = serde_json::from_slice::<serde_json::Value>(grant).expect("JSON")["fencing_token"].as_u64();
    let released = Instant::now();
    client.send("DELETE", PATH, &header, &[]).expect_success("a release");
    Turn { fence: fence.expect("a fencing token"), granted, released }
}

fn waiting(replica: &Service) -> u64 {
    let state = replica.client().get(PATH).expect_success("the lock's state");
    let state: serde_json::Value = serde_json::from_slice(&state.body).expect("JSON");
    state["waiters"].as_u64().expect("a count")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
