//! The hand-over of a lock through a queue of a hundred waiters.

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
/// The lease is longer than the round, so that only releases hand the lock over.
const WAIT: &[u8] = br#"{"ttl_ms":30000,"wait_ms":30000}"#;

/// One holder's time with the lock.
#[derive(Clone, Copy)]
struct Turn {
    fence: u64,
    granted: Instant,
    /// When the holder started the release.
    released: Instant,
}

pub fn run(bench: &Bench, report: &mut Report) {
    let replicas = [bench.service(Transport::Tcp), bench.service(Transport::Tcp)];
    for (name, replicas) in [("one replica", &replicas[..1]), ("two replicas in turn", &replicas[..])] {
        let mut medians = Vec::new();
        let (mut longest, mut in_order) = (0.0_f64, true);
        for _ in 0..ROUNDS {
            let turns = hand_over(replicas, || {});
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
            format!("the same, {name}: commands sent to Redis per hand-over, by all clients"),
            format!("{sent:.2}; including those inside scripts {all:.1}"),
            "at most 5",
        );
    }
}

/// Commands per hand-over, from the first release to the last: commands that clients send, and all commands.
fn commands(bench: &Bench, replicas: &[Service]) -> (f64, f64) {
    let mut monitor = None;
    hand_over(replicas, || monitor = Some(Monitor::start(bench.redis.address)));
    let entries = monitor.expect("a started monitor").stop();
    let each = |count: usize| f64::from(u32::try_from(count).expect("a count")) / f64::from(WAITERS);
    (each(entries.iter().filter(|entry| !entry.in_script).count()), each(entries.len()))
}

/// Queues the waiters one after the other behind a holder, which then releases. Returns the turns of the holder and of
/// the waiters, in the order of their arrival.
fn hand_over(replicas: &[Service], when_all_waiting: impl FnOnce()) -> Vec<Turn> {
    let mut holder = replicas[0].client();
    let grant = holder.send("POST", PATH, JSON, ACQUIRE).expect_success("the holder's grant");
    let granted = Instant::now();
    thread::scope(|scope| {
        let mut waiters = Vec::new();
        for (place, replica) in (1..=u64::from(WAITERS)).zip(replicas.iter().cycle()) {
            waiters.push(scope.spawn(|| wait_for_turn(replica)));
            wait_for("the waiter to be queued", || waiting(&replicas[0]) == place);
        }
        when_all_waiting();
        let first = release(&mut holder, &grant.body, granted);
        let others = waiters.into_iter().map(|waiter| waiter.join().expect("a turn"));
        std::iter::once(first).chain(others).collect()
    })
}

fn wait_for_turn(replica: &Service) -> Turn {
    let mut client = replica.client();
    let grant = client.send("POST", PATH, JSON, WAIT);
    let granted = Instant::now();
    release(&mut client, &grant.expect_success("a waiter's grant").body, granted)
}

fn release(client: &mut Client, grant: &[u8], granted: Instant) -> Turn {
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
